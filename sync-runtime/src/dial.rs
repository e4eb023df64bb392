//! Dialing a relay: name, address, TCP, TLS, each stage with its own deadline (CONN-6). What is
//! spoken over the stream is the business of [`crate::transport`]. Nothing here dials twice: the
//! core owns every retry.

mod budget;
mod error;
mod guard;
mod hosts;
mod proxy;
mod resolve;
mod tcp;
mod tls;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use sync_core::config::DialConfig;
use sync_core::input::{DialError, DialErrorKind};
use sync_core::url::{Host, RelayUrl};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

pub(crate) use self::error::{dial_error, io_error, upgrade_error};
pub use self::guard::{address_refusal, port_is_dialed};
pub use self::hosts::{Hosts, HostsError};
pub use self::proxy::{Proxy, ProxyError};
pub use self::resolve::{FixedResolver, Resolve, ResolveError, ResolveFuture, SystemResolver};
pub use self::tls::{TlsRoots, TlsRootsError};
use crate::transport::{ByteStream, Traffic};

/// How long each stage of a dial took; `None` where there was none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimings {
    /// Name resolution.
    pub dns: Option<Duration>,
    /// The TCP handshake, and the proxy's.
    pub tcp: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
    /// The WebSocket upgrade.
    pub upgrade: Option<Duration>,
}

/// A dialer that cannot be built from its configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialerError {
    /// `dial.proxy` cannot be read.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// `dial.hosts` cannot be read.
    #[error(transparent)]
    Hosts(#[from] HostsError),
    /// No TLS configuration.
    #[error(transparent)]
    Tls(#[from] TlsRootsError),
}

/// Dials relays. One for the process: it counts dials per address (T3).
pub struct Dialer {
    config: DialConfig,
    resolver: Arc<dyn Resolve>,
    proxy: Option<Proxy>,
    tls: Arc<rustls::ClientConfig>,
    budget: budget::Budget,
}

/// Where a stream leads.
enum Target {
    /// One of these addresses, all of them checked.
    Addresses(Vec<SocketAddr>),
    /// A name that only the proxy resolves.
    Unresolved(String, u16),
}

impl Dialer {
    /// A dialer over this resolver, trusting these roots.
    pub fn new(
        config: &DialConfig,
        resolver: Arc<dyn Resolve>,
        roots: &TlsRoots,
    ) -> Result<Self, DialerError> {
        Ok(Self {
            config: config.clone(),
            resolver: Hosts::parse(&config.hosts)?.before(resolver),
            proxy: config.proxy.as_deref().map(str::parse).transpose()?,
            tls: roots.client_config()?,
            budget: budget::Budget::new(config),
        })
    }

    /// The configured deadlines.
    pub fn config(&self) -> &DialConfig {
        &self.config
    }

    /// Opens a stream to a relay: TCP, and TLS where the URL asks for it. A relay that is not
    /// `trusted` must pass the dial guard (T1): `wss`, an allowed port, and a public address, which
    /// is the one that is dialed; `dial.allow_private` lifts that.
    pub async fn connect(
        &self,
        url: &RelayUrl,
        trusted: bool,
    ) -> Result<(ByteStream, StageTimings), DialError> {
        self.connect_with(url, trusted, true).await
    }

    /// As [`Dialer::connect`], for a second stream to a relay that is connected: it is checked as
    /// the first, but takes nothing of the budgets of its address (T3).
    pub async fn connect_beside(
        &self,
        url: &RelayUrl,
        trusted: bool,
    ) -> Result<(ByteStream, StageTimings), DialError> {
        self.connect_with(url, trusted, false).await
    }

    async fn connect_with(
        &self,
        url: &RelayUrl,
        trusted: bool,
        counted: bool,
    ) -> Result<(ByteStream, StageTimings), DialError> {
        let guarded = !trusted && !self.config.allow_private;
        if guarded {
            guard::check_url(url)?;
        }
        let mut timings = StageTimings::default();
        let target = self.target(url, guarded, counted, &mut timings).await?;
        let began = Instant::now();
        let stream = timeout(*self.config.tcp_timeout, self.open(url, target))
            .await
            .map_err(|_| dial_error(DialErrorKind::Timeout, "tcp"))??;
        // Frames are small and wait for answers; without it the kernel holds them back.
        stream.set_nodelay(true).map_err(|error| io_error(&error))?;
        timings.tcp = Some(began.elapsed());
        let traffic = Arc::new(Traffic::default());
        if !url.is_tls() {
            return Ok((ByteStream::plain(stream, traffic), timings));
        }
        let began = Instant::now();
        let counted = ByteStream::count(stream, Arc::clone(&traffic));
        let handshake = tls::handshake(&self.tls, url, counted);
        let stream = timeout(*self.config.tls_timeout, handshake)
            .await
            .map_err(|_| dial_error(DialErrorKind::Timeout, "tls"))??;
        timings.tls = Some(began.elapsed());
        Ok((ByteStream::tls(stream, traffic), timings))
    }

    /// Resolves the host and keeps the addresses that may be dialed.
    async fn target(
        &self,
        url: &RelayUrl,
        guarded: bool,
        counted: bool,
        timings: &mut StageTimings,
    ) -> Result<Target, DialError> {
        let proxied = self.proxy.as_ref().is_some_and(|proxy| proxy.takes(url));
        if url.is_onion() && !proxied {
            let detail = "an onion service is reached only through dial.proxy";
            return Err(dial_error(DialErrorKind::Proxy, detail));
        }
        // Under guard the address is resolved and checked here even when a proxy is used.
        if proxied && (url.is_onion() || !guarded) {
            return Ok(Target::Unresolved(url.host_str().into(), url.port()));
        }
        let addresses = match url.host() {
            Host::V4(address) => vec![IpAddr::V4(address)],
            Host::V6(address) => vec![IpAddr::V6(address)],
            Host::Name(name) => self.resolve(name, timings).await?,
        };
        let addresses = if guarded { self.guard(addresses, counted)? } else { addresses };
        let port = url.port();
        Ok(Target::Addresses(addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()))
    }

    async fn resolve(
        &self,
        name: &str,
        timings: &mut StageTimings,
    ) -> Result<Vec<IpAddr>, DialError> {
        let began = Instant::now();
        let answer = timeout(*self.config.dns_timeout, self.resolver.resolve(name)).await;
        timings.dns = Some(began.elapsed());
        match answer {
            Err(_) => Err(dial_error(DialErrorKind::Resolver, "no answer in time")),
            Ok(Err(ResolveError::Unavailable(error))) => {
                Err(dial_error(DialErrorKind::Resolver, &error.to_string()))
            }
            Ok(Err(error @ ResolveError::NoSuchName)) => {
                Err(dial_error(DialErrorKind::Dns, &error.to_string()))
            }
            Ok(Ok(addresses)) if addresses.is_empty() => {
                Err(dial_error(DialErrorKind::Dns, "the name has no address"))
            }
            Ok(Ok(addresses)) => Ok(addresses),
        }
    }

    /// Keeps the public addresses that have budget left (T1, T3).
    fn guard(&self, addresses: Vec<IpAddr>, counted: bool) -> Result<Vec<IpAddr>, DialError> {
        let mut refusal = None;
        let mut kept = Vec::with_capacity(addresses.len());
        for address in addresses {
            match address_refusal(address) {
                Some(class) => refusal = refusal.or(Some(format!("{address} is {class}"))),
                None => kept.push(address),
            }
        }
        if kept.is_empty() {
            return Err(dial_error(DialErrorKind::Guard, &refusal.unwrap_or_default()));
        }
        kept.retain(|address| !counted || self.budget.take(*address, Instant::now()));
        if kept.is_empty() {
            return Err(dial_error(DialErrorKind::Guard, "too many dials to this address"));
        }
        Ok(kept)
    }

    async fn open(&self, url: &RelayUrl, target: Target) -> Result<TcpStream, DialError> {
        match (&self.proxy, target) {
            (Some(proxy), target) if proxy.takes(url) => proxy.open(target).await,
            (_, Target::Addresses(addresses)) => tcp::race(addresses).await,
            (_, Target::Unresolved(..)) => {
                Err(dial_error(DialErrorKind::Proxy, "no proxy for an unresolved name"))
            }
        }
    }
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer").field("config", &self.config).finish_non_exhaustive()
    }
}
