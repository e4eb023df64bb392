//! To be written.
pub mod negentropy;
pub mod page;
