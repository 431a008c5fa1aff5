//! JSON_VALUE, JSON_QUERY and JSON_EXISTS over simple paths: `$.a.b[0]['c'][*]`.
//!
//! Broken JSON and a path without a match give NULL (or false); the clauses that say otherwise
//! (ON ERROR, ON EMPTY, RETURNING) are not part of the functions.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::ScalarUDF;
use serde_json::Value;

use super::cache::Compiled;
use super::define::{Call, Function, Param, Returns, literal_text};

/// The functions of this file.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let two = &[Param::Text, Param::Text];
    let exists = |call: &Call<'_>| {
        let rows = found(call, |values| Some(!values.is_empty()))?;
        // What cannot be read does not exist; only a NULL argument is unknown.
        call.bool_rows(|i| Ok(rows.get(i).copied().flatten().map(|found| found.unwrap_or(false))))
    };
    vec![
        Function::text("json_value", two, |c| text_of(c, scalar_text)).check(check_path).udf(),
        Function::text("json_query", two, |c| text_of(c, container_text)).check(check_path).udf(),
        Function::new("json_exists", two, Returns::Type(DataType::Boolean), exists)
            .check(check_path)
            .udf(),
    ]
}

thread_local! {
    static PATHS: Compiled<Vec<Step>> = const { Compiled::new() };
}

fn compiled(path: &str) -> Result<std::rc::Rc<Vec<Step>>> {
    PATHS.with(|paths| {
        paths.get(path, |path| {
            parse_path(path).ok_or_else(|| {
                DataFusionError::Plan(format!(
                    "the JSON path '{path}' cannot be used; paths look like '$.a.b[0]'"
                ))
            })
        })
    })
}

fn check_path(args: &[Option<&ScalarValue>]) -> Result<()> {
    literal_text(args, 1).map_or(Ok(()), |path| compiled(path).map(|_| ()))
}

/// One step of a path.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
    EveryItem,
    EveryMember,
}

fn parse_path(path: &str) -> Option<Vec<Step>> {
    let path = path.trim();
    let path = path.strip_prefix("lax ").or_else(|| path.strip_prefix("strict ")).unwrap_or(path);
    let mut rest = path.trim().strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            if let Some(quoted) = after.strip_prefix('"') {
                let (key, after) = quoted.split_once('"')?;
                steps.push(Step::Key(key.to_string()));
                rest = after;
                continue;
            }
            let (name, after) = after.split_at(after.find(['.', '[']).unwrap_or(after.len()));
            match name.trim() {
                "" => return None,
                "*" => steps.push(Step::EveryMember),
                name => steps.push(Step::Key(name.to_string())),
            }
            rest = after;
            continue;
        }
        let inner = rest.strip_prefix('[')?;
        if let Some(quote) = inner.chars().next().filter(|c| "'\"".contains(*c)) {
            let (key, after) = inner.get(1..)?.split_once(quote)?;
            steps.push(Step::Key(key.to_string()));
            rest = after.strip_prefix(']')?;
            continue;
        }
        let (index, after) = inner.split_once(']')?;
        steps.push(match index.trim() {
            "*" => Step::EveryItem,
            index => Step::Index(index.parse().ok()?),
        });
        rest = after;
    }
    Some(steps)
}

/// The values that a path leads to, in document order.
fn walk<'v>(value: &'v Value, steps: &[Step]) -> Vec<&'v Value> {
    let mut reached = vec![value];
    for step in steps {
        let mut next = Vec::new();
        for value in reached {
            match (step, value) {
                (Step::Key(key), Value::Object(members)) => next.extend(members.get(key)),
                (Step::Index(at), Value::Array(items)) => next.extend(items.get(*at)),
                (Step::EveryItem, Value::Array(items)) => next.extend(items),
                (Step::EveryMember, Value::Object(members)) => next.extend(members.values()),
                _ => {}
            }
        }
        reached = next;
    }
    reached
}

/// By row what `pick` makes of the values found: `None` for a NULL argument, else perhaps nothing.
fn found<T>(
    call: &Call<'_>,
    pick: impl Fn(&[&Value]) -> Option<T>,
) -> Result<Vec<Option<Option<T>>>> {
    let (json, path) = (call.text(0)?, call.text(1)?);
    let row = |i| {
        let (Some(json), Some(path)) = (json.get(i), path.get(i)) else {
            return Ok(None);
        };
        let steps = compiled(path)?;
        let document: Option<Value> = serde_json::from_str(json).ok();
        Ok(Some(document.and_then(|document| pick(&walk(&document, &steps)))))
    };
    (0..call.rows).map(row).collect()
}

fn text_of(call: &Call<'_>, pick: impl Fn(&[&Value]) -> Option<String>) -> Result<ArrayRef> {
    let mut rows = found(call, pick)?.into_iter();
    call.text_rows(|_| Ok(rows.next().flatten().flatten()))
}

fn scalar_text(values: &[&Value]) -> Option<String> {
    match values {
        [Value::String(text)] => Some(text.clone()),
        [value @ (Value::Bool(_) | Value::Number(_))] => Some(value.to_string()),
        _ => None,
    }
}

fn container_text(values: &[&Value]) -> Option<String> {
    match values {
        [value @ (Value::Array(_) | Value::Object(_))] => Some(value.to_string()),
        _ => None,
    }
}
