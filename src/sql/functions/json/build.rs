//! JSON_STRING, JSON_OBJECT, JSON_ARRAY and their kin: making JSON texts.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use super::super::define::{Call, Function, Param};
use super::super::to_text::text_array;
use super::unknown_form;

/// The functions of this file.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    use Param::{Any, Text};
    vec![
        Function::text("json_string", &[Any], json_string).udf(),
        Function::text("json", &[Text], |c| {
            let json = c.text(0)?;
            c.text_rows(|i| Ok(json.get(i)))
        })
        .udf(),
        Function::text("json_quote", &[Text], |c| {
            let text = c.text(0)?;
            c.text_rows(|i| Ok(text.get(i).map(quoted)))
        })
        .udf(),
        Function::text("json_unquote", &[Text], |c| {
            let text = c.text(0)?;
            c.text_rows(|i| Ok(text.get(i).map(unquoted)))
        })
        .udf(),
        Function::text("json_build_object", &[Text, Any], build_object)
            .optional_after(1)
            .variadic()
            .udf(),
        Function::text("json_build_array", &[Text, Any], build_array)
            .optional_after(1)
            .variadic()
            .udf(),
    ]
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The string of a JSON string; any other text as it is.
fn unquoted(text: &str) -> String {
    match serde_json::from_str(text) {
        Ok(serde_json::Value::String(inner)) => inner,
        _ => text.to_string(),
    }
}

fn json_string(call: &Call<'_>) -> Result<ArrayRef> {
    let values = JsonTexts::new(&call.array(0)?)?;
    call.text_rows(|row| {
        Ok((!values.is_null(row)).then(|| {
            let mut text = String::new();
            values.write(row, &mut text);
            text
        }))
    })
}

/// The forms of the values: the first letter says what becomes of NULLs (`n`: null, `a`: absent),
/// the others whether a value is JSON already (`j`) or not (`v`).
fn forms<'a>(call: &Call<'a>) -> Result<(bool, Vec<bool>)> {
    let form = call.constant_text(0)?.unwrap_or_default();
    let keeps_nulls = match form.chars().next() {
        Some('n') => true,
        Some('a') => false,
        _ => return unknown_form(form),
    };
    Ok((keeps_nulls, form.chars().skip(1).map(|c| c == 'j').collect()))
}

/// `json_build_object(forms, key, value, ..)`.
fn build_object(call: &Call<'_>) -> Result<ArrayRef> {
    let (keeps_nulls, raw) = forms(call)?;
    let mut members = Vec::with_capacity(raw.len());
    for (i, raw) in raw.iter().enumerate() {
        let key = text_array(&call.array(1 + 2 * i)?)?;
        members.push((key, Member::new(&call.array(2 + 2 * i)?, *raw)?));
    }
    call.text_rows(|row| {
        let mut text = String::from("{");
        for (keys, values) in &members {
            let keys = keys.as_string_view();
            let hidden = values.is_null(row) && !keeps_nulls;
            if keys.is_null(row) || hidden {
                continue;
            }
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(&quoted(keys.value(row)));
            text.push(':');
            values.write(row, &mut text);
        }
        text.push('}');
        Ok(Some(text))
    })
}

/// `json_build_array(forms, value, ..)`.
fn build_array(call: &Call<'_>) -> Result<ArrayRef> {
    let (keeps_nulls, raw) = forms(call)?;
    let mut items = Vec::with_capacity(raw.len());
    for (i, raw) in raw.iter().enumerate() {
        items.push(Member::new(&call.array(1 + i)?, *raw)?);
    }
    call.text_rows(|row| {
        let mut text = String::from("[");
        for values in items.iter().filter(|values| keeps_nulls || !values.is_null(row)) {
            if text.len() > 1 {
                text.push(',');
            }
            values.write(row, &mut text);
        }
        text.push(']');
        Ok(Some(text))
    })
}

/// A value to be put into JSON.
enum Member {
    /// JSON already.
    Raw(ArrayRef),
    Value(JsonTexts),
}

impl Member {
    fn new(array: &ArrayRef, raw: bool) -> Result<Self> {
        Ok(match raw {
            true => Member::Raw(cast(array, &DataType::Utf8View)?),
            false => Member::Value(JsonTexts::new(array)?),
        })
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Member::Raw(array) => array.is_null(row),
            Member::Value(texts) => texts.is_null(row),
        }
    }

    fn write(&self, row: usize, out: &mut String) {
        match self {
            Member::Raw(array) if array.is_null(row) => out.push_str("null"),
            Member::Raw(array) => out.push_str(array.as_string_view().value(row)),
            Member::Value(texts) => texts.write(row, out),
        }
    }
}

/// A column, ready to be written as JSON.
struct JsonTexts {
    array: ArrayRef,
    kind: Kind,
}

enum Kind {
    Null,
    Boolean,
    /// Numbers whose text is JSON.
    Number(ArrayRef),
    Float(ArrayRef),
    Text(ArrayRef),
    List(Box<JsonTexts>),
    Map(ArrayRef, Box<JsonTexts>),
    Row(Vec<(String, JsonTexts)>),
}

impl JsonTexts {
    fn new(array: &ArrayRef) -> Result<Self> {
        let inner = |array: &ArrayRef| JsonTexts::new(array).map(Box::new);
        let kind = match array.data_type() {
            DataType::Null => Kind::Null,
            DataType::Boolean => Kind::Boolean,
            DataType::Float16 | DataType::Float32 | DataType::Float64 => {
                Kind::Float(cast(array, &DataType::Float64)?)
            }
            given if given.is_integer() || given.is_decimal() => {
                Kind::Number(cast(array, &DataType::Utf8View)?)
            }
            DataType::List(_) => Kind::List(inner(array.as_list::<i32>().values())?),
            DataType::Map(..) => {
                let map = array.as_map();
                Kind::Map(text_array(map.keys())?, inner(map.values())?)
            }
            DataType::Struct(fields) => {
                let columns = fields.iter().zip(array.as_struct().columns());
                let columns = columns.map(|(f, c)| Ok((quoted(f.name()), JsonTexts::new(c)?)));
                Kind::Row(columns.collect::<Result<Vec<_>>>()?)
            }
            _ => Kind::Text(text_array(array)?),
        };
        Ok(JsonTexts { array: Arc::clone(array), kind })
    }

    fn is_null(&self, row: usize) -> bool {
        matches!(self.kind, Kind::Null) || self.array.is_null(row)
    }

    fn write(&self, row: usize, out: &mut String) {
        if self.is_null(row) {
            out.push_str("null");
            return;
        }
        match &self.kind {
            Kind::Null => out.push_str("null"),
            Kind::Boolean => {
                out.push_str(if self.array.as_boolean().value(row) { "true" } else { "false" });
            }
            Kind::Number(texts) => out.push_str(texts.as_string_view().value(row)),
            Kind::Float(values) => {
                let value = values.as_primitive::<Float64Type>().value(row);
                // What JSON cannot hold becomes null.
                let _ = write!(out, "{}", serde_json::Value::from(value));
            }
            Kind::Text(texts) => out.push_str(&quoted(texts.as_string_view().value(row))),
            Kind::List(items) => {
                let offsets = self.array.as_list::<i32>().value_offsets();
                let places = offsets[row] as usize..offsets[row + 1] as usize;
                joined(out, ('[', ']'), places, |at, out| items.write(at, out));
            }
            Kind::Map(keys, values) => {
                let offsets = self.array.as_map().value_offsets();
                let places = offsets[row] as usize..offsets[row + 1] as usize;
                joined(out, ('{', '}'), places, |at, out| {
                    out.push_str(&quoted(keys.as_string_view().value(at)));
                    out.push(':');
                    values.write(at, out);
                });
            }
            Kind::Row(columns) => {
                joined(out, ('{', '}'), 0..columns.len(), |at, out| {
                    let (name, values) = &columns[at];
                    out.push_str(name);
                    out.push(':');
                    values.write(row, out);
                });
            }
        }
    }
}

fn joined(
    out: &mut String,
    (open, close): (char, char),
    places: std::ops::Range<usize>,
    mut write: impl FnMut(usize, &mut String),
) {
    out.push(open);
    let first = places.start;
    for at in places {
        if at > first {
            out.push(',');
        }
        write(at, out);
    }
    out.push(close);
}
