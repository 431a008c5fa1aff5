//! First rows against recomputation: of rows in time, and of late ones.

use std::collections::BTreeMap;

use arrow::compute::SortOptions;
use arrow::datatypes::Field;
use proptest::prelude::*;

use super::*;
use crate::dataflow::oracle::restarts::{drive_restarted, restarts};
use crate::dataflow::oracle::*;
use crate::plan::node::{RankKind, SortColumn};

const TICK: i64 = 10;

fn logic(partition: &[usize], number: bool) -> FirstRow {
    let rank = Rank {
        partition: partition.to_vec(),
        order: vec![SortColumn { column: 2, options: SortOptions::default() }],
        kind: RankKind::RowNumber,
        from: 1,
        to: 1,
        number,
        first_by_time: true,
        final_only: false,
    };
    let mut fields: Vec<_> = schema().fields().iter().cloned().collect();
    if number {
        fields.push(Arc::new(Field::new("n", DataType::Int64, false)));
    }
    let output = Arc::new(arrow::datatypes::Schema::new(fields));
    FirstRow::new(schema(), &rank, output, Resolution::new(TICK)).unwrap()
}

/// What comes out, and how many rows are late: by tick, then by time, then by the whole row.
fn expected(rows: &[Row], partition: &[usize], number: bool) -> (Seen, i64) {
    let all: Vec<usize> = (0..10).collect();
    let mut keys: BTreeMap<String, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        keys.entry(key_text(row, partition)).or_default().push(row);
    }
    let (mut seen, mut late) = (Seen::default(), 0);
    for mut rows in keys.into_values() {
        let x = |r: &Row| (r.x, r.f.map(crate::state::column::ordered_bits), r.t.clone(), r.p, r.d);
        rows.sort_by_key(|r| (r.time.div_euclid(TICK), r.ts, r.k, r.s.clone(), x(r), r.time));
        let first = rows[0];
        let text = key_text(first, &all);
        seen.add(first.time, if number { format!("{text},1") } else { text }, 1);
        let tick = first.time.div_euclid(TICK);
        late += rows.iter().filter(|r| r.time.div_euclid(TICK) > tick && r.ts < first.ts).count();
    }
    (seen, late as i64)
}

proptest! {
    #[test]
    fn saved_keys_go_on_on_any_number_of_workers(
        rows in rows(40, 60, 12), two in any::<bool>(), cut in cuts(60, TICK), plan in restarts(),
    ) {
        let partition = if two { vec![0, 6] } else { vec![0] };
        let make = |_: usize| logic(&partition, true);
        let seen = drive_restarted(make, &rows, &cut, &partition, &plan);
        prop_assert_eq!(seen, drive(&mut make(0), &rows, &cut, true));
    }

    #[test]
    fn the_first_row_of_each_key_stays(
        rows in rows(40, 60, 12), two in any::<bool>(), number in any::<bool>(),
        cut in cuts(60, TICK),
    ) {
        let partition = if two { vec![0, 6] } else { vec![0] };
        let mut logic = logic(&partition, number);
        let mut seen = drive(&mut logic, &rows, &cut, true);
        let (wanted, late) = expected(&rows, &partition, number);
        prop_assert_eq!(std::mem::take(&mut seen.late).values().sum::<i64>(), late);
        prop_assert_eq!(logic.state_rows(), wanted.updates.len());
        prop_assert_eq!(seen, wanted);
    }
}
