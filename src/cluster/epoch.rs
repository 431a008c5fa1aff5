//! What the leader remembers of the cluster: the epoch, which is how often it has started, ever,
//! and which jobs have taken a process down with them lately.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::snapshot::replace_file;

const FILE: &str = "cluster.json";

/// Crashes are forgotten after so long.
const CRASHES_MS: i64 = 600_000;

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    epoch: u64,
    /// By job, wall times in ms.
    #[serde(default)]
    crashes: BTreeMap<String, Vec<i64>>,
}

impl Kept {
    fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| {
                // Without it two sessions could have one number: a zombie would not be known.
                Error::config(format!("{}: {e}", path.display()))
                    .with_hint("write {\"epoch\":N} with a number above all in the logs")
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Kept::default()),
            Err(error) => Err(Error::io(path.display(), &error)),
        }
    }

    fn write(&self, dir: &Path) -> Result<()> {
        let bytes = serde_json::to_vec(self).map_err(|e| Error::internal(e.to_string()))?;
        replace_file(dir, FILE, &bytes)
    }
}

/// The next epoch of the cluster whose leader has the data directory `dir`, and holds its lock: it
/// was never given before, and never will be again.
pub fn next(dir: &Path) -> Result<u64> {
    let mut kept = Kept::read(dir)?;
    kept.epoch = kept.epoch.saturating_add(1);
    kept.write(dir)?;
    Ok(kept.epoch)
}

/// Notes that each of `jobs` has taken a process down; how often which jobs have, lately.
pub fn crashed(dir: &Path, jobs: &[String], now_ms: i64) -> Result<BTreeMap<String, usize>> {
    let mut kept = Kept::read(dir)?;
    for job in jobs {
        kept.crashes.entry(job.clone()).or_default().push(now_ms);
    }
    for times in kept.crashes.values_mut() {
        times.retain(|time| now_ms.saturating_sub(*time) < CRASHES_MS);
    }
    kept.crashes.retain(|_, times| !times.is_empty());
    if !jobs.is_empty() {
        kept.write(dir)?;
    }
    Ok(kept.crashes.into_iter().map(|(job, times)| (job, times.len())).collect())
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

    #[test]
    fn crashes_are_counted_by_job_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let crashed = |jobs: &[&str], now| {
            let jobs: Vec<String> = jobs.iter().map(|job| (*job).to_owned()).collect();
            crashed(dir.path(), &jobs, now).unwrap()
        };
        assert_eq!(next(dir.path()).unwrap(), 1);
        assert_eq!(crashed(&["a"], 0), [("a".to_owned(), 1)].into());
        assert_eq!(crashed(&["a", "b"], 1000), [("a".to_owned(), 2), ("b".to_owned(), 1)].into());
        assert_eq!(crashed(&[], CRASHES_MS), [("a".to_owned(), 1), ("b".to_owned(), 1)].into());
        assert_eq!(crashed(&[], CRASHES_MS + 1000), BTreeMap::new());
        assert_eq!(next(dir.path()).unwrap(), 2, "the epoch is kept beside");
    }
}
