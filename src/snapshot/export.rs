//! A snapshot as a directory of its own, to be copied anywhere and restored from there.
//!
//! `manifest.json`, one `chunk-N.arrow` a chunk (an Arrow IPC stream that other programs read too),
//! and `checksums`: a line a file with the XXH64 of its bytes, as `xxhsum` prints them, and a last
//! line with that of the lines before. A file that is not listed is refused like one that is
//! damaged.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use twox_hash::XxHash64;

use super::directory::{sync_directory, write_synced};
use super::model::{ChunkRef, Exported, Manifest};
use super::store::{Store, check_bytes, parse_manifest};
use super::{FORMAT, failpoint, keys};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::SNAPSHOT_MANIFEST_BYTES_MAX;

const MANIFEST_FILE: &str = "manifest.json";
const CHECKSUMS_FILE: &str = "checksums";
/// The first line of the list of checksums; a comment for `xxhsum`.
const HEADING: &str = "# floodmark snapshot, format ";

fn chunk_file(id: u64) -> String {
    format!("chunk-{id:010}.arrow")
}

impl Store {
    /// Writes snapshot `id` of `job` to the new directory `to`, which appears whole or not at all.
    pub fn export(&self, job: &str, id: u64, to: &Path) -> Result<Exported> {
        keys::check_job(job)?;
        let damaged = |damage| Error::new(ErrorKind::Io, format!("the snapshot store: {damage}"));
        if to.exists() {
            let message = format!("{} is there already", to.display());
            return Err(Error::new(ErrorKind::Conflict, message).with_hint("name a new directory"));
        }
        let manifest = self.manifest(job, id).map_err(damaged)?;
        let mut name = to.file_name().unwrap_or_default().to_os_string();
        name.push(".partial");
        let partial = to.with_file_name(name);
        if partial.exists() {
            remove(&partial)?;
        }
        fs::create_dir_all(&partial).map_err(|error| Error::io(partial.display(), &error))?;
        let written = self.write_export(&manifest, &partial).and_then(|exported| {
            failpoint::reach("export.before_rename")?;
            fs::rename(&partial, to).map_err(|error| Error::io(to.display(), &error))?;
            failpoint::reach("export.after_rename")?;
            let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
            sync_directory(parent.unwrap_or(Path::new(".")))?;
            Ok(Exported { dir: to.to_path_buf(), ..exported })
        });
        if written.is_err() && partial.exists() {
            // The error that is returned says more than one of the tidying would.
            let _ = fs::remove_dir_all(&partial);
        }
        written
    }

    fn write_export(&self, manifest: &Manifest, dir: &Path) -> Result<Exported> {
        let mut files = Files { dir, lines: format!("{HEADING}{FORMAT}\n"), files: 0, bytes: 0 };
        for (state, table, chunk) in manifest.chunks() {
            let name = chunk_file(chunk.id);
            let written = self.with_chunk(chunk, |bytes| files.write(&name, bytes));
            written.map_err(|what| {
                let what = format!("{what} ({}, table {})", state.operator, table.name);
                let damage = manifest.damage(Some(chunk.id), what);
                Error::new(ErrorKind::Io, format!("the snapshot store: {damage}"))
            })??;
        }
        failpoint::reach("export.before_manifest")?;
        let json = serde_json::to_vec_pretty(manifest)
            .map_err(|error| Error::internal(format!("a manifest: {error}")))?;
        files.write(MANIFEST_FILE, &json)?;
        let last = line(files.lines.as_bytes(), CHECKSUMS_FILE);
        let lines = files.lines.clone() + &last;
        files.write(CHECKSUMS_FILE, lines.as_bytes())?;
        sync_directory(dir)?;
        Ok(Exported { dir: dir.to_path_buf(), files: files.files, bytes: files.bytes })
    }

    /// Takes over the snapshot in the directory `from`, for its own job or another one, as the
    /// newest of that job. Everything is verified before anything is written.
    pub fn import(&self, from: &Path, job: Option<&str>) -> Result<Manifest> {
        let (mut manifest, listed) = read_export(from)?;
        for (_, _, chunk) in manifest.chunks() {
            read_listed_chunk(from, &listed, chunk)?;
        }
        let job = job.unwrap_or(&manifest.job).to_owned();
        // Its tables carry the numbers of the snapshots that wrote them: later ones must be higher.
        let id = self.next_id(&job)?.max(manifest.id);
        let mut taken: BTreeMap<u64, ChunkRef> = BTreeMap::new();
        for (_, _, chunk) in manifest.chunks() {
            let bytes = read_listed_chunk(from, &listed, chunk)?;
            let new = self.write_chunk_bytes(&job, &bytes, chunk.rows)?;
            let (min_time, max_time) = (chunk.min_time, chunk.max_time);
            taken.insert(chunk.id, ChunkRef { min_time, max_time, ..new });
        }
        let tables = manifest.states.iter_mut().flat_map(|state| &mut state.tables);
        for chunk in tables.flat_map(|table| &mut table.chunks) {
            if let Some(new) = taken.get(&chunk.id) {
                chunk.clone_from(new);
            }
        }
        manifest.job = job;
        manifest.id = id;
        manifest.format = FORMAT;
        failpoint::reach("import.before_commit")?;
        self.commit(&manifest)?;
        Ok(manifest)
    }
}

/// What the directory `from` holds, without its chunks: for a look before an import.
pub fn read_export(from: &Path) -> Result<(Manifest, Listing)> {
    let listing = Listing::read(from)?;
    let bytes = listing.read_file(from, MANIFEST_FILE)?;
    let manifest = parse_manifest(&bytes).map_err(|what| damaged(from, MANIFEST_FILE, &what))?;
    let mut expected: BTreeSet<String> =
        manifest.chunks().map(|(_, _, chunk)| chunk_file(chunk.id)).collect();
    expected.insert(MANIFEST_FILE.to_owned());
    if let Some(name) = expected.iter().find(|name| !listing.sums.contains_key(*name)) {
        return Err(damaged(from, name, "the manifest names it, the list of checksums does not"));
    }
    let entries = fs::read_dir(from).map_err(|error| Error::io(from.display(), &error))?;
    for entry in entries {
        let entry = entry.map_err(|error| Error::io(from.display(), &error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != CHECKSUMS_FILE && !expected.contains(&name) {
            return Err(damaged(from, &name, "it is not part of the snapshot"));
        }
    }
    Ok((manifest, listing))
}

fn read_listed_chunk(from: &Path, listing: &Listing, chunk: &ChunkRef) -> Result<Vec<u8>> {
    let name = chunk_file(chunk.id);
    let bytes = listing.read_file(from, &name)?;
    check_bytes(chunk, &bytes).map_err(|what| damaged(from, &name, &what))?;
    let rows = super::chunk::decode(&bytes).map_err(|what| damaged(from, &name, &what))?;
    if rows.num_rows() as u64 != chunk.rows {
        let what = format!("{} rows, {} were written", rows.num_rows(), chunk.rows);
        return Err(damaged(from, &name, &what));
    }
    Ok(bytes)
}

/// The files of an export that is being written.
struct Files<'a> {
    dir: &'a Path,
    lines: String,
    files: u64,
    bytes: u64,
}

impl Files<'_> {
    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let path: PathBuf = self.dir.join(name);
        write_synced(&path, bytes).map_err(|error| Error::io(path.display(), &error))?;
        self.lines.push_str(&line(bytes, name));
        self.files += 1;
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

fn line(bytes: &[u8], name: &str) -> String {
    let mut line = String::new();
    // Writing to a text cannot fail.
    let _ = writeln!(line, "{:016x}  {name}", XxHash64::oneshot(0, bytes));
    line
}

/// The list of checksums of an export.
pub struct Listing {
    sums: BTreeMap<String, u64>,
}

impl Listing {
    fn read(from: &Path) -> Result<Listing> {
        let path = from.join(CHECKSUMS_FILE);
        let damaged = |what: &str| damaged(from, CHECKSUMS_FILE, what);
        let bytes = fs::read(&path).map_err(|error| {
            Error::io(path.display(), &error).with_hint("name the directory of an export")
        })?;
        let text = String::from_utf8(bytes).map_err(|_| damaged("it is not text"))?;
        let version = text.lines().next().and_then(|line| line.strip_prefix(HEADING));
        let version: u32 = version
            .and_then(|version| version.parse().ok())
            .ok_or_else(|| damaged("it does not begin as an export does"))?;
        if version == 0 || version > FORMAT {
            return Err(damaged(&format!(
                "it is of format {version}; this version knows formats up to {FORMAT}"
            )));
        }
        let whole = text.strip_suffix('\n').ok_or_else(|| damaged("it has been cut off"))?;
        let body_end = whole.rfind('\n').map_or(0, |at| at + 1);
        let (body, last) = text.split_at(body_end);
        if last != line(body.as_bytes(), CHECKSUMS_FILE) {
            return Err(damaged("its own checksum is not that of its lines"));
        }
        let mut sums = BTreeMap::new();
        for line in body.lines().skip(1) {
            let parts = line.split_once("  ");
            let sum = parts.and_then(|(sum, _)| u64::from_str_radix(sum, 16).ok());
            let (Some(sum), Some((_, name))) = (sum, parts) else {
                return Err(damaged(&format!("'{line}' is not a checksum and a name")));
            };
            sums.insert(name.to_owned(), sum);
        }
        Ok(Listing { sums })
    }

    fn read_file(&self, from: &Path, name: &str) -> Result<Vec<u8>> {
        let Some(sum) = self.sums.get(name) else {
            return Err(damaged(from, name, "it is not in the list of checksums"));
        };
        let path = from.join(name);
        let size = fs::metadata(&path).map_err(|error| Error::io(path.display(), &error))?.len();
        if name == MANIFEST_FILE && size > SNAPSHOT_MANIFEST_BYTES_MAX {
            return Err(damaged(from, name, "it is longer than any manifest"));
        }
        let bytes = fs::read(&path).map_err(|error| Error::io(path.display(), &error))?;
        let found = XxHash64::oneshot(0, &bytes);
        if found != *sum {
            let what = format!("checksum {found:016x}, {sum:016x} was written");
            return Err(damaged(from, name, &what));
        }
        Ok(bytes)
    }
}

fn damaged(from: &Path, name: &str, what: &str) -> Error {
    Error::new(ErrorKind::Io, format!("the snapshot in {}: {name}: {what}", from.display()))
}

fn remove(dir: &Path) -> Result<()> {
    fs::remove_dir_all(dir).map_err(|error| Error::io(dir.display(), &error))
}
