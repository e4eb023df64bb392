//! The accept loops: one connection a task, bounded in number and in time, ended gracefully.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Server;
use super::control::Control;
use super::guard::{Door, Guard};
use super::route::Routes;

/// Connections at a time, each listener.
const CONNECTIONS_MAX: usize = 128;
/// Time for the head of a request, and for the next request of a connection (T14).
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// Buffer of a connection; a larger head is refused (T14).
const BUFFER_MAX: usize = 16 * 1024;
/// Time for what is under way at the end.
const DRAIN: Duration = Duration::from_secs(3);
/// Pause after a failed accept, which means that descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

pub(super) async fn run(server: Server, control: Arc<dyn Control>, stop: CancellationToken) {
    let guard = Guard::new(&server.options, server.address);
    let routes =
        Arc::new(Routes::new(server.options, server.registry, control, guard, stop.clone()));
    let tasks = TaskTracker::new();
    if let Some(tcp) = server.tcp {
        tasks.spawn(accept(tcp, routes.clone(), tasks.clone(), stop.clone()));
    }
    // Removed at the end of this function, after the last answer.
    let mut _file = None;
    if let Some((unix, file)) = server.unix {
        _file = Some(file);
        tasks.spawn(accept(unix, routes.clone(), tasks.clone(), stop.clone()));
    }
    stop.cancelled().await;
    tasks.close();
    if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
        tracing::warn!("requests were still under way and are cut off");
    }
}

/// A listener of either sort.
trait Accept: Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    const DOOR: Door;

    /// The next connection that may ask.
    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;
    const DOOR: Door = Door::Tcp;

    async fn next(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.accept().await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Accept for UnixListener {
    type Stream = UnixStream;
    const DOOR: Door = Door::Socket;

    async fn next(&self) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = self.accept().await?;
            if is_ours(&stream) {
                return Ok(stream);
            }
            tracing::warn!("a process of another user was refused at the control socket");
        }
    }
}

/// Whether the process at the other end runs as our user or root.
fn is_ours(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| may_control(peer.uid(), own))
}

fn may_control(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

async fn accept<L: Accept>(
    listener: L,
    routes: Arc<Routes>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await;
            (place, listener.next().await)
        };
        let (place, stream) = tokio::select! {
            () = stop.cancelled() => return,
            next = next => next,
        };
        match stream {
            Ok(stream) => {
                let connection = connection(stream, L::DOOR, routes.clone(), stop.clone());
                tasks.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn connection<S>(
    stream: S,
    door: Door,
    routes: Arc<Routes>,
    stop: CancellationToken,
) -> impl Future<Output = ()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let routes = routes.clone();
        async move { Ok::<_, Infallible>(routes.answer(door, request).await) }
    });
    async move {
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_DEADLINE)
            .max_buf_size(BUFFER_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut served = std::pin::pin!(served);
        let ended = tokio::select! {
            ended = served.as_mut() => ended,
            () = stop.cancelled() => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        };
        if let Err(error) = ended {
            // A client that went away or sent no HTTP is its own affair.
            tracing::debug!(%error, "a connection to the interface ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_socket_is_for_its_own_user_and_root() {
        assert!(may_control(1000, 1000));
        assert!(may_control(0, 1000));
        assert!(!may_control(1001, 1000));
        assert!(!may_control(1000, 0));
    }
}
