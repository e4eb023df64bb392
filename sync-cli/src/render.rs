//! Documents as people read them: units, tables, and what each command shows.

pub(crate) mod explain;
pub(crate) mod relay;
pub(crate) mod status;
pub(crate) mod sync;
mod table;
pub(crate) mod units;
pub(crate) mod verify;
