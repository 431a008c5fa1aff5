//! SPLIT_INDEX: one piece of a delimited string.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringViewBuilder};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use memchr::memmem::Finder;

use super::define::{Call, Function, IntArg, Param, TextArg};

/// The functions of this file.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let params = &[Param::Text, Param::TextOrInt, Param::Int];
    vec![Function::text("split_index", params, split_index).udf()]
}

fn split_index(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, index) = (call.text(0)?, call.int(2)?);
    if call.text(1).is_err() {
        return split_at_codes(call, text, call.int(1)?, index);
    }
    match (text, call.text(1)?, index) {
        (
            TextArg::Column(texts),
            TextArg::Constant(Some(delimiter)),
            IntArg::Constant(Some(at)),
        ) if !delimiter.is_empty() => {
            let mut out = StringViewBuilder::with_capacity(texts.len());
            let mut splitter = Splitter::new(delimiter);
            for text in texts {
                match text.and_then(|text| splitter.piece(text, at)) {
                    // Pieces are mostly short: twelve bytes live in the view itself.
                    Some(piece) => out.append_value(piece),
                    None => out.append_null(),
                }
            }
            Ok(Arc::new(out.finish()))
        }
        (text, delimiter, index) => call.text_rows(|i| {
            let (Some(text), Some(delimiter), Some(index)) =
                (text.get(i), delimiter.get(i), index.get(i))
            else {
                return Ok(None);
            };
            Ok(Splitter::new(delimiter).piece(text, index))
        }),
    }
}

/// The delimiter as a code: 1 to 255, otherwise the answer is NULL.
fn split_at_codes(
    call: &Call<'_>,
    text: TextArg<'_>,
    code: IntArg<'_>,
    index: IntArg<'_>,
) -> Result<ArrayRef> {
    let delimiter_of = |code: i64| {
        u8::try_from(code).ok().filter(|code| *code > 0).map(|code| char::from(code).to_string())
    };
    if let IntArg::Constant(code) = code {
        let delimiter = code.and_then(delimiter_of);
        let args = [
            call.arg(0)?.clone(),
            ColumnarValue::Scalar(datafusion::common::ScalarValue::Utf8View(delimiter)),
            call.arg(2)?.clone(),
        ];
        return split_index(&Call { args: &args, ..*call });
    }
    call.text_rows(|i| {
        let (Some(text), Some(code), Some(index)) = (text.get(i), code.get(i), index.get(i)) else {
            return Ok(None);
        };
        Ok(delimiter_of(code).and_then(|d| Splitter::new(&d).piece(text, index)))
    })
}

/// Finds pieces between one delimiter.
enum Splitter<'d> {
    /// At every blank: what an empty delimiter means.
    Blank,
    /// At a single byte.
    Byte(u8),
    /// At a longer text.
    Text(Box<Finder<'d>>, usize),
}

impl<'d> Splitter<'d> {
    fn new(delimiter: &'d str) -> Self {
        match delimiter.as_bytes() {
            [] => Splitter::Blank,
            [byte] => Splitter::Byte(*byte),
            bytes => Splitter::Text(Box::new(Finder::new(bytes)), bytes.len()),
        }
    }

    /// Piece number `index` from 0; an empty text has no pieces.
    #[inline]
    fn piece<'t>(&mut self, text: &'t str, index: i64) -> Option<&'t str> {
        let index = usize::try_from(index).ok()?;
        if text.is_empty() {
            return None;
        }
        let bytes = text.as_bytes();
        match self {
            Splitter::Blank => text.split(char::is_whitespace).nth(index),
            Splitter::Byte(byte) => cut(text, index, 1, memchr::memchr_iter(*byte, bytes)),
            Splitter::Text(finder, length) => cut(text, index, *length, finder.find_iter(bytes)),
        }
    }
}

/// The piece before hit number `index` and behind the one before it.
#[inline]
fn cut(
    text: &str,
    index: usize,
    length: usize,
    mut hits: impl Iterator<Item = usize>,
) -> Option<&str> {
    let start = match index.checked_sub(1) {
        None => 0,
        Some(before) => hits.nth(before)? + length,
    };
    let end = hits.next().unwrap_or(text.len());
    text.get(start..end)
}
