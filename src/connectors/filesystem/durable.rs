//! A filesystem sink over crashes: exactly once, with the bytes of an undisturbed run.
//!
//! A checkpoint makes open parts safe as they are and then replaces the commit file, which names
//! them with their lengths, and the parts that have ended. Only then do these get their final
//! names. A recovery does the same again from the commit file: renames, cuts open parts to their
//! committed length, removes parts that no commit names. So the directory is as it was at the
//! commit's frontier, and so are the numbers and sizes that the rolling rules go by.
//!
//! Who else has a commit file in the directory must be done with it: its open parts are no
//! litter.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::commit::{Commit, SavedSlot, directories_above, sync_directory, unwritten_name};
use super::part::{Part, PartNames, write_error};
use super::sink::{FilesystemSink, Slot, WRITER_OF, names_in};
use super::steps::{self, Steps};
use crate::connectors::SinkMode;
use crate::error::{Error, ErrorKind, Result};
use crate::time::{BEGINNING, CLOSED, EventTime};

/// What a sink of a job with snapshots knows beside.
pub(super) struct Durable {
    job: String,
    run: String,
    sink: String,
    layout: String,
    /// The commit file.
    path: PathBuf,
    steps: Steps,
    /// The last commit's frontier.
    committed: EventTime,
    /// Directories with names that are not safe yet.
    unsynced: BTreeSet<PathBuf>,
}

impl Durable {
    /// Of the sink of table `name`.
    pub(super) fn new(mode: &SinkMode, name: &str, sink: &FilesystemSink) -> Self {
        Durable {
            job: mode.job.clone(),
            run: mode.run.clone(),
            sink: name.to_string(),
            layout: sink.layout(),
            path: Commit::path(&sink.root, &mode.job, name, sink.format.series),
            steps: mode.steps.clone(),
            committed: BEGINNING,
            unsynced: BTreeSet::new(),
        }
    }

    /// A file is made in `directory`.
    pub(super) fn note_directory(&mut self, directory: &Path) {
        if !self.unsynced.contains(directory) {
            self.unsynced.insert(directory.to_path_buf());
        }
    }

    fn is_own(&self, commit: &Commit) -> bool {
        commit.job == self.job && commit.sink == self.sink && commit.run == self.run
    }

    /// Whether `path` is the commit file of another writer of the sink.
    fn is_of_sibling(&self, root: &Path, path: &Path) -> bool {
        let count = writers_of(&self.layout);
        let of = |writer| Commit::path(root, &self.job, &self.sink, Some(writer));
        count > 1 && (0..count).any(|writer| of(writer) == path)
    }

    /// Writes `commit` and gives the parts that have ended their names.
    fn commit(&mut self, root: &Path, mut commit: Commit) -> Result<()> {
        commit.write(&self.path, &self.steps)?;
        self.steps.reach(steps::AFTER_COMMIT)?;
        commit.settle(root, &self.path, &self.steps)?;
        self.committed = commit.frontier;
        Ok(())
    }
}

impl FilesystemSink {
    /// Makes everything so far safe together with `frontier`; nothing without snapshots.
    pub(super) fn save(&mut self, frontier: EventTime) -> Result<()> {
        let Some(mut durable) = self.durable.take() else { return Ok(()) };
        let result = if frontier > durable.committed {
            self.save_with(&mut durable, frontier)
        } else {
            Ok(())
        };
        self.durable = Some(durable);
        result
    }

    fn save_with(&mut self, durable: &mut Durable, frontier: EventTime) -> Result<()> {
        self.close_before(frontier)?;
        durable.steps.reach(steps::BEFORE_SYNC)?;
        let mut open = Vec::with_capacity(self.slots.len());
        for (directory, slot) in &mut self.slots {
            let part = slot.part.as_mut().map(Part::save).transpose()?;
            open.push(SavedSlot { directory: directory.clone(), begun: slot.begun, part });
        }
        let mut unsynced = BTreeSet::new();
        for directory in std::mem::take(&mut durable.unsynced) {
            unsynced.extend(directories_above(&self.root, &directory));
            unsynced.insert(directory);
        }
        unsynced.iter().try_for_each(|directory| sync_directory(directory))?;
        durable.steps.reach(steps::BEFORE_COMMIT)?;
        let ended = self.closed.iter().map(|names| self.below_root(&names.visible));
        let commit = Commit {
            job: durable.job.clone(),
            run: durable.run.clone(),
            sink: durable.sink.clone(),
            layout: durable.layout.clone(),
            frontier,
            interval: self.interval,
            begun: self.slot_count,
            open,
            numbers: self.numbers.clone(),
            ended: ended.collect::<Result<_>>()?,
        };
        durable.commit(&self.root, commit)?;
        for names in std::mem::take(&mut self.closed) {
            remove_if_there(&names.rows)?;
        }
        Ok(())
    }

    fn below_root(&self, path: &Path) -> Result<String> {
        let below = path.strip_prefix(&self.root).ok().and_then(Path::to_str);
        below.map(str::to_string).ok_or_else(|| {
            Error::internal(format!("'{}' is not below the sink's root", path.display()))
        })
    }

    /// Goes on from the commit of this run, if there is one.
    pub(super) fn resume(&mut self, restored: EventTime) -> Result<EventTime> {
        let Some(mut durable) = self.durable.take() else { return Ok(restored) };
        let own = remove_if_there(&unwritten_name(&durable.path));
        let own = own.and_then(|()| self.own_commit(Some(&durable)));
        let frontier = own.and_then(|own| match own {
            Some(commit) => self.resume_from(&mut durable, commit, restored),
            None if restored == BEGINNING => {
                self.remove_unnamed(&BTreeSet::new())?;
                Ok(BEGINNING)
            }
            None => Err(self.misses_rows(&durable.path, restored)),
        });
        self.durable = Some(durable);
        frontier
    }

    /// Removes what an earlier run without snapshots left unfinished.
    pub(super) fn clear(&self) -> Result<()> {
        self.own_commit(None)?;
        self.remove_unnamed(&BTreeSet::new())
    }

    /// Removes the hidden parts of its series that no commit names.
    fn remove_unnamed(&self, kept: &BTreeSet<PathBuf>) -> Result<()> {
        remove_unnamed(&self.root, self.depth(), self.format.series, kept)
    }

    /// The commit of this run; those of others must be of finished ones.
    fn own_commit(&self, durable: Option<&Durable>) -> Result<Option<Commit>> {
        let mut own = None;
        for (path, mut commit) in Commit::all(&self.root)? {
            if let Some(durable) = durable.filter(|durable| durable.is_own(&commit)) {
                let (before, now) = (writers_of(&commit.layout), writers_of(&durable.layout));
                if before != now {
                    return Err(other_writers(&path, before, now));
                }
                if durable.path == path {
                    own = Some(commit);
                    continue;
                }
                if durable.is_of_sibling(&self.root, &path) {
                    continue;
                }
            }
            if commit.frontier == CLOSED {
                // It may have ended before its last parts had their names.
                let steps = durable.map(|d| d.steps.clone()).unwrap_or_default();
                commit.settle(&self.root, &path, &steps)?;
            } else {
                return Err(unfinished(&path, &commit));
            }
        }
        Ok(own)
    }

    fn resume_from(
        &mut self,
        durable: &mut Durable,
        mut commit: Commit,
        restored: EventTime,
    ) -> Result<EventTime> {
        if commit.frontier < restored {
            return Err(self.misses_rows(&durable.path, restored));
        }
        let has_open = commit.open.iter().any(|slot| slot.part.is_some());
        if has_open && commit.layout != durable.layout {
            let message = format!(
                "table '{}' has other columns or options than the parts that are open in '{}'",
                durable.sink,
                self.root.display()
            );
            return Err(Error::config(message).with_hint(format!(
                "they were written as {}: declare the table like that, or give it a directory of \
                 its own",
                commit.layout
            )));
        }
        let mut kept = BTreeSet::new();
        for saved in &commit.open {
            let directory = self.root.join(&saved.directory);
            let reopen = |part| Part::reopen(&directory, part, &self.format);
            let part = saved.part.as_ref().map(reopen).transpose()?;
            kept.extend(part.iter().map(|part| part.kept_file().to_path_buf()));
            self.slots.insert(saved.directory.clone(), Slot { begun: saved.begun, part });
        }
        commit.settle(&self.root, &durable.path, &durable.steps)?;
        durable.steps.reach(steps::BEFORE_CLEANUP)?;
        self.remove_unnamed(&kept)?;
        self.interval = commit.interval;
        self.slot_count = commit.begun;
        self.numbers = commit.numbers;
        durable.committed = commit.frontier;
        Ok(commit.frontier)
    }

    /// An error for a job whose state is ahead of its sink.
    fn misses_rows(&self, commit: &Path, restored: EventTime) -> Error {
        let message = format!(
            "'{}' is not as this run left it: '{}' says nothing of the rows up to {restored}, \
             where the job goes on",
            self.root.display(),
            commit.display()
        );
        Error::new(ErrorKind::Conflict, message).with_hint(
            "put the directory back as it was, or start the job as a new run, which writes \
             everything again",
        )
    }
}

/// How many writers there are, as the layout of one of them says.
fn writers_of(layout: &str) -> usize {
    let number = layout.rsplit_once(WRITER_OF).and_then(|(_, number)| number.parse().ok());
    number.unwrap_or(1)
}

fn other_writers(path: &Path, before: usize, now: usize) -> Error {
    let message = format!(
        "'{}' is of a run with 'sink.parallelism' {before}, and that is {now} now: which writer a \
         row went to cannot change within a run",
        path.display()
    );
    Error::config(message).with_hint(format!(
        "declare the table with 'sink.parallelism' = '{before}', or give it a path of its own"
    ))
}

fn unfinished(path: &Path, commit: &Commit) -> Error {
    let message = format!(
        "'{}' says that job '{}' has not finished writing table '{}' here{}",
        path.display(),
        commit.job,
        commit.sink,
        if commit.run.is_empty() { String::new() } else { format!(" (run '{}')", commit.run) },
    );
    Error::new(ErrorKind::Conflict, message).with_hint(
        "let that run go on to its end, or write to another directory; removing the commit file \
         gives up the rows of its open parts",
    )
}

/// Makes `root` and what is missing above it, safe on the disk.
pub(super) fn create_root(root: &Path) -> Result<()> {
    let missing: Vec<&Path> = root.ancestors().take_while(|path| !path.exists()).collect();
    std::fs::create_dir_all(root).map_err(|e| write_error(root, &e))?;
    missing.iter().filter_map(|path| path.parent()).try_for_each(sync_directory)
}

/// Keeps other sinks out of `root`, whose numbers and unfinished parts would get in each other's
/// way. The lock ends with the file that is given back, also by a kill.
pub(super) fn lock_root(root: &Path) -> Result<File> {
    let path = if root.as_os_str().is_empty() { Path::new(".") } else { root };
    let directory = File::open(path).map_err(|e| Error::io(path.display(), &e))?;
    // A file system that knows no locks is taken as it is.
    if flock(&directory, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
        let message = format!("another sink is writing to '{}'", path.display());
        return Err(Error::new(ErrorKind::Conflict, message).with_hint(
            "give each table a directory of its own, and INSERT the UNION ALL of queries into one \
             table",
        ));
    }
    Ok(directory)
}

fn remove_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(write_error(path, &e)),
        _ => Ok(()),
    }
}

/// Removes the hidden parts that no commit names, `depth` levels of partitions down.
fn remove_unnamed(
    directory: &Path,
    depth: usize,
    series: Option<usize>,
    kept: &BTreeSet<PathBuf>,
) -> Result<()> {
    for name in names_in(directory)? {
        let path = directory.join(&name);
        if PartNames::is_hidden(&name, series) {
            if !kept.contains(&path) {
                std::fs::remove_file(&path).map_err(|e| write_error(&path, &e))?;
            }
        } else if depth > 0 && name.contains('=') && path.is_dir() {
            remove_unnamed(&path, depth - 1, series, kept)?;
        }
    }
    Ok(())
}
