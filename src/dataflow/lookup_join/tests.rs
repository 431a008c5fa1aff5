//! Lookup joins against a nested loop, for any cut and frontiers, over updating input too.

use arrow::datatypes::Field;
use proptest::prelude::*;

use super::super::oracle::{Row, Seen, batch, rows, schema, updates};
use super::*;
use crate::state::keyed::row_text;

const KINDS: [JoinType; 4] =
    [JoinType::Inner, JoinType::Left, JoinType::LeftSemi, JoinType::LeftAnti];

fn logic(kind: JoinType, table: usize) -> LookupJoinLogic {
    let join = LookupJoin {
        kind,
        table,
        left_keys: vec![0],
        right_keys: vec![0],
        null_equals_null: false,
        filter: None,
        broadcast: false,
    };
    let one = schema();
    let is_pair = matches!(kind, JoinType::Inner | JoinType::Left);
    let both = one.fields().iter().chain(one.fields().iter().filter(|_| is_pair));
    let both = both.map(|f| Field::clone(f).with_nullable(true)).collect::<Vec<_>>();
    LookupJoinLogic::new(&join, Arc::new(Schema::new(both)), schema(), schema())
}

fn texts(rows: &[Row]) -> Vec<String> {
    let all = batch(rows);
    (0..rows.len()).map(|row| row_text(all.rows().columns(), row).unwrap()).collect()
}

fn nulls() -> String {
    let nulls = compute::take_record_batch(batch(&[]).rows(), &UInt32Array::from(vec![None]));
    row_text(nulls.unwrap().columns(), 0).unwrap()
}

fn naive(kind: JoinType, table: usize, stream: &[Row], rows: &[Row]) -> Seen {
    let mut seen = Seen::default();
    let (stream_texts, table_texts, none) = (texts(stream), texts(rows), nulls());
    for (row, text) in stream.iter().zip(&stream_texts) {
        let mut contents = std::collections::BTreeMap::new();
        for (other, text) in rows.iter().zip(&table_texts) {
            if row.k.is_some() && other.k == row.k {
                *contents.entry(text.clone()).or_insert(0) += other.diff;
            }
        }
        contents.retain(|_, diff| *diff != 0);
        let has_match = !contents.is_empty();
        match kind {
            JoinType::LeftSemi if has_match => seen.add(row.time, text.clone(), row.diff),
            JoinType::LeftAnti if !has_match => seen.add(row.time, text.clone(), row.diff),
            JoinType::Left if !has_match => {
                contents.insert(none.clone(), 1);
            }
            _ => {}
        }
        for (other, diff) in contents {
            let pair = match table {
                1 => format!("{text},{other}"),
                _ => format!("{other},{text}"),
            };
            if matches!(kind, JoinType::Inner | JoinType::Left) {
                seen.add(row.time, pair, row.diff * diff);
            }
        }
    }
    seen
}

proptest! {
    #[test]
    fn each_update_meets_the_whole_table(
        stream in updates(20, 100, 1),
        table in prop_oneof![rows(15, 1_000_000, 1), updates(15, 1_000_000, 1)],
        kind in prop::sample::select(KINDS.to_vec()),
        side in 0usize..2,
        frontier in 0i64..100,
        parts in 1usize..10,
    ) {
        let mut logic = logic(kind, side);
        let mut seen = Seen::default();
        assert_eq!(logic.whole_input(), Some(side));
        let below = |from: i64, to: i64| {
            let rows = stream.iter().filter(|r| from <= r.time && r.time < to).cloned();
            let rows: Vec<Row> = rows.collect();
            rows.chunks(parts).map(batch).collect::<Vec<_>>()
        };
        // The driver hands the table over with the first step, whatever its times.
        let whole: Vec<UpdateBatch> = table.chunks(parts).map(batch).collect();
        for (step, (from, to)) in [(0, frontier), (frontier, CLOSED)].into_iter().enumerate() {
            let table = if step == 0 { whole.clone() } else { Vec::new() };
            let mut inputs = vec![below(from, to), table];
            if side == 0 {
                inputs.reverse();
            }
            let mut out = Emitted::default();
            logic.advance(from, to, inputs, &mut out).unwrap();
            for updates in &out.updates {
                for row in 0..updates.len() {
                    let time = updates.times()[row];
                    prop_assert!(from <= time && time < to);
                    let text = row_text(updates.rows().columns(), row).unwrap();
                    seen.add(time, text, updates.diff(row));
                }
            }
        }
        prop_assert_eq!(seen, naive(kind, side, &stream, &table));
        prop_assert_eq!(logic.state_rows(), 0);
    }
}
