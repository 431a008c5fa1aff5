//! Arguments, one file a command; no logic.

use std::process::ExitCode;

pub mod generate;

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
