//! One error form for users: what was wrong, where, and what to do.
//!
//! Errors of the system have few kinds; errors of data travel beside the rows as
//! [`DeadLetter`]s and never stop a job.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the caller must do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorKind {
    /// The user's SQL is wrong: change the text.
    Sql,
    /// An argument, option or setting is wrong: change it.
    Config,
    /// An input or output could not be read or written.
    Io,
    /// A named thing does not exist.
    NotFound,
    /// The request does not fit the present state (a name is taken, a time is out of range).
    Conflict,
    /// A named bound was reached: try later or with less.
    Limit,
    /// The service is not ready: try again.
    Unavailable,
    /// A defect of Floodmark itself.
    Internal,
}

/// A place in a text: file, 1-based line and column, and the line itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// File name, or a name such as `query` for text that came another way.
    pub file: String,
    /// 1-based line.
    pub line: usize,
    /// 1-based column, in characters.
    pub column: usize,
    /// Number of characters to underline; at least one.
    pub width: usize,
    /// The text of the line.
    pub text: String,
}

/// An error for a user: message, place, hint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Error {
    /// What the caller must do.
    pub kind: ErrorKind,
    /// What was wrong: lower case, no final stop.
    pub message: String,
    /// Where, for errors in a text.
    pub location: Option<Box<Location>>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` with a message.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), location: None, hint: None }
    }

    /// An error in the user's SQL.
    pub fn sql(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Sql, message)
    }

    /// An error in an argument, option or setting.
    pub fn config(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Config, message)
    }

    /// An error in reading or writing `what` (a path, an address).
    pub fn io(what: impl fmt::Display, error: &std::io::Error) -> Self {
        Error::new(ErrorKind::Io, format!("{what}: {error}"))
    }

    /// A defect of Floodmark itself.
    pub fn internal(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Internal, message)
    }

    /// The same error with a hint.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error with a place, unless it has one already.
    pub fn at(mut self, location: Location) -> Self {
        self.location.get_or_insert_with(|| Box::new(location));
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        if let Some(at) = &self.location {
            let gutter = at.line.to_string().len();
            write!(f, "\n{:gutter$}--> {}:{}:{}", "", at.file, at.line, at.column)?;
            write!(f, "\n{:gutter$} |\n{} | {}\n{:gutter$} | ", "", at.line, at.text, "")?;
            for c in at.text.chars().take(at.column.saturating_sub(1)) {
                f.write_str(if c == '\t' { "\t" } else { " " })?;
            }
            write!(f, "{}", "^".repeat(at.width.max(1)))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<datafusion::error::DataFusionError> for Error {
    fn from(error: datafusion::error::DataFusionError) -> Self {
        Error::new(ErrorKind::Sql, error.strip_backtrace())
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Error::internal(error.to_string())
    }
}

/// A record that could not become a row, or a row that failed in an expression.
///
/// Dead letters are data: they are counted and queryable as `floodmark.dead_letters`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeadLetter {
    /// The table or operator that could not take the record.
    pub source: String,
    /// The partition it came from (a file path, a generator's index); empty if unknown.
    pub partition: String,
    /// Offset in the partition: bytes for text files, row number otherwise; -1 if unknown.
    pub offset: i64,
    /// Why it was refused.
    pub reason: String,
    /// The record as text, cut to [`crate::limits::DEAD_LETTER_RECORD_BYTES_MAX`].
    pub record: String,
}
