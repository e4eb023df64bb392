//! Paging (HIST-5): the real meter and walk against the relays of the model.

#[path = "paging/drive.rs"]
mod drive;
#[path = "paging/fixed.rs"]
mod fixed;
#[path = "paging/meter.rs"]
mod meter;
#[path = "paging/population.rs"]
mod population;
#[path = "paging/properties.rs"]
mod properties;
#[path = "paging/tiny.rs"]
mod tiny;
