//! Where a changelog may be cut: never between a `-U` and the `+U` on the line after it.
//!
//! The two are one update and take effect at one time, which a decoder can only see of lines that
//! it gets together.

use memchr::{memmem, memrchr};

use super::super::super::RecordCutter;

/// Lines that are looked back at; so many `-U` in a row are no changelog.
const LINES_BACK_MAX: usize = 64;

/// Cuts at line ends that do not follow a `-U`.
pub(super) struct UpdateCutter;

impl RecordCutter for UpdateCutter {
    fn cut(&mut self, bytes: &[u8]) -> Option<usize> {
        let last = memrchr(b'\n', bytes)? + 1;
        let mut end = last;
        // A line that has the letters somewhere else only moves the cut.
        for _ in 0..LINES_BACK_MAX {
            let before = bytes.get(..end - 1).unwrap_or_default();
            let start = memrchr(b'\n', before).map_or(0, |at| at + 1);
            let line = bytes.get(start..end).unwrap_or_default();
            if memmem::find(line, b"\"-U\"").is_none() {
                return Some(end);
            }
            if start == 0 {
                return None;
            }
            end = start;
        }
        Some(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_is_not_cut_in_two() {
        let cut = |text: &str| UpdateCutter.cut(text.as_bytes());
        assert_eq!(cut("{\"op\":\"+I\"}\n{\"op\""), Some(12));
        assert_eq!(cut("{\"op\":\"+I\"}\n{\"op\":\"-U\"}\n{"), Some(12));
        assert_eq!(cut("{\"op\":\"-U\"}\n{\"op\":\"+U\"}\n{"), Some(24));
        assert_eq!(cut("{\"op\":\"-U\"}\n{"), None);
        assert_eq!(cut("{"), None);
        let many = "{\"op\":\"-U\"}\n".repeat(100);
        assert_eq!(cut(&many), Some(many.len()));
    }
}
