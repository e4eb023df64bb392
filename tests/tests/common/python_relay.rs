//! nostr-relay 1.14 from PyPI: a relay written by others, without NIP-77, as a child process.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::net::TcpStream;

use super::client::Client;
use super::free_port;

/// How long the process may take until it listens.
const START: Duration = Duration::from_secs(60);

/// A running relay; ends with the value.
pub(crate) struct PythonRelay {
    port: u16,
    child: Child,
    directory: TempDir,
}

impl PythonRelay {
    /// Starts an empty relay. Without Python or the package it says what is missing: the test
    /// fails where `CI` is set, and goes on without the relay elsewhere.
    pub(crate) async fn start() -> Option<Self> {
        let program = match installed() {
            Ok(program) => program,
            Err(missing) => {
                assert!(
                    std::env::var_os("CI").is_none(),
                    "nostr-relay is required in CI: {missing}"
                );
                eprintln!("SKIPPED, nostr-relay from PyPI is not available: {missing}");
                return None;
            }
        };
        let directory = TempDir::new().expect("a temporary directory");
        let port = free_port();
        std::fs::write(directory.path().join("relay.yaml"), configuration(port))
            .expect("the directory can be written");
        let log = std::fs::File::create(directory.path().join("relay.log"))
            .expect("the directory can be written");
        let child = Command::new(program)
            .args(["-c", "relay.yaml", "serve", "--use-uvicorn"])
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file handle can be doubled"))
            .stderr(log)
            .spawn()
            .expect("the installed program starts");
        let mut relay = Self { port, child, directory };
        relay.listens().await;
        Some(relay)
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Publishes over WebSocket; every event must be taken.
    pub(crate) async fn fill<'a>(&self, events: impl IntoIterator<Item = &'a str>) -> usize {
        let (taken, refused) = Client::connect(&self.url()).await.publish(events).await;
        assert!(refused.is_empty(), "refused {}: {}", refused.len(), refused[0]);
        taken
    }

    /// Writes into its database, for corpora that would take minutes over WebSocket.
    pub(crate) async fn load<'a>(&self, events: impl IntoIterator<Item = &'a str>) {
        let lines = self.directory.path().join("events.ndjson");
        let text: String = events.into_iter().flat_map(|event| [event, "\n"]).collect();
        std::fs::write(&lines, text).expect("the directory can be written");
        let python = installed().expect("it runs").with_file_name("python");
        let loaded = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/relays/load.py"))
            .arg("nostr.sqlite3")
            .current_dir(self.directory.path())
            .stdin(std::fs::File::open(&lines).expect("it was written"))
            .status();
        assert!(loaded.expect("python runs").success(), "the database cannot be filled");
    }

    async fn listens(&mut self) {
        let began = Instant::now();
        let mut retry = tokio::time::interval(Duration::from_millis(50));
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.is_err() {
            let ended = self.child.try_wait().expect("the child can be asked");
            assert!(
                ended.is_none() && began.elapsed() < START,
                "nostr-relay does not listen; its log:\n{}",
                std::fs::read_to_string(self.directory.path().join("relay.log"))
                    .unwrap_or_default()
            );
            retry.tick().await;
        }
    }
}

impl Drop for PythonRelay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, installed on first use.
fn installed() -> Result<&'static Path, &'static str> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/relays/install.sh");
        let output = Command::new("sh")
            .arg(script)
            .output()
            .map_err(|error| format!("sh {script}: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
    });
    program.as_deref().map_err(String::as_str)
}

/// Its defaults but for size and age: they refuse events over 4,096 bytes or older than a year.
fn configuration(port: u16) -> String {
    format!(
        "DEBUG: false
relay_name: nostr-relay under test
storage:
  sqlalchemy.url: sqlite+aiosqlite:///nostr.sqlite3
  num_concurrent_reqs: 10
  num_concurrent_adds: 2
  validators:
    - nostr_relay.validators.is_not_too_large
    - nostr_relay.validators.is_signed
verification:
  nip05_verification: disabled
authentication:
  enabled: false
gunicorn:
  bind: 127.0.0.1:{port}
  loglevel: warning
max_event_size: 524288
subscription_limit: 32
max_limit: 6000
"
    )
}
