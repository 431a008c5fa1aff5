//! The data directory beside RocksDB: whose it is, who uses it, and what was committed.
//!
//! * `lock`: held while the directory is open; holds the number of the process
//! * `format`: says that the directory is ours, and of which version
//! * `commits`: which snapshots there must be. RocksDB cannot tell a log whose end was cut off from
//!   one that was never longer; this list can.
//! * `store/`: RocksDB
//!
//! A new file is written under another name, synced and renamed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind as IoKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::keys::{seal, unseal};
use super::{FORMAT, failpoint};
use crate::error::{Error, ErrorKind, Result};

const LOCK: &str = "lock";
const FORMAT_FILE: &str = "format";
const FORMAT_TEXT: &str = "floodmark data directory, format ";
const COMMITS: &str = "commits";
/// RocksDB's directory.
pub const STORE: &str = "store";
/// RocksDB's directory while it is made.
pub const STORE_NEW: &str = "store.new";
/// RocksDB's directory of before it was rebuilt.
pub const STORE_DAMAGED: &str = "store.damaged";
/// What is wrong with the store, written when it is found out: it is rebuilt when opened again.
const SUSPECT: &str = "suspect";

/// What a data directory is found to be.
pub enum Found {
    /// Nothing yet, or a creation that did not finish.
    Empty,
    /// One of ours.
    Ours,
    /// One of ours, with a rebuilt store that has not taken the damaged one's place.
    Rebuilt,
}

/// Makes `dir` if it is absent, without its parents' durability: an empty one can be made again.
pub fn create(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(|error| cannot(dir, "cannot be created", &error))
}

/// Locks `dir` for one process, or for readers together.
pub fn lock(dir: &Path, is_shared: bool) -> Result<Option<File>> {
    let path = dir.join(LOCK);
    let opened = if is_shared {
        File::open(&path)
    } else {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)
    };
    let mut file = match opened {
        Ok(file) => file,
        // A copy of a directory may come without the lock, and no one can hold it then.
        Err(error) if is_shared && error.kind() == IoKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot(dir, "cannot be locked", &error)),
    };
    let locked = if is_shared { file.try_lock_shared() } else { file.try_lock() };
    match locked {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Only for the message: a holder that cannot be read still holds.
            let _ = file.read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "another process".to_owned(),
                number => format!("process {number}"),
            };
            let message = format!("the data directory {} is in use by {holder}", dir.display());
            return Err(Error::new(ErrorKind::Conflict, message)
                .with_hint("stop that process, or use another data directory"));
        }
        Err(TryLockError::Error(error)) => return Err(cannot(dir, "cannot be locked", &error)),
    }
    if !is_shared {
        // Over the number that is there: all have one width.
        let written = file
            .seek(SeekFrom::Start(0))
            .and_then(|_| writeln!(file, "{:<20}", std::process::id()));
        written.map_err(|error| cannot(dir, "cannot be locked", &error))?;
    }
    Ok(Some(file))
}

/// Whether `dir` is ours, new, or neither.
pub fn inspect(dir: &Path) -> Result<Found> {
    let text = match fs::read_to_string(dir.join(FORMAT_FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == IoKind::NotFound => return inspect_unmarked(dir),
        Err(error) if error.kind() == IoKind::InvalidData => String::new(),
        Err(error) => return Err(cannot(dir, "its format cannot be read", &error)),
    };
    let version = text.strip_prefix(FORMAT_TEXT).and_then(|rest| rest.trim_end().parse().ok());
    let Some(version) = version else {
        let what = format!("{}: its file '{FORMAT_FILE}' is damaged or not ours", dir.display());
        return Err(Error::new(ErrorKind::Conflict, what)
            .with_hint("use an empty directory, or restore from an export"));
    };
    check_version(dir, version)?;
    if !dir.join(STORE).is_dir() {
        // The damaged store gives up its name only when the new one is complete.
        if dir.join(STORE_DAMAGED).is_dir() && dir.join(STORE_NEW).is_dir() {
            return Ok(Found::Rebuilt);
        }
        let what = format!("{}: its directory '{STORE}' is missing", dir.display());
        return Err(Error::new(ErrorKind::Io, what)
            .with_hint("restore from an export, or use an empty directory to start anew"));
    }
    Ok(Found::Ours)
}

/// Refuses a version that this one does not know.
pub fn check_version(dir: &Path, version: u32) -> Result<()> {
    if version == 0 || version > FORMAT {
        let what = format!(
            "the data directory {} is of format {version}; this version knows formats up to \
             {FORMAT}",
            dir.display()
        );
        return Err(Error::new(ErrorKind::Conflict, what)
            .with_hint("use the version that wrote it, or a newer one"));
    }
    Ok(())
}

/// A directory without a format: the marker is the last thing that a creation writes.
fn inspect_unmarked(dir: &Path) -> Result<Found> {
    let unreadable = |error| cannot(dir, "cannot be read", &error);
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        names.insert(entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned());
    }
    // A creation leaves what it has made so far; a store without its marker is looked into.
    let ours = [LOCK, STORE, STORE_NEW, COMMITS, "commits.new", "format.new"];
    if let Some(foreign) = names.iter().find(|name| !ours.contains(&name.as_str())) {
        let what = format!(
            "the directory {} is not a data directory: it holds '{foreign}'",
            dir.display()
        );
        return Err(Error::new(ErrorKind::Conflict, what).with_hint("use an empty directory"));
    }
    match names.contains(STORE) && names.contains(LOCK) {
        true => Ok(Found::Ours),
        false => Ok(Found::Empty),
    }
}

/// Marks `dir` as ours, if it is not yet.
pub fn write_format(dir: &Path) -> Result<()> {
    if dir.join(FORMAT_FILE).is_file() {
        return Ok(());
    }
    failpoint::reach("open.before_format")?;
    replace(dir, FORMAT_FILE, format!("{FORMAT_TEXT}{FORMAT}\n").as_bytes())
}

/// Writes `name` in `dir` so that there is the old file or the new one, never less.
pub fn replace(dir: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let (path, new) = (dir.join(name), dir.join(format!("{name}.new")));
    let written = write_synced(&new, bytes);
    written.map_err(|error| Error::io(new.display(), &error))?;
    if name == COMMITS {
        failpoint::reach("commits.before_rename")?;
    }
    fs::rename(&new, &path).map_err(|error| Error::io(path.display(), &error))?;
    sync_directory(dir)
}

/// Writes a file and syncs it.
pub fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes the names in `dir` durable.
pub fn sync_directory(dir: &Path) -> Result<()> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|error| cannot(dir, "cannot be synced", &error))
}

fn cannot(dir: &Path, what: &str, error: &std::io::Error) -> Error {
    Error::io(format!("the data directory {} {what}", dir.display()), error)
}

/// What must be in the store, by job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commits {
    /// By job.
    pub jobs: BTreeMap<String, JobCommits>,
}

/// What must be in the store of one job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobCommits {
    /// Snapshots that were committed and not deleted.
    pub snapshots: BTreeSet<u64>,
    /// The highest number ever given to a snapshot.
    pub used: u64,
    /// Entries of each run's journal at the last commit.
    pub journals: BTreeMap<u64, u64>,
}

impl Commits {
    /// Reads the list; the text says what is wrong with it.
    pub fn read(dir: &Path) -> Result<Self, String> {
        let path = dir.join(COMMITS);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) => return Err(format!("the list of commits {}: {error}", path.display())),
        };
        let body = unseal(COMMITS.as_bytes(), &bytes);
        let read =
            body.and_then(|body| serde_json::from_slice(body).map_err(|error| error.to_string()));
        read.map_err(|what| format!("the list of commits {}: {what}", path.display()))
    }

    /// Writes the list.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let body = serde_json::to_vec(self)
            .map_err(|error| Error::internal(format!("the list of commits: {error}")))?;
        replace(dir, COMMITS, &seal(COMMITS.as_bytes(), &body))
    }
}

/// Notes that the store is damaged, if that can be written.
pub fn suspect(dir: &Path, what: &str) {
    let path = dir.join(SUSPECT);
    if !path.exists()
        && let Err(error) = fs::write(&path, what)
    {
        tracing::warn!("{}: {error}", path.display());
    }
}

/// What [`suspect`] noted.
pub fn suspicion(dir: &Path) -> Option<String> {
    fs::read(dir.join(SUSPECT)).ok().map(|what| String::from_utf8_lossy(&what).into_owned())
}

/// Takes the note back.
pub fn clear_suspicion(dir: &Path) -> Result<()> {
    let path = dir.join(SUSPECT);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != IoKind::NotFound => Err(Error::io(path.display(), &error)),
        _ => Ok(()),
    }
}

/// The path of RocksDB's directory.
pub fn store_path(dir: &Path) -> PathBuf {
    dir.join(STORE)
}
