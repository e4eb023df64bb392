//! `dial.hosts`: a table of names in front of the resolver.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::resolve::{Resolve, ResolveFuture};

/// Stands for every name that is not in the table itself.
const ANY: &str = "*";

/// An entry of `dial.hosts` that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no entry of dial.hosts; write `name=address`, or `*=address` for every name")]
pub struct HostsError(String);

/// Names whose addresses are written down, each `name=address`. A name that stands there more than
/// once has all its addresses; `*` answers whatever is not there itself. The dial guard checks
/// these addresses as any others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(BTreeMap<String, Vec<IpAddr>>);

impl Hosts {
    /// Reads the entries of `dial.hosts`.
    pub fn parse<S: AsRef<str>>(entries: impl IntoIterator<Item = S>) -> Result<Self, HostsError> {
        let mut table = BTreeMap::<String, Vec<IpAddr>>::new();
        for entry in entries {
            let entry = entry.as_ref();
            let (name, address) = read(entry).ok_or_else(|| HostsError(entry.into()))?;
            table.entry(name).or_default().push(address);
        }
        Ok(Self(table))
    }

    fn find(&self, name: &str) -> Option<&Vec<IpAddr>> {
        self.0.get(name).or_else(|| self.0.get(ANY))
    }

    /// Answers from the table, and asks `next` for the names that are not in it.
    pub(super) fn before(self, next: Arc<dyn Resolve>) -> Arc<dyn Resolve> {
        if self.0.is_empty() { next } else { Arc::new(Layered { table: self, next }) }
    }
}

/// Names in canonical URLs are lower-case and without a root dot; so are these.
fn read(entry: &str) -> Option<(String, IpAddr)> {
    let (name, address) = entry.split_once('=')?;
    let name = name.trim().trim_end_matches('.').to_ascii_lowercase();
    let address = address.trim().parse().ok()?;
    (!name.is_empty()).then_some((name, address))
}

struct Layered {
    table: Hosts,
    next: Arc<dyn Resolve>,
}

impl Resolve for Layered {
    fn resolve<'a>(&'a self, name: &'a str) -> ResolveFuture<'a> {
        match self.table.find(name) {
            Some(addresses) => Box::pin(std::future::ready(Ok(addresses.clone()))),
            None => self.next.resolve(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::{FixedResolver, ResolveError};

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    async fn answers(entries: &[&str], name: &str) -> Option<Vec<IpAddr>> {
        let next = FixedResolver::new([("next.example", vec![ip("192.0.2.9")])]);
        let hosts = Hosts::parse(entries).expect("the entries are valid");
        match hosts.before(Arc::new(next)).resolve(name).await {
            Ok(addresses) => Some(addresses),
            Err(ResolveError::NoSuchName) => None,
            Err(error) => panic!("{error}"),
        }
    }

    #[tokio::test]
    async fn a_name_of_the_table_has_its_addresses_and_others_are_asked_for() {
        let table = ["A.example.=127.0.0.1", "b.example = ::1", "a.example=127.0.0.2"];
        let both = vec![ip("127.0.0.1"), ip("127.0.0.2")];
        assert_eq!(answers(&table, "a.example").await, Some(both));
        assert_eq!(answers(&table, "b.example").await, Some(vec![ip("::1")]));
        assert_eq!(answers(&table, "next.example").await, Some(vec![ip("192.0.2.9")]));
        assert_eq!(answers(&table, "c.example").await, None);
        assert_eq!(answers(&[], "next.example").await, Some(vec![ip("192.0.2.9")]));
    }

    #[tokio::test]
    async fn a_star_answers_every_name_that_is_not_written_down_itself() {
        let table = ["*=127.0.0.9", "a.example=127.0.0.1"];
        assert_eq!(answers(&table, "a.example").await, Some(vec![ip("127.0.0.1")]));
        assert_eq!(answers(&table, "next.example").await, Some(vec![ip("127.0.0.9")]));
    }

    #[test]
    fn an_entry_without_a_name_or_an_address_is_an_error_that_shows_it() {
        for entry in ["", "a.example", "=127.0.0.1", "a.example=b.example", "a.example="] {
            let error = Hosts::parse([entry]).expect_err(entry).to_string();
            assert!(error.starts_with(&format!("`{entry}` is no entry of dial.hosts")), "{error}");
        }
    }
}
