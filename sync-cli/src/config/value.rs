//! Values as text: `--set` and environment in, TOML out.

use serde_json::{Map, Value};
use sync_core::config::Key;

/// The shape of a key's value, read off its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Bool,
    Number,
    /// Also spans, sizes, paths and addresses; a default of `null` is a text that nobody set.
    Text,
    List,
    /// NIP-01 filters.
    Filters,
    Map,
}

fn shape(key: &Key) -> Shape {
    match key.default.as_bytes().first() {
        _ if key.name == "accept.filters" => Shape::Filters,
        Some(b't' | b'f') => Shape::Bool,
        Some(b'0'..=b'9') => Shape::Number,
        Some(b'[') => Shape::List,
        Some(b'{') => Shape::Map,
        Some(_) | None => Shape::Text,
    }
}

/// Reads a value written as TOML, or bare where that is unambiguous.
pub(super) fn from_text(key: &Key, text: &str) -> Result<Value, String> {
    match shape(key) {
        Shape::Bool => text.parse().map(Value::Bool).map_err(|_| expected("true or false", text)),
        Shape::Number => match text.replace('_', "").parse::<u64>() {
            Ok(number) => Ok(Value::from(number)),
            Err(_) => Err(expected("a number", text)),
        },
        Shape::Text if text.starts_with(['"', '\'']) => toml_value(text),
        Shape::Text => Ok(Value::from(text)),
        Shape::List if text.starts_with('[') => toml_value(text),
        Shape::List => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Ok(parts.map(Value::from).collect())
        }
        Shape::Filters => filters(text),
        Shape::Map => toml_value(text),
    }
}

/// Brings a value from a file into the form that its key deserialises from.
pub(super) fn from_file(key: &Key, value: Value) -> Result<Value, String> {
    match (shape(key), value) {
        // A size may be a plain number; a span then says what it wants itself.
        (Shape::Text, Value::Number(number)) => Ok(Value::from(number.to_string())),
        (Shape::Filters, Value::Array(items)) => {
            let filters = items.into_iter().map(|item| match item {
                Value::String(text) => parse_filter(&text),
                other => Ok(other),
            });
            filters.collect()
        }
        (_, value) => Ok(value),
    }
}

/// One filter as JSON, or a list of them.
fn filters(text: &str) -> Result<Value, String> {
    match parse_filter(text)? {
        list @ Value::Array(_) => Ok(list),
        one => Ok(Value::Array(vec![one])),
    }
}

/// JSON of a filter.
pub(crate) fn parse_filter(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("`{text}` is no JSON: {error}"))
}

fn expected(what: &str, text: &str) -> String {
    format!("expected {what}, found `{text}`")
}

fn toml_value(text: &str) -> Result<Value, String> {
    let value: toml::Value = text.parse().map_err(|error: toml::de::Error| {
        format!("`{text}` is no TOML value: {}", error.message())
    })?;
    from_toml(value)
}

/// TOML as JSON; JSON has no dates, and no key takes one.
pub(super) fn from_toml(value: toml::Value) -> Result<Value, String> {
    Ok(match value {
        toml::Value::String(text) => Value::from(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Float(number) => Value::from(number),
        toml::Value::Boolean(truth) => Value::Bool(truth),
        toml::Value::Datetime(date) => return Err(format!("`{date}` is a date; no key takes one")),
        toml::Value::Array(items) => {
            Value::Array(items.into_iter().map(from_toml).collect::<Result<_, _>>()?)
        }
        toml::Value::Table(table) => {
            let fields = table.into_iter().map(|(key, value)| Ok((key, from_toml(value)?)));
            Value::Object(fields.collect::<Result<Map<_, _>, String>>()?)
        }
    })
}

/// A value as TOML writes it on one line; what nobody set is `none`.
pub(super) fn to_toml(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(to_toml).collect::<Vec<_>>().join(", "))
        }
        Value::Object(fields) if fields.is_empty() => "{}".to_owned(),
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(key, value)| format!("{} = {}", Value::from(key.as_str()), to_toml(value)));
            format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
        }
        // JSON and TOML write these alike.
        Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Table;

    fn read(key: &str, text: &str) -> Result<Value, String> {
        from_text(Table::new().key(key).expect("the key exists"), text)
    }

    #[test]
    fn a_bare_word_is_a_text_and_a_quoted_one_is_toml() {
        assert_eq!(read("health.backoff_max", "30m"), Ok(json!("30m")));
        assert_eq!(read("health.backoff_max", "\"30m\""), Ok(json!("30m")));
        assert_eq!(read("dial.proxy", "127.0.0.1:9050"), Ok(json!("127.0.0.1:9050")));
    }

    #[test]
    fn a_list_is_toml_or_separated_by_commas() {
        let both = json!(["wss://a", "wss://b"]);
        assert_eq!(read("sync.relays", "wss://a, wss://b"), Ok(both.clone()));
        assert_eq!(read("sync.relays", "[\"wss://a\", 'wss://b']"), Ok(both));
        assert_eq!(read("sync.relays", ""), Ok(json!([])));
    }

    #[test]
    fn filters_are_json() {
        assert_eq!(read("accept.filters", "{\"kinds\":[1]}"), Ok(json!([{"kinds": [1]}])));
        assert_eq!(read("accept.filters", "[{},{}]"), Ok(json!([{}, {}])));
        assert!(read("accept.filters", "kinds=1").expect_err("no JSON").contains("is no JSON"));
    }

    #[test]
    fn numbers_and_truths_name_what_they_expect() {
        assert_eq!(read("page.max", "10_000"), Ok(json!(10_000)));
        assert_eq!(read("page.max", "many"), Err("expected a number, found `many`".into()));
        assert_eq!(read("sync.discover", "no"), Err("expected true or false, found `no`".into()));
    }

    #[test]
    fn what_is_written_as_toml_can_be_read_as_toml() {
        let value = json!({"wss://a/": "/k", "list": [1, true, "x\"y"]});
        let text = to_toml(&value);
        assert_eq!(text, r#"{ "list" = [1, true, "x\"y"], "wss://a/" = "/k" }"#);
        assert_eq!(toml_value(&text), Ok(value));
    }
}
