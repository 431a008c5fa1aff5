//! How fast state goes to the store and comes back: 5 million rows of some 70 bytes in chunks.
//!
//! `cargo run --release --example snapshot_speed -- [DIRECTORY] [ROWS]` prints megabytes of columns
//! in memory, and of stored bytes, per second. Read twice: the second time from the page cache.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use floodmark::error::{Error, Result};
use floodmark::snapshot::{ChunkRef, FORMAT, Manifest, SavedState, SavedTableRef, Store, cut};
use floodmark::telemetry::clock::monotonic;

/// Keys, counts, sums and a text of 20 bytes: a group of an aggregation.
fn rows(from: i64, rows: i64) -> Result<RecordBatch> {
    let numbers = from..from + rows;
    let mixed = |n: i64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64);
    let column = |of: &dyn Fn(i64) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(numbers.clone().map(of)))
    };
    let texts = numbers
        .clone()
        .map(|n| format!("customer-{:011}", mixed(n).unsigned_abs() % 99_999_999_999));
    let columns = [
        ("key", column(&|n| mixed(n))),
        ("count", column(&|n| n % 100)),
        ("sum", column(&|n| mixed(n) >> 40)),
        ("first", column(&|n| 1_700_000_000_000 + n)),
        ("name", Arc::new(StringViewArray::from_iter_values(texts)) as ArrayRef),
    ];
    Ok(RecordBatch::try_from_iter(columns)?)
}

fn rate(what: &str, memory: usize, stored: u64, took: Duration) {
    let per_second = |bytes: f64| bytes / 1e6 / took.as_secs_f64();
    println!(
        "{what}: {:.2} s, {:.0} MB/s of columns, {:.0} MB/s stored",
        took.as_secs_f64(),
        per_second(memory as f64),
        per_second(stored as f64)
    );
}

fn manifest(chunks: Vec<ChunkRef>) -> Manifest {
    let table = SavedTableRef {
        name: "groups".to_owned(),
        worker: 0,
        snapshot: 1,
        whole: true,
        shard: None,
        chunks,
    };
    let state = SavedState {
        operator: "GroupAggregate#1".to_owned(),
        node: 1,
        fingerprint: String::new(),
        recovery: "tables".to_owned(),
        since: None,
        tables: vec![table],
    };
    Manifest {
        format: FORMAT,
        job: "speed".to_owned(),
        run: 1,
        id: 1,
        frontier: 0,
        complete: false,
        created_ms: 0,
        duration_ms: 0,
        sql: String::new(),
        settings: Default::default(),
        plan: String::new(),
        workers: 1,
        states: vec![state],
        sources: Vec::new(),
        sinks: Vec::new(),
        counters: Default::default(),
        outputs: None,
        new_bytes: 0,
        changed_bytes: 0,
        pause_us: 0,
        begun_ms: 0,
    }
}

fn run(dir: PathBuf, count: i64) -> Result<()> {
    let step = 1 << 20;
    let batches: Vec<RecordBatch> = (0..count)
        .step_by(step)
        .flat_map(|from| rows(from, (step as i64).min(count - from)).map(|rows| cut(&rows)))
        .flatten()
        .collect();
    // Four numbers, and a view and 20 bytes of a text.
    let memory = count as usize * (4 * 8 + 16 + 20);
    println!("{count} rows, {} chunks, {} MB of columns", batches.len(), memory / 1_000_000);
    let store = Store::open(&dir)?;
    store.delete_job("speed")?;
    let started = monotonic();
    let chunks = batches.iter().map(|rows| store.write_chunk("speed", rows));
    let chunks = chunks.collect::<Result<Vec<_>>>()?;
    let manifest = manifest(chunks);
    store.commit(&manifest)?;
    rate("written and committed", memory, manifest.bytes(), started.elapsed());
    drop((store, batches));
    let started = monotonic();
    let store = Store::open(&dir)?;
    println!("opened: {:.3} s", started.elapsed().as_secs_f64());
    let started = monotonic();
    let latest = store.latest("speed")?.manifest;
    let latest = latest.ok_or_else(|| Error::internal("the snapshot is not there"))?;
    rate("verified", memory, latest.bytes(), started.elapsed());
    for what in ["read", "read again"] {
        let started = monotonic();
        let mut read = 0;
        for (_, _, chunk) in latest.chunks() {
            read += store.read_chunk(chunk)?.num_rows();
        }
        rate(what, memory, latest.bytes(), started.elapsed());
        if read as i64 != count {
            return Err(Error::internal(format!("{read} rows of {count}")));
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir =
        arguments.next().map_or_else(|| std::env::temp_dir().join("snapshot-speed"), Into::into);
    let count = arguments.next().map_or(Ok(5_000_000), |text| text.parse())?;
    Ok(run(dir, count)?)
}
