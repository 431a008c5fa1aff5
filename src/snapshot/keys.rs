//! Keys and checksums of the store.
//!
//! A key is a tag, the job's name, a zero byte, and numbers in big-endian order, so that what a
//! job owns under one tag is one range, in order of its numbers.

use twox_hash::XxHash64;

use crate::error::{Error, Result};
use crate::limits::SNAPSHOT_JOB_BYTES_MAX;

/// Version of the format; before all tags.
pub const FORMAT_KEY: &[u8] = b"\0format";
/// Rows: an Arrow IPC stream.
pub const CHUNK: u8 = b'c';
/// One small entry a chunk, so that listing chunks reads none.
pub const CHUNK_INDEX: u8 = b'i';
/// The jobs of a service.
pub const DEFINITION: u8 = b'd';
/// Entries of journals.
pub const JOURNAL: u8 = b'j';
/// Newest and highest snapshot number of a job.
pub const LATEST: u8 = b'l';
/// Manifests.
pub const MANIFEST: u8 = b'm';

/// Refuses names that cannot be part of a key.
pub fn check_job(job: &str) -> Result<()> {
    if job.is_empty() || job.len() > SNAPSHOT_JOB_BYTES_MAX || job.contains('\0') {
        return Err(Error::config(format!(
            "'{}' cannot be the name of a job: 1 to {SNAPSHOT_JOB_BYTES_MAX} bytes, none of them \
             zero",
            job.escape_debug()
        )));
    }
    Ok(())
}

/// What all keys of `job` under `tag` begin with.
pub fn prefix(tag: u8, job: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(job.len() + 18);
    key.push(tag);
    key.extend_from_slice(job.as_bytes());
    key.push(0);
    key
}

/// The first key after all that begin with `prefix`.
pub fn after(mut prefix: Vec<u8>) -> Vec<u8> {
    // A prefix ends in the zero byte or the number before the last one: neither is all ones.
    while let Some(last) = prefix.pop() {
        if let Some(next) = last.checked_add(1) {
            prefix.push(next);
            break;
        }
    }
    prefix
}

/// The key of number `id` of `job` under `tag`.
pub fn numbered(tag: u8, job: &str, id: u64) -> Vec<u8> {
    let mut key = prefix(tag, job);
    key.extend_from_slice(&id.to_be_bytes());
    key
}

/// The last number in a key.
pub fn number_of(key: &[u8]) -> Option<u64> {
    key.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))
}

/// The job in a key.
pub fn job_of(key: &[u8]) -> Option<&str> {
    let rest = key.get(1..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    std::str::from_utf8(rest.get(..end)?).ok()
}

/// The checksum of `value` under `key`: XXH64 of the value, seeded with XXH64 of the key.
pub fn checksum(key: &[u8], value: &[u8]) -> u64 {
    XxHash64::oneshot(XxHash64::oneshot(0, key), value)
}

/// `body` with checksum and length in front.
pub fn seal(key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(body.len() + 16);
    value.extend_from_slice(&checksum(key, body).to_le_bytes());
    value.extend_from_slice(&(body.len() as u64).to_le_bytes());
    value.extend_from_slice(body);
    value
}

/// The body of what [`seal`] made, or what is wrong with it.
pub fn unseal<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], String> {
    let parts = value.split_first_chunk::<8>().and_then(|(sum, rest)| {
        let (length, body) = rest.split_first_chunk::<8>()?;
        Some((u64::from_le_bytes(*sum), u64::from_le_bytes(*length), body))
    });
    let Some((sum, length, body)) = parts else {
        return Err(format!("{} bytes, too few for checksum and length", value.len()));
    };
    if length != body.len() as u64 {
        return Err(format!("{} bytes, {length} were written", body.len()));
    }
    let found = checksum(key, body);
    if found != sum {
        return Err(format!("checksum {found:016x}, {sum:016x} was written"));
    }
    Ok(body)
}
