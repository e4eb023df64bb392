//! The binary `ngit-sync` as a process with a home of its own: run to its end, or as a daemon that
//! is asked, stopped and killed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, Command};

use super::free_port;

/// A run that takes longer hangs.
const RUN: Duration = Duration::from_secs(600);
/// A daemon that takes longer until it answers, or until it ends, hangs.
const DAEMON: Duration = Duration::from_secs(30);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Settings that keep a test short: no jitter before the first dial.
pub(crate) const PROMPT: [&str; 4] =
    ["--set", "sync.bootstrap_jitter=0s", "--set", "sync.startup_jitter=0s"];

/// The binary that cargo built beside this test; built here when only this package was.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test = std::env::current_exe().expect("a test knows where it lies");
        let directory = test.ancestors().nth(2).expect("tests lie in target/*/deps");
        let binary = directory.join(format!("ngit-sync{}", std::env::consts::EXE_SUFFIX));
        if !binary.exists() {
            let built = std::process::Command::new(env!("CARGO"))
                .args(["build", "--locked", "-p", "ngit-sync"])
                .status();
            assert!(built.expect("cargo can be run").success(), "ngit-sync cannot be built");
        }
        assert!(binary.exists(), "cargo did not build {}", binary.display());
        binary
    })
}

/// How a process ended and what it wrote.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The document on stdout.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, stdout, stderr } = self;
        write!(f, "exit {code:?}\n----- stdout\n{stdout}----- stderr\n{stderr}")
    }
}

/// A home directory with a store in it, and the binary that works there.
pub(crate) struct Program {
    home: TempDir,
}

impl Program {
    pub(crate) fn new() -> Self {
        let mut home = tempfile::tempdir().expect("a temporary directory");
        // To look at what a failed test left.
        home.disable_cleanup(std::env::var_os("NGIT_SYNC_TEST_KEEP").is_some());
        Self { home }
    }

    /// A path below the home.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(args)
            .env_clear()
            .env("HOME", self.home.path())
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("NGIT_SYNC_DATA_DIR", self.path("data"))
            // No name is asked for on the network: all of them are the loopback.
            .env("NGIT_SYNC_DIAL_HOSTS", "*=127.0.0.1")
            .env("NO_COLOR", "1")
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs it to its end.
    pub(crate) async fn run(&self, args: &[&str]) -> Ended {
        let output = tokio::time::timeout(RUN, self.command(args).output()).await;
        let output = output.unwrap_or_else(|_| panic!("{args:?} does not end within {RUN:?}"));
        let output = output.expect("the binary can be run");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        Ended { code: output.status.code(), stdout, stderr }
    }

    /// Runs `sync` with `--archive-all` and these arguments.
    pub(crate) async fn sync(&self, args: &[&str]) -> Ended {
        self.run(&[&["sync", "--archive-all"], args].concat()).await
    }

    /// What the store holds, as it is exported.
    pub(crate) async fn exported(&self) -> Vec<Value> {
        let ended = self.run(&["events", "export"]).await;
        assert_eq!(ended.code, Some(0), "{ended}");
        let lines = ended.stdout.lines();
        lines.map(|line| serde_json::from_str(line).expect("an event a line")).collect()
    }

    /// The ids of what the store holds.
    pub(crate) async fn stored(&self) -> BTreeSet<String> {
        let events = self.exported().await;
        let ids: BTreeSet<String> = events.iter().map(id_of).collect();
        assert_eq!(ids.len(), events.len(), "each event is exported once");
        ids
    }

    /// Whether the store holds an event.
    pub(crate) async fn holds(&self, id: &str) -> bool {
        let filter = format!("{{\"ids\":[\"{id}\"]}}");
        let ended = self.run(&["events", "count", "--filter", &filter]).await;
        ended.code == Some(0) && ended.stdout == "1\n"
    }

    /// Replays a recording below the home twice; every line must be the same both times.
    pub(crate) async fn replays(&self, recording: &str) {
        for _ in 0..2 {
            let ended = self.run(&["replay", recording]).await;
            assert_eq!(ended.code, Some(0), "{recording}: {ended}");
            assert!(ended.stdout.ends_with(" lines, the same byte for byte\n"), "{ended}");
            assert_eq!(ended.stderr, "", "{recording} is whole");
        }
    }

    /// Starts `run` with `--archive-all` and these arguments, and waits until it answers.
    pub(crate) async fn daemon(&self, args: &[&str]) -> Daemon {
        let (port, socket) = (free_port(), self.path("control.sock"));
        let http = format!("127.0.0.1:{port}");
        let log = std::fs::File::create(self.path("daemon.log")).expect("the home is writable");
        let place = socket.to_str().expect("temporary paths are text");
        let fixed = ["run", "--archive-all", "--http", &http, "--socket", place];
        let mut command = self.command(&[&fixed[..], args].concat());
        let child = command.stdout(Stdio::null()).stderr(log).spawn().expect("the binary starts");
        let mut daemon = Daemon { child, port, socket, log: self.path("daemon.log") };
        daemon.answers().await;
        daemon
    }
}

/// The id of an event in JSON.
pub(crate) fn id_of(event: &Value) -> String {
    event["id"].as_str().expect("an event has an id").to_owned()
}

/// A running daemon; killed with the value.
pub(crate) struct Daemon {
    child: Child,
    port: u16,
    socket: PathBuf,
    log: PathBuf,
}

impl Daemon {
    async fn answers(&mut self) {
        let began = Instant::now();
        while UnixStream::connect(&self.socket).await.is_err() {
            let ended = self.child.try_wait().expect("a child can be asked");
            assert!(ended.is_none() && began.elapsed() < DAEMON, "no answer: {}", self.log());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What it wrote so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// `data` of a document at its control socket.
    pub(crate) async fn ask(&self, path: &str) -> Value {
        let stream = UnixStream::connect(&self.socket).await;
        let body = get(stream.expect("the daemon listens"), path).await;
        let document: Value = serde_json::from_str(&body).expect("documents are JSON");
        document["data"].clone()
    }

    /// Waits until its only relay is as asked for, and returns it.
    pub(crate) async fn relay_until(
        &self,
        what: &str,
        within: Duration,
        is: impl Fn(&Value) -> bool,
    ) -> Value {
        let began = Instant::now();
        loop {
            let status = self.ask("/v1/status").await;
            let relays = status["relays"].as_array().expect("a list of relays");
            assert!(relays.len() <= 1, "{status}");
            if let Some(relay) = relays.first().filter(|relay| is(relay)) {
                return relay.clone();
            }
            assert!(began.elapsed() < within, "not {what}: {status}\n{}", self.log());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The states that its relays went through, in order, as `from>to`.
    pub(crate) async fn transitions(&self) -> Vec<String> {
        let journal = self.ask("/v1/journal?limit=1000").await;
        let entries = journal["entries"].as_array().expect("a list of entries");
        let changes = entries.iter().filter(|entry| entry["type"] == "transition");
        let text = |value: &Value| value.as_str().expect("states are text").to_owned();
        changes.map(|entry| format!("{}>{}", text(&entry["from"]), text(&entry["to"]))).collect()
    }

    /// The metrics over HTTP.
    pub(crate) async fn metrics(&self) -> String {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await;
        get(stream.expect("the daemon listens"), "/metrics").await
    }

    /// Where its control socket lies.
    pub(crate) fn socket(&self) -> &str {
        self.socket.to_str().expect("temporary paths are text")
    }

    /// Ends it by SIGKILL.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("it runs");
    }

    /// Ends it by SIGTERM, in order; returns its exit code.
    pub(crate) async fn stop(mut self) -> Option<i32> {
        let pid = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().await;
        assert!(sent.expect("kill can be run").success());
        let ended = tokio::time::timeout(DAEMON, self.child.wait()).await;
        ended.expect("it ends in time").expect("it can be waited for").code()
    }
}

/// The body of an answer to GET.
async fn get(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the daemon reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("the daemon answers");
    let answer = String::from_utf8(answer).expect("answers are text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    body.to_owned()
}

/// Waits until a condition holds.
pub(crate) async fn until<F: Future<Output = bool>>(
    what: &str,
    within: Duration,
    is: impl Fn() -> F,
) {
    let began = Instant::now();
    while !is().await {
        assert!(began.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(LOOK).await;
    }
}
