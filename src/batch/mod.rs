//! The unit of data: [`UpdateBatch`], and what is done to whole batches at once.
//!
//! Pure functions over Arrow columns: no I/O, no clock, no threads.

pub mod changes;
pub mod consolidate;
pub mod hash;
pub mod ipc;
pub mod order;
pub mod partition;
#[cfg(test)]
mod tests;
mod update_batch;

pub use update_batch::{UpdateBatch, rows_without_columns};
