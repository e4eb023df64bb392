//! TLS with an explicit provider, roots of the platform, and Mozilla's where it has none.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, IpAddr as PkiIpAddr, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sync_core::input::{DialError, DialErrorKind};
use sync_core::url::{Host, RelayUrl};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::dial_error;
use super::error::tls_error;

/// The certificates that relays are held against.
#[derive(Clone, Debug)]
pub struct TlsRoots(RootCertStore);

/// Roots that make no TLS configuration.
#[derive(Debug, thiserror::Error)]
#[error("no TLS configuration")]
pub struct TlsRootsError(#[from] rustls::Error);

impl TlsRoots {
    /// Those of the platform; Mozilla's when it has none. Reads files, so call it before the
    /// runtime is busy.
    pub fn platform() -> Self {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if store.is_empty() {
            store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        Self(store)
    }

    /// None: only what [`TlsRoots::with`] adds.
    pub fn none() -> Self {
        Self(RootCertStore::empty())
    }

    /// Trusts this certificate too: a private authority, or one made by a test.
    pub fn with(mut self, certificate: CertificateDer<'static>) -> Result<Self, TlsRootsError> {
        self.0.add(certificate)?;
        Ok(self)
    }

    pub(super) fn client_config(&self) -> Result<Arc<ClientConfig>, TlsRootsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.0.clone())
            .with_no_client_auth();
        // Some servers would choose HTTP/2 otherwise, which has no upgrade.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// The handshake, with the host of the URL as the name to be proven.
pub(super) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    config: &Arc<ClientConfig>,
    url: &RelayUrl,
    stream: S,
) -> Result<TlsStream<S>, DialError> {
    let name = match url.host() {
        Host::V4(address) => ServerName::IpAddress(PkiIpAddr::from(std::net::IpAddr::V4(address))),
        Host::V6(address) => ServerName::IpAddress(PkiIpAddr::from(std::net::IpAddr::V6(address))),
        Host::Name(name) => ServerName::try_from(name.to_owned())
            .map_err(|error| dial_error(DialErrorKind::Tls, &error.to_string()))?,
    };
    let connector = TlsConnector::from(Arc::clone(config));
    connector.connect(name, stream).await.map_err(|error| tls_error(&error))
}
