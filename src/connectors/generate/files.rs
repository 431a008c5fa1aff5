//! Generated tables as files: JSON lines, CSV or Parquet, and the `CREATE TABLE`s that read them.
//!
//! Threads generate and encode batches; the caller's thread writes them in order, so that the
//! bytes do not depend on the number of threads. Files appear under their names when all are
//! complete. Called by [`crate::cli::generate`].

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::nexmark::{Nexmark, NexmarkTable};
use super::taxi::{Fares, Rides};
use super::text::{Encoding, TextEncoder};
use super::{EventGenerator, Layout};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{
    BATCH_ROWS, GENERATE_BATCHES_AHEAD_MAX, GENERATE_THREADS_MAX, GENERATED_PARTITIONS_MAX,
};

/// Most events that one run writes: times must stay four-digit years.
const EVENTS_MAX: u64 = 10_000_000_000;

/// What is generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dataset {
    /// The three tables of the Nexmark benchmark.
    Nexmark,
    /// The ride events of Flink's training.
    TaxiRides,
    /// The fares of Flink's training.
    TaxiFares,
}

/// The encoding of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// JSON, one object a line (`.jsonl`).
    Json,
    /// CSV without a header (`.csv`).
    Csv,
    /// Parquet, Snappy-compressed (`.parquet`).
    Parquet,
}

impl FileFormat {
    fn extension(self) -> &'static str {
        match self {
            FileFormat::Json => "jsonl",
            FileFormat::Csv => "csv",
            FileFormat::Parquet => "parquet",
        }
    }

    fn option(self) -> &'static str {
        match self {
            FileFormat::Json => "json",
            FileFormat::Csv => "csv",
            FileFormat::Parquet => "parquet",
        }
    }
}

/// What to write, and where.
#[derive(Clone, Debug)]
pub struct FileJob {
    /// What is generated.
    pub dataset: Dataset,
    /// Events over all tables; for the taxi data, rides.
    pub events: u64,
    /// The seed of Nexmark; the taxi data has none.
    pub seed: u64,
    /// Nexmark events a second of event time.
    pub events_per_second: u64,
    /// The encoding.
    pub format: FileFormat,
    /// The directory; made if it does not exist.
    pub out: PathBuf,
    /// Files a table: one, or a folder of so many.
    pub parts: u64,
    /// Whether files that exist are replaced.
    pub force: bool,
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The files, `tables.sql` included.
    pub files: Vec<PathBuf>,
    /// Rows over all tables.
    pub rows: u64,
    /// Bytes over all tables.
    pub bytes: u64,
}

/// One table to write.
struct Table {
    name: &'static str,
    generator: Box<dyn EventGenerator>,
    layout: Layout,
    rowtime: &'static str,
    delay_seconds: u32,
}

/// A file under its temporary name, which is removed unless the file is published.
struct Pending {
    temporary: PathBuf,
    path: PathBuf,
}

impl Drop for Pending {
    fn drop(&mut self) {
        // After a rename there is nothing left to remove; a failure here leaves a hidden file.
        let _ = fs::remove_file(&self.temporary);
    }
}

impl Pending {
    fn create(path: PathBuf) -> Result<(Pending, File)> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|e| Error::io(folder.display(), &e))?;
        let name = path.file_name().map(|n| n.to_string_lossy()).unwrap_or_default();
        let temporary = path.with_file_name(format!(".{name}.tmp"));
        let file = File::create(&temporary).map_err(|e| Error::io(temporary.display(), &e))?;
        Ok((Pending { temporary, path }, file))
    }

    fn publish(&self) -> Result<()> {
        fs::rename(&self.temporary, &self.path).map_err(|e| Error::io(self.path.display(), &e))
    }
}

/// Writes the files of `job`; `progress` hears of rows written and of rows in all.
pub fn write(job: &FileJob, progress: &mut dyn FnMut(u64, u64)) -> Result<Written> {
    check(job)?;
    let tables = tables(job);
    let sql_path = job.out.join("tables.sql");
    let mut paths: Vec<PathBuf> =
        tables.iter().flat_map(|t| (0..job.parts).map(|part| path_of(job, t, part))).collect();
    paths.push(sql_path.clone());
    refuse_existing(job, &tables, &paths)?;

    let rows_all = tables.iter().filter_map(|t| t.generator.len()).sum();
    let mut written = Written { files: paths, ..Written::default() };
    let mut pending = vec![];
    for table in &tables {
        for part in 0..job.parts {
            let (file, handle) = Pending::create(path_of(job, table, part))?;
            let rows_before = written.rows;
            let mut rows_done = |rows| progress(rows_before + rows, rows_all);
            written.bytes += match job.format {
                FileFormat::Json => text(table, part, Encoding::Json, handle, &mut rows_done),
                FileFormat::Csv => text(table, part, Encoding::Csv, handle, &mut rows_done),
                FileFormat::Parquet => parquet(table, part, handle, &mut rows_done),
            }
            .map_err(|e| at_path(e, &file.path))?;
            written.rows += table.layout.part_rows(part).unwrap_or(0);
            pending.push(file);
        }
    }
    let (sql, mut handle) = Pending::create(sql_path)?;
    handle
        .write_all(tables_sql(job, &tables).as_bytes())
        .map_err(|e| Error::io(sql.path.display(), &e))?;
    pending.push(sql);
    for file in &pending {
        file.publish()?;
    }
    remove_stale_parts(job, &tables, &written.files)?;
    Ok(written)
}

fn check(job: &FileJob) -> Result<()> {
    let between = |name: &str, value: u64, min: u64, max: u64| {
        let message = || format!("--{name} must be from {min} to {max}, found {value}");
        if (min..=max).contains(&value) { Ok(()) } else { Err(Error::config(message())) }
    };
    between("events", job.events, 0, EVENTS_MAX)?;
    between("events-per-second", job.events_per_second, 1, EVENTS_MAX)?;
    between("parts", job.parts, 1, GENERATED_PARTITIONS_MAX)
}

fn at_path(mut error: Error, path: &Path) -> Error {
    if error.kind == ErrorKind::Io {
        error.message = format!("{}: {}", path.display(), error.message);
    }
    error
}

fn tables(job: &FileJob) -> Vec<Table> {
    let table = |name, rowtime, delay_seconds, generator: Box<dyn EventGenerator>| {
        let layout = Layout::new(generator.len(), job.parts);
        Table { name, generator, layout, rowtime, delay_seconds }
    };
    let nexmark = |name, kind| {
        let generator = Nexmark::new(kind, Some(job.events), job.events_per_second, job.seed);
        table(name, "dateTime", 4, Box::new(generator))
    };
    match job.dataset {
        Dataset::Nexmark => vec![
            nexmark("person", NexmarkTable::Person),
            nexmark("auction", NexmarkTable::Auction),
            nexmark("bid", NexmarkTable::Bid),
        ],
        Dataset::TaxiRides => {
            vec![table("rides", "eventTime", 60, Box::new(Rides::new(Some(job.events))))]
        }
        Dataset::TaxiFares => {
            vec![table("fares", "startTime", 60, Box::new(Fares::new(Some(job.events))))]
        }
    }
}

fn path_of(job: &FileJob, table: &Table, part: u64) -> PathBuf {
    let extension = job.format.extension();
    if job.parts == 1 {
        job.out.join(format!("{}.{extension}", table.name))
    } else {
        job.out.join(table.name).join(format!("part-{part}.{extension}"))
    }
}

/// The files of a table's folder; none if it does not exist.
fn folder_entries(job: &FileJob, table: &Table) -> Result<Vec<PathBuf>> {
    let folder = job.out.join(table.name);
    if job.parts == 1 || !folder.is_dir() {
        return Ok(vec![]);
    }
    let read = || -> std::io::Result<Vec<PathBuf>> {
        fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect()
    };
    read().map_err(|e| Error::io(folder.display(), &e))
}

fn refuse_existing(job: &FileJob, tables: &[Table], paths: &[PathBuf]) -> Result<()> {
    if job.force {
        return Ok(());
    }
    let mut existing: Vec<PathBuf> = paths.iter().filter(|p| p.exists()).cloned().collect();
    for table in tables {
        // A folder is read as a whole: a file left over from elsewhere would be read with it.
        existing.extend(folder_entries(job, table)?);
    }
    existing.sort();
    match existing.first() {
        None => Ok(()),
        Some(path) => {
            let message = format!("{} exists", path.display());
            Err(Error::new(ErrorKind::Conflict, message)
                .with_hint("choose another directory with --out, or replace it with --force"))
        }
    }
}

/// Removes part files of an earlier run with more parts or another format.
fn remove_stale_parts(job: &FileJob, tables: &[Table], written: &[PathBuf]) -> Result<()> {
    for table in tables {
        for path in folder_entries(job, table)? {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
            let is_part = name.is_some_and(|n| n.starts_with("part-"));
            if is_part && !written.contains(&path) {
                fs::remove_file(&path).map_err(|e| Error::io(path.display(), &e))?;
            }
        }
    }
    Ok(())
}

/// Computes `produce(0..count)` on threads and hands the results to `consume` in order.
fn pipeline<T: Send>(
    count: u64,
    produce: &(dyn Fn(u64) -> Result<T> + Sync),
    consume: &mut dyn FnMut(T) -> Result<()>,
) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(GENERATE_THREADS_MAX) as u64;
    std::thread::scope(|scope| {
        let mut receivers = vec![];
        for thread in 0..threads.min(count) {
            let (sender, receiver) = sync_channel(GENERATE_BATCHES_AHEAD_MAX);
            receivers.push(receiver);
            scope.spawn(move || {
                for item in (thread..count).step_by(threads as usize) {
                    let result = produce(item);
                    let failed = result.is_err();
                    // Nobody listens any more once writing has failed.
                    if sender.send(result).is_err() || failed {
                        return;
                    }
                }
            });
        }
        for item in 0..count {
            let received = receivers.get((item % threads) as usize).map(|r| r.recv());
            match received {
                Some(Ok(result)) => consume(result?)?,
                _ => return Err(Error::internal("a generating thread ended early")),
            }
        }
        Ok(())
    })
}

/// The batches of the `chunk`th [`BATCH_ROWS`] positions of a part.
fn batches(
    table: &Table,
    part: u64,
    chunk: u64,
    schema: &SchemaRef,
    take: &mut dyn FnMut(RecordBatch) -> Result<()>,
) -> Result<u64> {
    let from = chunk * BATCH_ROWS as u64;
    let mut done = 0;
    while done < BATCH_ROWS as u64 {
        let run = table.layout.run(part, from + done, BATCH_ROWS as u64 - done);
        if run.is_empty() {
            break;
        }
        done += run.end - run.start;
        take(table.generator.batch(run, schema)?)?;
    }
    Ok(done)
}

fn chunks(table: &Table, part: u64) -> u64 {
    table.layout.part_rows(part).unwrap_or(0).div_ceil(BATCH_ROWS as u64)
}

fn text(
    table: &Table,
    part: u64,
    encoding: Encoding,
    mut file: File,
    rows_done: &mut dyn FnMut(u64),
) -> Result<u64> {
    let schema = table.generator.schema();
    let encoder = TextEncoder::new(encoding, &schema)?;
    let produce = |chunk: u64| {
        let mut bytes = Vec::with_capacity(BATCH_ROWS * 320);
        let rows = batches(table, part, chunk, &schema, &mut |batch| {
            encoder.encode(&batch, &mut bytes);
            Ok(())
        })?;
        Ok((bytes, rows))
    };
    let (mut bytes_all, mut rows_all) = (0, 0);
    pipeline(chunks(table, part), &produce, &mut |(bytes, rows)| {
        file.write_all(&bytes).map_err(|e| Error::new(ErrorKind::Io, e.to_string()))?;
        bytes_all += bytes.len() as u64;
        rows_all += rows;
        rows_done(rows_all);
        Ok(())
    })?;
    Ok(bytes_all)
}

fn parquet(table: &Table, part: u64, file: File, rows_done: &mut dyn FnMut(u64)) -> Result<u64> {
    let schema = table.generator.schema();
    // Texts that hardly repeat: a dictionary would only be built to be given up.
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_column_dictionary_enabled("extra".into(), false)
        .set_column_dictionary_enabled("description".into(), false)
        .set_column_dictionary_enabled("itemName".into(), false)
        .build();
    let failed = |e: parquet::errors::ParquetError| Error::new(ErrorKind::Io, e.to_string());
    let mut writer =
        ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties)).map_err(failed)?;
    let produce = |chunk: u64| {
        let mut cut = vec![];
        let rows = batches(table, part, chunk, &schema, &mut |batch| {
            cut.push(batch);
            Ok(())
        })?;
        Ok((cut, rows))
    };
    let mut rows_all = 0;
    pipeline(chunks(table, part), &produce, &mut |(cut, rows)| {
        for batch in cut {
            writer.write(&batch).map_err(failed)?;
        }
        rows_all += rows;
        rows_done(rows_all);
        Ok(())
    })?;
    writer.finish().map_err(failed)?;
    Ok(writer.bytes_written() as u64)
}

fn sql_type(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Int64 => "BIGINT",
        DataType::Int16 => "SMALLINT",
        DataType::Float32 => "FLOAT",
        DataType::Boolean => "BOOLEAN",
        DataType::Timestamp(TimeUnit::Millisecond, None) => "TIMESTAMP(3)",
        _ => "STRING",
    }
}

/// The `CREATE TABLE` statements for the files.
fn tables_sql(job: &FileJob, tables: &[Table]) -> String {
    let mut sql = String::from("-- Tables over the generated files.\n");
    for table in tables {
        let path = if job.parts == 1 { path_of(job, table, 0) } else { job.out.join(table.name) };
        let path = path.display().to_string().replace('\'', "''");
        let (rowtime, delay) = (table.rowtime, table.delay_seconds);
        // Writing to a String cannot fail.
        let _ = writeln!(sql, "CREATE TABLE {} (", table.name);
        for field in table.generator.schema().fields() {
            let _ = writeln!(sql, "  `{}` {},", field.name(), sql_type(field.data_type()));
        }
        let _ = writeln!(
            sql,
            "  WATERMARK FOR `{rowtime}` AS `{rowtime}` - INTERVAL '{delay}' SECOND\n) WITH \
             ('connector' = 'filesystem', 'path' = '{path}', 'format' = '{}');",
            job.format.option()
        );
    }
    sql
}

#[cfg(test)]
mod tests {
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    fn job(dataset: Dataset, events: u64, format: FileFormat, out: &Path) -> FileJob {
        let out = out.to_path_buf();
        let (seed, events_per_second, parts, force) = (0, 10_000, 1, false);
        FileJob { dataset, events, seed, events_per_second, format, out, parts, force }
    }

    fn lines(path: &Path) -> Vec<String> {
        fs::read_to_string(path).unwrap().lines().map(str::to_string).collect()
    }

    #[test]
    fn taxi_files_equal_the_training() {
        let dir = tempfile::tempdir().unwrap();
        write(&job(Dataset::TaxiRides, 4320, FileFormat::Json, dir.path()), &mut |_, _| {})
            .unwrap();
        let rides = fs::read_to_string(dir.path().join("rides.jsonl")).unwrap();
        assert!(rides == include_str!("../../../tests/data/taxi/rides.jsonl"));
        let sql = fs::read_to_string(dir.path().join("tables.sql")).unwrap();
        assert!(sql.contains("`eventTime` - INTERVAL '60' SECOND"), "{sql}");

        let dir = tempfile::tempdir().unwrap();
        write(&job(Dataset::TaxiFares, 4320, FileFormat::Csv, dir.path()), &mut |_, _| {}).unwrap();
        assert_eq!(
            lines(&dir.path().join("fares.csv"))[0],
            "1,2013000185,2013000185,2020-01-01 12:00:20.000,CASH,33.0,0.0,118.0"
        );
    }

    #[test]
    fn parts_hold_the_rows_of_the_one_file() {
        let (one, many) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let single = job(Dataset::Nexmark, 30_000, FileFormat::Json, one.path());
        let mut last = (0, 0);
        let written = write(&single, &mut |rows, all| last = (rows, all)).unwrap();
        assert_eq!((written.rows, last), (30_000, (30_000, 30_000)));
        write(&FileJob { parts: 3, out: many.path().into(), ..single }, &mut |_, _| {}).unwrap();
        for (table, rows) in [("person", 600), ("auction", 1800), ("bid", 27_600)] {
            let mut whole = lines(&one.path().join(format!("{table}.jsonl")));
            assert_eq!(whole.len(), rows);
            let part = |n| lines(&many.path().join(format!("{table}/part-{n}.jsonl")));
            let mut parts: Vec<String> = (0..3).flat_map(part).collect();
            whole.sort();
            parts.sort();
            assert!(whole == parts, "{table}");
        }
    }

    #[test]
    fn parquet_holds_the_rows_of_the_generator() {
        let dir = tempfile::tempdir().unwrap();
        let job = job(Dataset::Nexmark, 20_000, FileFormat::Parquet, dir.path());
        write(&job, &mut |_, _| {}).unwrap();
        let file = File::open(dir.path().join("bid.parquet")).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let schema = Arc::clone(reader.schema());
        let read: Vec<_> = reader.build().unwrap().map(|b| b.unwrap()).collect();
        let read = arrow::compute::concat_batches(&schema, &read).unwrap();
        let generator = Nexmark::new(NexmarkTable::Bid, Some(20_000), 10_000, 0);
        let rows = generator.batch(0..generator.len().unwrap(), &generator.schema()).unwrap();
        assert_eq!(read.columns(), rows.columns());
    }

    #[test]
    fn existing_files_are_replaced_only_by_force() {
        let dir = tempfile::tempdir().unwrap();
        let first = job(Dataset::TaxiFares, 10, FileFormat::Json, dir.path());
        write(&FileJob { parts: 4, ..first.clone() }, &mut |_, _| {}).unwrap();
        let again = FileJob { parts: 2, ..first };
        let error = write(&again, &mut |_, _| {}).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
        assert!(error.hint.unwrap().contains("--force"));
        write(&FileJob { force: true, ..again }, &mut |_, _| {}).unwrap();
        let mut names: Vec<_> = fs::read_dir(dir.path().join("fares"))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["part-0.jsonl", "part-1.jsonl"]);
    }

    #[test]
    fn nothing_is_left_behind_by_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("bid.jsonl")).unwrap();
        let job = job(Dataset::Nexmark, 100, FileFormat::Json, dir.path());
        assert!(write(&FileJob { force: true, ..job }, &mut |_, _| {}).is_err());
        let hidden = fs::read_dir(dir.path())
            .unwrap()
            .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
        assert_eq!(hidden.count(), 0);
    }
}
