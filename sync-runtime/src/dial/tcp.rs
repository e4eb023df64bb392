//! TCP to the first of several addresses that answers (RFC 8305).

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use sync_core::input::{DialError, DialErrorKind};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::error::worse;
use super::{dial_error, io_error};

/// How long an attempt is alone before the next one begins beside it.
const STAGGER: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// Connects to the first address that answers: families take turns, the resolver's first one
/// begins, and the next attempt starts when the one before failed or took too long.
pub(super) async fn race(addresses: Vec<SocketAddr>) -> Result<TcpStream, DialError> {
    let mut waiting = take_turns(addresses).into_iter();
    let mut running = FuturesUnordered::new();
    let mut failure: Option<DialError> = None;
    loop {
        if let Some(address) = waiting.next() {
            running.push(TcpStream::connect(address));
        } else if running.is_empty() {
            let none = || dial_error(DialErrorKind::Dns, "the name has no address");
            return Err(failure.unwrap_or_else(none));
        }
        tokio::select! {
            Some(result) = running.next() => match result {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    let error = io_error(&error);
                    failure = Some(match failure {
                        Some(before) => worse(before, error),
                        None => error,
                    });
                }
            },
            () = sleep(STAGGER), if waiting.len() > 0 => {}
        }
    }
}

fn take_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let six_first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut first, mut second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == six_first);
    first.reverse();
    second.reverse();
    let mut order = Vec::new();
    while !(first.is_empty() && second.is_empty()) {
        order.extend(first.pop());
        order.extend(second.pop());
    }
    order.truncate(MAX_ADDRESSES);
    order
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_and_the_first_one_begins() {
        let given = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.0.0.1:1", "1.0.0.2:1"]);
        let order = addresses(&["[::1]:1", "1.0.0.1:1", "[::2]:1", "1.0.0.2:1", "[::3]:1"]);
        assert_eq!(take_turns(given), order);
        let many = vec!["1.1.1.1:1".parse().unwrap(); 40];
        assert_eq!(take_turns(many).len(), MAX_ADDRESSES);
    }

    #[tokio::test]
    async fn an_address_that_refuses_gives_way_to_the_next_at_once() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refused = closed.local_addr().unwrap();
        drop(closed);
        let good = listener.local_addr().unwrap();
        let stream = race(vec![refused, good]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        assert_eq!(race(vec![refused]).await.unwrap_err().kind, DialErrorKind::Refused);
        assert_eq!(race(Vec::new()).await.unwrap_err().kind, DialErrorKind::Dns);
    }

    #[tokio::test]
    async fn an_address_that_stays_silent_does_not_hold_up_the_next() {
        // A listener whose queue is full answers no further handshake.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let silent = socket.listen(1).unwrap();
        let address = silent.local_addr().unwrap();
        let mut fillers = Vec::new();
        while let Ok(stream) =
            tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
        {
            fillers.push(stream.unwrap());
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let stream = race(vec![address, good]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
    }
}
