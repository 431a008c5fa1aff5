//! `floodmark explain`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::error::{Error, Result};
use crate::job::definition::{Definition, PlanFor};

/// Print the stream plan of a SQL script.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  floodmark explain dataflows/hourly_tips.sql")]
pub struct ExplainArguments {
    /// SQL scripts, read in order as one job
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Set a job setting before the first statement
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = super::parse_setting)]
    settings: Vec<(String, String)>,
}

/// Prints the plans.
pub fn run(arguments: &ExplainArguments) -> Result<()> {
    let texts = super::read_scripts(&arguments.files)?;
    let definition = Definition::new(&texts, &arguments.settings)?;
    super::warn(&definition);
    let mut text = definition.explains()?.join("\n");
    if definition.has_outputs() {
        let plan = definition.plan(PlanFor::default())?;
        text.push_str(&crate::plan::explain::explain(&plan));
    }
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).map_err(|e| Error::io("standard output", &e))
}
