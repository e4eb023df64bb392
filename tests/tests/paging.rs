//! Paging (HIST-5): the real meter and walk against the relays of the model.

#[path = "paging/drive.rs"]
mod drive;
#[path = "paging/population.rs"]
mod population;
