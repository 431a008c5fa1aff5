//! JSON_VALUE, JSON_QUERY, JSON_EXISTS, IS JSON, `->` and `->>`: reading JSON texts.
//!
//! The clauses of the SQL forms (ON EMPTY, ON ERROR, wrappers) come as constant arguments, see
//! [`crate::sql::json_forms`]. What they make an error fails the row, which is then a dead letter.

mod build;
mod path;

use std::sync::Arc;

use arrow::array::{ArrayRef, ListBuilder, StringViewBuilder};
use arrow::datatypes::{DataType, Field};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::ScalarUDF;
use serde_json::Value;

use super::cache::Compiled;
use super::define::{Call, Function, Param, Returns, literal_text};
use path::{Found, Path};

/// The functions of these files.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    use Param::{Text, TextOrInt};
    let texts = || Returns::Type(text_list());
    let query = &[Text, Text, Text, Text, Text];
    let boolean = || Returns::Type(DataType::Boolean);
    let value = &[Text, Text, Text, Text, Text, Text];
    let mut all = vec![
        Function::text("json_value", value, json_value).optional_after(2).check(check_path).udf(),
        Function::text("json_query", query, |c| {
            let mut rows = queried(c)?.into_iter();
            c.text_rows(|_| Ok(rows.next().flatten().map(|value| value.to_string())))
        })
        .optional_after(2)
        .check(check_path)
        .udf(),
        Function::new("json_query_array", query, texts(), json_query_array)
            .optional_after(2)
            .check(check_path)
            .udf(),
        Function::new("json_exists", &[Text, Text, Text], boolean(), json_exists)
            .optional_after(2)
            .check(check_path)
            .udf(),
        Function::new("is_json", &[Text, Text], boolean(), is_json).udf(),
        Function::text("json_get", &[Text, TextOrInt], |c| member_text(c, |v| Some(v.to_string())))
            .udf(),
        Function::text("json_get_text", &[Text, TextOrInt], |c| member_text(c, plain_text)).udf(),
        Function::new("json_length", &[Text, Text], Returns::Type(DataType::Int32), json_length)
            .optional_after(1)
            .check(check_path)
            .udf(),
        Function::new("json_keys", &[Text, Text], texts(), json_keys)
            .optional_after(1)
            .check(check_path)
            .udf(),
    ];
    all.extend(build::functions());
    all
}

fn text_list() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Utf8View, true)))
}

thread_local! {
    static PATHS: Compiled<Path> = const { Compiled::new() };
}

fn compiled(path: &str) -> Result<std::rc::Rc<Path>> {
    PATHS.with(|paths| {
        paths.get(path, |path| {
            Path::parse(path).ok_or_else(|| {
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

/// By row what the path of argument 1 leads to; `None` where an argument is NULL.
fn found(call: &Call<'_>) -> Result<Vec<Option<Found>>> {
    let (json, path) = (call.text(0)?, call.text_or(1, "$")?);
    let row = |i| {
        let (Some(json), Some(path)) = (json.get(i), path.get(i)) else {
            return Ok(None);
        };
        let path = compiled(path)?;
        Ok(Some(match serde_json::from_str(json) {
            Ok(document) => path.find(document),
            Err(_) => Found::Error,
        }))
    };
    (0..call.rows).map(row).collect()
}

fn failed<T>(call: &Call<'_>, what: &str) -> Result<T> {
    exec_err!("{} {what}", call.name.to_uppercase())
}

const NO_VALUE: &str = "found no value, and ERROR ON EMPTY is set";
const NO_SCALAR: &str = "found no single value, and ERROR ON ERROR is set";
const NO_CONTAINER: &str = "found no object or array, and ERROR ON ERROR is set";

/// `json_value(json, path, on empty, its default, on error, its default)`.
fn json_value(call: &Call<'_>) -> Result<ArrayRef> {
    let rows = found(call)?;
    let (empty, error) = (call.text_or(2, "NULL")?, call.text_or(4, "NULL")?);
    let (empty_text, error_text) = (call.text_or(3, "")?, call.text_or(5, "")?);
    let mut rows = rows.into_iter();
    call.text_rows(|i| {
        let Some(found) = rows.next().flatten() else { return Ok(None) };
        let (mode, default, message) = match found {
            Found::One(Value::Null) | Found::Empty => (empty, empty_text, NO_VALUE),
            Found::One(Value::Array(_) | Value::Object(_)) | Found::Error => {
                (error, error_text, NO_SCALAR)
            }
            Found::One(value) => return Ok(plain_text(value)),
        };
        match mode.get(i) {
            Some("ERROR") => failed(call, message),
            Some("DEFAULT") => Ok(default.get(i).map(str::to_string)),
            _ => Ok(None),
        }
    })
}

fn plain_text(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

/// `json_query(json, path, wrapper, on empty, on error)` by row.
fn queried(call: &Call<'_>) -> Result<Vec<Option<Value>>> {
    let wrapper = call.text_or(2, "WITHOUT")?;
    let (empty, error) = (call.text_or(3, "NULL")?, call.text_or(4, "NULL")?);
    let query = |(i, found): (usize, Option<Found>)| {
        let Some(found) = found else { return Ok(None) };
        let container = |value: &Value| matches!(value, Value::Array(_) | Value::Object(_));
        let (mode, message) = match (found, wrapper.get(i)) {
            (Found::Empty, _) | (Found::One(Value::Null), _) => (empty, NO_VALUE),
            (Found::Error, _) => (error, NO_CONTAINER),
            (Found::One(value), Some("UNCONDITIONAL")) => {
                return Ok(Some(Value::Array(vec![value])));
            }
            (Found::One(value), _) if container(&value) => return Ok(Some(value)),
            (Found::One(value), Some("CONDITIONAL")) => {
                return Ok(Some(Value::Array(vec![value])));
            }
            (Found::One(_), _) => (empty, NO_CONTAINER),
        };
        match mode.get(i) {
            Some("ERROR") => failed(call, message),
            Some("EMPTY ARRAY") => Ok(Some(Value::Array(Vec::new()))),
            Some("EMPTY OBJECT") => Ok(Some(Value::Object(serde_json::Map::new()))),
            _ => Ok(None),
        }
    };
    found(call)?.into_iter().enumerate().map(query).collect()
}

/// `JSON_QUERY(.. RETURNING ARRAY<STRING>)`: the items as texts.
fn json_query_array(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = queried(call)?.into_iter().map(|value| match value {
        Some(Value::Array(items)) => Some(items.into_iter().map(plain_text).collect()),
        _ => None,
    });
    Ok(text_lists(lists))
}

fn text_lists(lists: impl Iterator<Item = Option<Vec<Option<String>>>>) -> ArrayRef {
    let field = Field::new_list_field(DataType::Utf8View, true);
    let mut out = ListBuilder::new(StringViewBuilder::new()).with_field(field);
    for list in lists {
        let valid = list.is_some();
        for item in list.into_iter().flatten() {
            out.values().append_option(item);
        }
        out.append(valid);
    }
    Arc::new(out.finish())
}

/// `json_exists(json, path, on error)`.
fn json_exists(call: &Call<'_>) -> Result<ArrayRef> {
    let error = call.text_or(2, "FALSE")?;
    let mut rows = found(call)?.into_iter();
    call.bool_rows(|i| match rows.next().flatten() {
        None => Ok(None),
        Some(Found::One(_)) => Ok(Some(true)),
        Some(Found::Empty) => Ok(Some(false)),
        Some(Found::Error) => match error.get(i) {
            Some("TRUE") => Ok(Some(true)),
            Some("UNKNOWN") => Ok(None),
            Some("ERROR") => failed(call, "could not follow its path, and ERROR ON ERROR is set"),
            _ => Ok(Some(false)),
        },
    })
}

/// `x IS JSON [VALUE | OBJECT | ARRAY | SCALAR]`; NULL is no JSON.
fn is_json(call: &Call<'_>) -> Result<ArrayRef> {
    let (json, kind) = (call.text(0)?, call.text(1)?);
    call.bool_rows(|i| {
        let document = json.get(i).and_then(|json| serde_json::from_str::<Value>(json).ok());
        Ok(Some(match (document, kind.get(i)) {
            (None, _) => false,
            (Some(document), Some("OBJECT")) => document.is_object(),
            (Some(document), Some("ARRAY")) => document.is_array(),
            (Some(document), Some("SCALAR")) => !document.is_array() && !document.is_object(),
            (Some(_), _) => true,
        }))
    })
}

/// `json -> key`: a member of an object, or an item of an array from 0; NULL if there is none.
fn member_text(call: &Call<'_>, pick: impl Fn(Value) -> Option<String>) -> Result<ArrayRef> {
    let json = call.text(0)?;
    let keys = call.text(1).ok();
    let places = if keys.is_none() { Some(call.int(1)?) } else { None };
    call.text_rows(|i| {
        let Some(Ok(document)) = json.get(i).map(serde_json::from_str::<Value>) else {
            return Ok(None);
        };
        let key = keys.as_ref().and_then(|keys| keys.get(i));
        let place = places.as_ref().and_then(|places| places.get(i));
        let member = match (document, key, place) {
            (Value::Object(mut members), Some(key), _) => members.swap_remove(key),
            (Value::Array(mut items), _, Some(at)) => {
                let at = if at < 0 { at.saturating_add(items.len() as i64) } else { at };
                let at = usize::try_from(at).ok().filter(|at| *at < items.len());
                at.map(|at| items.swap_remove(at))
            }
            _ => None,
        };
        Ok(member.and_then(&pick))
    })
}

/// How many members or items; 1 for a scalar.
fn json_length(call: &Call<'_>) -> Result<ArrayRef> {
    let mut rows = found(call)?.into_iter();
    call.int32_rows(|_| {
        Ok(match rows.next().flatten() {
            Some(Found::One(Value::Array(items))) => Some(items.len() as i32),
            Some(Found::One(Value::Object(members))) => Some(members.len() as i32),
            Some(Found::One(_)) => Some(1),
            _ => None,
        })
    })
}

/// The names of the members of an object, in their order.
fn json_keys(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = found(call)?.into_iter().map(|found| match found {
        Some(Found::One(Value::Object(members))) => {
            Some(members.into_iter().map(|(key, _)| Some(key)).collect())
        }
        _ => None,
    });
    Ok(text_lists(lists))
}

/// Refuses what is no form of the constants that the parser writes.
fn unknown_form<T>(form: &str) -> Result<T> {
    plan_err!("a JSON function of the unknown form '{form}'")
}
