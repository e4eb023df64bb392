//! NIP-11: hints of a relay about itself, fetched once beside its connection, read leniently, and
//! never trusted for correctness (TALK-6).

use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use nostr::key::PublicKey;
use serde_json::Value;
use sync_core::input::InfoLimits;
use sync_core::url::RelayUrl;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::dial::Dialer;
use crate::transport;

/// The whole fetch.
const DEADLINE: Duration = Duration::from_secs(10);
/// The document.
const MAX_BYTES: usize = 64 * 1024;
/// The head of the answer (T14).
const MAX_HEAD: usize = 16 * 1024;

/// What is read of a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayInfo {
    /// Limits.
    pub limits: InfoLimits,
    /// `self`: the relay's own key (DISC-5).
    pub self_key: Option<PublicKey>,
    /// `name`, stripped and cut (T16).
    pub name: sync_core::item::RelayText,
}

/// Fetches and reads the document; `None` for whatever reason it did not come.
pub(super) async fn fetch(dialer: &Dialer, url: &RelayUrl, trusted: bool) -> Option<RelayInfo> {
    let body = timeout(DEADLINE, request(dialer, url, trusted)).await.ok()??;
    parse_info(&body)
}

async fn request(dialer: &Dialer, url: &RelayUrl, trusted: bool) -> Option<Bytes> {
    let (stream, _) = dialer.connect_beside(url, trusted).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .ok()?;
    let _driving = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = Request::get(url.path())
        .header(HOST, url.authority())
        .header(ACCEPT, "application/nostr+json")
        .header(USER_AGENT, transport::USER_AGENT)
        .header(CONNECTION, "close")
        .body(Empty::new())
        .ok()?;
    let response = sender.send_request(request).await.ok()?;
    // Redirects are not followed (T1).
    if response.status() != StatusCode::OK {
        return None;
    }
    let body = Limited::new(response.into_body(), MAX_BYTES).collect().await.ok()?;
    Some(body.to_bytes())
}

/// Reads a document field by field: one that is missing or odd spoils no other.
pub fn parse_info(body: &[u8]) -> Option<RelayInfo> {
    let document: Value = serde_json::from_slice(body).ok()?;
    let document = document.as_object()?;
    let limitation = document.get("limitation").and_then(Value::as_object);
    let limit = |name: &str| limitation.and_then(|limits| number(limits.get(name)?));
    let nips = document.get("supported_nips").and_then(Value::as_array);
    let self_key = document.get("self").and_then(Value::as_str);
    let name = document.get("name").and_then(Value::as_str).unwrap_or_default();
    Some(RelayInfo {
        limits: InfoLimits {
            max_subscriptions: limit("max_subscriptions"),
            max_filters: limit("max_filters"),
            max_message_length: limit("max_message_length"),
            max_limit: limit("max_limit"),
            negentropy: nips.map(|nips| nips.iter().any(|nip| number(nip) == Some(77))),
        },
        self_key: self_key.and_then(|key| PublicKey::from_hex(key).ok()),
        name: sync_core::item::RelayText::new(name),
    })
}

/// A positive number, also one written as a text or with a point; larger ones are cut.
fn number(value: &Value) -> Option<u32> {
    let number = match value {
        Value::Number(number) => number.as_u64().or_else(|| number.as_f64().map(|n| n as u64)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }?;
    (number > 0).then_some(u32::try_from(number).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_document_is_read_field_by_field() {
        let key = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        let body = format!(
            r#"{{"name":"a\u0007b","self":"{key}","supported_nips":[1,"77",{{}}],
            "limitation":{{"max_subscriptions":20,"max_filters":"10","max_limit":500.0,
            "max_message_length":99999999999,"auth_required":"maybe"}},"fees":7}}"#
        );
        let info = parse_info(body.as_bytes()).unwrap();
        assert_eq!(info.self_key.unwrap().to_hex(), key);
        assert_eq!(info.name.as_str(), "ab");
        let limits = InfoLimits {
            max_subscriptions: Some(20),
            max_filters: Some(10),
            max_message_length: Some(u32::MAX),
            max_limit: Some(500),
            negentropy: Some(true),
        };
        assert_eq!(info.limits, limits);
    }

    #[test]
    fn odd_fields_are_as_if_missing() {
        let empty = RelayInfo::default();
        for body in [
            "{}",
            r#"{"limitation":[],"self":"npub1","name":5,"supported_nips":"77"}"#,
            r#"{"limitation":{"max_limit":-1,"max_filters":0,"max_subscriptions":null}}"#,
        ] {
            assert_eq!(parse_info(body.as_bytes()).unwrap(), empty, "{body}");
        }
        let without = parse_info(br#"{"supported_nips":[1,11]}"#).unwrap();
        assert_eq!(without.limits.negentropy, Some(false));
        assert_eq!(parse_info(b"[]"), None);
        assert_eq!(parse_info(b"<html>"), None);
    }
}
