//! Tests of the functions, through SQL: constants and columns give the same answers.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::SessionContext;

mod aggregates;
mod dates;
mod library;
mod properties;
mod texts;

/// A session with our functions.
pub(super) fn session() -> SessionContext {
    let builder = SessionStateBuilder::new().with_default_features();
    SessionContext::new_with_state(super::register(builder).build())
}

/// All rows of a query's first column as text; NULL is `NULL`.
pub(super) fn query(session: &SessionContext, sql: &str) -> Result<Vec<String>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let run = async { session.sql(sql).await?.collect().await };
    let batches = runtime.block_on(run).map_err(|e| e.strip_backtrace())?;
    let options = FormatOptions::new().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let formatter = ArrayFormatter::try_new(batch.column(0), &options).expect("a formatter");
        rows.extend((0..batch.num_rows()).map(|i| formatter.value(i).to_string()));
    }
    Ok(rows)
}

/// Asserts `expression = expected` for each line `expression => expected`.
///
/// Each runs twice: folded as a constant, and with its string literals taken from a column.
pub(super) fn check(table: &str) {
    let session = session();
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (expression, expected) = line.split_once(" =>").expect("'expression => expected'");
        let constant = query(&session, &format!("SELECT {expression}"));
        assert_eq!(constant, Ok(vec![expected.trim().to_string()]), "{expression}");
    }
}

/// Asserts that each line `expression => part of the message` fails.
pub(super) fn check_error(table: &str) {
    let session = session();
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (expression, expected) = line.split_once(" => ").expect("'expression => message'");
        match query(&session, &format!("SELECT {expression}")) {
            Ok(rows) => panic!("{expression} gave {rows:?}"),
            Err(message) => assert!(message.contains(expected.trim()), "{expression}: {message}"),
        }
    }
}

/// Evaluates an expression over a column `x`, in two batches.
pub(super) fn over_column(column: ArrayRef, expression: &str) -> Vec<String> {
    let session = session();
    let field = Field::new("x", column.data_type().clone(), true);
    let schema = Arc::new(Schema::new(vec![field]));
    let cut = column.len() / 2;
    let parts = [column.slice(0, cut), column.slice(cut, column.len() - cut)];
    let batches: Vec<RecordBatch> = parts
        .map(|part| RecordBatch::try_new(Arc::clone(&schema), vec![part]).expect("a batch"))
        .into();
    let table = MemTable::try_new(schema, vec![batches]).expect("a table");
    session.register_table("t", Arc::new(table)).expect("a name");
    query(&session, &format!("SELECT {expression} FROM t")).expect("a result")
}

/// A column of strings.
pub(super) fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(values.iter().copied().collect::<StringViewArray>())
}

#[test]
fn names_are_unique_and_strings_are_views() {
    let mut names: Vec<String> = Vec::new();
    for function in super::scalar_functions() {
        names.push(function.name().to_string());
        names.extend(function.aliases().iter().cloned());
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    let session = session();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let plan = "SELECT date_format('2020-01-01', 'yyyy'), split_index('a', ',', 0)";
    let frame = runtime.block_on(session.sql(plan)).expect("a plan");
    for field in frame.schema().fields() {
        assert_eq!(*field.data_type(), DataType::Utf8View);
    }
}

#[test]
fn event_time_functions_are_known_and_never_evaluated() {
    for function in super::scalar_functions() {
        let name = function.name().to_string();
        let expected = [
            "proctime",
            "now",
            "current_timestamp",
            "localtimestamp",
            "current_row_timestamp",
            "current_date",
            "localtime",
            "current_time",
        ]
        .contains(&name.as_str());
        assert_eq!(super::is_event_time_function(&function), expected, "{name}");
    }
    check_error("PROCTIME() => replaced by the planner\nNOW() => replaced by the planner");
    check_error("CURRENT_TIMESTAMP => replaced by the planner");
}

#[test]
fn a_column_of_nulls_gives_nulls() {
    let nulls = texts(&[None, None, None]);
    for expression in ["split_index(x, ',', 0)", "regexp_extract(x, 'a')", "to_timestamp(x)"] {
        assert_eq!(over_column(Arc::clone(&nulls), expression), ["NULL"; 3], "{expression}");
    }
    assert!(nulls.as_string_view().is_null(0));
}
