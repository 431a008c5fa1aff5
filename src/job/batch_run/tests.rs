//! A job over workers that exchange batches as bytes gives what one worker gives.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::*;

fn hot_items(topology: &Topology) -> Vec<RecordBatch> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/nexmark");
    let text = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    // Paths in the script are relative to its folder, which a test cannot change to.
    let tables = text("tables.sql").replace("'path' = '", &format!("'path' = '{}/", dir.display()));
    let texts = [("tables.sql".into(), tables), ("q5.sql".into(), text("queries/q5.sql"))];
    let settings = [("source.split_bytes".into(), "100000".into())];
    let definition = Definition::new(&texts, &settings).unwrap();
    let mut results = Vec::new();
    let keep = |rows: &RecordBatch| {
        results.push(rows.clone());
        Ok(())
    };
    let stop = AtomicBool::new(false);
    let (outcome, _) = run(&definition, topology, None, None, &stop, |_| (), keep).unwrap();
    assert_eq!(outcome, Outcome::Complete);
    results
}

#[test]
fn batches_sent_as_bytes_give_the_same() {
    let alone = hot_items(&Topology::alone(1));
    assert!(alone[0].num_rows() > 10);
    let serialised = Topology { always_serialise: true, ..Topology::alone(3) };
    assert_eq!(hot_items(&serialised), alone);
}
