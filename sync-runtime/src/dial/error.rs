//! What went wrong in a dial, by the type of the error and never by its text (HLTH-5).

use std::io;

use sync_core::input::{DialError, DialErrorKind};
use sync_core::item::RelayText;
use tokio_tungstenite::tungstenite;

/// A dial error with its cause in words for people.
pub(crate) fn dial_error(kind: DialErrorKind, detail: &str) -> DialError {
    DialError { kind, detail: RelayText::new(detail) }
}

/// An error of a socket.
pub(crate) fn io_error(error: &io::Error) -> DialError {
    dial_error(io_kind(error), &error.to_string())
}

fn io_kind(error: &io::Error) -> DialErrorKind {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => DialErrorKind::Refused,
        io::ErrorKind::TimedOut => DialErrorKind::Timeout,
        // A local firewall answers with a lack of permission.
        io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::AddrNotAvailable
        | io::ErrorKind::PermissionDenied => DialErrorKind::Unreachable,
        _ => DialErrorKind::Io,
    }
}

/// An error of a TLS handshake: what is not a failure of the network is one of TLS, since a server
/// that resets or closes here refuses TLS.
pub(super) fn tls_error(error: &io::Error) -> DialError {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    let kind = match cause {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            DialErrorKind::Certificate
        }
        Some(_) => DialErrorKind::Tls,
        None => match io_kind(error) {
            kind @ (DialErrorKind::Timeout | DialErrorKind::Unreachable) => kind,
            _ => DialErrorKind::Tls,
        },
    };
    dial_error(kind, &error.to_string())
}

/// An error of the WebSocket upgrade.
pub(crate) fn upgrade_error(error: &tungstenite::Error) -> DialError {
    match error {
        tungstenite::Error::Io(error) if error.get_ref().is_none() => io_error(error),
        tungstenite::Error::Http(response) => {
            dial_error(DialErrorKind::Upgrade, &format!("HTTP {}", response.status()))
        }
        other => dial_error(DialErrorKind::Upgrade, &other.to_string()),
    }
}

/// Of two failed attempts of one dial, the one that tells more: an answer of the other side is
/// evidence that our own network works (HLTH-4).
pub(super) fn worse(a: DialError, b: DialError) -> DialError {
    let rank = |error: &DialError| match error.kind {
        DialErrorKind::Refused => 3,
        kind if kind.is_local() => 0,
        DialErrorKind::Timeout => 1,
        _ => 2,
    };
    if rank(&b) > rank(&a) { b } else { a }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_socket_error_is_named_by_its_number() {
        let table = [
            (111, DialErrorKind::Refused),     // ECONNREFUSED
            (110, DialErrorKind::Timeout),     // ETIMEDOUT
            (101, DialErrorKind::Unreachable), // ENETUNREACH
            (113, DialErrorKind::Unreachable), // EHOSTUNREACH
            (100, DialErrorKind::Unreachable), // ENETDOWN
            (99, DialErrorKind::Unreachable),  // EADDRNOTAVAIL
            (1, DialErrorKind::Unreachable),   // EPERM
            (104, DialErrorKind::Io),          // ECONNRESET
            (24, DialErrorKind::Io),           // EMFILE
        ];
        for (number, kind) in table {
            assert_eq!(io_error(&io::Error::from_raw_os_error(number)).kind, kind, "{number}");
        }
    }

    #[test]
    fn no_text_of_an_error_changes_its_kind() {
        let misleading = io::Error::other("certificate dns refused timed out ssl");
        assert_eq!(io_error(&misleading).kind, DialErrorKind::Io);
        assert_eq!(tls_error(&misleading).kind, DialErrorKind::Tls);
    }

    #[test]
    fn a_certificate_is_told_from_other_tls_failures() {
        let of = |error: rustls::Error| tls_error(&io::Error::other(error)).kind;
        let expired = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        assert_eq!(of(expired), DialErrorKind::Certificate);
        assert_eq!(of(rustls::Error::NoCertificatesPresented), DialErrorKind::Certificate);
        assert_eq!(of(rustls::Error::DecryptError), DialErrorKind::Tls);
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(tls_error(&reset).kind, DialErrorKind::Tls);
        let late = io::Error::from(io::ErrorKind::TimedOut);
        assert_eq!(tls_error(&late).kind, DialErrorKind::Timeout);
    }

    #[test]
    fn an_answer_of_the_other_side_outweighs_a_local_failure() {
        let of = |kind| dial_error(kind, "");
        let kind = worse(of(DialErrorKind::Unreachable), of(DialErrorKind::Refused)).kind;
        assert_eq!(kind, DialErrorKind::Refused);
        let kind = worse(of(DialErrorKind::Timeout), of(DialErrorKind::Unreachable)).kind;
        assert_eq!(kind, DialErrorKind::Timeout);
        let response = tungstenite::http::Response::builder().status(301).body(None).unwrap();
        let moved = upgrade_error(&tungstenite::Error::Http(Box::new(response)));
        assert_eq!(moved.to_string(), "websocket upgrade failed: HTTP 301 Moved Permanently");
    }
}
