//! Digests as hexadecimal text: MD5 and SHA.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, exec_err};
use datafusion::functions::crypto;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};

use super::codec::{bytes_at, hex_text};
use super::define::{Call, Evaluate, Function, Param};

/// The functions of this file.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let one =
        |name, evaluate: Evaluate| Function::text(name, &[Param::TextOrBytes], evaluate).udf();
    vec![
        one("md5", |call| library(call, &crypto::md5())),
        one("sha1", |call| {
            let array = call.array(0)?;
            call.text_rows(|i| Ok(bytes_at(&array, i).map(|b| hex_text(&sha1(b), false))))
        }),
        one("sha224", |call| library(call, &crypto::sha224())),
        one("sha256", |call| library(call, &crypto::sha256())),
        one("sha384", |call| library(call, &crypto::sha384())),
        one("sha512", |call| library(call, &crypto::sha512())),
        Function::text("sha2", &[Param::TextOrBytes, Param::Int], sha2).udf(),
    ]
}

/// A digest of DataFusion's, its bytes as text.
fn library(call: &Call<'_>, function: &ScalarUDF) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let returns = function.return_type(&[array.data_type().clone()])?;
    let digests = function.invoke_with_args(ScalarFunctionArgs {
        arg_fields: vec![Arc::new(Field::new("value", array.data_type().clone(), true))],
        args: vec![ColumnarValue::Array(array)],
        number_rows: call.rows,
        return_field: Arc::new(Field::new(call.name, returns, true)),
        config_options: Arc::new(ConfigOptions::default()),
    })?;
    let digests = digests.to_array(call.rows)?;
    if digests.data_type().is_string() {
        return Ok(cast(&digests, &DataType::Utf8View)?);
    }
    let digests = cast(&digests, &DataType::BinaryView)?;
    call.text_rows(|i| Ok(bytes_at(&digests, i).map(|bytes| hex_text(bytes, false))))
}

fn sha2(call: &Call<'_>) -> Result<ArrayRef> {
    let bits = match call.arg(1)? {
        ColumnarValue::Scalar(datafusion::common::ScalarValue::Int64(bits)) => *bits,
        _ => return exec_err!("the second argument of SHA2 must be a constant"),
    };
    let function = match bits {
        Some(224) => crypto::sha224(),
        Some(256) => crypto::sha256(),
        Some(384) => crypto::sha384(),
        Some(512) => crypto::sha512(),
        Some(other) => return exec_err!("SHA2 has 224, 256, 384 or 512 bits, not {other}"),
        None => return call.text_rows(|_| Ok(None::<&str>)),
    };
    library(call, &function)
}

/// SHA-1 (FIPS 180-4). Broken as a seal, kept for data that carries such digests.
fn sha1(bytes: &[u8]) -> [u8; 20] {
    let mut padded = bytes.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(64), 0);
    if padded.len() - bytes.len() < 9 {
        padded.resize(padded.len() + 64, 0);
    }
    let length = padded.len() - 8;
    padded.truncate(length);
    padded.extend((bytes.len() as u64 * 8).to_be_bytes());
    let mut state: [u32; 5] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0];
    for block in padded.chunks_exact(64) {
        let mut words: Vec<u32> = Vec::with_capacity(80);
        words.extend(
            block
                .chunks_exact(4)
                .map(|word| word.iter().fold(0, |word, byte| word << 8 | u32::from(*byte))),
        );
        for i in 16..80_usize {
            let before = |n: usize| words.get(i - n).copied().unwrap_or(0);
            words.push((before(3) ^ before(8) ^ before(14) ^ before(16)).rotate_left(1));
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (i, word) in words.iter().enumerate() {
            let (f, k) = match i {
                0..20 => ((b & c) | (!b & d), 0x5A82_7999),
                20..40 => (b ^ c ^ d, 0x6ED9_EBA1),
                40..60 => ((b & c) | (b & d) | (c & d), 0x8F1B_BCDC),
                _ => (b ^ c ^ d, 0xCA62_C1D6_u32),
            };
            let next = a.rotate_left(5).wrapping_add(f).wrapping_add(e);
            let next = next.wrapping_add(k).wrapping_add(*word);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        }
        for (sum, value) in state.iter_mut().zip([a, b, c, d, e]) {
            *sum = sum.wrapping_add(value);
        }
    }
    let mut digest = [0; 20];
    for (to, from) in digest.iter_mut().zip(state.iter().flat_map(|word| word.to_be_bytes())) {
        *to = from;
    }
    digest
}
