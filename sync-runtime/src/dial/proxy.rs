//! SOCKS5: for onion services, or for every relay.

use std::net::SocketAddr;
use std::str::FromStr;

use sync_core::input::{DialError, DialErrorKind};
use sync_core::url::RelayUrl;
use tokio::net::TcpStream;
use tokio_socks::tcp::Socks5Stream;

use super::{Target, dial_error};

/// A SOCKS5 proxy, written `host:port` or `socks5://host:port` when every relay is reached through
/// it, `onion=host:port` when only onion services are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    host: String,
    port: u16,
    onion_only: bool,
}

/// A proxy that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no proxy; write `socks5://127.0.0.1:9050`, or `onion=127.0.0.1:9050`")]
pub struct ProxyError(String);

impl FromStr for Proxy {
    type Err = ProxyError;

    fn from_str(text: &str) -> Result<Self, ProxyError> {
        let error = || ProxyError(text.into());
        let (onion_only, rest) = match text.trim().strip_prefix("onion=") {
            Some(rest) => (true, rest),
            None => (false, text.trim()),
        };
        let rest = rest.strip_prefix("socks5h://").unwrap_or(rest);
        let rest = rest.strip_prefix("socks5://").unwrap_or(rest).trim_end_matches('/');
        let (host, port) = rest.rsplit_once(':').ok_or_else(error)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        // A user or another scheme is not understood, so it must not be taken for a host.
        if host.is_empty() || host.contains(['@', '/']) {
            return Err(error());
        }
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(error)?;
        Ok(Self { host: host.into(), port, onion_only })
    }
}

impl Proxy {
    /// Whether this relay is reached through the proxy.
    pub(super) fn takes(&self, url: &RelayUrl) -> bool {
        url.is_onion() || !self.onion_only
    }

    /// A stream through the proxy.
    pub(super) async fn open(&self, target: Target) -> Result<TcpStream, DialError> {
        let proxy = (self.host.as_str(), self.port);
        let socket = TcpStream::connect(proxy)
            .await
            .map_err(|error| dial_error(DialErrorKind::Proxy, &error.to_string()))?;
        let through = match target {
            Target::Unresolved(host, port) => {
                Socks5Stream::connect_with_socket(socket, (host.as_str(), port)).await
            }
            Target::Addresses(addresses) => {
                let first: Option<SocketAddr> = addresses.first().copied();
                let none = || dial_error(DialErrorKind::Dns, "the name has no address");
                Socks5Stream::connect_with_socket(socket, first.ok_or_else(none)?).await
            }
        };
        through.map(Socks5Stream::into_inner).map_err(|error| socks_error(&error))
    }
}

/// What the proxy says of the relay is told from what is wrong with the proxy. A network that is
/// unreachable from there is not our own.
fn socks_error(error: &tokio_socks::Error) -> DialError {
    let kind = match error {
        tokio_socks::Error::ConnectionRefused => DialErrorKind::Refused,
        tokio_socks::Error::TtlExpired => DialErrorKind::Timeout,
        tokio_socks::Error::HostUnreachable => DialErrorKind::Io,
        _ => DialErrorKind::Proxy,
    };
    dial_error(kind, &error.to_string())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_proxy_is_for_every_relay_unless_it_is_for_onion_services() {
        let proxy = |text: &str| text.parse::<Proxy>();
        let url = |text| RelayUrl::parse(text).unwrap();
        for text in ["127.0.0.1:9050", "socks5://127.0.0.1:9050", "socks5h://127.0.0.1:9050/"] {
            let all = proxy(text).unwrap();
            assert_eq!((all.host.as_str(), all.port), ("127.0.0.1", 9050));
            assert!(all.takes(&url("wss://a.example")) && all.takes(&url("wss://a.onion")));
        }
        let onion = proxy("onion=[::1]:9050").unwrap();
        assert_eq!((onion.host.as_str(), onion.port), ("::1", 9050));
        assert!(!onion.takes(&url("wss://a.example")) && onion.takes(&url("wss://a.onion")));
        for text in ["", "localhost", "http://a:1", "user@a:1", "a:0", "a:x", ":9050"] {
            assert!(proxy(text).is_err(), "{text}");
        }
    }
}
