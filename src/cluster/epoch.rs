//! The cluster epoch: how often the leader has started, ever.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::snapshot::replace_file;

const FILE: &str = "cluster.json";

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    epoch: u64,
}

/// The next epoch of the cluster whose leader has the data directory `dir`, and holds its lock: it
/// was never given before, and never will be again.
pub fn next(dir: &Path) -> Result<u64> {
    let path = dir.join(FILE);
    let kept = match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| {
            // Without it two sessions could have one number: a zombie would not be known.
            Error::config(format!("{}: {e}", path.display()))
                .with_hint("write {\"epoch\":N} with a number above all in the logs")
        })?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Kept::default(),
        Err(error) => return Err(Error::io(path.display(), &error)),
    };
    let epoch = kept.epoch.saturating_add(1);
    let bytes = serde_json::to_vec(&Kept { epoch }).map_err(|e| Error::internal(e.to_string()))?;
    replace_file(dir, FILE, &bytes)?;
    Ok(epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_start_has_a_number_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!((next(dir.path()).unwrap(), next(dir.path()).unwrap()), (1, 2));
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        let error = next(dir.path()).unwrap_err();
        assert!(error.message.contains(FILE) && error.hint.is_some(), "{error}");
    }
}
