//! The text of whole records, in memory that is used again.
//!
//! Memory fresh from the system is cleared page by page before it is given out, which costs a
//! tenth of decoding; a chunk's memory goes back to its pool when the last column that points into
//! it is gone.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use crate::limits;

/// Whole records as text.
#[derive(Debug, Default)]
pub struct Chunk {
    bytes: Vec<u8>,
    pool: Option<Arc<ChunkPool>>,
}

/// Memory of chunks that are gone.
#[derive(Debug, Default)]
pub struct ChunkPool {
    free: Mutex<Vec<Vec<u8>>>,
}

impl ChunkPool {
    /// An empty buffer with room for `capacity` bytes, to be filled and made a [`Chunk`].
    pub fn take(&self, capacity: usize) -> Vec<u8> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = free.pop().unwrap_or_default();
        drop(free);
        // Whole pages: chunks of nearly one size all fit into each other's memory.
        bytes.reserve_exact(capacity.next_multiple_of(4 << 10));
        bytes
    }

    /// The chunk of `bytes`, which come back here.
    pub fn chunk(self: &Arc<Self>, bytes: Vec<u8>) -> Chunk {
        Chunk { bytes, pool: Some(Arc::clone(self)) }
    }

    fn put(&self, mut bytes: Vec<u8>) {
        bytes.clear();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < limits::CHUNKS_FREE_MAX {
            free.push(bytes);
        }
    }
}

impl From<Vec<u8>> for Chunk {
    fn from(bytes: Vec<u8>) -> Self {
        Chunk { bytes, pool: None }
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            pool.put(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::buffer::Buffer;
    use bytes::Bytes;

    #[test]
    fn memory_comes_back_when_the_last_view_of_it_is_gone() {
        let pool = Arc::new(ChunkPool::default());
        let mut bytes = pool.take(100);
        bytes.extend_from_slice(b"abc");
        let at = bytes.as_ptr();
        let buffer = Buffer::from(Bytes::from_owner(pool.chunk(bytes)));
        let view = buffer.slice(1);
        drop(buffer);
        assert_eq!(view.as_slice(), b"bc");
        assert!(pool.free.lock().unwrap().is_empty());
        drop(view);
        let again = pool.take(50);
        assert_eq!(again.as_ptr(), at);
        assert!(again.is_empty());
    }
}
