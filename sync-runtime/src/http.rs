//! The daemon's HTTP/1.1 interface: a TCP listener for reading only, and a unix socket for its own
//! user that also takes requests (T24). Listeners are bound before anything is synced.

mod answer;
mod control;
mod explain;
mod guard;
mod page;
mod past;
mod query;
mod relay_name;
mod route;
mod serve;
mod socket;
mod stream;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

pub use control::{Answer, Control, ControlError};

use crate::observe::Registry;
use crate::observe::history::SharedHistory;

/// What is served, and where.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where TCP listens; port 0 takes a free one. `None` is off.
    pub listen: Option<SocketAddr>,
    /// Path of the control socket. `None` is off.
    pub socket: Option<PathBuf>,
    /// Whether `/metrics` is there.
    pub metrics: bool,
    /// Host names under which the TCP listener is reached, beside loopback and its own address.
    pub hosts: Vec<String>,
    /// What a client of the TCP listener must present; required unless it listens on loopback.
    pub token: Option<Token>,
    /// Where the store is, for documents.
    pub data_dir: Option<PathBuf>,
    /// History, for `/v1/metrics` and the journal of earlier processes.
    pub history: Option<SharedHistory>,
}

/// A bearer token; never printed (T18).
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token, as a client sends it after `Bearer`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

/// Why the interface could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The TCP address cannot be bound.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// Another address than loopback without a token (T24).
    #[error("{0} is not loopback, which needs a token")]
    Exposed(SocketAddr),
    /// The control socket cannot be made.
    #[error("cannot make the control socket {}", path.display())]
    Socket {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Somebody answers at the control socket.
    #[error("a daemon{} already answers at {}", pid_text(*pid), path.display())]
    Taken {
        /// The path.
        path: PathBuf,
        /// Its process id, where the system tells.
        pid: Option<i32>,
    },
    /// Something that is no socket is in the place of the control socket.
    #[error("{} exists and is no socket", .0.display())]
    NotASocket(PathBuf),
    /// Others may write to the directory of the control socket.
    #[error("others may write to {}, where the control socket would be", .0.display())]
    OpenDirectory(PathBuf),
}

fn pid_text(pid: Option<i32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" with pid {pid}"))
}

/// Bound listeners that do not answer yet.
#[derive(Debug)]
pub struct Server {
    options: Options,
    registry: Registry,
    tcp: Option<TcpListener>,
    unix: Option<(UnixListener, socket::SocketFile)>,
    address: Option<SocketAddr>,
}

impl Server {
    /// Binds what the options ask for. Clients may connect from now on and wait for
    /// [`Server::serve`].
    pub async fn bind(options: Options, registry: Registry) -> Result<Self, BindError> {
        let mut tcp = None;
        if let Some(address) = options.listen {
            if !address.ip().is_loopback() && options.token.is_none() {
                return Err(BindError::Exposed(address));
            }
            let bound = TcpListener::bind(address).await;
            tcp = Some(bound.map_err(|source| BindError::Listen { address, source })?);
        }
        let unix = match &options.socket {
            Some(path) => Some(socket::bind(path).await?),
            None => None,
        };
        let address = tcp.as_ref().and_then(|tcp| tcp.local_addr().ok());
        Ok(Self { options, registry, tcp, unix, address })
    }

    /// Where TCP listens, with the port that was taken.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Path of the control socket.
    pub fn socket(&self) -> Option<&Path> {
        self.unix.as_ref().map(|(_, file)| file.path())
    }

    /// Answers until `stop`; then finishes what is under way, within a bound, and removes the
    /// socket.
    pub async fn serve(self, control: Arc<dyn Control>, stop: CancellationToken) {
        serve::run(self, control, stop).await;
    }
}
