//! A headless Chromium driven over its DevTools protocol, for tests of the page.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// The browser and one page of it. It ends when dropped, however a test ends.
pub struct Browser {
    process: Child,
    page: WebSocketStream<TcpStream>,
    next: u64,
    /// Requests, console errors and exceptions so far.
    pub requests: Vec<String>,
    pub complaints: Vec<String>,
    _profile: tempfile::TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Browser {
    /// Starts it; `None`, with a line that says so, where there is none.
    pub async fn start() -> Option<Self> {
        let profile = tempfile::TempDir::new().expect("a directory");
        let names = ["chromium-headless-shell", "chromium", "google-chrome"];
        let spawn = |name: &&str| {
            Command::new(name)
                .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
                .args(["--remote-debugging-port=0", "--window-size=1280,900", "about:blank"])
                .arg(format!("--user-data-dir={}", profile.path().display()))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .ok()
        };
        let Some(mut process) = names.iter().find_map(spawn) else {
            let missing = "no Chromium; Debian's package `chromium-headless-shell` has one";
            assert!(std::env::var_os("NGIT_SYNC_TEST_BROWSER").is_none(), "{missing}");
            eprintln!("skipped: {missing}");
            return None;
        };
        let stderr = process.stderr.take().expect("it is piped");
        let line = BufReader::new(stderr).lines().map_while(Result::ok);
        let url = line
            .into_iter()
            .find_map(|line| Some(line.strip_prefix("DevTools listening on ws://")?.to_owned()));
        let host = url.expect("it listens").split_once('/').expect("a path").0.to_owned();
        let page = connect(&host).await;
        let (requests, complaints) = (Vec::new(), Vec::new());
        let mut browser = Self { process, page, next: 0, requests, complaints, _profile: profile };
        for domain in ["Page", "Runtime", "Network", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({})).await;
        }
        Some(browser)
    }

    /// Calls a method, noting events that come before its answer.
    pub async fn call(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let call = json!({ "id": self.next, "method": method, "params": params }).to_string();
        self.page.send(Message::text(call)).await.expect("it reads");
        loop {
            let message = self.page.next().await.expect("it lives").expect("a message");
            let Ok(text) = message.to_text() else { continue };
            let value: Value = serde_json::from_str(text).expect("JSON");
            if value["id"] == self.next {
                assert!(value["error"].is_null(), "{method}: {}", value["error"]);
                return value["result"].clone();
            }
            self.note(&value);
        }
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => {
                self.requests.push(params["request"]["url"].as_str().unwrap_or_default().into());
            }
            "Runtime.exceptionThrown" => self.complaints.push(params.to_string()),
            "Log.entryAdded" if params["entry"]["level"] == "error" => {
                self.complaints.push(params["entry"]["text"].to_string());
            }
            _ => {}
        }
    }

    /// Opens an address.
    pub async fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url })).await;
        let loaded = format!("location.href === '{url}' && document.readyState === 'complete'");
        self.wait_for(&loaded).await;
    }

    /// The value of an expression.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true });
        let result = self.call("Runtime.evaluate", params).await;
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Waits until an expression is true; each look is a round trip to the browser.
    pub async fn wait_for(&mut self, expression: &str) {
        let begun = std::time::Instant::now();
        while self.evaluate(expression).await != Value::Bool(true) {
            assert!(begun.elapsed().as_secs() < 20, "never true: {expression}");
        }
    }

    /// A picture of the page, kept where test artefacts are.
    pub async fn picture(&mut self, name: &str) {
        let result = self.call("Page.captureScreenshot", json!({ "format": "png" })).await;
        let data = result["data"].as_str().expect("base64");
        let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(path, decode(data)).expect("writable");
    }
}

/// Connects to the first page. Its HTTP server wants HTTP/1.1 and keeps the connection open.
async fn connect(host: &str) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(host).await.expect("it listens");
    let headers = [("host", host)];
    let list = super::bench::ask(stream, hyper::Method::GET, "/json/list", &headers, "").await;
    let list: Value = serde_json::from_str(&list.body).expect("JSON");
    let url = list[0]["webSocketDebuggerUrl"].as_str().expect("a page").to_owned();
    let stream = TcpStream::connect(host).await.expect("it listens");
    tokio_tungstenite::client_async(url, stream).await.expect("a handshake").0
}

fn decode(base64: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = base64.bytes().filter(|c| *c != b'=').map(value).collect();
    let mut out = Vec::new();
    for chunk in digits.chunks(4) {
        let group = chunk.iter().fold(0u32, |group, digit| group << 6 | u32::from(*digit));
        let group = group << (6 * (4 - chunk.len()));
        out.extend(&group.to_be_bytes()[1..chunk.len()]);
    }
    out
}
