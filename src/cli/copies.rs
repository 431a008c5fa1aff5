//! Where copies of snapshots go to and come from, by arguments and environment, and how far a copy
//! has come, on standard error.

use std::io::{IsTerminal, Write, stderr};

use clap::Args;

use super::kept::size;
use crate::error::{Error, Result};
use crate::snapshot::{CopyPlace, CopyProgress, ObjectOptions};

/// Parts of a copy after each of which a line is written, where there is no terminal.
const LINES: u64 = 10;

/// Options of object stores, beside those of the environment.
#[derive(Debug, Args)]
pub struct CopyOptions {
    /// An option of the object store, instead of that of the environment
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = super::parse_setting)]
    settings: Vec<(String, String)>,
}

/// The options of object stores that the environment has.
pub fn options_of_environment() -> ObjectOptions {
    let text = |text: std::ffi::OsString| text.into_string().ok();
    let variables = std::env::vars_os();
    ObjectOptions::of_environment(variables.filter_map(|(n, v)| text(n).zip(text(v))))
}

impl CopyOptions {
    /// The place that `text` names.
    pub fn place(&self, text: &str) -> Result<CopyPlace> {
        let mut options = options_of_environment();
        for (name, value) in super::settings(&self.settings)? {
            options.set(&name, &value)?;
        }
        CopyPlace::parse(text, &options)
    }

    /// Refuses options where another process makes the copy.
    pub fn refuse(&self) -> Result<()> {
        if self.settings.is_empty() {
            return Ok(());
        }
        Err(Error::config("a service reaches object stores by the options of its environment")
            .with_hint("start the service with them, or use --data-dir instead of --url"))
    }
}

/// How far a copy has come: a live line on a terminal, some lines elsewhere.
pub struct CopyLine {
    what: &'static str,
    is_live: bool,
    lines: u64,
}

impl CopyLine {
    /// `what` is what has been done with the bytes that are done.
    pub fn begin(what: &'static str) -> Self {
        CopyLine { what, is_live: stderr().is_terminal(), lines: 0 }
    }

    /// Shows how far it is.
    pub fn show(&mut self, at: CopyProgress) {
        let bytes_all = at.bytes_all.max(at.bytes);
        let (done, all) = (size(Some(at.bytes)), size(Some(bytes_all)));
        let line = format!("{} {done} of {all}, {} of {} files", self.what, at.files, at.files_all);
        let is_last = at.files == at.files_all;
        let mut err = stderr().lock();
        // Progress that cannot be shown is no reason to stop.
        let _ = match self.is_live {
            true if is_last => writeln!(err, "\r\x1b[2K{line}"),
            true => write!(err, "\r\x1b[2K{line}"),
            false => {
                let lines = at.files * LINES / at.files_all.max(1);
                if lines == self.lines {
                    return;
                }
                self.lines = lines;
                writeln!(err, "{line}")
            }
        };
    }
}
