//! Arrays, maps and types: CARDINALITY, ELEMENT, STR_TO_MAP, TYPEOF.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, MapBuilder, MapFieldNames, StringViewBuilder, UInt32Array,
};
use arrow::compute::kernels::cmp::eq;
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::ScalarUDF;
use indexmap::IndexMap;

use super::define::{Call, Function, Param, Returns};

/// The functions of this file.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let any = &[Param::Any];
    let int = Returns::From(|given| match given {
        [DataType::List(_) | DataType::Map(_, _)] => Ok(DataType::Int32),
        _ => plan_err!("CARDINALITY takes an ARRAY or a MAP"),
    });
    let item = Returns::From(|given| match given {
        [DataType::List(item)] => Ok(item.data_type().clone()),
        _ => plan_err!("ELEMENT takes an ARRAY"),
    });
    let map = Returns::From(|_| Ok(text_map()));
    let value = Returns::From(|given| match given {
        [DataType::Map(entries, _), _] => match entries.data_type() {
            DataType::Struct(pair) => match pair.get(1) {
                Some(value) => Ok(value.data_type().clone()),
                None => plan_err!("a MAP without values"),
            },
            other => plan_err!("a MAP of {other}"),
        },
        _ => plan_err!("MAP_VALUE takes a MAP and a key"),
    });
    vec![
        Function::new("cardinality", any, int, cardinality).udf(),
        Function::new("element", any, item, element).udf(),
        Function::new("str_to_map", &[Param::Text, Param::Text, Param::Text], map, str_to_map)
            .optional_after(1)
            .udf(),
        Function::new("map_value", &[Param::Any, Param::Any], value, map_value).udf(),
        Function::text("typeof", any, |call| {
            let name = type_name(&call.arg(0)?.data_type());
            call.text_rows(|_| Ok(Some(&name)))
        })
        .udf(),
    ]
}

fn cardinality(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let lengths = |offsets: &[i32]| {
        call.int32_rows(|i| {
            let length = offsets.get(i + 1).zip(offsets.get(i)).map(|(end, start)| end - start);
            Ok(length.filter(|_| array.is_valid(i)))
        })
    };
    match (array.as_list_opt::<i32>(), array.as_map_opt()) {
        (Some(list), _) => lengths(list.value_offsets()),
        (_, Some(map)) => lengths(map.value_offsets()),
        _ => exec_err!("CARDINALITY takes an ARRAY or a MAP"),
    }
}

/// The only item; NULL for an empty array.
fn element(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let Some(list) = array.as_list_opt::<i32>() else {
        return exec_err!("ELEMENT takes an ARRAY");
    };
    let pick = |i: usize| {
        if list.is_null(i) {
            return Ok(None);
        }
        match list.value_length(i) {
            0 => Ok(None),
            1 => Ok(list.value_offsets().get(i).and_then(|at| u32::try_from(*at).ok())),
            many => exec_err!("ELEMENT of an ARRAY of {many} items"),
        }
    };
    let picked: UInt32Array = (0..call.rows).map(pick).collect::<Result<_>>()?;
    Ok(take(list.values(), &picked, None)?)
}

/// `map[key]`: the value of a key; NULL where the map lacks it.
fn map_value(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let Some(map) = array.as_map_opt() else {
        return exec_err!("MAP_VALUE takes a MAP");
    };
    let offsets = map.value_offsets();
    let ends = |i: usize| Some((*offsets.get(i)?, *offsets.get(i + 1)?));
    let first = offsets.first().copied().unwrap_or(0);
    // One comparison of all keys with the key that each one's row looks for.
    let rows = (0..call.rows).filter_map(|i| Some((i, ends(i)?)));
    let rows = rows.flat_map(|(i, (start, end))| (start..end).map(move |_| i as u32));
    let wanted = cast(&call.array(1)?, map.key_type())?;
    let wanted = take(&wanted, &UInt32Array::from_iter_values(rows), None)?;
    let keys = map.keys().slice(first as usize, wanted.len());
    let equal = eq(&keys, &wanted)?;
    let pick = |i: usize| {
        let (start, end) = ends(i).filter(|_| map.is_valid(i))?;
        let hit = |at: &i32| {
            let at = (at - first) as usize;
            equal.is_valid(at) && equal.value(at)
        };
        (start..end).find(hit).map(|at| at as u32)
    };
    let picked: UInt32Array = (0..call.rows).map(pick).collect();
    Ok(take(map.values(), &picked, None)?)
}

fn map_names() -> MapFieldNames {
    MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() }
}

fn text_map() -> DataType {
    let key = Field::new("key", DataType::Utf8View, false);
    let value = Field::new("value", DataType::Utf8View, true);
    let entries = DataType::Struct(Fields::from(vec![key, value]));
    DataType::Map(Arc::new(Field::new("entries", entries, false)), false)
}

/// Pairs such as `a=1,b=2`; of equal keys the last counts.
fn str_to_map(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.text(0)?;
    let (pairs, values) = (call.text_or(1, ",")?, call.text_or(2, "=")?);
    let (keys, items) = (StringViewBuilder::new(), StringViewBuilder::new());
    let mut out = MapBuilder::new(Some(map_names()), keys, items);
    for i in 0..call.rows {
        let (Some(text), Some(pairs), Some(values)) = (text.get(i), pairs.get(i), values.get(i))
        else {
            out.append(false)?;
            continue;
        };
        let mut map: IndexMap<&str, Option<&str>> = IndexMap::new();
        for pair in text.split(pairs).filter(|_| !text.is_empty()) {
            match pair.split_once(values) {
                Some((key, value)) => map.insert(key, Some(value)),
                None => map.insert(pair, None),
            };
        }
        for (key, value) in map {
            out.keys().append_value(key);
            out.values().append_option(value);
        }
        out.append(true)?;
    }
    Ok(Arc::new(out.finish()))
}

/// A type as Flink writes it.
fn type_name(given: &DataType) -> String {
    let precision = |unit: &TimeUnit| match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    };
    match given {
        DataType::Null => "NULL".into(),
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INT".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::Float32 => "FLOAT".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "STRING".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BYTES".into(),
        DataType::Date32 => "DATE".into(),
        DataType::Time32(_) | DataType::Time64(_) => "TIME(0)".into(),
        DataType::Timestamp(unit, None) => format!("TIMESTAMP({})", precision(unit)),
        DataType::Timestamp(unit, Some(_)) => format!("TIMESTAMP_LTZ({})", precision(unit)),
        DataType::List(item) => format!("ARRAY<{}>", type_name(item.data_type())),
        DataType::Struct(fields) => {
            let fields =
                fields.iter().map(|f| format!("`{}` {}", f.name(), type_name(f.data_type())));
            format!("ROW<{}>", fields.collect::<Vec<_>>().join(", "))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) => {
                let pair = pair.iter().map(|field| type_name(field.data_type()));
                format!("MAP<{}>", pair.collect::<Vec<_>>().join(", "))
            }
            other => type_name(other),
        },
        other => other.to_string().to_uppercase(),
    }
}
