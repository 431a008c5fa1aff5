//! [`CopyPlace`]: where a copy of a snapshot is, or shall be: a directory, or objects of a bucket.
//!
//! A copy is a few files without sub-directories, the same in both; [`super::export`] owns what is
//! in them. Here they are written so that a copy is whole or not taken for one, and read.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::directory::{sync_directory, write_synced};
use super::failpoint;
use super::objects::{Bucket, ObjectOptions, ObjectReader, ObjectWriter};
use crate::error::{Error, ErrorKind, Result};

/// Where a copy of a snapshot is, or shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyPlace {
    /// A directory of its own.
    Directory(PathBuf),
    /// Objects below a prefix of its own.
    Objects(Bucket),
}

impl CopyPlace {
    /// The place that `text` names: a directory, `file:///directory` or `s3://bucket/prefix`.
    pub fn parse(text: &str, options: &ObjectOptions) -> Result<CopyPlace> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return match text {
                "" => Err(Error::config("the place of the copy is empty").with_hint(FORMS)),
                _ => Ok(CopyPlace::Directory(PathBuf::from(text))),
            };
        };
        match scheme {
            "file" => {
                let path = rest.strip_prefix("localhost").unwrap_or(rest);
                let path = percent_decoded(path).filter(|path| path.starts_with('/'));
                let path = path.ok_or_else(|| {
                    Error::config(format!("'{text}' names no absolute path"))
                        .with_hint("write file:///directory, or the directory without file://")
                })?;
                Ok(CopyPlace::Directory(PathBuf::from(path)))
            }
            "s3" | "s3a" => Bucket::parse(text, rest, options).map(CopyPlace::Objects),
            _ => {
                let message = format!("'{text}': no copies are kept at {scheme}://");
                Err(Error::config(message).with_hint(FORMS))
            }
        }
    }
}

const FORMS: &str = "write a directory, file:///directory or s3://bucket/prefix";

impl From<&Path> for CopyPlace {
    fn from(dir: &Path) -> Self {
        CopyPlace::Directory(dir.to_path_buf())
    }
}

impl fmt::Display for CopyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CopyPlace::Directory(dir) => dir.display().fmt(f),
            CopyPlace::Objects(bucket) => bucket.fmt(f),
        }
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = rest.get(2..)?;
    }
    String::from_utf8(bytes).ok()
}

/// How far a copy has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyProgress {
    /// Files that are done.
    pub files: u64,
    /// Files in all.
    pub files_all: u64,
    /// Bytes that are done.
    pub bytes: u64,
    /// Bytes in all, but for a few.
    pub bytes_all: u64,
}

impl CopyProgress {
    pub(super) fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// What is told how far a copy has come.
pub type Told<'a> = &'a mut dyn FnMut(CopyProgress);

/// A copy that is being written.
pub(super) enum Writer {
    Directory(DirectoryWriter),
    Objects(ObjectWriter),
}

impl Writer {
    /// Begins a copy at `to`, where there must be none yet. What is left of one that was broken off
    /// goes, or is gone on with if it was of the same `manifest`.
    pub(super) fn begin(to: &CopyPlace, manifest: (&str, &[u8]), last: &str) -> Result<Writer> {
        let mut writer = match to {
            CopyPlace::Directory(dir) => Writer::Directory(DirectoryWriter::begin(dir)?),
            CopyPlace::Objects(bucket) => {
                return ObjectWriter::begin(bucket, manifest, last).map(Writer::Objects);
            }
        };
        let (name, bytes) = manifest;
        writer.write(name, bytes, &mut |_| {})?;
        Ok(writer)
    }

    /// Writes a file; `done` is told the bytes of each that has been written.
    pub(super) fn write(
        &mut self,
        name: &str,
        bytes: &[u8],
        done: &mut dyn FnMut(u64),
    ) -> Result<()> {
        match self {
            Writer::Directory(writer) => {
                writer.write(name, bytes)?;
                done(bytes.len() as u64);
                Ok(())
            }
            Writer::Objects(writer) => writer.write(name, bytes, done),
        }
    }

    /// Writes the file that makes the copy whole, once all others are durable.
    pub(super) fn finish(self, last: (&str, &[u8]), done: &mut dyn FnMut(u64)) -> Result<()> {
        match self {
            Writer::Directory(mut writer) => {
                writer.write(last.0, last.1)?;
                done(last.1.len() as u64);
                writer.publish()
            }
            Writer::Objects(writer) => writer.finish(last, done),
        }
    }
}

/// A directory that appears under its name when it is whole.
pub(super) struct DirectoryWriter {
    to: PathBuf,
    partial: PathBuf,
    published: bool,
}

impl DirectoryWriter {
    fn begin(to: &Path) -> Result<DirectoryWriter> {
        if to.exists() {
            let message = format!("{} is there already", to.display());
            return Err(Error::new(ErrorKind::Conflict, message).with_hint("name a new directory"));
        }
        let Some(name) = to.file_name() else {
            let message = format!("{} is no name of a directory", to.display());
            return Err(Error::config(message).with_hint("name a new directory"));
        };
        let mut name = name.to_os_string();
        name.push(".partial");
        let partial = to.with_file_name(name);
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(|error| Error::io(partial.display(), &error))?;
        }
        fs::create_dir_all(&partial).map_err(|error| Error::io(partial.display(), &error))?;
        Ok(DirectoryWriter { to: to.to_path_buf(), partial, published: false })
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.partial.join(name);
        write_synced(&path, bytes).map_err(|error| Error::io(path.display(), &error))
    }

    fn publish(mut self) -> Result<()> {
        sync_directory(&self.partial)?;
        failpoint::reach("export.before_rename")?;
        let to = &self.to;
        fs::rename(&self.partial, to).map_err(|error| Error::io(to.display(), &error))?;
        self.published = true;
        failpoint::reach("export.after_rename")?;
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_directory(parent.unwrap_or(Path::new(".")))
    }
}

impl Drop for DirectoryWriter {
    fn drop(&mut self) {
        if !self.published {
            // The error that ended the export says more than one of the tidying would.
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}

/// A copy that is being read.
pub(super) enum Reader {
    Directory(PathBuf),
    Objects(ObjectReader),
}

impl Reader {
    pub(super) fn open(from: &CopyPlace) -> Result<Reader> {
        match from {
            CopyPlace::Directory(dir) => Ok(Reader::Directory(dir.clone())),
            CopyPlace::Objects(bucket) => ObjectReader::open(bucket).map(Reader::Objects),
        }
    }

    /// Where it is, for messages.
    pub(super) fn place(&self) -> String {
        match self {
            Reader::Directory(dir) => dir.display().to_string(),
            Reader::Objects(reader) => reader.place(),
        }
    }

    /// The error that `what` is wrong with the file `name`.
    pub(super) fn damaged(&self, name: &str, what: impl fmt::Display) -> Error {
        let message = format!("the snapshot in {}: {name}: {what}", self.place());
        Error::new(ErrorKind::Io, message)
    }

    /// The names of all that is there.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        let dir = match self {
            Reader::Directory(dir) => dir,
            Reader::Objects(reader) => return reader.names(),
        };
        let mut names = Vec::new();
        let entries = fs::read_dir(dir).map_err(|error| Error::io(dir.display(), &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| Error::io(dir.display(), &error))?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The file `name`, unless it is longer than `bytes_max`.
    pub(super) fn read(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>> {
        let found = match self {
            Reader::Directory(dir) => read_file(&dir.join(name), bytes_max)?,
            Reader::Objects(reader) => reader.read(name, bytes_max)?,
        };
        found.map_err(|size| self.too_long(name, size, bytes_max))
    }

    fn too_long(&self, name: &str, size: u64, bytes_max: u64) -> Error {
        self.damaged(name, format!("{size} bytes, at most {bytes_max} were written"))
    }

    /// Gives `take` the files with these names and greatest sizes, in this order.
    pub(super) fn read_each(
        &self,
        files: &[(String, u64)],
        take: &mut dyn FnMut(usize, Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        if let Reader::Objects(reader) = self {
            return reader.read_each(files, &mut |index, found| {
                let (name, bytes_max) = &files[index];
                take(index, found.map_err(|size| self.too_long(name, size, *bytes_max))?)
            });
        }
        for (index, (name, bytes_max)) in files.iter().enumerate() {
            take(index, self.read(name, *bytes_max)?)?;
        }
        Ok(())
    }
}

/// The bytes of a file, or its size if that is above `bytes_max`.
pub(super) type Found = std::result::Result<Vec<u8>, u64>;

fn read_file(path: &Path, bytes_max: u64) -> Result<Found> {
    let failed = |error: &std::io::Error| Error::io(path.display(), error);
    let size = fs::metadata(path).map_err(|error| failed(&error))?.len();
    if size > bytes_max {
        return Ok(Err(size));
    }
    fs::read(path).map(Ok).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart() {
        let options = ObjectOptions::default();
        let parse = |text: &str| CopyPlace::parse(text, &options);
        for (text, path) in [
            ("backup", "backup"),
            ("/a/b", "/a/b"),
            ("file:///a/b%20c", "/a/b c"),
            ("file://localhost/a", "/a"),
        ] {
            assert_eq!(parse(text).unwrap(), CopyPlace::Directory(PathBuf::from(path)), "{text}");
        }
        for (text, shown) in [
            ("s3://bucket/a/b/", "s3://bucket/a/b"),
            ("s3://bucket", "s3://bucket"),
            ("s3a://my.bucket/x y", "s3://my.bucket/x y"),
        ] {
            let place = parse(text).unwrap();
            assert!(matches!(place, CopyPlace::Objects(_)), "{text}");
            assert_eq!(place.to_string(), shown);
        }
        for text in ["", "file://a/b", "file:///a%2", "gs://b/c", "s3://", "s3:///a", "s3://b/c//d"]
        {
            let error = parse(text).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Config, "{text}");
            assert!(error.hint.is_some(), "{text}");
        }
    }
}
