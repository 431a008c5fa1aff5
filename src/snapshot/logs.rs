//! A look at RocksDB's log files before RocksDB reads them.
//!
//! RocksDB (11.8) reads for ever where a record claims to be of a recycled log in a log that is
//! not: one flipped bit in the byte that holds a record's type. So every record is checked here
//! first: a log with anything but whole records and, at its end, one that was not finished, is
//! damaged. The write-ahead logs and the list of files (`MANIFEST-N`) have one format: blocks of
//! 32 KiB; records of masked CRC-32C, length, type and body, none across the end of a block.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

const BLOCK: usize = 32 << 10;
const HEADER: usize = 7;

/// A damaged log.
pub struct DamagedLog {
    path: PathBuf,
    /// Up to here its records are whole.
    whole: usize,
    what: &'static str,
}

impl std::fmt::Display for DamagedLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} at byte {}", self.path.display(), self.what, self.whole)
    }
}

/// The write-ahead logs of `store` that are damaged, and its list of files if that is.
pub fn damaged(store: &Path) -> Result<Vec<DamagedLog>> {
    let unreadable = |error| Error::io(store.display(), &error);
    let mut paths = Vec::new();
    for entry in fs::read_dir(store).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if is_write_ahead_log(&path) {
            paths.push(path);
        }
    }
    // The file that names the list; one that cannot be read is left to RocksDB to refuse.
    if let Ok(current) = fs::read_to_string(store.join("CURRENT")) {
        let path = store.join(current.trim_end());
        if path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let bytes = fs::read(&path).map_err(|error| Error::io(path.display(), &error))?;
        if let Some((whole, what)) = first_damage(&bytes) {
            found.push(DamagedLog { path, whole, what });
        }
    }
    Ok(found)
}

fn is_write_ahead_log(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "log")
}

/// Cuts damaged write-ahead logs of `store` off where the damage begins, as after a crash there.
/// The whole file stays under another name.
pub fn cut(store: &Path) -> Result<()> {
    for log in damaged(store)?.into_iter().filter(|log| is_write_ahead_log(&log.path)) {
        let failed = |error| Error::io(log.path.display(), &error);
        let bytes = fs::read(&log.path).map_err(failed)?;
        fs::rename(&log.path, log.path.with_extension("log.damaged")).map_err(failed)?;
        let whole = bytes.get(..log.whole).unwrap_or(&bytes);
        super::directory::write_synced(&log.path, whole).map_err(failed)?;
    }
    Ok(())
}

/// Where the first record begins that is neither whole nor the unfinished last one.
fn first_damage(bytes: &[u8]) -> Option<(usize, &'static str)> {
    let mut at = 0;
    while at < bytes.len() {
        let block_end = (at / BLOCK + 1) * BLOCK;
        if block_end - at < HEADER {
            at = block_end;
            continue;
        }
        let end = block_end.min(bytes.len());
        let rest = &bytes[at..end];
        // A header that the file ends in is of a record that was not finished.
        let (header, body) = rest.split_first_chunk::<HEADER>()?;
        let [c0, c1, c2, c3, l0, l1, kind] = *header;
        let length = usize::from(u16::from_le_bytes([l0, l1]));
        if kind == 0 && bytes[at..].iter().all(|byte| *byte == 0) {
            // Space that was reserved and not written to.
            return None;
        }
        if !(1..=4).contains(&kind) {
            return Some((at, "a record of no known type"));
        }
        let Some(body) = body.get(..length) else {
            // Longer than the file is what a crash leaves; longer than its block is not.
            let is_unfinished = end == bytes.len() && at + HEADER + length <= block_end;
            return (!is_unfinished).then_some((at, "a record longer than its block"));
        };
        if mask(crc32c(kind, body)) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Some((at, "a record whose checksum is wrong"));
        }
        at += HEADER + length;
    }
    None
}

/// A checksum as it is stored.
fn mask(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C of the type and the body of a record.
fn crc32c(kind: u8, body: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    let mut crc = !0_u32;
    for byte in std::iter::once(&kind).chain(body) {
        crc = TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8);
    }
    !crc
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = mask(crc32c(kind, body)).to_le_bytes().to_vec();
        bytes.extend_from_slice(&(body.len() as u16).to_le_bytes());
        bytes.push(kind);
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn the_checksum_is_crc_32c() {
        // The check value of the polynomial is that of "123456789".
        assert_eq!(crc32c(b'1', b"23456789"), 0xe306_9283);
    }

    #[test]
    fn an_unfinished_record_is_no_damage_and_a_changed_one_is() {
        let two = [record(1, b"first"), record(1, b"second")].concat();
        assert_eq!(first_damage(&two), None);
        for end in 0..two.len() {
            assert_eq!(first_damage(&two[..end]), None, "cut off at {end}");
        }
        for bit in 0..8 * two.len() {
            let mut changed = two.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let damage = first_damage(&changed);
            // A length beyond the end cannot be told from a record that was not finished.
            let is_length = matches!(bit / 8 % 12, 4 | 5) || matches!(bit / 8, 16 | 17);
            assert!(damage.is_some() || is_length, "bit {bit}");
        }
        let recycled = [record(1, b"first"), record(5, b"second")].concat();
        assert_eq!(first_damage(&recycled), Some((12, "a record of no known type")));
        let zeroed = [record(1, b"first"), vec![0; 100]].concat();
        assert_eq!(first_damage(&zeroed), None);
    }
}
