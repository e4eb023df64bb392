//! Names to addresses, behind a trait, so that tests and embedders bring their own.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::Pin;

/// A name that has no address.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The name does not exist or has no address.
    #[error("no such name")]
    NoSuchName,
    /// The resolver cannot be reached; a failure of ours (HLTH-4).
    #[error("the resolver cannot be reached")]
    Unavailable(#[source] io::Error),
}

/// What [`Resolve::resolve`] returns.
pub type ResolveFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, ResolveError>> + Send + 'a>>;

/// Finds the addresses of a name. Called once a dial; its answer is what is checked and dialed.
pub trait Resolve: Send + Sync {
    /// The addresses of `name`, in the order of preference. The dialer bounds the time.
    fn resolve<'a>(&'a self, name: &'a str) -> ResolveFuture<'a>;
}

/// The resolver of the platform.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> ResolveFuture<'a> {
        Box::pin(async move {
            match tokio::net::lookup_host((name, 0)).await {
                Ok(addresses) => Ok(addresses.map(|address| address.ip()).collect()),
                Err(error) => Err(lookup_error(error)),
            }
        })
    }
}

/// The platform's error has a number only when a system call failed; without one it may mean both.
/// Then the routing table decides: without a route to anywhere no resolver can answer.
fn lookup_error(error: io::Error) -> ResolveError {
    if error.raw_os_error().is_some() || !has_route() {
        ResolveError::Unavailable(error)
    } else {
        ResolveError::NoSuchName
    }
}

/// Whether there is a route to the internet. Connecting a UDP socket sends nothing; the addresses
/// are those for documentation.
fn has_route() -> bool {
    let v4 = (SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), Ipv4Addr::new(192, 0, 2, 1).into());
    let v6: (SocketAddr, IpAddr) = (
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    );
    [v4, v6].into_iter().any(|(local, remote): (SocketAddr, IpAddr)| {
        UdpSocket::bind(local).and_then(|socket| socket.connect((remote, 9))).is_ok()
    })
}

/// A table of names; what is not in it does not exist.
#[derive(Clone, Debug, Default)]
pub struct FixedResolver(BTreeMap<String, Vec<IpAddr>>);

impl FixedResolver {
    /// A resolver that knows these names.
    pub fn new<N: Into<String>>(names: impl IntoIterator<Item = (N, Vec<IpAddr>)>) -> Self {
        Self(names.into_iter().map(|(name, addresses)| (name.into(), addresses)).collect())
    }
}

impl Resolve for FixedResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> ResolveFuture<'a> {
        let answer = self.0.get(name).cloned().ok_or(ResolveError::NoSuchName);
        Box::pin(std::future::ready(answer))
    }
}
