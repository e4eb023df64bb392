//! Who may ask what: the door a request came through, its `Host` and its token (T24).

use std::net::{IpAddr, SocketAddr};

use hyper::header::{AUTHORIZATION, HOST};
use hyper::{HeaderMap, Method, StatusCode};

use super::answer::Refusal;
use super::{Options, Token};

/// Where a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// The TCP listener: reading only.
    Tcp,
    /// The control socket, whose peer was checked.
    Socket,
}

/// The rules of the TCP listener.
pub(super) struct Guard {
    hosts: Vec<String>,
    token: Option<Token>,
    own: Option<IpAddr>,
}

impl Guard {
    pub(super) fn new(options: &Options, bound: Option<SocketAddr>) -> Self {
        let hosts = options.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        Self { hosts, token: options.token.clone(), own: bound.map(|address| address.ip()) }
    }

    pub(super) fn check(
        &self,
        door: Door,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<(), Refusal> {
        if door == Door::Socket {
            return Ok(());
        }
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        if !self.knows(host) {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "forbidden",
                "the Host header names no host under which this daemon is reached",
            ));
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Err(Refusal::read_only());
        }
        match &self.token {
            Some(token) if !presents(headers, token) => Err(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "forbidden",
                "this address needs a bearer token",
            )),
            _ => Ok(()),
        }
    }

    /// Whether a `Host` is one of ours: a page of another site that points its own name to our
    /// address sends that name (DNS rebinding).
    fn knows(&self, host: &str) -> bool {
        let name = without_port(host).to_ascii_lowercase();
        if let Ok(address) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
            return address.is_loopback() || self.own.is_some_and(|own| own == address);
        }
        name == "localhost" || self.hosts.contains(&name)
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => {
            name
        }
        _ => host,
    }
}

fn presents(headers: &HeaderMap, token: &Token) -> bool {
    let sent = headers.get(AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
    let Some(sent) = sent.strip_prefix(b"Bearer ") else { return false };
    let token = token.as_str().as_bytes();
    // Compared in the same time wherever they differ.
    let differing = sent.iter().zip(token).fold(0, |differing, (a, b)| differing | (a ^ b));
    sent.len() == token.len() && differing == 0
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn status(guard: &Guard, method: Method, headers: &[(&'static str, &str)]) -> Option<u16> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_str(value).expect("a header"));
        }
        guard.check(Door::Tcp, &method, &map).err().map(|refusal| refusal.status().as_u16())
    }

    #[test]
    fn only_hosts_under_which_it_is_reached_are_answered() {
        let options = Options { hosts: vec!["Sync.Example".into()], ..Options::default() };
        let guard = Guard::new(&options, Some(([192, 168, 1, 2], 80).into()));
        for host in [
            "localhost",
            "LOCALHOST:7335",
            "127.0.0.1:7335",
            "[::1]:7335",
            "[::1]",
            "127.8.8.8",
            "192.168.1.2:80",
            "sync.example:80",
        ] {
            assert_eq!(status(&guard, Method::GET, &[("host", host)]), None, "{host}");
        }
        for host in ["", "evil.example", "evil.example:7335", "192.168.1.3", "localhost.evil"] {
            assert_eq!(status(&guard, Method::GET, &[("host", host)]), Some(403), "{host}");
        }
    }

    #[test]
    fn tcp_only_reads_and_asks_for_the_token() {
        let options = Options { token: Some(Token::new("secret")), ..Options::default() };
        let guard = Guard::new(&options, None);
        let host = ("host", "localhost");
        assert_eq!(status(&guard, Method::POST, &[host]), Some(405));
        assert_eq!(status(&guard, Method::GET, &[host]), Some(401));
        for sent in ["Bearer secre", "Bearer secrets", "Bearer Secret", "secret", "Bearer "] {
            assert_eq!(status(&guard, Method::GET, &[host, ("authorization", sent)]), Some(401));
        }
        let sent = ("authorization", "Bearer secret");
        assert_eq!(status(&guard, Method::GET, &[host, sent]), None);
        assert_eq!(format!("{:?}", options.token), "Some(Token(redacted))");
    }
}
