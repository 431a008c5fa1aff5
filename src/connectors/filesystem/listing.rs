//! From the option `path` to the files it names: a file, a directory, a glob.
//!
//! Never opens a file. Hidden files and directories (names that begin with `.` or `_`) are
//! skipped unless the pattern itself spells that character, so that files still being written and
//! markers such as `_SUCCESS` are no input. Called when a source is created and, for a watching
//! source, at every interval.

use std::collections::BTreeSet;
use std::io::ErrorKind as IoErrorKind;
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::error::{Error, ErrorKind, Result};
use crate::limits;

/// What to list.
#[derive(Debug)]
pub struct Listing {
    path: String,
    kind: PathKind,
    filter: Option<Regex>,
}

#[derive(Debug)]
enum PathKind {
    /// A file or a directory.
    Plain(PathBuf),
    /// A fixed directory and the patterns of the segments below it.
    Glob(PathBuf, Vec<Segment>),
}

#[derive(Debug)]
enum Segment {
    /// `**`: any number of directories.
    AnyDepth,
    /// One name.
    Name { pattern: Regex, allows_hidden: bool },
}

impl Listing {
    /// Prepares the listing of `path`; `filter` is matched against whole absolute paths.
    pub fn new(path: &str, filter: Option<&str>) -> Result<Self> {
        let local = local_path(path)?;
        let is_glob = local.contains(['*', '?', '[']) && !Path::new(local).exists();
        let kind = if is_glob { glob(local)? } else { PathKind::Plain(PathBuf::from(local)) };
        let filter = filter.map(whole_regex).transpose()?;
        Ok(Listing { path: path.to_string(), kind, filter })
    }

    /// The files, sorted by path. A plain path that does not exist is an error.
    pub fn list(&self) -> Result<BTreeSet<PathBuf>> {
        let mut found = BTreeSet::new();
        match &self.kind {
            PathKind::Plain(path) => {
                let meta = std::fs::metadata(path).map_err(|e| self.error(path, &e))?;
                if meta.is_dir() {
                    self.walk(path, &[Segment::AnyDepth], 0, true, &mut found)?;
                } else {
                    self.add(path.clone(), &mut found)?;
                }
            }
            PathKind::Glob(base, segments) => {
                match std::fs::metadata(base) {
                    Err(e) if e.kind() != IoErrorKind::NotFound => return Err(self.error(base, &e)),
                    Err(_) => {}
                    Ok(_) => self.walk(base, segments, 0, true, &mut found)?,
                };
            }
        }
        Ok(found)
    }

    /// The error for a bounded source that has no file to read.
    pub fn nothing_found(&self) -> Error {
        let path = &self.path;
        let error = match &self.kind {
            PathKind::Plain(_) => {
                Error::new(ErrorKind::NotFound, format!("no file to read in directory '{path}'"))
            }
            PathKind::Glob(..) => {
                Error::new(ErrorKind::NotFound, format!("no file matches '{path}'"))
            }
        };
        error.with_hint(
            "paths are relative to the working directory; names that begin with '.' or '_' are \
             skipped; set 'source.monitor-interval' to wait for files",
        )
    }

    fn error(&self, at: &Path, error: &std::io::Error) -> Error {
        let missing = error.kind() == IoErrorKind::NotFound;
        let error = Error::io(format!("cannot read '{}'", at.display()), error);
        if !missing {
            return error;
        }
        let here = std::env::current_dir().map(|d| d.display().to_string()).unwrap_or_default();
        Error { kind: ErrorKind::NotFound, ..error }
            .with_hint(format!("the path is relative to the working directory '{here}'"))
    }

    /// Adds the files below `dir` that match `segments`. A directory that vanishes while it is
    /// being walked holds nothing, except the root.
    fn walk(
        &self,
        dir: &Path,
        segments: &[Segment],
        depth: usize,
        is_root: bool,
        found: &mut BTreeSet<PathBuf>,
    ) -> Result<()> {
        if depth > limits::PATH_DEPTH_MAX {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("'{}' is nested deeper than {}", dir.display(), limits::PATH_DEPTH_MAX),
            )
            .with_hint("a symbolic link may lead back to a directory above it"));
        }
        let Some((segment, rest)) = segments.split_first() else { return Ok(()) };
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(e) if !is_root && e.kind() == IoErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(self.error(dir, &e)),
        };
        if matches!(segment, Segment::AnyDepth) && !rest.is_empty() {
            self.walk(dir, rest, depth, is_root, found)?;
        }
        for entry in entries {
            let entry = entry.map_err(|e| self.error(dir, &e))?;
            let (path, name) = (joined(dir, &entry.file_name()), entry.file_name());
            let Some(name) = name.to_str() else { continue };
            let is_hidden = name.starts_with(['.', '_']);
            // Follows symbolic links; an entry that is gone by now was never there.
            let Ok(meta) = std::fs::metadata(&path) else { continue };
            match segment {
                Segment::AnyDepth if is_hidden => {}
                Segment::AnyDepth if meta.is_dir() => {
                    self.walk(&path, segments, depth + 1, false, found)?;
                }
                Segment::AnyDepth if rest.is_empty() => self.add(path, found)?,
                Segment::AnyDepth => {}
                Segment::Name { pattern, allows_hidden } => {
                    if (is_hidden && !allows_hidden) || !pattern.is_match(name) {
                        continue;
                    }
                    match (meta.is_dir(), rest.is_empty()) {
                        (true, false) => self.walk(&path, rest, depth + 1, false, found)?,
                        // A directory that the whole pattern matches stands for its files.
                        (true, true) => {
                            self.walk(&path, &[Segment::AnyDepth], depth + 1, false, found)?;
                        }
                        (false, true) => self.add(path, found)?,
                        (false, false) => {}
                    }
                }
            }
        }
        Ok(())
    }

    fn add(&self, path: PathBuf, found: &mut BTreeSet<PathBuf>) -> Result<()> {
        if let Some(filter) = &self.filter {
            let absolute = std::path::absolute(&path).map_err(|e| self.error(&path, &e))?;
            if !filter.is_match(&absolute.to_string_lossy()) {
                return Ok(());
            }
        }
        found.insert(path);
        if found.len() > limits::SOURCE_FILES_MAX {
            let message = format!("'{}' names more than {} files", self.path, found.len() - 1);
            return Err(Error::new(ErrorKind::Limit, message));
        }
        Ok(())
    }
}

/// Checks `path` and `filter` without looking at the file system.
pub fn validate(path: &str, filter: Option<&str>) -> Result<()> {
    local_path(path)?;
    filter.map(whole_regex).transpose().map(drop)
}

/// `path` without a `file:` scheme; other schemes are refused.
pub fn local_path(path: &str) -> Result<&str> {
    if path.is_empty() {
        return Err(Error::config("'path' is empty"));
    }
    let local = match path.split_once("://") {
        Some(("file", rest)) => rest,
        Some((scheme, _)) => {
            return Err(Error::config(format!(
                "'path' has an unknown scheme '{scheme}': '{path}'"
            ))
            .with_hint("write a local path, with or without 'file://'"));
        }
        None => path.strip_prefix("file:").unwrap_or(path),
    };
    if local.is_empty() {
        return Err(Error::config(format!("'path' names no file: '{path}'")));
    }
    Ok(local)
}

/// A regular expression that must match the whole text.
fn whole_regex(pattern: &str) -> Result<Regex> {
    Regex::new(&format!("^(?:{pattern})$")).map_err(|e| {
        Error::config(format!("'source.path.regex-pattern' is no regular expression: {e}"))
    })
}

/// `dir/name`, without a leading `./` when the directory is the working directory.
fn joined(dir: &Path, name: &std::ffi::OsStr) -> PathBuf {
    if dir == Path::new(".") { PathBuf::from(name) } else { dir.join(name) }
}

/// Splits a glob into the fixed directory it begins with and its segments.
fn glob(path: &str) -> Result<PathKind> {
    let mut base = PathBuf::new();
    if path.starts_with('/') {
        base.push("/");
    }
    let mut segments = Vec::new();
    for name in path.split('/').filter(|s| !s.is_empty()) {
        if segments.is_empty() && !name.contains(['*', '?', '[']) {
            base.push(name);
        } else if name == "**" {
            if !matches!(segments.last(), Some(Segment::AnyDepth)) {
                segments.push(Segment::AnyDepth);
            }
        } else {
            segments.push(Segment::Name {
                pattern: name_regex(name, path)?,
                allows_hidden: name.starts_with(['.', '_']),
            });
        }
    }
    if base.as_os_str().is_empty() {
        base.push(".");
    }
    Ok(PathKind::Glob(base, segments))
}

/// The regular expression of one segment of the glob `whole`.
fn name_regex(segment: &str, whole: &str) -> Result<Regex> {
    let mut pattern = String::from("^(?s:");
    let mut rest = segment.chars();
    while let Some(c) = rest.next() {
        match c {
            '*' => pattern.push_str(".*"),
            '?' => pattern.push('.'),
            '[' => {
                let body = rest.as_str();
                // A bracket right after `[` or `[!` stands for itself.
                let negated = body.starts_with(['!', '^']);
                let literal_from = usize::from(negated);
                let skip = literal_from + usize::from(body[literal_from..].starts_with(']'));
                let Some(end) = body[skip..].find(']').map(|at| at + skip) else {
                    return Err(Error::config(format!("'path' has a '[' without ']': '{whole}'")));
                };
                pattern.push_str(if negated { "[^" } else { "[" });
                for member in body[literal_from..end].chars() {
                    if matches!(member, '\\' | '[' | ']' | '&' | '~' | '^') {
                        pattern.push('\\');
                    }
                    pattern.push(member);
                }
                pattern.push(']');
                rest = body[end + 1..].chars();
            }
            _ => pattern.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    pattern.push_str(")$");
    Regex::new(&pattern).map_err(|e| Error::config(format!("'path' is no pattern: '{whole}': {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "a.json",
            "b.json",
            "c.csv",
            ".hidden",
            "_SUCCESS",
            "d/e.json",
            "d/f/g.json",
            "d-x.json",
        ] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        dir
    }

    fn names(dir: &tempfile::TempDir, pattern: &str, filter: Option<&str>) -> Vec<String> {
        let path = format!("{}/{pattern}", dir.path().display());
        let found = Listing::new(&path, filter).unwrap().list().unwrap();
        let relative = found.iter().map(|p| p.strip_prefix(dir.path()).unwrap());
        relative.map(|p| p.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn paths_directories_and_globs_name_files() {
        let dir = tree();
        let all = ["a.json", "b.json", "c.csv", "d/e.json", "d/f/g.json", "d-x.json"];
        for (pattern, filter, want) in [
            ("", None, &all[..]),
            ("a.json", None, &["a.json"]),
            (".hidden", None, &[".hidden"]),
            ("*.json", None, &["a.json", "b.json", "d-x.json"]),
            ("?.json", None, &["a.json", "b.json"]),
            ("[!a].json", None, &["b.json"]),
            ("[a-c].*", None, &["a.json", "b.json", "c.csv"]),
            ("**", None, &all[..]),
            ("**/*.json", None, &["a.json", "b.json", "d/e.json", "d/f/g.json", "d-x.json"]),
            ("d/**/*.json", None, &["d/e.json", "d/f/g.json"]),
            ("d/*", None, &["d/e.json", "d/f/g.json"]),
            ("_*", None, &["_SUCCESS"]),
            ("*.parquet", None, &[]),
            ("nothing/*.json", None, &[]),
            ("", Some(r".*/d/.*\.json"), &["d/e.json", "d/f/g.json"]),
            ("", Some("d"), &[]),
        ] {
            assert_eq!(names(&dir, pattern, filter), want, "{pattern} {filter:?}");
        }
    }

    #[test]
    fn a_name_with_brackets_that_exists_is_that_file() {
        let dir = tree();
        std::fs::write(dir.path().join("x[1].json"), "").unwrap();
        assert_eq!(names(&dir, "x[1].json", None), ["x[1].json"]);
    }

    #[test]
    fn bad_paths_are_refused_by_name() {
        for (path, part) in [
            ("/no/such/file.json", "/no/such/file.json"),
            ("s3://bucket/x", "'s3'"),
            ("", "empty"),
            ("file://", "file://"),
            ("x[", "without ']'"),
        ] {
            let error = Listing::new(path, None).and_then(|l| l.list()).unwrap_err();
            assert!(error.message.contains(part), "{path}: {}", error.message);
        }
        assert!(Listing::new("x", Some("(")).is_err());
    }

    #[test]
    fn a_link_to_a_directory_above_is_an_error_not_a_loop() {
        let dir = tree();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("d/loop")).unwrap();
        let listing = Listing::new(&dir.path().to_string_lossy(), None).unwrap();
        assert_eq!(listing.list().unwrap_err().kind, ErrorKind::Limit);
    }
}
