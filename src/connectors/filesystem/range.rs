//! Pieces of a file that a worker reads itself, while others go on with the file.
//!
//! Who takes a piece finds only its border, from a few bytes, and reads the rest when it decodes
//! it: two workers then never wait for one another's copying, and the bytes are in the cache of
//! the core that looks at them.

use std::fs::File;
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::io::{Errno, pread};

use super::reader::FileInfo;
use crate::error::{Error, Result};
use crate::formats::{Chunk, ChunkPool, RecordCutter};

/// Bytes before the end of a piece that are looked at first for the end of a record.
const BORDER_BYTES: u64 = 4 << 10;

/// Whole records of a file, not read yet.
#[derive(Debug)]
pub struct Range {
    file: Arc<File>,
    start: u64,
    length: usize,
}

impl Range {
    /// The whole records that end in the `bytes` bytes from `start` on; `None` if that cannot be
    /// told from the end alone, or if the file may end there.
    pub fn find(
        file: &Arc<File>,
        start: u64,
        bytes: usize,
        cutter: &mut dyn RecordCutter,
    ) -> Option<Range> {
        let end = start.checked_add(u64::try_from(bytes).ok()?)?;
        if !cutter.is_by_line() || end >= file.metadata().ok()?.len() {
            return None;
        }
        let mut from = end.saturating_sub(BORDER_BYTES).max(start);
        let mut seen = Vec::new();
        loop {
            let count = usize::try_from(end - from).ok()?;
            seen.clear();
            // What fails here is tried again, and reported, where the piece is read.
            read_exact(file, from, count, &mut seen).ok()?;
            if let Some(at) = cutter.cut(&seen) {
                let length = usize::try_from(from - start).ok()?.checked_add(at)?;
                return Some(Range { file: Arc::clone(file), start, length });
            }
            if from == start {
                return None;
            }
            from = end.saturating_sub(4 * (end - from)).max(start);
        }
    }

    /// Where the first record behind it starts.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(u64::try_from(self.length).unwrap_or(u64::MAX))
    }

    /// Reads it into memory of `pool`.
    pub fn read(&self, info: &FileInfo, pool: &Arc<ChunkPool>) -> Result<Chunk> {
        let mut bytes = pool.take(self.length);
        read_exact(&self.file, self.start, self.length, &mut bytes).map_err(|error| {
            let path = info.path.display();
            Error::io(format!("cannot read '{path}' at byte {}", self.start), &error)
        })?;
        Ok(pool.chunk(bytes))
    }
}

/// Appends the `count` bytes at `position` to `buffer`.
fn read_exact(
    file: &File,
    position: u64,
    count: usize,
    buffer: &mut Vec<u8>,
) -> std::io::Result<()> {
    buffer.reserve_exact(count);
    let wanted = buffer.len() + count;
    let mut at = position;
    while buffer.len() < wanted {
        let before = buffer.len();
        // The spare capacity may be larger than what is wanted.
        match pread(file, spare_capacity(buffer), at) {
            Ok(0) => {
                let message = "the file became shorter while it was read";
                return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, message));
            }
            Ok(got) => {
                buffer.truncate(wanted);
                at += u64::try_from(got.min(wanted - before)).unwrap_or(0);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether `bytes` bytes at `position` can be had without waiting for a disk.
///
/// Asks the kernel for a byte at each end and in between, and not to wait for any: pages between
/// two that are cached nearly always are too, and if not, the wait is that for one piece.
#[cfg(target_os = "linux")]
pub fn is_cached(file: &File, position: u64, bytes: usize) -> bool {
    use rustix::io::{ReadWriteFlags, preadv2};
    use std::io::IoSliceMut;

    let last = u64::try_from(bytes.saturating_sub(1)).unwrap_or(u64::MAX);
    [0, last / 2, last].into_iter().all(|ahead| {
        let mut byte = [0];
        let mut buffers = [IoSliceMut::new(&mut byte)];
        let at = position.saturating_add(ahead);
        preadv2(file, &mut buffers, at, ReadWriteFlags::NOWAIT).is_ok()
    })
}

/// Elsewhere there is no way to ask: reader threads read.
#[cfg(not(target_os = "linux"))]
pub fn is_cached(_: &File, _: u64, _: usize) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Lines;

    impl RecordCutter for Lines {
        fn cut(&mut self, bytes: &[u8]) -> Option<usize> {
            memchr::memrchr(b'\n', bytes).map(|at| at + 1)
        }

        fn is_by_line(&self) -> bool {
            true
        }
    }

    proptest! {
        /// Ranges follow each other without a gap, end at line ends and hold what the file holds.
        #[test]
        fn ranges_are_whole_lines(
            lines in prop::collection::vec(0usize..9000, 1..20),
            bytes in 1usize..20_000,
        ) {
            let mut content = Vec::new();
            for (i, length) in lines.iter().enumerate() {
                content.resize(content.len() + length, b'a' + (i % 26) as u8);
                content.push(b'\n');
            }
            let path = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(path.path(), &content).unwrap();
            let file = Arc::new(File::open(path.path()).unwrap());
            let info = FileInfo { path: path.path().into(), name: String::new(), values: vec![] };
            let pool = Arc::default();
            let mut start = 0;
            while let Some(range) = Range::find(&file, start, bytes, &mut Lines) {
                let end = range.end() as usize;
                prop_assert!(end > start as usize && end <= start as usize + bytes);
                let chunk = range.read(&info, &pool).unwrap();
                prop_assert_eq!(&*chunk, &content[start as usize..end]);
                prop_assert_eq!(chunk.last(), Some(&b'\n'));
                start = range.end();
            }
            let rest = &content[start as usize..];
            let fits = rest.len() > bytes;
            prop_assert!(!fits || memchr::memchr(b'\n', &rest[..bytes]).is_none());
        }
    }
}
