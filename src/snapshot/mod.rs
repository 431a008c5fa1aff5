//! The durable store of snapshots and journals: everything of a job that must outlive a crash.
//!
//! Owns the data directory and is the only module that names RocksDB and object stores. Never
//! decides when a snapshot is taken or what is in it: the job layer writes chunks and commits a
//! manifest, and loads them again. `docs/design/2026-11-snapshots.md` describes the format.
//!
//! * [`Store`]: one data directory; chunks, manifests, which of them are whole
//! * [`Manifest`] and its parts: what a snapshot consists of, as stored
//! * [`JobDefinition`]: a job that comes back when a service starts again
//! * [`Journal`]: what a run decided that is not a function of its inputs
//! * [`CopyPlace`]: where a snapshot is exported to, or restored from: a directory or a bucket
//! * [`cut`]: rows in pieces of a chunk; [`encode_rows`], [`decode_rows`]: rows as bytes
//! * [`failpoint`]: places where a test makes the process die or a write fail
//!
//! The promise: a committed snapshot is read back exactly as written, or its damage is named.
//! Every value carries a checksum that is seeded with its key, so that neither a flipped bit nor
//! a value in another one's place is taken for data.

pub mod failpoint;

mod chunk;
mod definitions;
mod directory;
mod export;
mod journal;
mod keys;
mod load;
mod logs;
mod model;
mod objects;
mod place;
mod rebuild;
mod retain;
mod rocks;
mod store;

pub use chunk::{cut, decode as decode_rows, encode as encode_rows};
pub use definitions::JobDefinition;
pub use directory::replace as replace_file;
pub use journal::{Journal, JournalEntry};
pub use load::Chunks;
pub use model::{
    ChunkRef, Damage, Exported, Latest, Listed, Manifest, SavedPartition, SavedSink, SavedSource,
    SavedState, SavedTableRef,
};
pub use objects::{Bucket, ObjectOptions};
pub use place::{CopyPlace, CopyProgress};
pub use store::Store;

/// The version of the format that is written; older ones are read, newer ones refused.
pub const FORMAT: u32 = 1;
