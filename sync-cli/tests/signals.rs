//! How `run` and `sync` end when they are told to.

mod common;

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Stdio};
use std::time::Duration;

use common::Cli;
use rustix::process::{Pid, Signal, kill_process};

/// Long enough for a slow machine; nothing waits for it when all is well.
const LONG: Duration = Duration::from_secs(60);

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_child(child);
    kill_process(pid, signal).expect("it runs and is ours");
}

/// A relay that accepts connections and says nothing.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let url = format!("ws://{}/", listener.local_addr().expect("it is bound"));
    (listener, url)
}

/// The service manager's end of the conversation.
struct Manager(UnixDatagram);

impl Manager {
    fn new(cli: &Cli) -> Self {
        let socket = UnixDatagram::bind(cli.home().join("notify")).expect("the path is free");
        socket.set_read_timeout(Some(LONG)).expect("a timeout can be set");
        Self(socket)
    }

    /// Waits until this is said.
    fn hears(&self, expected: &str) {
        let mut buffer = [0; 512];
        loop {
            let length = self.0.recv(&mut buffer).expect("it is said in time");
            if buffer[..length].starts_with(expected.as_bytes()) {
                return;
            }
        }
    }
}

#[test]
fn run_tells_the_service_manager_and_ends_with_0_after_a_clean_drain() {
    for signal in [Signal::TERM, Signal::INT] {
        let cli = Cli::new();
        let manager = Manager::new(&cli);
        let (_listener, url) = silent();
        let mut command = cli.command(&["run", "--relay", &url, "--archive-all", "--http", "off"]);
        command.env("NOTIFY_SOCKET", cli.home().join("notify"));
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        manager.hears("READY=1");
        manager.hears("STATUS=");
        send(&child, signal);
        manager.hears("STOPPING=1");
        let ended = cli.ended(child.wait_with_output().expect("it ends"));
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{ended}");
    }
}

#[test]
fn sync_that_is_cut_short_says_so_and_ends_with_the_signals_code() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let cli = Cli::new();
        let (listener, url) = silent();
        let mut command = cli.command(&["sync", "--relay", &url, "--archive-all", "--json"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        let _connection = listener.accept().expect("it dials");
        send(&child, signal);
        let ended = cli.ended(child.wait_with_output().expect("it ends"));
        assert_eq!(ended.code, Some(code), "{ended}");
        let document: serde_json::Value =
            serde_json::from_str(&ended.stdout).expect("stdout is JSON");
        assert_eq!(document["schema"], "ngit-sync/sync/1");
        assert_eq!(document["data"]["complete"], false);
        assert_eq!(document["data"]["cut"], "a signal came");
    }
}

#[test]
fn sync_that_has_no_more_time_names_that_and_ends_with_3() {
    let cli = Cli::new();
    let (_listener, url) = silent();
    let ended = cli.run(&["sync", "--relay", &url, "--archive-all", "--max-time", "200ms"]);
    assert_eq!(ended.code, Some(3), "{ended}");
    assert!(ended.stdout.ends_with("cut short: --max-time 200ms is over\n"), "{ended}");
}

#[test]
fn a_store_that_another_process_holds_is_told_by_its_code() {
    let cli = Cli::new();
    let dir = cli.home().join("d");
    let options = sync_runtime::store::StoreOptions::default();
    let _held = sync_runtime::store::Store::open(&dir, options).expect("the directory is ours");
    let (_listener, url) = silent();
    let ended = cli.run(&["sync", "--relay", &url, "--archive-all", "--data-dir", "d"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(12), ""), "{ended}");
    assert!(ended.stderr.contains("is in use by process"), "{ended}");
}
