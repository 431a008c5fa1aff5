//! The commit file of a durable sink: what is in its directory as of one frontier.
//!
//! There is one for each sink of a job, in the sink's directory. It is replaced as a whole by a
//! rename, which is the moment at which the rows below its frontier are in the sink. Knows files
//! and no rows; called by [`super::durable`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::columns::escape;
use super::part::{SavedPart, write_error};
use super::sink::names_in;
use super::spool::checksum;
use super::steps::{self, Steps};
use crate::error::{Error, ErrorKind, Result};
use crate::time::EventTime;

/// The version of the form of commit files.
const VERSION: u32 = 1;
const PREFIX: &str = ".floodmark-";
const SUFFIX: &str = ".json";

/// What a sink has made durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commit {
    /// Whose it is: the job,
    pub job: String,
    /// the run of the job,
    pub run: String,
    /// the table.
    pub sink: String,
    /// How rows are laid out in files: it cannot change while parts are open.
    pub layout: String,
    /// Everything below is in the sink, nothing else.
    pub frontier: EventTime,
    /// The rollover interval of the open parts.
    pub interval: Option<i64>,
    /// How many directories have begun.
    pub begun: u64,
    /// Directories with a part open.
    pub open: Vec<SavedSlot>,
    /// The next part numbers in directories that were written to lately.
    pub numbers: BTreeMap<String, u64>,
    /// Parts that have ended and may not have their final names, by these.
    pub ended: Vec<String>,
}

/// A directory that takes rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedSlot {
    /// Its path below the root.
    pub directory: String,
    /// Its place in the order in which directories began.
    pub begun: u64,
    /// Its open part.
    pub part: Option<SavedPart>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    version: u32,
    checksum: u32,
    commit: Commit,
}

/// Read first, so that a later form is told from damage.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl Commit {
    /// The commit file of table `sink` of `job` in the directory `root`; of a sink with several
    /// writers, that of writer `series`.
    pub fn path(root: &Path, job: &str, sink: &str, series: Option<usize>) -> PathBuf {
        let of = series.map(|writer| format!(".{writer}")).unwrap_or_default();
        root.join(format!("{PREFIX}{}-{}{of}{SUFFIX}", escape(job), escape(sink)))
    }

    /// The commit files in `root`, by name.
    pub fn all(root: &Path) -> Result<Vec<(PathBuf, Commit)>> {
        let mut names = names_in(root)?;
        names.retain(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
        names.sort_unstable();
        let paths = names.into_iter().map(|name| root.join(name));
        paths.map(|path| Commit::read(&path).map(|commit| (path, commit))).collect()
    }

    fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).map_err(|e| Error::io(path.display(), &e))?;
        let damaged = || {
            let message = format!("the commit file '{}' is damaged", path.display());
            Error::new(ErrorKind::Io, message).with_hint(
                "it says which rows are in the directory: put it back as it was; or remove the \
                 sink's files with it and start the job as a new run, which writes everything \
                 again",
            )
        };
        match serde_json::from_slice::<Version>(&text) {
            Ok(Version { version: VERSION }) => {}
            Ok(Version { version }) => {
                let message = format!("the commit file '{}' has form {version}", path.display());
                return Err(Error::new(ErrorKind::Io, message)
                    .with_hint("another version of floodmark wrote it: go on with that one"));
            }
            Err(_) => return Err(damaged()),
        }
        let envelope: Envelope = serde_json::from_slice(&text).map_err(|_| damaged())?;
        if envelope.checksum != envelope.commit.checksum()? {
            return Err(damaged());
        }
        Ok(envelope.commit)
    }

    /// Replaces the commit file at `path`, safe on the disk.
    pub fn write(&self, path: &Path, steps: &Steps) -> Result<()> {
        let envelope =
            Envelope { version: VERSION, checksum: self.checksum()?, commit: self.clone() };
        let text = serde_json::to_vec(&envelope).map_err(|e| Error::internal(e.to_string()))?;
        let hidden = unwritten_name(path);
        let written = File::create(&hidden).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()
        });
        written.map_err(|e| write_error(&hidden, &e))?;
        steps.reach(steps::BEFORE_COMMIT_RENAME)?;
        std::fs::rename(&hidden, path).map_err(|e| write_error(path, &e))?;
        sync_directory(path.parent().unwrap_or(Path::new("")))
    }

    fn checksum(&self) -> Result<u32> {
        let text = serde_json::to_vec(self).map_err(|e| Error::internal(e.to_string()))?;
        Ok(checksum(&text))
    }

    /// Gives the parts that have ended their final names, and forgets them in the commit file at
    /// `path`: whoever reads the directory may take them away from then on.
    pub fn settle(&mut self, root: &Path, path: &Path, steps: &Steps) -> Result<()> {
        if self.ended.is_empty() {
            return Ok(());
        }
        self.publish(root, steps)?;
        steps.reach(steps::AFTER_PUBLISH)?;
        self.ended.clear();
        self.write(path, steps)
    }

    fn publish(&self, root: &Path, steps: &Steps) -> Result<()> {
        let mut directories = BTreeSet::new();
        for ended in &self.ended {
            steps.reach(steps::BEFORE_PUBLISH)?;
            let visible = root.join(ended);
            let hidden = hidden_name(&visible);
            match std::fs::rename(&hidden, &visible) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound && visible.exists() => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                    let message = format!("'{}', a part that has ended, is gone", hidden.display());
                    return Err(Error::new(ErrorKind::Io, message).with_hint(format!(
                        "put it back; if it was read and removed as '{ended}', an empty file of \
                         that name is enough"
                    )));
                }
                Err(e) => return Err(write_error(&visible, &e)),
            }
            directories.extend(directories_above(root, &visible));
        }
        directories.iter().try_for_each(|directory| sync_directory(directory))
    }
}

/// The name of a part while it is written.
pub fn hidden_name(visible: &Path) -> PathBuf {
    let name = visible.file_name().unwrap_or_default().to_string_lossy();
    visible.with_file_name(format!(".{name}.inprogress"))
}

/// The name of a commit file at `path` while it is written.
pub fn unwritten_name(path: &Path) -> PathBuf {
    path.with_extension("json.tmp")
}

/// The directories between `path` and `root`, with `root`.
pub fn directories_above<'a>(
    root: &'a Path,
    path: &'a Path,
) -> impl Iterator<Item = PathBuf> + use<'a> {
    let above = path.ancestors().skip(1);
    above.take_while(move |directory| directory.starts_with(root)).map(Path::to_path_buf)
}

/// Makes the names in `directory` safe on the disk.
pub fn sync_directory(directory: &Path) -> Result<()> {
    let path = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|e| write_error(path, &e))
}
