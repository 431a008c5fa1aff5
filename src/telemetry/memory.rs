//! How much memory the process has: the only place that asks the system for it.

use std::fs;

/// Bytes of a page of `/proc/self/statm`; that of every system this runs on.
const PAGE_BYTES: u64 = 4096;

/// Bytes of memory that the process has in use, as the system counts them; `None` where it does not
/// tell.
pub fn resident_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_touched_is_counted() {
        let before = resident_bytes().unwrap();
        let held = vec![1_u8; 64 << 20];
        let after = resident_bytes().unwrap();
        assert!(after > before + (32 << 20), "{before} {after} {}", held[held.len() / 2]);
    }
}
