//! The connector as a whole: sources driven to their end in any order, sinks read back.

use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use arrow::array::{AsArray, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Int64Type, Schema};
use proptest::prelude::*;

use super::*;
use crate::batch::UpdateBatch;
use crate::connectors::registry::{self, Role};
use crate::connectors::{NextSplit, Split};
use crate::error::{Error, ErrorKind};
use crate::limits;
use crate::sql::catalog::{ColumnDef, ColumnKind};

/// A table `t (n BIGINT, s STRING)` over `path`.
pub(super) fn table(path: &Path, format: &str, options: &[(&str, &str)]) -> TableDef {
    let column = |name: &str, data_type| ColumnDef {
        name: name.into(),
        data_type,
        nullable: true,
        kind: ColumnKind::Physical,
    };
    let path = path.to_string_lossy();
    let fixed = [("connector", "filesystem"), ("path", &*path), ("format", format)];
    let options = fixed.iter().chain(options).map(|(k, v)| (k.to_string(), v.to_string()));
    TableDef {
        name: "t".into(),
        columns: vec![column("n", DataType::Int64), column("s", DataType::Utf8View)],
        watermark: None,
        primary_key: Vec::new(),
        partitioned_by: Vec::new(),
        options: options.collect(),
        location: None,
        option_places: Default::default(),
    }
}

fn spec(table: TableDef, split_bytes: usize) -> SourceSpec {
    let schema = table.stored_schema();
    SourceSpec { table: Arc::new(table), schema, split_bytes, process: 0, processes: 1 }
}

/// A source being read, as an operator reads it.
struct Harness {
    source: Arc<dyn Source>,
    woken: Receiver<()>,
    /// For each partition its batches with their offsets, and whether it has ended.
    partitions: Vec<(Vec<(i64, RecordBatch)>, bool)>,
    sequences: Vec<u64>,
    dead_letters: Vec<crate::error::DeadLetter>,
}

impl Harness {
    fn start(spec: &SourceSpec) -> Self {
        registry::validate(&spec.table, Role::Source).unwrap();
        let source = registry::create_source(spec).unwrap();
        let (sender, woken) = sync_channel(1);
        let wake = move || sender.try_send(()).unwrap_or(());
        source.start(Arc::new(wake)).unwrap();
        let (partitions, sequences, dead_letters) = (Vec::new(), Vec::new(), Vec::new());
        Harness { source, woken, partitions, sequences, dead_letters }
    }

    fn take(&mut self, split: Split) {
        let (partition, last) = (split.partition, split.last);
        assert_eq!(split.sequence, self.sequences[partition]);
        self.sequences[partition] += 1;
        let decoded = self.source.decode(split).unwrap();
        self.dead_letters.extend(decoded.dead_letters.into_iter().map(|(_, letter)| letter));
        let state = &mut self.partitions[partition];
        assert!(!state.1, "a split after the last one");
        state.0.extend(decoded.rows.map(|rows| (decoded.offset, rows)));
        state.1 = last;
    }

    /// One round over all partitions, `order` deciding who is asked first; whether anything came,
    /// and whether the source has ended.
    fn round(&mut self, order: &mut impl Iterator<Item = usize>) -> (bool, bool) {
        let count = self.source.partition_count();
        self.partitions.resize_with(count, Default::default);
        self.sequences.resize(count, 0);
        let (mut came, mut ended) = (false, false);
        let first = order.next().unwrap_or(0);
        for index in 0..count {
            let index = (index + first) % count;
            match self.source.next_split(index) {
                NextSplit::Split(split) => {
                    came = true;
                    self.take(split);
                }
                NextSplit::Pending => {}
                NextSplit::Ended => ended = true,
            }
        }
        (came, ended)
    }

    /// Reads to the end, or to the first failure.
    fn finish(&mut self, order: &[usize]) -> Result<(), Error> {
        let mut order = order.iter().copied().cycle();
        loop {
            let (came, ended) = self.round(&mut order);
            if let Some(error) = self.source.failure() {
                return Err(error);
            }
            if ended {
                assert!(self.partitions.iter().all(|p| p.1));
                return Ok(());
            }
            if !came {
                self.woken.recv_timeout(Duration::from_secs(60)).expect("a wake was lost");
            }
        }
    }

    fn names(&self) -> Vec<String> {
        let names = self.source.partitions().into_iter();
        names.map(|p| p.name.rsplit('/').next().unwrap().to_string()).collect()
    }

    fn rows(&self, partition: usize) -> Vec<(i64, String)> {
        let batches = self.partitions[partition].0.iter();
        batches.flat_map(|(_, rows)| pairs(rows)).collect()
    }

    fn all_rows(&self) -> Vec<(i64, String)> {
        (0..self.partitions.len()).flat_map(|p| self.rows(p)).collect()
    }
}

fn pairs(rows: &RecordBatch) -> Vec<(i64, String)> {
    let n = rows.column(0).as_primitive::<Int64Type>().values().to_vec();
    let s = rows.column(1).as_string_view();
    n.into_iter().zip(s.iter().map(|s| s.unwrap().to_string())).collect()
}

fn json_lines(rows: &[(i64, String)]) -> String {
    rows.iter().map(|(n, s)| format!("{{\"n\":{n},\"s\":\"{s}\"}}\n")).collect()
}

fn write_compressed(path: &Path, text: &str) {
    let file = std::fs::File::create(path).unwrap();
    match formats::Compression::from_path(path) {
        formats::Compression::None => (&file).write_all(text.as_bytes()).unwrap(),
        formats::Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap();
        }
        formats::Compression::Zstd => {
            zstd::stream::copy_encode(text.as_bytes(), file, 1).unwrap();
        }
    }
}

fn sample(count: usize) -> Vec<(i64, String)> {
    (0..count as i64).map(|n| (n, format!("{:x}", n * 7919 % 104_729))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn every_order_and_split_size_reads_the_content_of_the_files(
        files in prop::collection::vec(
            (prop::collection::vec((any::<i64>(), "[a-z]{0,40}"), 0..40), 0..3usize, any::<bool>()),
            1..6,
        ),
        split_bytes in 1usize..400,
        order in prop::collection::vec(0usize..6, 1..8),
    ) {
        let dir = tempfile::tempdir().unwrap();
        for (index, (rows, compression, ends_with_line)) in files.iter().enumerate() {
            let extension = ["json", "json.gz", "json.zst"][*compression];
            let mut text = json_lines(rows);
            if !ends_with_line {
                text.truncate(text.trim_end().len());
            }
            write_compressed(&dir.path().join(format!("{index}.{extension}")), &text);
        }
        let mut harness = Harness::start(&spec(table(dir.path(), "json", &[]), split_bytes));
        harness.finish(&order).unwrap();
        prop_assert_eq!(harness.partitions.len(), files.len());
        for (index, (rows, ..)) in files.iter().enumerate() {
            prop_assert_eq!(&harness.rows(index), rows);
            let text = json_lines(rows);
            for (offset, batch) in &harness.partitions[index].0 {
                let first = json_lines(&pairs(batch)[..1]);
                let at = usize::try_from(*offset).unwrap();
                prop_assert!(text[at..].starts_with(&first));
            }
        }
    }
}

#[test]
fn more_files_than_handles_are_read_in_turn() {
    let dir = tempfile::tempdir().unwrap();
    let count = limits::SOURCE_FILES_OPEN_MAX + 20;
    for index in 0..count {
        let rows: Vec<_> = (0..30).map(|n| (n, format!("{index}"))).collect();
        std::fs::write(dir.path().join(format!("{index:03}.json")), json_lines(&rows)).unwrap();
    }
    let mut harness = Harness::start(&spec(table(dir.path(), "json", &[]), 100));
    harness.finish(&[0]).unwrap();
    for index in 0..count {
        let rows = harness.rows(index);
        assert_eq!(rows.len(), 30);
        assert!(rows.iter().all(|(_, s)| *s == index.to_string()));
    }
}

#[test]
fn an_empty_file_is_one_split_and_a_source_of_them_ends() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.json"), "").unwrap();
    std::fs::write(dir.path().join("b.json"), "").unwrap();
    let mut harness = Harness::start(&spec(table(dir.path(), "json", &[]), 100));
    harness.finish(&[0]).unwrap();
    assert_eq!(harness.sequences, [1, 1]);
    assert!(harness.all_rows().is_empty());
}

#[test]
fn one_line_of_a_large_file_is_read_in_large_splits_after_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    let rows = sample(200_000);
    std::fs::write(&path, json_lines(&rows)).unwrap();
    let mut harness = Harness::start(&spec(table(&path, "json", &[]), limits::SPLIT_BYTES));
    harness.finish(&[0]).unwrap();
    assert_eq!(harness.all_rows(), rows);
    assert!(harness.partitions[0].0[1].0 <= limits::SPLIT_BYTES_FIRST as i64);
    let size = std::fs::metadata(&path).unwrap().len() as usize;
    assert!(harness.sequences[0] as usize <= size / limits::SPLIT_BYTES + 2);
}

#[test]
fn a_record_over_the_limit_is_a_dead_letter_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let long = (1, "x".repeat(limits::RECORD_BYTES_MAX));
    let rows = [(0, "a".to_string()), long, (2, "b".to_string())];
    std::fs::write(dir.path().join("a.json"), json_lines(&rows)).unwrap();
    let mut harness = Harness::start(&spec(table(dir.path(), "json", &[]), limits::SPLIT_BYTES));
    harness.finish(&[0]).unwrap();
    assert_eq!(harness.all_rows(), [rows[0].clone(), rows[2].clone()]);
    let [letter] = &harness.dead_letters[..] else { panic!("{:?}", harness.dead_letters) };
    assert_eq!(letter.offset, json_lines(&rows[..1]).len() as i64);
    assert!(letter.partition.ends_with("a.json") && letter.reason.contains("longer than"));
    assert!(letter.record.len() <= limits::DEAD_LETTER_RECORD_BYTES_MAX);
}

#[test]
fn a_quoted_line_end_is_no_record_border() {
    let dir = tempfile::tempdir().unwrap();
    let rows: Vec<_> = (0..40).map(|n| (n, format!("a\n\"b\",{n}\nc"))).collect();
    let quoted = rows.iter().map(|(n, s)| format!("{n},\"{}\"\n", s.replace('"', "\"\"")));
    std::fs::write(dir.path().join("a.csv"), quoted.collect::<String>()).unwrap();
    for split_bytes in [1, 7, 30, 1000] {
        let mut harness = Harness::start(&spec(table(dir.path(), "csv", &[]), split_bytes));
        harness.finish(&[0]).unwrap();
        assert_eq!(harness.all_rows(), rows, "{split_bytes}");
        assert!(harness.dead_letters.is_empty());
    }
}

#[test]
fn a_watching_source_reads_files_that_come_later() {
    let dir = tempfile::tempdir().unwrap();
    let watching = [("source.monitor-interval", "1 ms")];
    let table = table(dir.path(), "json", &watching);
    assert!(!registry::is_bounded(&table).unwrap());
    let mut harness = Harness::start(&spec(table, 100));
    assert!(!harness.source.is_bounded() && !harness.source.partitions_complete());
    for round in 1..4 {
        let hidden = dir.path().join(".coming");
        std::fs::write(&hidden, json_lines(&sample(20))).unwrap();
        std::fs::rename(hidden, dir.path().join(format!("{round}.json"))).unwrap();
        while harness.partitions.iter().filter(|p| p.1).count() < round {
            if !harness.round(&mut [0].into_iter().cycle()).0 {
                harness.woken.recv_timeout(Duration::from_secs(60)).expect("a wake was lost");
            }
        }
        assert_eq!(harness.rows(round - 1), sample(20));
    }
    assert_eq!(harness.names(), ["1.json", "2.json", "3.json"]);
}

#[test]
fn processes_share_the_files_out() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c", "d", "e"] {
        std::fs::write(dir.path().join(name), json_lines(&sample(3))).unwrap();
    }
    for watching in [&[][..], &[("source.monitor-interval", "1 h")]] {
        let mut all = Vec::new();
        for process in 0..3 {
            let mut spec = spec(table(dir.path(), "json", watching), 100);
            (spec.process, spec.processes) = (process, 3);
            all.extend(Harness::start(&spec).names());
        }
        all.sort();
        assert_eq!(all, ["a", "b", "c", "d", "e"]);
    }
}

#[test]
fn columns_of_the_file_itself_are_appended() {
    let dir = tempfile::tempdir().unwrap();
    let sub = dir.path().join("day=2021-01-01/hm=00%3A30");
    std::fs::create_dir_all(&sub).unwrap();
    std::fs::write(sub.join("a.json"), json_lines(&sample(3))).unwrap();
    let mut table = table(dir.path(), "json", &[]);
    for (name, key, data_type) in
        [("file_name", "file.name", DataType::Utf8View), ("size", "file.size", DataType::Int64)]
    {
        table.columns.push(ColumnDef {
            name: name.into(),
            data_type,
            nullable: true,
            kind: ColumnKind::Metadata { key: key.into(), is_virtual: true },
        });
    }
    for (name, data_type) in [("day", DataType::Date32), ("hm", DataType::Utf8View)] {
        let kind = ColumnKind::Physical;
        table.columns.push(ColumnDef { name: name.into(), data_type, nullable: true, kind });
        table.partitioned_by.push(name.into());
    }
    let mut spec = spec(table, 1000);
    // Columns are chosen by name, in any order; here none is from the records themselves.
    let schema = spec.table.stored_schema();
    let fields = ["hm", "size", "file_name", "day"].map(|n| schema.field_with_name(n).unwrap());
    spec.schema = Arc::new(Schema::new(fields.map(Clone::clone).to_vec()));
    let mut harness = Harness::start(&spec);
    harness.finish(&[0]).unwrap();
    let (_, rows) = &harness.partitions[0].0[0];
    let text =
        arrow::util::pretty::pretty_format_batches(std::slice::from_ref(rows)).unwrap().to_string();
    assert_eq!(text.matches("| 00:30 | 54   | a.json    | 2021-01-01 |").count(), 3, "{text}");
    assert_eq!(rows.num_rows(), 3);
}

#[test]
fn what_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let create = |path: &Path| registry::create_source(&spec(table(path, "json", &[]), 100));
    let missing = create(&dir.path().join("missing.json")).err().unwrap();
    assert_eq!(missing.kind, ErrorKind::NotFound);
    assert!(missing.message.contains("missing.json"));
    let empty = create(dir.path()).err().unwrap();
    assert!(empty.message.contains("no file to read"), "{empty}");
    let unmatched = create(&dir.path().join("*.json")).err().unwrap();
    assert!(unmatched.message.contains("*.json"), "{unmatched}");
}

#[test]
fn failures_while_reading_name_the_file() {
    let dir = tempfile::tempdir().unwrap();
    // A file that vanishes.
    let path = dir.path().join("a.json");
    std::fs::write(&path, "{}").unwrap();
    let spec_a = spec(table(&path, "json", &[]), 100);
    let source = registry::create_source(&spec_a).unwrap();
    std::fs::remove_file(&path).unwrap();
    let (sender, woken) = sync_channel(1);
    source.start(Arc::new(move || sender.try_send(()).unwrap_or(()))).unwrap();
    assert!(matches!(source.next_split(0), NextSplit::Pending));
    woken.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(source.failure().unwrap().message.contains("a.json"));
    assert!(matches!(source.next_split(0), NextSplit::Pending));
    // Broken files.
    let gzip = dir.path().join("b.json.gz");
    write_compressed(&gzip, &json_lines(&sample(1000)));
    let whole = std::fs::read(&gzip).unwrap();
    std::fs::write(&gzip, &whole[..whole.len() / 2]).unwrap();
    let parquet = dir.path().join("c.parquet");
    std::fs::write(&parquet, "PAR1 and then nothing").unwrap();
    for (path, format) in [(&gzip, "json"), (&parquet, "parquet")] {
        let mut harness = Harness::start(&spec(table(path, format, &[]), 100));
        let error = harness.finish(&[0]).unwrap_err();
        let name = path.file_name().unwrap().to_string_lossy();
        assert!(error.message.contains(&*name), "{error}");
    }
}

#[test]
fn options_are_checked_without_touching_files() {
    let bad = |options: &[(&str, &str)], part: &str| {
        let error =
            registry::validate(&table(Path::new("/nowhere"), "json", options), Role::Source)
                .unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    };
    bad(&[("sink.rolling-policy.file-sise", "1")], "'sink.rolling-policy.file-size'");
    bad(&[("source.monitor-interval", "soon")], "'10 s'");
    bad(&[("source.monitor-interval", "0")], "at least");
    bad(&[("csv.field-delimiter", ";")], "no option 'csv.field-delimiter'");
    bad(&[("path", "s3://x")], "'s3'");
    bad(&[("format", "jsom")], "did you mean 'json'");
    bad(&[("connector", "filesytem")], "did you mean 'filesystem'");
    bad(&[("connector", "print")], "cannot be read");
    let mut table = table(Path::new("/nowhere"), "json", &[]);
    registry::validate(&table, Role::Source).unwrap();
    registry::validate(&table, Role::Sink).unwrap();
    table.options.shift_remove("path");
    assert!(registry::validate(&table, Role::Sink).unwrap_err().message.contains("'path'"));
}

/// Rows `(n, s)` at times.
pub(super) fn updates(rows: &[(i64, i64, String)]) -> UpdateBatch {
    let n = Int64Array::from_iter_values(rows.iter().map(|r| r.1));
    let s = StringViewArray::from_iter_values(rows.iter().map(|r| r.2.as_str()));
    let schema = table(Path::new(""), "json", &[]).sink_schema();
    let rows_only = RecordBatch::try_new(schema, vec![Arc::new(n), Arc::new(s)]).unwrap();
    UpdateBatch::new(rows_only, rows.iter().map(|r| r.0).collect::<Vec<_>>().into(), None)
}

/// The visible files below `dir` and their bytes.
pub(super) fn visible(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_path_buf()];
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if !path.file_name().unwrap().to_string_lossy().starts_with('.') {
                let name = path.strip_prefix(dir).unwrap().to_string_lossy().into_owned();
                found.push((name, std::fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

pub(super) fn hidden_count(dir: &Path) -> usize {
    let names = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().starts_with('.')).count()
}

/// What a sink writes when `batch` comes in pieces that end at `cuts`, each committed.
fn written(table: &TableDef, dir: &Path, batch: &UpdateBatch, cuts: &[usize]) {
    let mut sink = registry::create_sink(table, &[], &SinkMode::default()).unwrap();
    let mut from = 0;
    for &to in cuts.iter().chain([&batch.len()]) {
        sink.write(&batch.slice(from, to - from)).unwrap();
        from = to;
        sink.commit(batch.times().get(to).copied().unwrap_or(i64::MAX)).unwrap();
    }
    sink.finish(true).unwrap();
    assert_eq!(hidden_count(dir), 0);
}

#[test]
fn what_a_sink_writes_a_source_reads() {
    let rows: Vec<_> = sample(3000).into_iter().map(|(n, s)| (n * 1000, n, s)).collect();
    for format in ["json", "csv", "parquet"] {
        let dir = tempfile::tempdir().unwrap();
        let small = [("sink.rolling-policy.file-size", "5 kb")];
        let table = table(dir.path(), format, &small);
        written(&table, dir.path(), &updates(&rows), &[]);
        assert!(visible(dir.path()).len() > 1, "{format}");
        let mut harness = Harness::start(&spec(table, 1000));
        harness.finish(&[0]).unwrap();
        assert_eq!(harness.all_rows(), sample(3000), "{format}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn parts_depend_on_rows_alone(
        steps in prop::collection::vec((0i64..400, 0u8..4, 0usize..60), 0..3000),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        format in prop::sample::select(vec!["json", "csv", "parquet"]),
        is_partitioned in any::<bool>(),
    ) {
        let mut time = -100_000;
        let rows: Vec<_> = steps.iter().map(|(step, key, length)| {
            time += step;
            (time, i64::from(*key), "x".repeat(*length))
        }).collect();
        let batch = updates(&rows);
        let mut cuts: Vec<usize> = cuts.iter().map(|i| i.index(rows.len() + 1)).collect();
        cuts.sort_unstable();
        let options = [
            ("sink.rolling-policy.file-size", "20 kb"),
            ("sink.rolling-policy.rollover-interval", "2 min"),
        ];
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (dir, cuts) in [(&one, &[][..]), (&other, &cuts)] {
            let mut table = table(dir.path(), format, &options);
            if is_partitioned {
                table.partitioned_by.push("n".into());
            }
            written(&table, dir.path(), &batch, cuts);
        }
        prop_assert_eq!(visible(one.path()), visible(other.path()));
    }
}

#[test]
fn a_part_appears_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let options = [("sink.rolling-policy.rollover-interval", "10 s")];
    let table = table(dir.path(), "json", &options);
    let row = |time: i64| updates(&[(time, time, "x".into())]);
    let mut sink = registry::create_sink(&table, &[], &SinkMode::default()).unwrap();
    sink.write(&row(1_000)).unwrap();
    sink.commit(2_000).unwrap();
    assert_eq!((visible(dir.path()).len(), hidden_count(dir.path())), (0, 1));
    // The interval has passed: no row of it can still come.
    sink.commit(10_000).unwrap();
    assert_eq!((visible(dir.path()).len(), hidden_count(dir.path())), (1, 0));
    sink.write(&row(11_000)).unwrap();
    sink.commit(12_000).unwrap();
    // The job stops before its input has ended.
    sink.finish(false).unwrap();
    assert_eq!((visible(dir.path()).len(), hidden_count(dir.path())), (1, 0));
    // The next run goes on after what is there, and removes what a crash left.
    std::fs::write(dir.path().join(".part-00009.json.inprogress"), "half").unwrap();
    let mut sink = registry::create_sink(&table, &[], &SinkMode::default()).unwrap();
    assert_eq!(hidden_count(dir.path()), 0);
    sink.write(&row(21_000)).unwrap();
    sink.finish(true).unwrap();
    let names: Vec<_> = visible(dir.path()).into_iter().map(|f| f.0).collect();
    assert_eq!(names, ["part-00000.json", "part-00001.json"]);
}

#[test]
fn partitions_are_directories_and_few_are_open_at_once() {
    let count = limits::SINK_DIRECTORIES_OPEN_MAX as i64 + 10;
    // Twice round: the second time the first directories have had to give way.
    let rows: Vec<_> = (0..count * 2).map(|i| (i, i % count, format!("v{i}"))).collect();
    let batch = updates(&rows);
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (dir, cuts) in [(&one, &[][..]), (&other, &[1, 100, 139, 140, 141, 200])] {
        let mut table = table(dir.path(), "csv", &[]);
        table.partitioned_by.push("n".into());
        written(&table, dir.path(), &batch, cuts);
        let mut harness = Harness::start(&spec(table, 1000));
        harness.finish(&[0]).unwrap();
        let mut read = harness.all_rows();
        let mut all: Vec<_> = rows.iter().map(|r| (r.1, r.2.clone())).collect();
        read.sort();
        all.sort();
        assert_eq!(read, all);
    }
    assert_eq!(visible(one.path()), visible(other.path()));
    assert!(visible(one.path()).iter().any(|(name, _)| name == "n=0/part-00001.csv"));
}

#[test]
fn a_directory_has_one_writer() {
    let dir = tempfile::tempdir().unwrap();
    let table = table(dir.path(), "json", &[]);
    let mut first = registry::create_sink(&table, &[], &SinkMode::default()).unwrap();
    let error = registry::create_sink(&table, &[], &SinkMode::default()).err().unwrap();
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(error.hint.unwrap().contains("UNION ALL"));
    first.finish(true).unwrap();
    registry::create_sink(&table, &[], &SinkMode::default()).unwrap();
}

#[test]
fn rows_cannot_be_taken_back_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink =
        registry::create_sink(&table(dir.path(), "json", &[]), &[], &SinkMode::default()).unwrap();
    let (rows, times, _) = updates(&[(1, 1, "x".into())]).into_parts();
    let twice = UpdateBatch::new(rows.clone(), times.clone(), Some(vec![2].into()));
    sink.write(&twice).unwrap();
    assert!(sink.write(&UpdateBatch::new(rows, times, Some(vec![-1].into()))).is_err());
    sink.finish(true).unwrap();
    let lines = String::from_utf8(visible(dir.path())[0].1.clone()).unwrap();
    assert_eq!(lines.lines().count(), 2);
}
