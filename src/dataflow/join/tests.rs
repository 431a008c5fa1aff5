//! Any cut and any frontiers give what recomputing the join after every tick gives.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use arrow::datatypes::Field;
use datafusion::common::DFSchema;
use datafusion::prelude::{Expr, col};
use proptest::prelude::*;

use super::*;
use crate::batch::UpdateBatch;
use crate::dataflow::logic::Emitted;
use crate::dataflow::oracle::restarts::{drive_all_restarted, restarts};
use crate::dataflow::oracle::schema;
use crate::dataflow::oracle::{Cut, Row, Seen, batch, cell_text, cuts, drive_all, rows, updates};
use crate::plan::expr::Expression;
use crate::plan::node::Node;
use crate::plan::props::Props;
use crate::sql::settings::Settings;
use crate::time::{BEGINNING, CLOSED, EventTime, Resolution};

const TICK: i64 = 10;

/// Both sides' columns, and the mark.
const LEFT: [usize; 3] = [0, 3, 1];
const RIGHT: [usize; 2] = [3, 0];

#[derive(Clone, Debug)]
struct Case {
    kind: JoinType,
    keys: Vec<usize>,
    nulls: bool,
    filtered: bool,
    append: bool,
}

fn cases() -> impl Strategy<Value = Case> {
    use JoinType as J;
    let kind = prop::sample::select(vec![
        J::Inner,
        J::Left,
        J::Right,
        J::Full,
        J::LeftSemi,
        J::RightSemi,
        J::LeftAnti,
        J::RightAnti,
        J::LeftMark,
        J::RightMark,
    ]);
    let keys = prop::sample::select(vec![vec![0], vec![0, 1], vec![], vec![5], vec![4]]);
    (kind, keys, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(kind, keys, nulls, filtered, append)| Case { kind, keys, nulls, filtered, append },
    )
}

fn is_left(kind: JoinType) -> bool {
    matches!(kind, JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark)
}

fn is_right(kind: JoinType) -> bool {
    matches!(kind, JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark)
}

fn join_of(case: &Case) -> Join {
    let width = schema().fields().len();
    let left: Vec<usize> = LEFT.to_vec();
    let right: Vec<usize> = RIGHT.iter().map(|c| c + width).collect();
    let mut columns = match case.kind {
        kind if is_left(kind) => left,
        kind if is_right(kind) => right,
        _ => [left, right].concat(),
    };
    if matches!(case.kind, JoinType::LeftMark | JoinType::RightMark) {
        columns.push(2 * width);
    }
    Join {
        kind: case.kind,
        left_keys: case.keys.clone(),
        right_keys: case.keys.clone(),
        null_equals_null: case.nulls,
        filter: case.filtered.then(|| compiled(col("l3").lt_eq(col("r3")))),
        columns,
    }
}

/// An expression over the columns l0, l1, .. and r0, r1, ..
fn compiled(expr: Expr) -> Expression {
    let side = |name: &str| {
        let fields = schema();
        let fields = fields.fields().iter().enumerate();
        fields.map(|(i, f)| f.as_ref().clone().with_name(format!("{name}{i}"))).collect::<Vec<_>>()
    };
    let wide: SchemaRef = Arc::new(Schema::new([side("l"), side("r")].concat()));
    let logical = DFSchema::try_from(wide.as_ref().clone()).unwrap();
    Expression::compile(&expr, &logical, &wide).unwrap()
}

fn node(operator: Operator, inputs: &[usize], schema: SchemaRef, append: bool) -> Node {
    let mode = if append { ChangelogMode::Append } else { ChangelogMode::Retract };
    Node {
        operator,
        inputs: inputs.iter().map(|&i| NodeId(i)).collect(),
        schema,
        props: Props { mode, ..Props::source(true) },
        settings: Arc::new(Settings {
            time_resolution: Resolution::new(TICK),
            ..Settings::default()
        }),
    }
}

fn output_schema(join: &Join) -> SchemaRef {
    let width = schema().fields().len();
    let field = |(i, &c): (usize, &usize)| match c {
        c if c == 2 * width => {
            Field::new(format!("c{i}"), arrow::datatypes::DataType::Boolean, true)
        }
        c => schema().field(c % width).clone().with_name(format!("c{i}")),
    };
    Arc::new(Schema::new(join.columns.iter().enumerate().map(field).collect::<Vec<_>>()))
}

/// Two inputs, arranged by key; for each case a join of the two sides named.
fn plan_of(cases: &[(Case, [usize; 2])]) -> StreamPlan {
    let keys = &cases[0].0.keys;
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let empty = RecordBatch::new_empty(schema());
        nodes.push(node(Operator::Values(empty), &[], schema(), cases[0].0.append));
    }
    for input in 0..2 {
        let arrange = Operator::Arrange { keys: keys.clone() };
        nodes.push(node(arrange, &[input], schema(), cases[0].0.append));
    }
    for (case, sides) in cases {
        let join = join_of(case);
        let output = output_schema(&join);
        let inputs = sides.map(|side| side + 2);
        nodes.push(node(Operator::Join(join), &inputs, output, false));
    }
    StreamPlan { nodes, outputs: Vec::new() }
}

fn logic_of(plan: &StreamPlan, id: usize, shelf: &mut Shelf) -> Box<dyn StatefulLogic> {
    let Operator::Join(join) = &plan.nodes[id].operator else { panic!("not a join") };
    build(plan, NodeId(id), join, shelf).unwrap()
}

/// A row and the texts of its columns.
struct Told<'a> {
    row: &'a Row,
    cells: Vec<String>,
}

fn told(rows: &[Row]) -> Vec<Told<'_>> {
    let cells = |row| (0..schema().fields().len()).map(|c| cell_text(row, c)).collect();
    rows.iter().map(|row| Told { row, cells: cells(row) }).collect()
}

fn texts(row: &Told<'_>, columns: &[usize]) -> Vec<String> {
    columns.iter().map(|&c| row.cells[c].clone()).collect()
}

fn matches(case: &Case, l: &Told<'_>, r: &Told<'_>) -> bool {
    let equal = case.keys.iter().all(|&k| {
        let (a, b) = (&l.cells[k], &r.cells[k]);
        a == b && (case.nulls || a != "NULL")
    });
    let holds = match (l.row.x, r.row.x) {
        (Some(a), Some(b)) => a <= b,
        _ => false,
    };
    equal && (!case.filtered || holds)
}

/// Rows with their counts.
type Contents<'a> = BTreeMap<String, (&'a Told<'a>, i64)>;

fn joined(case: &Case, left: &Contents<'_>, right: &Contents<'_>) -> BTreeMap<String, i64> {
    let mut result = BTreeMap::new();
    let mut add = |cells: Vec<String>, count: i64| {
        *result.entry(cells.join(",")).or_insert(0) += count;
    };
    let null = |n: usize| vec!["NULL".to_string(); n];
    let mut alone = |rows: &Contents<'_>, others: &Contents<'_>, is_left: bool| {
        for (row, count) in rows.values() {
            let has = others.values().any(|(other, _)| match is_left {
                true => matches(case, row, other),
                false => matches(case, other, row),
            });
            let own = texts(row, if is_left { &LEFT } else { &RIGHT });
            match case.kind {
                JoinType::LeftSemi | JoinType::RightSemi if has => add(own, *count),
                JoinType::LeftAnti | JoinType::RightAnti if !has => add(own, *count),
                JoinType::LeftMark | JoinType::RightMark => {
                    add([own, vec![has.to_string()]].concat(), *count);
                }
                JoinType::Left | JoinType::Full if is_left && !has => {
                    add([own, null(RIGHT.len())].concat(), *count);
                }
                JoinType::Right | JoinType::Full if !is_left && !has => {
                    add([null(LEFT.len()), own].concat(), *count);
                }
                _ => {}
            }
        }
    };
    if !is_right(case.kind) {
        alone(left, right, true);
    }
    if !is_left(case.kind) {
        alone(right, left, false);
    }
    if !is_left(case.kind) && !is_right(case.kind) {
        for (l, a) in left.values() {
            for (r, b) in right.values().filter(|(r, _)| matches(case, l, r)) {
                add([texts(l, &LEFT), texts(r, &RIGHT)].concat(), a * b);
            }
        }
    }
    result
}

fn contents<'a>(rows: &'a [Told<'a>], before: EventTime) -> Contents<'a> {
    let mut found: Contents<'a> = BTreeMap::new();
    for told in rows.iter().filter(|told| told.row.time < before) {
        found.entry(told.cells.join(",")).or_insert((told, 0)).1 += told.row.diff;
    }
    found.retain(|_, (_, count)| *count != 0);
    found
}

/// The join recomputed after every tick.
fn expected(case: &Case, left: &[Row], right: &[Row]) -> Seen {
    let mut seen = Seen::default();
    let (left, right) = (told(left), told(right));
    if case.append && case.kind == JoinType::Inner {
        for l in &left {
            for r in right.iter().filter(|r| matches(case, l, r)) {
                let row = [texts(l, &LEFT), texts(r, &RIGHT)].concat().join(",");
                seen.add(l.row.time.max(r.row.time), row, l.row.diff * r.row.diff);
            }
        }
        return seen;
    }
    let resolution = Resolution::new(TICK);
    let times = left.iter().chain(&right).map(|told| resolution.tick_start(told.row.time));
    let mut before = BTreeMap::new();
    for tick in times.collect::<BTreeSet<_>>() {
        let end = tick + TICK;
        let now = joined(case, &contents(&left, end), &contents(&right, end));
        for (row, count) in &before {
            seen.add(tick, String::clone(row), -count);
        }
        for (row, count) in &now {
            seen.add(tick, row.clone(), *count);
        }
        before = now;
    }
    seen
}

/// Rows of one side; times of a side of an append-only input count twice here and there.
fn side(append: bool, count: usize) -> BoxedStrategy<Vec<Row>> {
    if append {
        let twice = |mut rows: Vec<Row>| {
            rows.iter_mut().step_by(7).for_each(|row| row.diff = 2);
            rows
        };
        rows(count, 60, 5).prop_map(twice).boxed()
    } else {
        // Rows that are there more than once.
        (updates(count, 60, 1), any::<bool>())
            .prop_map(|(rows, twice)| {
                let mut rows: Vec<Row> = rows.into_iter().map(narrowed).collect();
                if twice {
                    rows.extend(rows.clone());
                }
                rows
            })
            .boxed()
    }
}

/// Few distinct rows, so that equal ones meet.
fn narrowed(row: Row) -> Row {
    Row {
        ts: 0,
        f: row.f.map(|f| f.signum() * if f > 2.0 { 0.0 } else { 1.0 }),
        t: row.t.map(|t| t[..1].to_string()),
        p: None,
        d: None,
        ..row
    }
}

fn case_and_sides(count: usize) -> impl Strategy<Value = (Case, Vec<Row>, Vec<Row>)> {
    cases().prop_flat_map(move |case| {
        (Just(case.clone()), side(case.append, count), side(case.append, count))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn joins_are_those_of_the_contents(
        (case, left, right) in case_and_sides(16), cut in cuts(110, TICK),
    ) {
        let plan = plan_of(&[(case.clone(), [0, 1])]);
        let mut logic = logic_of(&plan, 4, &mut Shelf::default());
        let seen = drive_all(&mut logic, &[&left, &right], &cut, true);
        prop_assert_eq!(seen, expected(&case, &left, &right));
    }

    #[test]
    fn restarts_change_nothing(
        (case, left, right) in case_and_sides(16), same in any::<bool>(), cut in cuts(110, TICK),
        restarts in restarts(),
    ) {
        let right = if same { left.clone() } else { right };
        let plan = plan_of(&[(case.clone(), [0, usize::from(!same)])]);
        let make = |_| logic_of(&plan, 4, &mut Shelf::default());
        let by = vec![case.keys.clone(); 2];
        let seen = drive_all_restarted(make, &[&left, &right], &cut, &by, &restarts);
        prop_assert_eq!(seen, expected(&case, &left, &right));
    }

    #[test]
    fn a_join_with_itself_reads_one_arrangement_twice(
        (case, rows, _) in case_and_sides(16), cut in cuts(110, TICK),
    ) {
        let plan = plan_of(&[(case.clone(), [0, 0])]);
        let mut logic = logic_of(&plan, 4, &mut Shelf::default());
        let seen = drive_all(&mut logic, &[&rows, &rows], &cut, true);
        prop_assert_eq!(seen, expected(&case, &rows, &rows));
    }

    #[test]
    fn readers_at_different_frontiers_see_what_is_theirs(
        (case, left, right) in case_and_sides(12),
        others in prop::collection::vec(cases(), 2),
        all_cuts in prop::collection::vec(cuts(110, TICK), 3),
        turns in prop::collection::vec(0usize..3, 40),
    ) {
        let same = |other: &Case| {
            let (keys, append) = (case.keys.clone(), case.append);
            Case { keys, append, ..other.clone() }
        };
        let all = [
            (case.clone(), [0, 1]),
            (same(&others[0]), [1, 0]),
            (same(&others[1]), [0, 0]),
        ];
        let plan = plan_of(&all);
        let mut shelf = Shelf::default();
        let inputs = [&left, &right];
        let mut runs: Vec<Run> = all
            .iter()
            .enumerate()
            .map(|(i, (_, sides))| Run {
                logic: logic_of(&plan, 4 + i, &mut shelf),
                rest: sides.map(|side| inputs[side].clone()),
                frontiers: all_cuts[i].frontiers.iter().copied().chain([CLOSED]).collect(),
                from: BEGINNING,
                seen: Seen::default(),
            })
            .collect();
        for turn in turns.into_iter().chain((0..3).flat_map(|i| [i; 20])) {
            runs[turn].step();
        }
        for (run, (case, sides)) in runs.into_iter().zip(&all) {
            let [left, right] = sides.map(|side| inputs[side]);
            prop_assert_eq!(run.seen, expected(case, left, right), "{:?}", case);
        }
    }
}

/// One of several readers of shared arrangements.
struct Run {
    logic: Box<dyn StatefulLogic>,
    rest: [Vec<Row>; 2],
    frontiers: Vec<EventTime>,
    from: EventTime,
    seen: Seen,
}

impl Run {
    fn step(&mut self) {
        if self.frontiers.is_empty() {
            return;
        }
        let to = self.frontiers.remove(0);
        let mut steps = Vec::new();
        for rows in &mut self.rest {
            let (step, later): (Vec<Row>, Vec<Row>) =
                std::mem::take(rows).into_iter().partition(|row| row.time < to);
            *rows = later;
            steps.push(if step.is_empty() { vec![] } else { vec![batch(&step)] });
        }
        let mut out = Emitted::default();
        self.logic.advance(self.from, to, steps, &mut out).unwrap();
        self.seen.take(&out, Some((self.from, to)));
        self.from = to;
    }
}

fn plain(k: i64, x: i64, time: i64, diff: i64) -> Row {
    Row {
        k: Some(k),
        s: "s".into(),
        ts: 0,
        x: Some(x),
        f: None,
        t: None,
        p: None,
        d: None,
        start: 0,
        end: 0,
        time,
        diff,
        rank: 0,
    }
}

fn case(kind: JoinType, append: bool) -> Case {
    Case { kind, keys: vec![0], nulls: false, filtered: false, append }
}

#[test]
fn two_joins_of_one_input_hold_it_once() {
    for append in [true, false] {
        let plan = plan_of(&[
            (case(JoinType::Inner, append), [0, 1]),
            (case(JoinType::Left, append), [0, 1]),
        ]);
        let alone = plan_of(&[(case(JoinType::Left, append), [0, 1])]);
        let rows: Vec<Row> = (0..1000).map(|i| plain(i, i, i / 10, 1)).collect();
        let frontiers = vec![100];
        let mut held = Vec::new();
        for (plan, count) in [(&plan, 2), (&alone, 1)] {
            let mut shelf = Shelf::default();
            let mut logics: Vec<_> =
                (0..count).map(|i| logic_of(plan, 4 + i, &mut shelf)).collect();
            for logic in &mut logics {
                let mut run = Run {
                    logic: std::mem::replace(logic, Box::new(Nothing)),
                    rest: [rows.clone(), rows.clone()],
                    frontiers: frontiers.clone(),
                    from: BEGINNING,
                    seen: Seen::default(),
                };
                run.step();
                assert_eq!(run.logic.state_rows(), 2000);
                *logic = run.logic;
            }
            assert_eq!(shelf.held().count(), 2);
            let sizes = shelf.held().map(|(_, a)| (a.borrow().len(), a.borrow().bytes()));
            held.push(sizes.collect::<Vec<_>>());
        }
        let rows = |held: &[(usize, usize)]| held.iter().map(|h| h.0).collect::<Vec<_>>();
        assert_eq!(rows(&held[0]), [1000, 1000]);
        assert_eq!(rows(&held[0]), rows(&held[1]));
        // The second reader costs what it needs to stand elsewhere, for the rows of one step.
        let bytes = |held: &[(usize, usize)]| held.iter().map(|h| h.1).sum::<usize>();
        assert!(bytes(&held[0]) < bytes(&held[1]) * 3 / 2, "{held:?}");
    }
}

struct Nothing;

impl StatefulLogic for Nothing {
    fn advance(
        &mut self,
        _: EventTime,
        _: EventTime,
        _: Vec<Vec<UpdateBatch>>,
        _: &mut Emitted,
    ) -> Result<()> {
        Ok(())
    }

    fn state_rows(&self) -> usize {
        0
    }
}

#[test]
fn rows_taken_back_leave_no_state() {
    let kinds = [JoinType::Inner, JoinType::Full, JoinType::LeftSemi, JoinType::RightAnti];
    for kind in kinds {
        let plan = plan_of(&[(case(kind, false), [0, 1])]);
        let mut logic = logic_of(&plan, 4, &mut Shelf::default());
        let mut rows: Vec<Row> = (0..5000).map(|i| plain(i % 3000, i, i / 10, 1)).collect();
        let gone: Vec<Row> =
            rows.iter().map(|r| Row { time: 600, diff: -1, ..r.clone() }).collect();
        rows.extend(gone);
        let mut run = Run {
            logic: Box::new(Nothing),
            rest: [rows.clone(), rows],
            frontiers: vec![200, 500, 1000],
            from: BEGINNING,
            seen: Seen::default(),
        };
        std::mem::swap(&mut run.logic, &mut logic);
        run.step();
        run.step();
        assert!(run.logic.state_rows() >= 5000);
        run.step();
        assert_eq!(run.logic.state_rows(), 0, "{kind}");
        assert!(run.seen.contents().is_empty(), "{kind}");
    }
}

#[test]
fn a_large_result_leaves_in_bounded_batches() {
    for append in [true, false] {
        let plan = plan_of(&[(case(JoinType::Inner, append), [0, 1])]);
        let mut logic = logic_of(&plan, 4, &mut Shelf::default());
        let rows: Vec<Row> = (0..300).map(|i| plain(1, i, 5, 1)).collect();
        let mut out = Emitted::default();
        let inputs = vec![vec![batch(&rows)], vec![batch(&rows)]];
        logic.advance(BEGINNING, CLOSED, inputs, &mut out).unwrap();
        assert_eq!(out.updates.iter().map(UpdateBatch::len).sum::<usize>(), 90_000);
        let longest = out.updates.iter().map(UpdateBatch::len).max();
        assert!(longest.is_some_and(|rows| rows <= crate::limits::BATCH_ROWS));
    }
}

#[test]
fn a_pair_whose_condition_fails_is_a_dead_letter() {
    for append in [true, false] {
        let of = case(JoinType::Inner, append);
        let mut join = join_of(&of);
        let (one, zero) = (datafusion::prelude::lit(1i64), datafusion::prelude::lit(0i64));
        join.filter = Some(compiled((one / (col("l3") - col("r3"))).gt_eq(zero)));
        let mut plan = plan_of(&[(of, [0, 1])]);
        plan.nodes[4].operator = Operator::Join(join);
        let mut logic = logic_of(&plan, 4, &mut Shelf::default());
        let left: Vec<Row> = (0..4).map(|i| plain(1, i, 5, 1)).collect();
        let mut right = vec![plain(1, 2, 5, 1)];
        if !append {
            right.push(plain(1, 2, 15, -1));
        }
        let cut = Cut { frontiers: vec![10], batch_rows: 10, by_rank: false };
        let seen = drive_all(&mut logic, &[&left, &right], &cut, true);
        assert_eq!(seen.dead, 1);
        assert_eq!(seen.contents().len(), if append { 2 } else { 0 });
    }
}

#[test]
fn rows_that_will_find_no_partner_are_not_held() {
    let all = [(case(JoinType::Inner, true), [0, 1]), (case(JoinType::Inner, true), [0, 1])];
    let plan = plan_of(&all);
    let mut shelf = Shelf::default();
    let mut logics = [logic_of(&plan, 4, &mut shelf), logic_of(&plan, 5, &mut shelf)];
    let rows = |from: i64| (from..from + 50).map(|i| plain(i % 50, i, i, 1)).collect::<Vec<_>>();
    let (old, new) = (rows(0), rows(50));
    let mut results = Vec::new();
    for logic in &mut logics {
        let mut out = Emitted::default();
        let inputs = vec![vec![batch(&old)], vec![batch(&old)]];
        logic.advance(BEGINNING, 50, inputs, &mut out).unwrap();
        logic.input_ended(1);
        logic.advance(50, 100, vec![vec![batch(&new)], vec![]], &mut out).unwrap();
        results.push(out.updates.iter().map(UpdateBatch::len).sum::<usize>());
    }
    assert_eq!(results, [100, 100]);
    let held: Vec<usize> = shelf.held().map(|(_, held)| held.borrow().len()).collect();
    assert_eq!(held, [0, 50]);
}
