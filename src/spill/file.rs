//! A file of state that was put aside: it has no name, and is gone with the process.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::memory::Memory;
use crate::batch::hash::hash_bytes;
use crate::error::{Error, ErrorKind, Result};

/// Numbers of the files of this process.
static FILES: AtomicU64 = AtomicU64::new(0);

/// A file that grows; what was written does not change.
#[derive(Debug)]
pub struct SpillFile {
    memory: Arc<Memory>,
    pub(super) file: File,
    /// What it was called, for errors.
    name: String,
    end: AtomicU64,
}

impl SpillFile {
    /// A new file in the directory of `memory`.
    pub fn create(memory: &Arc<Memory>) -> Result<Arc<Self>> {
        let (file, name) = open(memory.dir())?;
        let (memory, end) = (Arc::clone(memory), AtomicU64::new(0));
        Ok(Arc::new(SpillFile { memory, file, name, end }))
    }

    /// Where the next bytes go.
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    /// Writes `bytes` at the end; where that was.
    pub fn append(&self, bytes: &[u8]) -> Result<u64> {
        let at = self.end();
        self.file.write_all_at(bytes, at).map_err(|error| failed(&self.name, &error))?;
        self.end.store(at + bytes.len() as u64, Ordering::Relaxed);
        self.memory.wrote(bytes.len() as u64);
        Ok(at)
    }

    /// Reads bytes that are under the checksum `sum`.
    pub fn read(&self, bytes: &mut [u8], offset: u64, sum: u64) -> Result<()> {
        self.file.read_exact_at(bytes, offset).map_err(|error| {
            let what = format!("state that was put aside in {} cannot be read", self.name);
            Error::io(what, &error)
        })?;
        self.memory.read(bytes.len() as u64);
        if hash_bytes(bytes) == sum { Ok(()) } else { Err(self.damaged(offset)) }
    }

    /// What lies at `offset` is not what was written there.
    pub fn damaged(&self, offset: u64) -> Error {
        let message = format!(
            "state that was put aside in {} is not as it was written, at byte {offset}",
            self.name
        );
        Error::new(ErrorKind::Io, message).with_hint("the disk or the memory is at fault")
    }
}

impl Drop for SpillFile {
    fn drop(&mut self) {
        self.memory.dropped(self.end());
    }
}

/// Opens a file in `dir` that nobody else sees and that is gone with the process; and what to call
/// it.
fn open(dir: &Path) -> Result<(File, String)> {
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    let name = format!(".floodmark-spill-{}-{number}", std::process::id());
    let path = dir.join(name);
    let shown = path.display().to_string();
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
    let file = file.map_err(|error| failed(&shown, &error))?;
    fs::remove_file(&path).map_err(|error| failed(&shown, &error))?;
    Ok((file, shown))
}

/// State that could not be put aside.
fn failed(path: &str, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("state cannot be put aside in {path}: {error}"))
        .with_hint("make room there, or run the job with a larger 'memory.budget' or without one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_no_name_and_a_place_that_cannot_be_written_to_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::new(1, dir.path(), 1);
        let file = SpillFile::create(&memory).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!((file.append(b"abc").unwrap(), file.append(b"de").unwrap()), (0, 3));
        assert_eq!(memory.spilled().disk, 5);
        drop(file);
        assert_eq!(memory.spilled().disk, 0);
        let absent = Memory::new(1, &dir.path().join("absent"), 1);
        let error = SpillFile::create(&absent).unwrap_err();
        assert!(error.message.contains("/absent/.floodmark-spill-"), "{error}");
    }
}
