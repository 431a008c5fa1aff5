//! Where `floodmark snapshots` and `floodmark runs` look: a data directory, or a running service.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::copies::CopyLine;
use crate::api::client::Client;
use crate::api::wire::snapshots::{
    ExportDone, Run, Runs, Snapshot, SnapshotDeleted, SnapshotDetail, Snapshots, Verified,
};
use crate::error::{Error, ErrorKind, Result};
use crate::job::archive;
use crate::serve::time_text::format_time;
use crate::snapshot::{CopyPlace, Store};

/// A data directory or a service, and how the answer is printed.
#[derive(Debug, Args)]
pub struct Where {
    /// The data directory, of which no process runs
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
    /// A running service
    #[arg(long, value_name = "URL", global = true, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// How the answer is printed
    #[arg(long, value_enum, default_value = "table", global = true)]
    pub format: Form,
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Columns for people.
    Table,
    /// The form of the HTTP interface.
    Json,
}

/// What is looked at.
pub enum Place {
    /// The store of a data directory.
    Store(Store),
    /// A service.
    Service(Client),
}

impl Where {
    /// The place, to be read.
    pub fn open(&self) -> Result<Place> {
        match &self.data_dir {
            Some(dir) => Ok(Place::Store(Store::open_read_only(dir).map_err(in_use)?)),
            None => Ok(Place::Service(Client::new(&self.url)?)),
        }
    }

    /// The place, to be changed.
    pub fn open_to_change(&self) -> Result<Place> {
        match &self.data_dir {
            Some(dir) => Ok(Place::Store(existing(dir)?)),
            None => Ok(Place::Service(Client::new(&self.url)?)),
        }
    }

    /// The data directory, made if there is none yet.
    pub fn store_to_fill(&self) -> Result<Store> {
        match &self.data_dir {
            Some(dir) => Store::open(dir).map_err(in_use),
            None => Err(Error::config("a snapshot is restored into a directory")
                .with_hint("name it with --data-dir")),
        }
    }
}

/// Opens what is there: a mistyped name makes no new directory.
fn existing(dir: &Path) -> Result<Store> {
    drop(Store::open_read_only(dir).map_err(in_use)?);
    Store::open(dir).map_err(in_use)
}

fn in_use(error: Error) -> Error {
    match error.kind {
        ErrorKind::Conflict if error.message.contains("in use") => {
            error.with_hint("ask the running service: --url http://host:port instead of --data-dir")
        }
        _ => error,
    }
}

/// The path of a job's resource.
pub fn path_of(job: &str, rest: &str) -> Result<String> {
    crate::job::service::validate_job_name(job)?;
    Ok(format!("/v1/jobs/{job}{rest}"))
}

impl Place {
    /// The jobs that have something there.
    pub fn jobs(&self) -> Result<Vec<String>> {
        match self {
            Place::Store(store) => store.jobs(),
            Place::Service(client) => {
                let answer: serde_json::Value = client.request("GET", "/v1/jobs", None)?;
                let jobs = answer["jobs"].as_array().map(Vec::as_slice).unwrap_or_default();
                let name = |job: &serde_json::Value| job["name"].as_str().map(str::to_owned);
                Ok(jobs.iter().filter_map(name).collect())
            }
        }
    }

    fn named_or_all(&self, job: Option<&str>) -> Result<Vec<String>> {
        job.map_or_else(|| self.jobs(), |job| Ok(vec![job.to_owned()]))
    }

    /// The snapshots of `job`, or of all jobs.
    pub fn snapshots(&self, job: Option<&str>) -> Result<Vec<Snapshot>> {
        let mut found = Vec::new();
        for job in &self.named_or_all(job)? {
            match self {
                Place::Store(store) => {
                    archive::check_known(store, job)?;
                    let listed = store.snapshots(job)?;
                    found.extend(listed.iter().map(|listed| Snapshot::of(job, listed)));
                }
                Place::Service(client) => {
                    let path = path_of(job, "/snapshots")?;
                    let answer: Snapshots = client.request("GET", &path, None)?;
                    found.extend(answer.snapshots);
                }
            }
        }
        Ok(found)
    }

    /// The number of the newest snapshot of `job`, unless one is named.
    pub fn number(&self, job: &str, id: Option<u64>) -> Result<u64> {
        let newest = || self.snapshots(Some(job)).map(|all| all.last().and_then(|last| last.id));
        let id = id.map_or_else(newest, |id| Ok(Some(id)))?;
        id.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("job {job} has no snapshot")))
    }

    /// One snapshot in full.
    pub fn show(&self, job: &str, id: u64) -> Result<SnapshotDetail> {
        match self {
            Place::Store(store) => {
                archive::check_known(store, job)?;
                Ok(SnapshotDetail::of(job, &archive::snapshot(store, job, Some(id))?))
            }
            Place::Service(client) => {
                client.request("GET", &path_of(job, &format!("/snapshots/{id}"))?, None)
            }
        }
    }

    /// Reads every byte of a snapshot.
    pub fn verify(&self, job: &str, id: u64) -> Result<Verified> {
        match self {
            Place::Store(store) => {
                let (found, damages) = archive::verify(store, job, id)?;
                Ok(Verified::of(job, &found, &damages))
            }
            Place::Service(client) => {
                let path = path_of(job, &format!("/snapshots/{id}/verify"))?;
                client.request("POST", &path, None)
            }
        }
    }

    /// Writes a copy of a snapshot to a place of its own.
    pub fn export(&self, job: &str, id: u64, to: &CopyPlace) -> Result<ExportDone> {
        match self {
            Place::Store(store) => {
                let mut progress = CopyLine::begin("exported");
                let told = &mut |at| progress.show(at);
                Ok(store.export_telling(job, id, to, told)?.into())
            }
            Place::Service(client) => {
                let path = path_of(job, &format!("/snapshots/{id}/export"))?;
                let to = match to {
                    // The service has a working directory of its own.
                    CopyPlace::Directory(dir) => std::path::absolute(dir)
                        .map_err(|e| Error::io(dir.display(), &e))?
                        .display()
                        .to_string(),
                    CopyPlace::Objects(bucket) => bucket.to_string(),
                };
                let body = serde_json::json!({ "to": to });
                client.request("POST", &path, Some(&body))
            }
        }
    }

    /// Takes a snapshot now.
    pub fn create(&self, job: &str) -> Result<Snapshot> {
        match self {
            Place::Store(_) => Err(Error::config("a snapshot is taken by a running service")
                .with_hint("name it with --url http://host:port, without --data-dir")),
            Place::Service(client) => client.request("POST", &path_of(job, "/snapshots")?, None),
        }
    }

    /// Removes one snapshot.
    pub fn delete(&self, job: &str, id: u64) -> Result<()> {
        match self {
            Place::Store(store) => store.delete(job, id),
            Place::Service(client) => {
                let path = path_of(job, &format!("/snapshots/{id}"))?;
                client.request::<SnapshotDeleted>("DELETE", &path, None).map(drop)
            }
        }
    }

    /// The runs of `job`, or of all jobs.
    pub fn runs(&self, job: Option<&str>) -> Result<Vec<Run>> {
        let mut found = Vec::new();
        for job in &self.named_or_all(job)? {
            match self {
                Place::Store(store) => {
                    archive::check_known(store, job)?;
                    let runs = archive::runs(store, job)?.into_iter();
                    found.extend(runs.map(|info| Run::of(job, info, false)));
                }
                Place::Service(client) => {
                    let answer: Runs = client.request("GET", &path_of(job, "/runs")?, None)?;
                    found.extend(answer.runs);
                }
            }
        }
        Ok(found)
    }
}

/// An answer as JSON, for other programs.
pub fn json(answer: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(answer)
        .map_err(|e| Error::internal(format!("an answer as JSON: {e}")))?;
    Ok(text + "\n")
}

/// Columns below their names, as wide as their widest cell.
pub fn table(names: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count());
        cells.chain(names.get(column).map(|name| name.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(names.to_vec());
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}

/// Wall time as people read it.
pub fn wall(ms: Option<i64>) -> String {
    ms.map_or_else(|| "-".to_owned(), |ms| format_time(ms).chars().take(19).collect())
}

/// A number of bytes as people read it.
pub fn size(bytes: Option<u64>) -> String {
    let Some(bytes) = bytes else { return "-".to_owned() };
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 999.95 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// A value that may be missing.
pub fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_tables() {
        let sizes = [0, 999, 1000, 1_500_000, 999_999, 2_000_000_000_000];
        let expected = ["0 B", "999 B", "1.0 kB", "1.5 MB", "1.0 MB", "2.0 TB"];
        assert_eq!(sizes.map(|bytes| size(Some(bytes))), expected);
        let text = table(&["a", "bcd"], &[vec!["xyz".into(), "1".into()]]);
        assert_eq!(text, "a    bcd\nxyz  1\n");
        assert_eq!(wall(Some(0)), "1970-01-01 00:00:00");
    }
}
