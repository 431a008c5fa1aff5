//! A stable hash of key columns: the same on every machine, process and version.
//!
//! Rows are spread over workers, and later stored in shards, by this hash; it must never change.
//! The mixing step is the 128-bit multiply-and-fold of wyhash (Wang Yi, 2019).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::unary;
use arrow::datatypes::*;
use arrow::row::{RowConverter, SortField};

use crate::error::Result;

const SEED: u64 = 0xa076_1d64_78bd_642f;
const STEP: u64 = 0xe703_7ed1_a0b4_28db;
const START: u64 = 0x5897_3cd1_64f7_0a2b;
const NULL: u64 = 0x8ebc_6af0_9c88_c6e3;

/// Mixes two words into one.
#[inline]
pub fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ SEED).wrapping_mul(u128::from(b ^ STEP));
    (product as u64) ^ ((product >> 64) as u64)
}

/// The hash of a byte string.
#[inline]
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hash = bytes.len() as u64;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        hash = mix(hash, u64::from_le_bytes(word));
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        hash = mix(hash, u64::from_le_bytes(word));
    }
    hash
}

/// One hash a row over `columns`; NULL hashes like NULL, `-0.0` like `0.0`.
pub fn hash_columns(columns: &[ArrayRef], rows: usize) -> Result<Vec<u64>> {
    // Not SEED: mixed with that, every first column would become zero.
    let mut hashes = vec![START; rows];
    for column in columns {
        hash_column(column, &mut hashes)?;
    }
    Ok(hashes)
}

fn combine(column: &dyn Array, hashes: &mut [u64], value: impl Fn(usize) -> u64) {
    match column.nulls().filter(|n| n.null_count() > 0) {
        None => hashes.iter_mut().enumerate().for_each(|(i, h)| *h = mix(*h, value(i))),
        Some(nulls) => hashes.iter_mut().enumerate().for_each(|(i, h)| {
            *h = mix(*h, if nulls.is_valid(i) { value(i) } else { NULL });
        }),
    }
}

fn float_bits(value: f64) -> u64 {
    if value == 0.0 {
        0
    } else if value.is_nan() {
        f64::NAN.to_bits()
    } else {
        value.to_bits()
    }
}

macro_rules! integers {
    ($column:expr, $hashes:expr, $($pattern:pat => $type:ty),+ ; $($rest:tt)*) => {
        match $column.data_type() {
            $($pattern => {
                let values = $column.as_primitive::<$type>().values();
                combine($column.as_ref(), $hashes, |i| values[i] as i64 as u64);
            })+
            $($rest)*
        }
    };
}

fn hash_column(column: &ArrayRef, hashes: &mut [u64]) -> Result<()> {
    use DataType as D;
    use TimeUnit as U;
    integers! { column, hashes,
        D::Int8 => Int8Type, D::Int16 => Int16Type, D::Int32 => Int32Type, D::Int64 => Int64Type,
        D::UInt8 => UInt8Type, D::UInt16 => UInt16Type,
        D::UInt32 => UInt32Type, D::UInt64 => UInt64Type,
        D::Date32 => Date32Type, D::Date64 => Date64Type,
        D::Time32(U::Second) => Time32SecondType,
        D::Time32(U::Millisecond) => Time32MillisecondType,
        D::Time64(U::Microsecond) => Time64MicrosecondType,
        D::Timestamp(U::Second, _) => TimestampSecondType,
        D::Timestamp(U::Millisecond, _) => TimestampMillisecondType,
        D::Timestamp(U::Microsecond, _) => TimestampMicrosecondType,
        D::Timestamp(U::Nanosecond, _) => TimestampNanosecondType;
        D::Float32 => {
            let values = column.as_primitive::<Float32Type>().values();
            combine(column.as_ref(), hashes, |i| float_bits(f64::from(values[i])));
        }
        D::Float64 => {
            let values = column.as_primitive::<Float64Type>().values();
            combine(column.as_ref(), hashes, |i| float_bits(values[i]));
        }
        D::Decimal128(_, _) => {
            let values = column.as_primitive::<Decimal128Type>().values();
            combine(column.as_ref(), hashes, |i| mix(values[i] as u64, (values[i] >> 64) as u64));
        }
        D::Boolean => {
            let values = column.as_boolean().values().clone();
            combine(column.as_ref(), hashes, |i| u64::from(values.value(i)));
        }
        D::Utf8 => {
            let values = column.as_string::<i32>();
            combine(column.as_ref(), hashes, |i| hash_bytes(values.value(i).as_bytes()));
        }
        D::Utf8View => {
            let values = column.as_string_view();
            combine(column.as_ref(), hashes, |i| hash_bytes(values.value(i).as_bytes()));
        }
        D::BinaryView => {
            let values = column.as_binary_view();
            combine(column.as_ref(), hashes, |i| hash_bytes(values.value(i)));
        }
        other => {
            let converter = RowConverter::new(vec![SortField::new(other.clone())])?;
            let rows = converter.convert_columns(std::slice::from_ref(column))?;
            for (hash, row) in hashes.iter_mut().zip(rows.iter()) {
                *hash = mix(*hash, hash_bytes(row.as_ref()));
            }
        }
    }
    Ok(())
}

/// Equal numbers have equal bytes: one zero, one NaN.
pub fn normal(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>();
            Arc::new(unary::<_, _, Float64Type>(values, |v| match v.is_nan() {
                true => f64::NAN,
                // Of minus zero this makes zero.
                false => v + 0.0,
            }))
        }
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>();
            Arc::new(unary::<_, _, Float32Type>(values, |v| match v.is_nan() {
                true => f32::NAN,
                false => v + 0.0,
            }))
        }
        _ => array.clone(),
    }
}
