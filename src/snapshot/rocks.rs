//! RocksDB as the store uses it: options, and its errors in our words.

use std::fs;
use std::path::{Path, PathBuf};

use rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, CompactOptions, DB, DBCompressionType,
    DBPinnableSlice, DBRecoveryMode, InfoLogger, IteratorMode, LogLevel, Options, ReadOptions,
    WriteBatch, WriteOptions,
};

use super::directory::{self, STORE, STORE_NEW};
use super::keys::{FORMAT_KEY, after};
use super::{FORMAT, keys, logs};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{SNAPSHOT_BACKGROUND_JOBS_MAX, SNAPSHOT_BLOB_BYTES, SNAPSHOT_WRITE_BYTES};

/// Values of at least this many bytes lie in files of their own, which compaction leaves alone.
const BLOB_BYTES_MIN: u64 = 4 << 10;

/// Bytes that RocksDB reserves for its list of files, which stays short.
const MANIFEST_BYTES_AHEAD: usize = 64 << 10;

/// More than a store has.
const FILES_OPEN_MAX: i32 = 1 << 20;

/// How a store is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// For reading and writing; anything that is not as written is an error.
    Write,
    /// For reading; anything that is not as written is an error.
    Read,
    /// For reading what is left of a damaged store: the checksums of the values decide.
    Salvage,
}

/// Why a store could not be opened.
pub struct Refused {
    /// The error.
    pub error: Error,
    /// Whether what is stored is damaged, in contrast to a store that cannot be reached.
    pub is_damage: bool,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Refused { error, is_damage: false }
    }
}

/// An open RocksDB.
pub struct Rocks {
    db: DB,
    dir: PathBuf,
    is_read_only: bool,
}

fn options(mode: Mode) -> Options {
    let mut options = Options::default();
    // Its own log would be one more file that grows and that nobody reads.
    options.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Warn, |level, text| {
        match level {
            LogLevel::Warn => tracing::debug!("rocksdb: {}", text.trim_end()),
            LogLevel::Error | LogLevel::Fatal => tracing::warn!("rocksdb: {}", text.trim_end()),
            _ => {}
        }
    }));
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options.set_manifest_preallocation_size(MANIFEST_BYTES_AHEAD);
    options.set_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(SNAPSHOT_WRITE_BYTES);
    options.set_max_background_jobs(SNAPSHOT_BACKGROUND_JOBS_MAX);
    options.set_enable_blob_files(true);
    options.set_min_blob_size(BLOB_BYTES_MIN);
    options.set_blob_file_size(SNAPSHOT_BLOB_BYTES);
    options.set_blob_compression_type(DBCompressionType::None);
    let mut blocks = BlockBasedOptions::default();
    blocks.set_format_version(5);
    options.set_block_based_table_factory(&blocks);
    if mode != Mode::Write {
        // Without a bound RocksDB reads a store of one file by a way that does not see values in
        // files of their own.
        options.set_max_open_files(FILES_OPEN_MAX);
    }
    options.set_paranoid_checks(mode != Mode::Salvage);
    options.set_track_and_verify_wals_in_manifest(mode != Mode::Salvage);
    // A log that ends in the middle of a record is what a crash leaves. Anything else is damage,
    // and what comes after it is not read.
    options.set_wal_recovery_mode(match mode {
        Mode::Salvage => DBRecoveryMode::PointInTime,
        Mode::Write | Mode::Read => DBRecoveryMode::TolerateCorruptedTailRecords,
    });
    options
}

impl Rocks {
    /// Makes an empty store in `dir`; there is none, or a whole one with its version.
    pub fn create(dir: &Path) -> Result<()> {
        let new = dir.join(STORE_NEW);
        drop(Self::create_new(dir)?);
        let path = dir.join(STORE);
        fs::rename(&new, &path).map_err(|error| Error::io(path.display(), &error))?;
        directory::sync_directory(dir)
    }

    /// Makes an empty store under the name of a new one, in place of what an unfinished creation
    /// left.
    pub fn create_new(dir: &Path) -> Result<Rocks> {
        let path = dir.join(STORE_NEW);
        if path.exists() {
            fs::remove_dir_all(&path).map_err(|error| Error::io(path.display(), &error))?;
        }
        let mut options = options(Mode::Write);
        options.create_if_missing(true);
        let failed = |error| fault(dir, "creating it", &error);
        let db = DB::open(&options, &path).map_err(failed)?;
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        let version = keys::seal(FORMAT_KEY, &FORMAT.to_le_bytes());
        db.put_opt(FORMAT_KEY, version, &synced).map_err(failed)?;
        db.flush().map_err(failed)?;
        Ok(Rocks { db, dir: dir.to_path_buf(), is_read_only: false })
    }

    /// Opens the store of `dir`.
    pub fn open(dir: &Path, mode: Mode) -> Result<Rocks, Refused> {
        let path = directory::store_path(dir);
        if let Some(log) = logs::damaged(&path)?.first() {
            let message = format!("the snapshot store in {}: {log}", dir.display());
            return Err(Refused { error: Error::new(ErrorKind::Io, message), is_damage: true });
        }
        let options = options(mode);
        let is_read_only = mode != Mode::Write;
        let opened = match is_read_only {
            true => DB::open_for_read_only(&options, &path, false),
            false => DB::open(&options, &path),
        };
        let db = opened.map_err(|error| Refused {
            is_damage: is_damage(&error),
            error: fault(dir, "opening it", &error),
        })?;
        let rocks = Rocks { db, dir: dir.to_path_buf(), is_read_only };
        match rocks.format() {
            Ok(version) => directory::check_version(dir, version)?,
            // The directory has said that it is ours.
            Err(_) if mode == Mode::Salvage => {}
            Err(what) => {
                let message = format!("the store of {} has no version: {what}", dir.display());
                let error = Error::new(ErrorKind::Io, message);
                return Err(Refused { error, is_damage: true });
            }
        }
        Ok(rocks)
    }

    fn format(&self) -> Result<u32, String> {
        let value = self.get(FORMAT_KEY)?.ok_or_else(|| "it is missing".to_owned())?;
        let body = keys::unseal(FORMAT_KEY, &value)?;
        body.try_into().map(u32::from_le_bytes).map_err(|_| "it is too short".to_owned())
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Refuses a change of a store that is open for reading.
    pub fn check_writable(&self) -> Result<()> {
        if self.is_read_only {
            let message = format!("{} is open for reading only", self.dir.display());
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        Ok(())
    }

    /// The value of `key`, without a copy; the text says why it cannot be read.
    pub fn get(&self, key: &[u8]) -> Result<Option<DBPinnableSlice<'_>>, String> {
        let mut options = ReadOptions::default();
        // What is read is read once.
        options.fill_cache(false);
        self.db.get_pinned_opt(key, &options).map_err(|error| self.unread(error))
    }

    /// Shows the entries from `from` up to `to` in order, until `each` says no.
    pub fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), String> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(to);
        let mode = IteratorMode::From(from, rocksdb::Direction::Forward);
        for entry in self.db.iterator_opt(mode, options) {
            let (key, value) = entry.map_err(|error| self.unread(error))?;
            if !each(&key, &value) {
                break;
            }
        }
        Ok(())
    }

    /// The first key from `from` up to `to`.
    pub fn first_key(&self, from: &[u8], to: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let mut found = None;
        self.scan(from, to, |key, _| {
            found = Some(key.to_vec());
            false
        })?;
        Ok(found)
    }

    /// The numbers at the end of the keys that begin with `prefix`, ascending. What was read before
    /// a fault is kept.
    pub fn numbers(&self, prefix: Vec<u8>) -> (Vec<u64>, Result<(), String>) {
        let mut found = Vec::new();
        let end = after(prefix.clone());
        let read = self.scan(&prefix, &end, |key, _| {
            found.extend(keys::number_of(key));
            true
        });
        (found, read)
    }

    /// Writes `batch` without its log: durable with the next [`Rocks::flush`], or never.
    pub fn write_unlogged(&self, batch: WriteBatch, doing: &str) -> Result<()> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.write_with(batch, &options, doing)
    }

    /// Writes `batch` to the log: it survives the end of the process, not a loss of power.
    pub fn write(&self, batch: WriteBatch, doing: &str) -> Result<()> {
        self.write_with(batch, &WriteOptions::default(), doing)
    }

    /// Writes `batch` and syncs it.
    pub fn write_synced(&self, batch: WriteBatch, doing: &str) -> Result<()> {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.write_with(batch, &options, doing)
    }

    fn write_with(&self, batch: WriteBatch, options: &WriteOptions, doing: &str) -> Result<()> {
        self.check_writable()?;
        self.db.write_opt(batch, options).map_err(|error| self.failed(doing, &error))
    }

    /// Makes everything written durable, the unlogged as well.
    pub fn flush(&self, doing: &str) -> Result<()> {
        self.check_writable()?;
        self.db.flush().map_err(|error| self.failed(doing, &error))
    }

    /// Makes everything logged durable.
    pub fn sync_log(&self, doing: &str) -> Result<()> {
        self.check_writable()?;
        self.db.flush_wal(true).map_err(|error| self.failed(doing, &error))
    }

    /// Gives back the space of deleted values between two keys.
    ///
    /// Small entries are merged, and a file of large values goes when none of its values is left.
    /// Only when half of all bytes are garbage are the values left in such files moved: each byte
    /// is moved at most once for one that is given back.
    pub fn reclaim(&self, from: &[u8], to: &[u8]) -> Result<()> {
        self.flush("giving back space")?;
        let mut compaction = CompactOptions::default();
        compaction.set_exclusive_manual_compaction(false);
        self.db.compact_range_opt(Some(from), Some(to), &compaction);
        let garbage = self.size("rocksdb.live-blob-file-garbage-size");
        if garbage > SNAPSHOT_BLOB_BYTES / 4
            && garbage > self.size("rocksdb.live-blob-file-size") / 2
        {
            let failed = |error| self.failed("giving back space", &error);
            let moving = [
                ("enable_blob_garbage_collection", "true"),
                ("blob_garbage_collection_age_cutoff", "1.0"),
            ];
            self.db.set_options(&moving).map_err(failed)?;
            compaction.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
            self.db.compact_range_opt(None::<&[u8]>, None::<&[u8]>, &compaction);
            let resting = [("enable_blob_garbage_collection", "false")];
            self.db.set_options(&resting).map_err(failed)?;
        }
        Ok(())
    }

    /// What to say of a value that cannot be read.
    fn unread(&self, error: rocksdb::Error) -> String {
        self.note(&error);
        error.into_string()
    }

    fn failed(&self, doing: &str, error: &rocksdb::Error) -> Error {
        self.note(error);
        fault(&self.dir, doing, error)
    }

    /// A store whose files are damaged stops taking writes when it comes to merge them: it is
    /// rebuilt when it is opened again.
    fn note(&self, error: &rocksdb::Error) {
        if !self.is_read_only && is_damage(error) {
            directory::suspect(&self.dir, &fault(&self.dir, "reading it", error).message);
        }
    }

    fn size(&self, property: &str) -> u64 {
        self.db.property_int_value(property).ok().flatten().unwrap_or(0)
    }
}

/// Whether `error` says that files are not as they were written.
fn is_damage(error: &rocksdb::Error) -> bool {
    error.kind() == rocksdb::ErrorKind::Corruption || error.as_ref().contains("No such file")
}

fn fault(dir: &Path, doing: &str, error: &rocksdb::Error) -> Error {
    let message = format!("the snapshot store in {}: {doing}: {error}", dir.display());
    Error::new(ErrorKind::Io, message)
}
