//! A copy of a snapshot: what is in a directory of its own, or below a prefix of a bucket, to be
//! copied anywhere and restored from there.
//!
//! `manifest.json`, one `chunk-N.arrow` a chunk (an Arrow IPC stream that other programs read too),
//! and `checksums`: a line a file with the XXH64 of its bytes, as `xxhsum` prints them, and a last
//! line with that of the lines before. A file that is not listed is refused like one that is
//! damaged.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use twox_hash::XxHash64;

use super::model::{ChunkRef, Exported, Manifest};
use super::place::{CopyPlace, CopyProgress, Reader, Told, Writer};
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

/// Whether a copy may have a file of this name.
pub(super) fn is_file_of_a_copy(name: &str) -> bool {
    let is_chunk = name
        .strip_prefix("chunk-")
        .and_then(|rest| rest.strip_suffix(".arrow"))
        .is_some_and(|number| number.parse::<u64>().is_ok());
    is_chunk || [MANIFEST_FILE, CHECKSUMS_FILE].contains(&name)
}

impl Store {
    /// Writes snapshot `id` of `job` to the new place `to`, which is a copy when it is whole.
    pub fn export(&self, job: &str, id: u64, to: &CopyPlace) -> Result<Exported> {
        self.export_telling(job, id, to, &mut |_| {})
    }

    /// The same, and says meanwhile how far it has come.
    pub fn export_telling(
        &self,
        job: &str,
        id: u64,
        to: &CopyPlace,
        told: Told<'_>,
    ) -> Result<Exported> {
        keys::check_job(job)?;
        let damaged = |damage| Error::new(ErrorKind::Io, format!("the snapshot store: {damage}"));
        let manifest = self.manifest(job, id).map_err(damaged)?;
        let json = serde_json::to_vec_pretty(&manifest)
            .map_err(|error| Error::internal(format!("a manifest: {error}")))?;
        let files_all = manifest.chunks().count() as u64 + 2;
        let bytes_all = manifest.bytes() + json.len() as u64;
        let mut progress = CopyProgress { files_all, bytes_all, ..CopyProgress::default() };
        let mut done = |bytes| {
            progress.add(bytes);
            told(progress);
        };
        failpoint::reach("export.before_manifest")?;
        let mut lines = format!("{HEADING}{FORMAT}\n");
        let mut writer = Writer::begin(to, (MANIFEST_FILE, &json), CHECKSUMS_FILE)?;
        lines.push_str(&line(&json, MANIFEST_FILE));
        done(json.len() as u64);
        for named in manifest.chunks() {
            failpoint::reach("export.before_chunk")?;
            let (_, _, chunk) = named;
            let name = chunk_file(chunk.id);
            let written = self.with_chunk(chunk, |bytes| {
                lines.push_str(&line(bytes, &name));
                writer.write(&name, bytes, &mut done)
            });
            written.map_err(|what| damaged(manifest.damage_in(named, &what)))??;
        }
        lines.push_str(&line(lines.as_bytes(), CHECKSUMS_FILE));
        failpoint::reach("export.before_complete")?;
        writer.finish((CHECKSUMS_FILE, lines.as_bytes()), &mut done)?;
        Ok(Exported { to: to.to_string(), files: progress.files, bytes: progress.bytes })
    }

    /// Takes over the snapshot at `from`, for its own job or another one, as the newest of that
    /// job. Nothing of it is to be seen before all of it is verified.
    pub fn import(&self, from: &CopyPlace, job: Option<&str>) -> Result<Manifest> {
        self.import_telling(from, job, &mut |_| {})
    }

    /// The same, and says meanwhile how far it has come.
    pub fn import_telling(
        &self,
        from: &CopyPlace,
        job: Option<&str>,
        told: Told<'_>,
    ) -> Result<Manifest> {
        let reader = Reader::open(from)?;
        let (mut manifest, listing) = read_export(&reader)?;
        let job = job.unwrap_or(&manifest.job).to_owned();
        // Its tables carry the numbers of the snapshots that wrote them: later ones must be higher.
        manifest.id = self.next_id(&job)?.max(manifest.id);
        let mut taken = BTreeMap::new();
        let read = self.take_chunks(&reader, &listing, &manifest, &job, &mut taken, told);
        let committed = read.and_then(|()| {
            let tables = manifest.states.iter_mut().flat_map(|state| &mut state.tables);
            for chunk in tables.flat_map(|table| &mut table.chunks) {
                if let Some(new) = taken.get(&chunk.id) {
                    chunk.clone_from(new);
                }
            }
            manifest.job.clone_from(&job);
            manifest.format = FORMAT;
            failpoint::reach("import.before_commit")?;
            self.commit(&manifest)
        });
        if let Err(error) = committed {
            let written: Vec<u64> = taken.values().map(|chunk| chunk.id).collect();
            if let Err(more) = self.give_back(&job, &written) {
                tracing::warn!("what was read of a snapshot stays in the store: {more}");
            }
            return Err(error);
        }
        Ok(manifest)
    }

    /// Verifies the chunks of `manifest` and writes them for `job`; `taken` has the new ones by the
    /// numbers of the old ones.
    fn take_chunks(
        &self,
        reader: &Reader,
        listing: &Listing,
        manifest: &Manifest,
        job: &str,
        taken: &mut BTreeMap<u64, ChunkRef>,
        told: Told<'_>,
    ) -> Result<()> {
        let chunks: Vec<&ChunkRef> = manifest.chunks().map(|(_, _, chunk)| chunk).collect();
        let files: Vec<(String, u64)> =
            chunks.iter().map(|chunk| (chunk_file(chunk.id), chunk.bytes)).collect();
        let files_all = files.len() as u64;
        let bytes_all = manifest.bytes();
        let mut progress = CopyProgress { files_all, bytes_all, ..CopyProgress::default() };
        reader.read_each(&files, &mut |index, bytes| {
            let chunk = chunks[index];
            listing.check(reader, &files[index].0, &bytes)?;
            check_chunk(chunk, &bytes).map_err(|what| reader.damaged(&files[index].0, what))?;
            let new = self.write_chunk_bytes(job, &bytes, chunk.rows)?;
            let (min_time, max_time) = (chunk.min_time, chunk.max_time);
            taken.insert(chunk.id, ChunkRef { min_time, max_time, ..new });
            progress.add(bytes.len() as u64);
            told(progress);
            Ok(())
        })
    }
}

/// What is at a place, without its chunks.
fn read_export(reader: &Reader) -> Result<(Manifest, Listing)> {
    let listing = Listing::read(reader)?;
    let bytes = reader.read(MANIFEST_FILE, SNAPSHOT_MANIFEST_BYTES_MAX)?;
    listing.check(reader, MANIFEST_FILE, &bytes)?;
    let manifest = parse_manifest(&bytes).map_err(|what| reader.damaged(MANIFEST_FILE, &what))?;
    let mut expected: BTreeSet<String> =
        manifest.chunks().map(|(_, _, chunk)| chunk_file(chunk.id)).collect();
    expected.insert(MANIFEST_FILE.to_owned());
    if let Some(name) = expected.iter().find(|name| !listing.sums.contains_key(*name)) {
        let what = "the manifest names it, the list of checksums does not";
        return Err(reader.damaged(name, what));
    }
    let names: BTreeSet<String> = reader.names()?.into_iter().collect();
    let mut others = names.iter().filter(|name| *name != CHECKSUMS_FILE);
    if let Some(name) = others.find(|name| !expected.contains(*name)) {
        return Err(reader.damaged(name, "it is not part of the snapshot"));
    }
    match expected.iter().find(|name| !names.contains(*name)) {
        Some(name) => Err(reader.damaged(name, "it is missing")),
        None => Ok((manifest, listing)),
    }
}

fn check_chunk(chunk: &ChunkRef, bytes: &[u8]) -> Result<(), String> {
    check_bytes(chunk, bytes)?;
    let rows = super::chunk::decode(bytes)?.num_rows() as u64;
    if rows != chunk.rows {
        return Err(format!("{rows} rows, {} were written", chunk.rows));
    }
    Ok(())
}

fn line(bytes: &[u8], name: &str) -> String {
    let mut line = String::new();
    // Writing to a text cannot fail.
    let _ = writeln!(line, "{:016x}  {name}", XxHash64::oneshot(0, bytes));
    line
}

/// The list of checksums of an export.
struct Listing {
    sums: BTreeMap<String, u64>,
}

impl Listing {
    fn read(reader: &Reader) -> Result<Listing> {
        let damaged = |what: &str| reader.damaged(CHECKSUMS_FILE, what);
        let bytes = reader
            .read(CHECKSUMS_FILE, SNAPSHOT_MANIFEST_BYTES_MAX)
            .map_err(|error| without_checksums(reader, error))?;
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

    /// Whether `bytes` are those of the file `name`.
    fn check(&self, reader: &Reader, name: &str, bytes: &[u8]) -> Result<()> {
        let Some(sum) = self.sums.get(name) else {
            return Err(reader.damaged(name, "it is not in the list of checksums"));
        };
        match XxHash64::oneshot(0, bytes) {
            found if found == *sum => Ok(()),
            found => {
                let what = format!("checksum {found:016x}, {sum:016x} was written");
                Err(reader.damaged(name, what))
            }
        }
    }
}

/// The error of a place that has no list of checksums, if that is what is wrong.
fn without_checksums(reader: &Reader, error: Error) -> Error {
    let Ok(names) = reader.names() else { return error };
    if names.iter().any(|name| name == CHECKSUMS_FILE) {
        return error;
    }
    let at = reader.place();
    if names.iter().any(|name| name == MANIFEST_FILE) {
        return Error::new(ErrorKind::Io, format!("the export to {at} was never finished"))
            .with_hint("export it again, to the same place");
    }
    Error::new(ErrorKind::NotFound, format!("there is no export at {at}"))
        .with_hint("name the directory of an export, or s3://bucket/prefix")
}
