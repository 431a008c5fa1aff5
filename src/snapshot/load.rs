//! All chunks of a snapshot at once, verified as they are read.
//!
//! A restart waits for this: chunks are read and unpacked on several threads, each once.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;

use super::model::{Damage, Manifest, SavedState, SavedTableRef};
use super::{ChunkRef, Store};

/// The rows of chunks, by the number of the chunk.
pub type Chunks = BTreeMap<u64, RecordBatch>;

/// A chunk and the place that names it.
type Named<'a> = (&'a SavedState, &'a SavedTableRef, &'a ChunkRef);

impl Store {
    /// The rows of all chunks that `manifest` names, read by `threads` threads, or what is wrong
    /// with them.
    pub fn load(&self, manifest: &Manifest, threads: usize) -> Result<Chunks, Vec<Damage>> {
        let named: Vec<Named<'_>> = manifest.chunks().collect();
        let threads = threads.clamp(1, named.len().max(1));
        let read = |first: usize| {
            let (mut chunks, mut damages) = (Chunks::new(), Vec::new());
            for &own in named.iter().skip(first).step_by(threads) {
                match self.chunk_rows(own.2) {
                    Ok(rows) => {
                        chunks.insert(own.2.id, rows);
                    }
                    Err(what) => damages.push(manifest.damage_in(own, &what)),
                }
            }
            (chunks, damages)
        };
        let read = &read;
        let (chunks, mut damages) = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|n| scope.spawn(move || read(n))).collect();
            let mut own = read(0);
            for other in others {
                match other.join() {
                    Ok((chunks, damages)) => {
                        own.0.extend(chunks);
                        own.1.extend(damages);
                    }
                    Err(_) => own.1.push(manifest.damage(None, "reading it failed")),
                }
            }
            own
        });
        if damages.is_empty() {
            return Ok(chunks);
        }
        damages.sort_by_key(|damage| damage.chunk);
        Err(damages)
    }
}
