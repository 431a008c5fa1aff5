//! Window joins against comparing every row with every other.

use arrow::datatypes::{Field, Schema};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{col, lit};
use proptest::prelude::*;

use super::*;
use crate::dataflow::logic::StatefulLogic;
use crate::dataflow::oracle::restarts::{drive_all_restarted, restarts};
use crate::dataflow::oracle::*;
use crate::dataflow::windowed::naive::{self, Contents};
use crate::plan::expr::Expression;
use crate::state::keyed::row_text;

const SPAN: i64 = 90;
const KINDS: [JoinType; 8] = [
    JoinType::Inner,
    JoinType::Left,
    JoinType::Right,
    JoinType::Full,
    JoinType::LeftSemi,
    JoinType::LeftAnti,
    JoinType::RightSemi,
    JoinType::RightAnti,
];

/// `l0..` and `r0..`: the columns of both sides.
fn both() -> SchemaRef {
    let side = |name: &'static str| {
        let fields = schema().fields().clone();
        (0..fields.len())
            .map(move |i| Field::new(format!("{name}{i}"), fields[i].data_type().clone(), true))
    };
    Arc::new(Schema::new(side("l").chain(side("r")).collect::<Vec<_>>()))
}

fn logic(join: &WindowJoin, lateness: i64) -> WindowJoinLogic {
    let output = match join.kind {
        JoinType::LeftSemi | JoinType::LeftAnti | JoinType::RightSemi | JoinType::RightAnti => {
            schema()
        }
        _ => both(),
    };
    WindowJoinLogic::joined(schema(), schema(), join.clone(), output, lateness)
}

/// Keys among k and s; the condition is `left.x < right.x`.
fn joins() -> impl Strategy<Value = WindowJoin> {
    let keys = prop_oneof![Just(vec![]), Just(vec![0]), Just(vec![0, 1])];
    (prop::sample::select(&KINDS[..]), keys, any::<bool>(), any::<bool>()).prop_map(
        |(kind, keys, null_equals_null, filtered)| {
            let logical = DFSchema::try_from(both().as_ref().clone()).unwrap();
            let less = col("l3").lt(col("r3"));
            let filter = Expression::compile(&less, &logical, &both()).unwrap();
            WindowJoin {
                kind,
                left_window: (8, 9),
                right_window: (8, 9),
                left_keys: keys.clone(),
                right_keys: keys,
                null_equals_null,
                filter: filtered.then_some(filter),
            }
        },
    )
}

fn is_match(join: &WindowJoin, left: &Row, right: &Row) -> bool {
    let equal = |null: bool, same: bool| same && (!null || join.null_equals_null);
    let keys = join.left_keys.iter().all(|key| match key {
        0 => equal(left.k.is_none(), left.k == right.k),
        _ => left.s == right.s,
    });
    let less = matches!((left.x, right.x), (Some(l), Some(r)) if l < r);
    (left.start, left.end) == (right.start, right.end) && keys && (less || join.filter.is_none())
}

fn text(left: Option<&Row>, right: Option<&Row>) -> String {
    let side = |row: Option<&Row>| match row {
        Some(row) => batch(std::slice::from_ref(row)).rows().columns().to_vec(),
        None => schema().fields().iter().map(|f| new_null_array(f.data_type(), 1)).collect(),
    };
    row_text(&[side(left), side(right)].concat(), 0).unwrap()
}

fn joined(join: &WindowJoin, inputs: &[Vec<Row>]) -> Contents {
    use JoinType as J;
    let (lefts, rights) = (naive::summed(&inputs[0]), naive::summed(&inputs[1]));
    let mut contents = Contents::new();
    let mut add = |text: String, diff: i64| *contents.entry(text).or_default() += diff;
    let pairs = matches!(join.kind, J::Inner | J::Left | J::Right | J::Full);
    for (left, l) in &lefts {
        let matches = || rights.iter().filter(|(right, _)| is_match(join, left, right));
        if pairs {
            matches().for_each(|(right, r)| add(text(Some(left), Some(right)), l * r));
        }
        match (join.kind, matches().next().is_some()) {
            (J::Left | J::Full, false) => add(text(Some(left), None), *l),
            (J::LeftSemi, true) | (J::LeftAnti, false) => add(naive::text(left), *l),
            _ => {}
        }
    }
    for (right, r) in &rights {
        let matched = lefts.iter().any(|(left, _)| is_match(join, left, right));
        match (join.kind, matched) {
            (J::Right | J::Full, false) => add(text(None, Some(right)), *r),
            (J::RightSemi, true) | (J::RightAnti, false) => add(naive::text(right), *r),
            _ => {}
        }
    }
    contents.retain(|_, diff| *diff != 0);
    contents
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn joins_of_appended_rows(
        left in rows(25, SPAN, 25).prop_map(naive::coarse),
        right in rows(25, SPAN, 25).prop_map(naive::coarse),
        join in joins(), cut in cuts(SPAN + 60, 5), delay in 0i64..3,
        lateness in prop_oneof![Just(0i64), 1i64..30],
    ) {
        let mut logic = logic(&join, lateness).with_input_delay(delay);
        let inputs: [&[Row]; 2] = [&left, &right];
        let seen = drive_all(&mut logic, &inputs, &cut, true);
        prop_assert_eq!(logic.state_rows(), 0);
        let expected = naive::expected(&inputs, delay, lateness, |rows| joined(&join, rows));
        prop_assert_eq!(seen, expected);
    }

    #[test]
    fn restarts_change_nothing(
        left in updates(16, SPAN, 25).prop_map(naive::coarse),
        right in updates(16, SPAN, 25).prop_map(naive::coarse),
        join in joins(), cut in cuts(SPAN + 60, 5), lateness in prop_oneof![Just(0i64), 1i64..30],
        restarts in restarts(),
    ) {
        let by = if join.left_keys.is_empty() { vec![8, 9] } else { join.left_keys.clone() };
        let (by, inputs) = (vec![by; 2], [&left[..], &right[..]]);
        let make = |_| logic(&join, lateness);
        let seen = drive_all_restarted(make, &inputs, &cut, &by, &restarts);
        let expected = naive::expected(&inputs, 0, lateness, |rows| joined(&join, rows));
        prop_assert_eq!(seen, expected);
    }

    #[test]
    fn joins_of_rows_that_are_taken_back(
        left in updates(16, SPAN, 25).prop_map(naive::coarse),
        right in updates(16, SPAN, 25).prop_map(naive::coarse),
        join in joins(), cut in cuts(SPAN + 60, 5), lateness in prop_oneof![Just(0i64), 1i64..30],
    ) {
        let mut logic = logic(&join, lateness);
        let inputs: [&[Row]; 2] = [&left, &right];
        let seen = drive_all(&mut logic, &inputs, &cut, true);
        prop_assert_eq!(logic.state_rows(), 0);
        let expected = naive::expected(&inputs, 0, lateness, |rows| joined(&join, rows));
        prop_assert_eq!(seen, expected);
    }
}

/// A pair whose condition fails is no match and a dead letter; the others go on.
#[test]
fn a_condition_that_fails_takes_its_pair_alone() {
    let logical = DFSchema::try_from(both().as_ref().clone()).unwrap();
    let condition = (col("l3") / col("r3")).gt(lit(0i64));
    let filter = Some(Expression::compile(&condition, &logical, &both()).unwrap());
    let join = WindowJoin {
        kind: JoinType::Left,
        left_window: (8, 9),
        right_window: (8, 9),
        left_keys: vec![0],
        right_keys: vec![0],
        null_equals_null: false,
        filter,
    };
    let row = |x: i64, time: i64| Row {
        k: Some(1),
        s: "a".into(),
        ts: 5,
        x: Some(x),
        f: None,
        t: None,
        p: None,
        d: None,
        start: 0,
        end: 20,
        time,
        diff: 1,
        rank: 0,
    };
    let left: Vec<Row> = [6, -6, 0].map(|x| row(x, 5)).into();
    // The second 0 comes late: what failed with the first is not said again.
    let right: Vec<Row> = [(3, 5), (0, 5), (2, 5), (0, 25)].map(|(x, time)| row(x, time)).into();
    let cut = Cut { frontiers: vec![20], batch_rows: 10, by_rank: false };
    let mut logic = logic(&join, 10);
    let seen = drive_all(&mut logic, &[&left[..], &right[..]], &cut, true);
    let contents = seen.contents();
    assert_eq!(contents.values().sum::<i64>(), 4, "6 with 3 and 2, -6 and 0 alone");
    assert_eq!(contents.get(&text(Some(&left[0]), Some(&right[0]))), Some(&1));
    assert_eq!(contents.get(&text(Some(&left[1]), None)), Some(&1));
    assert_eq!(seen.dead, 3);
}
