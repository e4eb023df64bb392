//! The TOML file: parsed once for the places of its keys, checked against the table.

use std::fs;
use std::path::Path;

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::{Layers, Origin, Table, value, wrong_value};
use crate::exit::Exit;
use crate::failure::Failure;

/// Reads the file into the layers.
pub(super) fn read(path: &Path, table: &Table, layers: &mut Layers) -> Result<(), Failure> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| {
        let failure = Failure::new(Exit::ConfigInvalid, format!("cannot read {shown}"));
        failure.caused_by(&error).hint("name another file with -c")
    })?;
    parse(&shown.to_string(), &text, table, layers)
}

/// The text of a file, walked key by key.
pub(super) fn parse(
    shown: &str,
    text: &str,
    table: &Table,
    layers: &mut Layers,
) -> Result<(), Failure> {
    let place = |at: usize| {
        let (line, column) = line_and_column(text, at);
        format!("{shown}:{line}:{column}")
    };
    let syntax = |error: toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start);
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        Failure::new(Exit::ConfigInvalid, format!("no valid TOML: {message}")).at(place(at))
    };
    let places = DeTable::parse(text).map_err(syntax)?;
    let values: toml::Table = text.parse().map_err(syntax)?;
    for (name, spanned) in places.get_ref() {
        let Some(value) = values.get(name.get_ref().as_ref()) else { continue };
        match (spanned.get_ref(), value) {
            (DeValue::Table(fields), toml::Value::Table(section))
                if table.is_section(name.get_ref()) =>
            {
                for field in fields.keys() {
                    let Some(value) = section.get(field.get_ref().as_ref()) else { continue };
                    let key = format!("{}.{}", name.get_ref(), field.get_ref());
                    let origin = Origin::File(place(field.span().start));
                    put(&key, value.clone(), origin, table, layers);
                }
            }
            _ => {
                let origin = Origin::File(place(name.span().start));
                put(name.get_ref(), value.clone(), origin, table, layers);
            }
        }
    }
    Ok(())
}

fn put(name: &str, value: toml::Value, origin: Origin, table: &Table, layers: &mut Layers) {
    let Some(key) = table.key(name) else {
        let failure = if table.is_section(name) {
            wrong_value(name, &origin, &format!("it is a section, write `[{name}]`"))
        } else {
            table.unknown_key(name, &origin)
        };
        return layers.failures.push(failure);
    };
    let read = |value: toml::Value| -> Result<Value, String> {
        value::from_file(key, value::from_toml(value)?)
    };
    match read(value) {
        Ok(value) => layers.put(name, value, origin),
        Err(reason) => layers.failures.push(wrong_value(name, &origin, &reason)),
    }
}

/// Both from 1; columns count characters.
fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}
