//! The client of the daemon's control API: HTTP/1.1 and JSON over its socket.

use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sync_runtime::api::{Document, ErrorView, VERSION, VERSION_HEADER};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::exit::Exit;
use crate::failure::Failure;

/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Where the daemon answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Its control socket.
    Socket(PathBuf),
    /// Its HTTP listener, for reading only.
    Http(String),
}

/// An answer, and the same as the daemon wrote it.
#[derive(Clone, Debug)]
pub(crate) struct Answer<T> {
    /// Read.
    pub(crate) document: Document<T>,
    /// Unread, for `--json`: fields of a newer daemon stay.
    pub(crate) raw: Value,
}

impl Endpoint {
    /// `unix:/path`, a path, or `http://host:port`.
    pub(crate) fn parse(text: &str) -> Self {
        match text.strip_prefix("http://") {
            Some(host) => Self::Http(host.trim_end_matches('/').to_owned()),
            None => Self::Socket(text.strip_prefix("unix:").unwrap_or(text).into()),
        }
    }

    /// Reads a document.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, Failure> {
        self.ask(Method::GET, path).await
    }

    /// Asks for something to be done.
    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, Failure> {
        self.ask(Method::POST, path).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
    ) -> Result<Answer<T>, Failure> {
        let exchange = async {
            match self {
                Self::Socket(socket) => {
                    let stream = UnixStream::connect(socket).await;
                    exchange(stream.map_err(|e| self.unreachable(&e))?, "localhost", method, path)
                        .await
                }
                Self::Http(host) => {
                    let stream = TcpStream::connect(host).await;
                    exchange(stream.map_err(|e| self.unreachable(&e))?, host, method, path).await
                }
            }
        };
        match tokio::time::timeout(DEADLINE, exchange).await {
            Ok(answer) => read(answer?),
            Err(_) => Err(Failure::new(
                Exit::Timeout,
                format!("the daemon did not answer within {} seconds", DEADLINE.as_secs()),
            )),
        }
    }

    fn unreachable(&self, error: &std::io::Error) -> Failure {
        let place = match self {
            Self::Socket(path) => path.display().to_string(),
            Self::Http(host) => format!("http://{host}"),
        };
        let message = format!("cannot reach the ngit-sync daemon at {place}");
        let exit = match error.kind() {
            std::io::ErrorKind::PermissionDenied => Exit::Failed,
            _ => Exit::NoDaemon,
        };
        Failure::new(exit, message).caused_by(error).hint(
            "start it with `ngit-sync run`, or point elsewhere with --socket / NGIT_SYNC_SOCKET",
        )
    }
}

struct Exchange {
    status: StatusCode,
    version: Option<u32>,
    body: Bytes,
}

async fn exchange<S>(stream: S, host: &str, method: Method, path: &str) -> Result<Exchange, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| {
        Failure::new(Exit::Failed, "the daemon's answer broke off").caused_by(&error)
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // It ends with the answer; its error is the answer's.
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, host)
        .header(VERSION_HEADER, VERSION)
        .body(Full::<Bytes>::default())
        .map_err(|error| Failure::new(Exit::Usage, "no valid request").caused_by(&error))?;
    let response = sender.send_request(request).await.map_err(broken)?;
    let status = response.status();
    let version = response.headers().get(VERSION_HEADER);
    let version = version.and_then(|value| value.to_str().ok()?.parse().ok());
    let body = response.into_body().collect().await.map_err(broken)?.to_bytes();
    Ok(Exchange { status, version, body })
}

fn read<T: DeserializeOwned>(answer: Exchange) -> Result<Answer<T>, Failure> {
    check_version(answer.version)?;
    if !answer.status.is_success() {
        return Err(refused(&answer));
    }
    let unreadable = |error: serde_json::Error| {
        Failure::new(Exit::Failed, "the daemon's answer cannot be read").caused_by(&error)
    };
    let raw: Value = serde_json::from_slice(&answer.body).map_err(unreadable)?;
    let document = serde_json::from_value(raw.clone()).map_err(unreadable)?;
    Ok(Answer { document, raw })
}

fn check_version(theirs: Option<u32>) -> Result<(), Failure> {
    let Some(theirs) = theirs.filter(|theirs| *theirs != VERSION) else { return Ok(()) };
    let older = if theirs < VERSION { "daemon" } else { "command" };
    Err(Failure::new(
        Exit::VersionMismatch,
        format!("the daemon speaks version {theirs} of the control API, this command {VERSION}"),
    )
    .hint(format!("the {older} is older; restart the daemon with the same ngit-sync")))
}

/// The daemon said no.
fn refused(answer: &Exchange) -> Failure {
    let status = answer.status;
    let exit = match status {
        StatusCode::NOT_FOUND => Exit::NotFound,
        StatusCode::BAD_REQUEST => Exit::Usage,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Exit::Temporary,
        _ => Exit::Failed,
    };
    let Ok(Document { data: ErrorView { message, hint, nearest, .. }, .. }) =
        serde_json::from_slice(&answer.body)
    else {
        return Failure::new(exit, format!("the daemon answered {status}"));
    };
    let mut failure = Failure::new(exit, message);
    if let Some(hint) = hint {
        failure = failure.hint(hint);
    }
    match nearest.as_slice() {
        [] => failure,
        names => failure.hint(format!("did you mean {}?", names.join(" or "))),
    }
}

/// A text as one segment of a path.
pub(crate) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, version: Option<u32>, body: &str) -> Exchange {
        let status = StatusCode::from_u16(status).expect("the status is valid");
        Exchange { status, version, body: Bytes::from(body.to_owned()) }
    }

    #[test]
    fn a_daemon_of_another_version_is_told_apart_from_a_command_of_another() {
        let exit = |version| read::<Value>(answer(200, Some(version), "{}")).err().map(|f| f.exit);
        assert_eq!(exit(VERSION + 1), Some(Exit::VersionMismatch));
        assert_eq!(exit(0), Some(Exit::VersionMismatch));
        assert_eq!(exit(VERSION), Some(Exit::Failed), "the body is no document");
    }

    #[test]
    fn a_refusal_is_told_in_the_daemons_words_with_the_nearest_names() {
        let body = r#"{"schema":"ngit-sync/error/1","generated_at":"","daemon":{"version":"0.1.0",
            "pid":1,"uptime_s":0,"started_ms":0},"data":{"id":"not_found",
            "message":"no relay wss://b/","nearest":["wss://a/"]}}"#;
        let failure = read::<Value>(answer(404, Some(VERSION), body)).expect_err("it was refused");
        assert_eq!(failure.exit, Exit::NotFound);
        let text = failure.render(crate::term::Paint::Plain, true);
        assert_eq!(text, "error: no relay wss://b/\nhint: did you mean wss://a/?\n");
    }

    #[test]
    fn a_url_is_one_segment_of_a_path() {
        assert_eq!(segment("wss://a.example/x"), "wss%3A%2F%2Fa.example%2Fx");
    }

    #[test]
    fn endpoints_are_paths_or_http() {
        assert_eq!(Endpoint::parse("unix:/a"), Endpoint::Socket("/a".into()));
        assert_eq!(Endpoint::parse("/a"), Endpoint::Socket("/a".into()));
        assert_eq!(Endpoint::parse("http://[::1]:1/"), Endpoint::Http("[::1]:1".into()));
    }
}
