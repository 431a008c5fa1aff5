//! A job of the engine in this process: the changes of its queries, or their final contents.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal128Type, Float64Type, Int64Type, SchemaRef, TimeUnit, TimestampMillisecondType,
};
use datafusion::common::JoinType;
use floodmark::batch::UpdateBatch;
use floodmark::cluster::Topology;
use floodmark::connectors::SinkWriter;
use floodmark::dataflow::metrics::JobMetrics;
use floodmark::error::{Error, Result as EngineResult};
use floodmark::formats::csv;
use floodmark::job::batch_run;
use floodmark::job::definition::{Definition, PlanFor};
use floodmark::plan::node::{Node, Operator, StreamPlan};

use crate::value::{Float, ONE, Row, Value};

/// The changes of one query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Their bytes as they came.
    pub bytes: Vec<u8>,
    /// (time, row, how often)
    pub rows: Vec<(i64, Row, i64)>,
}

impl Changes {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The rows as of `time`; a row that is there less than once is an error.
    pub fn contents(&self, time: i64) -> Result<Vec<Row>, String> {
        let mut counts: BTreeMap<&Row, i64> = BTreeMap::new();
        for (_, row, diff) in self.rows.iter().filter(|(at, ..)| *at < time) {
            *counts.entry(row).or_default() += diff;
        }
        let mut found = Vec::new();
        for (row, count) in counts {
            let count = usize::try_from(count).map_err(|_| format!("{row:?} {count} times"))?;
            found.extend(std::iter::repeat_n(row.clone(), count));
        }
        Ok(found)
    }
}

struct Writer(Arc<Mutex<Changes>>);

impl SinkWriter for Writer {
    fn write(&mut self, batch: &UpdateBatch) -> EngineResult<()> {
        let mut changes = self.0.lock().expect("no writer panics");
        let rows = rows_of(batch.rows());
        for (at, row) in rows.into_iter().enumerate() {
            let line = format!("{} {} ", batch.times()[at], batch.diff(at));
            changes.bytes.extend(line.into_bytes());
            csv::write_rows(&batch.rows().slice(at, 1), &mut changes.bytes)?;
            changes.rows.push((batch.times()[at], row, batch.diff(at)));
        }
        Ok(())
    }

    fn commit(&mut self, _frontier: i64) -> EngineResult<()> {
        Ok(())
    }

    fn finish(&mut self, _complete: bool) -> EngineResult<()> {
        Ok(())
    }
}

/// What the times of a query's changes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timing {
    /// At each border its rows are the answer over the contents there.
    Exact,
    /// Rows wait for partners that can still come: the answer is one in the end.
    Late,
    /// They are those of the clock, at which rows without a row-time were read.
    Clock,
}

/// A script with settings.
pub struct Job {
    definition: Definition,
}

fn said(error: Error) -> String {
    error.to_string()
}

/// No row of these tables and queries can fail.
fn without_dead_letters(metrics: &JobMetrics) -> Result<(), String> {
    match metrics.dead_letters_kept().first() {
        None => Ok(()),
        Some(letter) => Err(format!("a dead letter: {letter:?}")),
    }
}

impl Job {
    pub fn new(script: &str, rewrites: &str, split_bytes: usize) -> Result<Self, String> {
        let settings = [
            ("time_resolution".to_owned(), "1 s".to_owned()),
            ("plan.rewrites".to_owned(), rewrites.to_owned()),
            ("source.split_bytes".to_owned(), split_bytes.to_string()),
        ];
        let definition =
            Definition::new(&[("queries".into(), script.to_owned())], &settings).map_err(said)?;
        Ok(Job { definition })
    }

    fn planned(&self, changelog: bool) -> Result<Arc<StreamPlan>, String> {
        self.definition.plan(PlanFor { changelog, side_views: false }).map_err(said)
    }

    /// What would run for changes and for final contents, as texts that are equal for equal plans.
    pub fn plans(&self) -> Result<[String; 2], String> {
        let text = |changelog| -> Result<String, String> {
            let plan = self.planned(changelog)?;
            let node = |node: &Node| format!("{:?} {:?}\n", node.operator, node.inputs);
            Ok(plan.nodes.iter().map(node).collect())
        };
        Ok([text(true)?, text(false)?])
    }

    /// When the rows of each query have the times of the contents that they are computed from.
    pub fn timings(&self) -> Result<Vec<Timing>, String> {
        let plan = self.planned(true)?;
        let mut timings: Vec<Timing> = Vec::with_capacity(plan.nodes.len());
        for node in &plan.nodes {
            let mut inputs = node.inputs.clone();
            let mut own = Timing::Exact;
            match &node.operator {
                Operator::Scan(scan) if scan.watermark.is_none() => own = Timing::Clock,
                Operator::LookupJoin(join) => {
                    inputs.remove(join.table);
                }
                Operator::IntervalJoin(join) => {
                    let at_once = [JoinType::Inner, JoinType::LeftSemi, JoinType::RightSemi];
                    if !at_once.contains(&join.kind) {
                        own = Timing::Late;
                    }
                }
                _ => {}
            }
            let below = inputs.iter().map(|input| timings[input.0]);
            timings.push(below.chain([own]).max().unwrap_or(own));
        }
        Ok(plan.outputs.iter().map(|output| timings[output.node.0]).collect())
    }

    /// The changes of each query.
    pub fn changes(&self, workers: usize) -> Result<Vec<Changes>, String> {
        let all: Mutex<Vec<Arc<Mutex<Changes>>>> = Mutex::default();
        let print = |_: &SchemaRef, _: Option<&[usize]>| -> Box<dyn SinkWriter> {
            let changes = Arc::new(Mutex::new(Changes::default()));
            all.lock().expect("no writer panics").push(Arc::clone(&changes));
            Box::new(Writer(changes))
        };
        let stop = AtomicBool::new(false);
        let topology = Topology::alone(workers);
        let (_, metrics) = batch_run::run(
            &self.definition,
            &topology,
            Some(&print),
            None,
            &stop,
            |_| {},
            |_| Ok(()),
        )
        .map_err(said)?;
        without_dead_letters(&metrics)?;
        let all = all.into_inner().expect("no writer panics");
        Ok(all.iter().map(|changes| changes.lock().expect("no writer panics").clone()).collect())
    }

    /// The final rows of each query, sorted.
    pub fn finals(&self, workers: usize) -> Result<Vec<Vec<Row>>, String> {
        let mut all = Vec::new();
        let stop = AtomicBool::new(false);
        let topology = Topology::alone(workers);
        let (_, metrics) = batch_run::run(
            &self.definition,
            &topology,
            None,
            None,
            &stop,
            |_| {},
            |rows| {
                let mut rows = rows_of(rows);
                rows.sort();
                all.push(rows);
                Ok(())
            },
        )
        .map_err(said)?;
        without_dead_letters(&metrics)?;
        Ok(all)
    }
}

fn rows_of(batch: &RecordBatch) -> Vec<Row> {
    let mut rows = vec![Vec::with_capacity(batch.num_columns()); batch.num_rows()];
    for column in batch.columns() {
        for (row, value) in rows.iter_mut().zip(values_of(column)) {
            row.push(value);
        }
    }
    rows
}

fn values_of(column: &dyn Array) -> Vec<Value> {
    let to = |data_type: DataType| cast(column, &data_type).expect("a cast to a wider type");
    let value = |at: usize, of: &dyn Fn(usize) -> Value| match column.is_null(at) {
        true => Value::Null,
        false => of(at),
    };
    let all = |of: &dyn Fn(usize) -> Value| (0..column.len()).map(|at| value(at, of)).collect();
    match column.data_type() {
        DataType::Null => vec![Value::Null; column.len()],
        DataType::Boolean => all(&|at| Value::Bool(column.as_boolean().value(at))),
        data_type if data_type.is_integer() => {
            let column = to(DataType::Int64);
            all(&|at| Value::Int(column.as_primitive::<Int64Type>().value(at)))
        }
        DataType::Decimal128(_, scale) => {
            let column = column.as_primitive::<Decimal128Type>();
            let places = u32::try_from(6 - scale).expect("six places at most");
            all(&|at| Value::Decimal(column.value(at) * 10i128.pow(places)))
        }
        data_type if data_type.is_floating() => {
            let column = to(DataType::Float64);
            all(&|at| Value::Double(Float(column.as_primitive::<Float64Type>().value(at))))
        }
        DataType::Timestamp(..) => {
            let column = to(DataType::Timestamp(TimeUnit::Millisecond, None));
            let column = column.as_primitive::<TimestampMillisecondType>();
            all(&|at| Value::Time(column.value(at)))
        }
        _ => {
            let column = to(DataType::Utf8View);
            all(&|at| Value::Text(column.as_string_view().value(at).to_owned()))
        }
    }
}

/// A decimal has so many units, as in the literals.
const _: () = assert!(ONE == 1_000_000);
