//! The frames that we send.

use alloc::format;
use alloc::string::String;

use nostr::filter::Filter;

use crate::id::{NegId, SubId};

/// `["REQ", sub, filter…]`. The filters hold no empty list: NIP-01 gives those no meaning.
pub fn req(sub: SubId, filters: &[Filter]) -> String {
    let mut frame = format!("[\"REQ\",\"{sub}\"");
    for filter in filters {
        frame.push(',');
        frame.push_str(&json(filter));
    }
    frame.push(']');
    frame
}

/// `["CLOSE", sub]`.
pub fn close(sub: SubId) -> String {
    format!("[\"CLOSE\",\"{sub}\"]")
}

/// `["NEG-OPEN", sub, filter, message]`; the message in hex.
pub fn neg_open(neg: NegId, filter: &Filter, hex: &str) -> String {
    format!("[\"NEG-OPEN\",\"{neg}\",{},\"{hex}\"]", json(filter))
}

/// `["NEG-MSG", sub, message]`; the message in hex.
pub fn neg_msg(neg: NegId, hex: &str) -> String {
    format!("[\"NEG-MSG\",\"{neg}\",\"{hex}\"]")
}

/// `["NEG-CLOSE", sub]`.
pub fn neg_close(neg: NegId) -> String {
    format!("[\"NEG-CLOSE\",\"{neg}\"]")
}

/// `["AUTH", event]`; the event as JSON.
pub fn auth(event: &str) -> String {
    format!("[\"AUTH\",{event}]")
}

/// `["EVENT", event]`; the event as JSON.
pub fn event(event: &str) -> String {
    format!("[\"EVENT\",{event}]")
}

fn json(filter: &Filter) -> String {
    serde_json::to_string(filter).expect("a filter has text keys and no failing values")
}
