//! `floodmark generate`: writes the benchmark's and the training's data to files.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::connectors::generate::files::{self, Dataset, FileFormat, FileJob};
use crate::connectors::generate::nexmark::EVENTS_PER_SECOND_DEFAULT;
use crate::error::Result;
use crate::telemetry::clock;

const EXAMPLES: &str = "Examples:
  # Ten million events of the Nexmark benchmark: person.jsonl, auction.jsonl, bid.jsonl
  floodmark generate nexmark --events 10000000 --format json --out data/nexmark

  # The same rows as Parquet, each table in two part files
  floodmark generate nexmark --events 10000000 --format parquet --parts 2 --out data/parquet

  # A day of Flink's taxi training: 4,320 rides, and their fares
  floodmark generate taxi-rides --events 4320 --format json --out data/rides
  floodmark generate taxi-fares --events 4320 --format csv --out data/fares

Beside the files, tables.sql declares them as tables:
  floodmark run data/rides/tables.sql my_query.sql";

/// Generate test data: the same arguments give the same bytes
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct GenerateArgs {
    /// What to generate
    #[arg(value_enum)]
    pub dataset: DatasetArg,

    /// Events over all tables (1 person : 3 auctions : 46 bids); for the taxi data, rides
    #[arg(long, value_name = "N")]
    pub events: u64,

    /// Seed of the Nexmark events; the taxi data is the same for every seed
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,

    /// Encoding: JSON lines, CSV without a header, or Parquet
    #[arg(long, value_enum, default_value = "json")]
    pub format: FormatArg,

    /// Directory for the files; made if it does not exist
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// Files a table; more than one go to a folder, DIR/bid/part-0.jsonl ...
    #[arg(long, value_name = "P", default_value_t = 1)]
    pub parts: u64,

    /// Nexmark events a second of event time
    #[arg(long, value_name = "E", default_value_t = EVENTS_PER_SECOND_DEFAULT)]
    pub events_per_second: u64,

    /// Replace files that exist
    #[arg(long)]
    pub force: bool,
}

/// The data sets by their names on the command line.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatasetArg {
    /// Persons, auctions and bids of the Nexmark benchmark
    Nexmark,
    /// Ride events of Flink's training
    TaxiRides,
    /// Fares of Flink's training
    TaxiFares,
}

/// The formats by their names on the command line.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatArg {
    /// One object a line
    Json,
    /// Comma-separated values without a header
    Csv,
    /// Parquet, Snappy-compressed
    Parquet,
}

/// Writes the files, with progress on a terminal and a summary, both on standard error.
pub fn run(args: GenerateArgs) -> Result<()> {
    let job = FileJob {
        dataset: match args.dataset {
            DatasetArg::Nexmark => Dataset::Nexmark,
            DatasetArg::TaxiRides => Dataset::TaxiRides,
            DatasetArg::TaxiFares => Dataset::TaxiFares,
        },
        events: args.events,
        seed: args.seed,
        events_per_second: args.events_per_second,
        format: match args.format {
            FormatArg::Json => FileFormat::Json,
            FormatArg::Csv => FileFormat::Csv,
            FormatArg::Parquet => FileFormat::Parquet,
        },
        out: args.out,
        parts: args.parts,
        force: args.force,
    };
    let start = clock::monotonic();
    let is_terminal = std::io::stderr().is_terminal();
    let mut shown = Duration::ZERO;
    let mut progress = |rows: u64, rows_all: u64| {
        let elapsed = start.elapsed();
        if is_terminal && elapsed - shown >= Duration::from_millis(100) {
            shown = elapsed;
            let percent = rows * 100 / rows_all.max(1);
            // Progress that cannot be shown is no reason to stop.
            let _ = write!(std::io::stderr(), "\r{percent:3} % of {rows_all} rows");
        }
    };
    let result = files::write(&job, &mut progress);
    if is_terminal && shown > Duration::ZERO {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    let written = result?;
    let _ = writeln!(
        std::io::stderr(),
        "wrote {} rows, {:.1} MB, {} files to {} in {:.1} s",
        written.rows,
        written.bytes as f64 / 1e6,
        written.files.len(),
        job.out.display(),
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser, Debug)]
    struct Command {
        #[command(flatten)]
        args: GenerateArgs,
    }

    #[test]
    fn arguments_are_read_and_data_is_written() {
        Command::command().debug_assert();
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().to_str().unwrap();
        let line = ["x", "nexmark", "--events", "1000", "--seed", "7", "--format", "csv", "--out"];
        let command = Command::try_parse_from(line.iter().chain([&out])).unwrap();
        assert_eq!((command.args.seed, command.args.parts, command.args.force), (7, 1, false));
        run(command.args.clone()).unwrap();
        let bids = std::fs::read_to_string(dir.path().join("bid.csv")).unwrap();
        assert_eq!(bids.lines().count(), 920);
        assert!(run(command.args).is_err());
        for missing in [&["x", "nexmark"][..], &["x", "taxi", "--events", "1", "--out", "y"]] {
            assert!(Command::try_parse_from(missing).is_err());
        }
        let help = Command::command().render_long_help().to_string();
        assert!(help.contains("taxi-fares") && help.contains("Examples:"), "{help}");
    }
}
