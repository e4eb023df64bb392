//! A TCP proxy that cuts its first long connection once and changes nothing else.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// Ends with its connections when dropped.
pub(super) struct Proxy {
    /// Where it listens.
    pub(super) address: SocketAddr,
    cut: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Proxy {
    /// Listens on loopback for `upstream`, and cuts the first connection that carried so many bytes
    /// from there.
    pub(super) async fn start(upstream: SocketAddr, cut_after: u64) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let cut = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&cut);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(carry(client, upstream, cut_after, Arc::clone(&done)));
            }
        });
        Ok(Self { address, cut, task: task.abort_handle() })
    }

    /// Whether it has cut its connection.
    pub(super) fn has_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(
    client: TcpStream,
    upstream: SocketAddr,
    cut_after: u64,
    cut: Arc<AtomicBool>,
) -> io::Result<()> {
    let server = TcpStream::connect(upstream).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        copy(&mut from_client, &mut to_server).await?;
        to_server.shutdown().await
    };
    let down = async {
        if !cut.load(Ordering::Relaxed) {
            let carried = copy(&mut (&mut from_server).take(cut_after), &mut to_client).await?;
            if carried == cut_after && !cut.swap(true, Ordering::Relaxed) {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        copy(&mut from_server, &mut to_client).await?;
        to_client.shutdown().await
    };
    tokio::try_join!(up, down).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends 1,000 bytes to everyone and waits for them to go.
    async fn server() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(&[7; 1000]).await;
                let _ = stream.shutdown().await;
            }
        });
        address
    }

    async fn received(address: SocketAddr) -> usize {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.shutdown().await.expect("the stream is open");
        let mut bytes = Vec::new();
        // A reset after the cut is as good as an end.
        let _ = stream.read_to_end(&mut bytes).await;
        bytes.len()
    }

    #[tokio::test]
    async fn one_connection_is_cut_and_the_next_ones_are_whole() {
        let proxy = Proxy::start(server().await, 600).await.expect("loopback");
        assert!(!proxy.has_cut());
        assert!(received(proxy.address).await <= 600);
        assert!(proxy.has_cut());
        assert_eq!(received(proxy.address).await, 1000);
        assert_eq!(received(proxy.address).await, 1000);
    }

    #[tokio::test]
    async fn a_short_connection_is_never_cut() {
        let proxy = Proxy::start(server().await, 2000).await.expect("loopback");
        assert_eq!(received(proxy.address).await, 1000);
        assert!(!proxy.has_cut());
    }
}
