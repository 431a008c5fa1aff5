//! Parquet: projection, conversion, and files that are not as declared.

use super::*;

fn written(folder: &tempfile::TempDir, text: &str, stored: &SchemaRef) -> std::path::PathBuf {
    let decoder = text_decoder(spec("json", &[], stored, &all(stored))).unwrap();
    let rows = decoder.decode(text.as_bytes().to_vec().into(), "p", 0, true).unwrap().rows;
    let path = folder.path().join("x.parquet");
    let file = std::fs::File::create(&path).unwrap();
    let set = options(&[("parquet.compression", "ZSTD")]);
    let mut writer = ParquetFileWriter::new(file, Arc::clone(stored), &set).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    path
}

fn read(path: &std::path::Path, spec: &FormatSpec) -> Result<Vec<(RecordBatch, i64)>> {
    let mut reader = ParquetReader::open(path, spec)?;
    std::iter::from_fn(|| reader.next()).collect()
}

#[test]
fn wanted_columns_are_found_by_name_and_converted() {
    let folder = tempfile::tempdir().unwrap();
    let stored = schema(&[("a", DataType::Int32), ("b", DataType::Utf8View), ("c", millis())]);
    let text: String = (0..10_000)
        .map(|n| format!("{{\"a\":{n},\"b\":\"b{n}\",\"c\":\"2020-01-01 00:00:00\"}}\n"))
        .collect();
    let path = written(&folder, &text, &stored);
    let declared = schema(&[("c", millis()), ("b", DataType::Utf8View), ("a", DataType::Int64)]);
    let batches = read(&path, &spec("parquet", &[], &declared, &["b", "a"])).unwrap();
    let firsts: Vec<_> = batches.iter().map(|(_, first)| *first).collect();
    assert_eq!(firsts, [0, limits::BATCH_ROWS as i64]);
    assert!(shown(&batches[1].0).starts_with("{\"b\":\"b8192\",\"a\":8192}\n"));
    let counted = read(&path, &spec("parquet", &[], &declared, &[])).unwrap();
    assert_eq!(counted.iter().map(|(rows, _)| rows.num_rows()).sum::<usize>(), 10_000);
}

#[test]
fn files_that_are_not_as_declared_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let stored = schema(&[("a", DataType::Int64), ("b", DataType::Utf8View)]);
    let path = written(&folder, "{\"a\":5000000000,\"b\":null}\n", &stored);
    let failure = |declared: &SchemaRef| {
        let error = read(&path, &spec("parquet", &[], declared, &all(declared))).unwrap_err();
        assert!(error.message.contains("x.parquet"), "{error}");
        error
    };
    let error = failure(&schema(&[("z", DataType::Int64)]));
    assert!(error.message.contains("'z'") && error.hint.unwrap().contains("a, b"));
    assert!(failure(&schema(&[("a", DataType::Int32)])).message.contains("'a'"));
    assert!(failure(&schema(&[("!b", DataType::Utf8View)])).message.contains("NOT NULL"));
    let bytes = std::fs::read(&path).unwrap();
    for length in [0, 3, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        failure(&stored);
    }
}
