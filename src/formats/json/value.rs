//! One JSON value into one column, by the column's type.
//!
//! Usual forms are read in place; everything else goes the general way below, which also says what
//! is wrong. Types follow Flink: numbers and booleans may stand in strings, a STRING column takes
//! any value as its text, a timestamp is text of the chosen standard.

use std::collections::BTreeMap;

use super::super::column::{BLOCK_CHUNK, BLOCK_SIDE, Column, Data, type_name};
use super::super::scalar::{append_text, misfit, shorten};
use super::super::temporal::TimestampStyle;
use super::scan::{self, SyntaxError};
use crate::limits;

/// Why a value could not be read.
pub(super) enum Fault {
    /// The record is no JSON.
    Syntax { at: usize, reason: &'static str },
    /// The value does not fit its column; the record goes on after it.
    Field(String),
}

impl From<SyntaxError> for Box<Fault> {
    fn from(error: SyntaxError) -> Self {
        Box::new(Fault::Syntax { at: error.at, reason: error.reason })
    }
}

/// The position after the value that was read.
pub(super) type Parsed = Result<usize, Box<Fault>>;

#[cold]
fn field_fault(reason: String) -> Box<Fault> {
    Box::new(Fault::Field(reason))
}

/// Reads values of one chunk.
pub(super) struct ValueReader<'a> {
    pub bytes: &'a [u8],
    /// Text that had to be rewritten: string views point here as well.
    pub side: Vec<u8>,
    pub style: TimestampStyle,
    pub fail_on_missing: bool,
    /// Whether `bytes` are no block, so that all strings must be copied into `side`.
    pub copies: bool,
    scratch: Vec<u8>,
    depth: usize,
}

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 19] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18,
];

/// A short number as a double: one correctly rounded division of two exact numbers.
#[inline]
fn short_double(bytes: &[u8], at: usize) -> Option<(f64, usize)> {
    let (value, fraction, end) = scan::short_number(bytes, at)?;
    let power = POWERS.get(fraction)?;
    // Minus zero is a double of its own and has no integer.
    let exact = value.unsigned_abs() <= 1 << 53 && value != 0;
    exact.then_some((value as f64 / power, end))
}

/// The same for single precision, through a double: rounding twice could only go wrong if the
/// double lay exactly between two floats.
#[inline]
fn short_float(bytes: &[u8], at: usize) -> Option<(f32, usize)> {
    const BELOW_FLOAT: u64 = (1 << 29) - 1;
    const HALFWAY: u64 = 1 << 28;
    let (double, end) = short_double(bytes, at)?;
    (double.to_bits() & BELOW_FLOAT != HALFWAY).then_some((double as f32, end))
}

impl<'a> ValueReader<'a> {
    pub fn new(bytes: &'a [u8], style: TimestampStyle, fail_on_missing: bool) -> Self {
        let (side, scratch) = (Vec::new(), Vec::new());
        ValueReader { bytes, side, style, fail_on_missing, copies: false, scratch, depth: 0 }
    }

    /// Appends the value at `at` to `column`.
    #[inline]
    pub fn value(&mut self, column: &mut Column, at: usize) -> Parsed {
        let bytes = self.bytes;
        match &mut column.data {
            Data::Int64(values) => {
                if let Some((value, end)) = scan::integer(bytes, at) {
                    values.push(value);
                    return Ok(end);
                }
            }
            Data::Text(views) if bytes.get(at) == Some(&b'"') && !self.copies => {
                let end = scan::plain_end(bytes, at + 1);
                if bytes.get(end) == Some(&b'"') {
                    let text = bytes.get(at + 1..end).unwrap_or_default();
                    views.push(text, BLOCK_CHUNK, at + 1);
                    return Ok(end + 1);
                }
            }
            Data::Timestamp { values, parser } if bytes.get(at) == Some(&b'"') => {
                let text = bytes.get(at + 1..).unwrap_or_default();
                if let Some((value, length)) = parser.parse_prefix(text, self.style)
                    && text.get(length) == Some(&b'"')
                {
                    values.push(value);
                    return Ok(at + length + 2);
                }
            }
            Data::Boolean(values) => {
                if let Some(end) = scan::word(bytes, at, b"true") {
                    values.push(true);
                    return Ok(end);
                }
                if let Some(end) = scan::word(bytes, at, b"false") {
                    values.push(false);
                    return Ok(end);
                }
            }
            Data::Int16(values) => {
                if let Some((value, end)) = scan::integer(bytes, at)
                    && let Ok(value) = i16::try_from(value)
                {
                    values.push(value);
                    return Ok(end);
                }
            }
            Data::Int32(values) => {
                if let Some((value, end)) = scan::integer(bytes, at)
                    && let Ok(value) = i32::try_from(value)
                {
                    values.push(value);
                    return Ok(end);
                }
            }
            Data::Float64(values) => {
                if let Some((value, end)) = short_double(bytes, at) {
                    values.push(value);
                    return Ok(end);
                }
            }
            Data::Float32(values) => {
                if let Some((value, end)) = short_float(bytes, at) {
                    values.push(value);
                    return Ok(end);
                }
            }
            _ => {}
        }
        self.value_slow(column, at)
    }

    fn value_slow(&mut self, column: &mut Column, at: usize) -> Parsed {
        let bytes = self.bytes;
        match bytes.get(at) {
            Some(b'n') => {
                let end = scan::value(bytes, at)?;
                if !column.field.is_nullable() {
                    return Err(field_fault("NULL in a NOT NULL column".into()));
                }
                column.push_null();
                Ok(end)
            }
            Some(b'"') => self.string_value(column, at),
            Some(b'{' | b'[') => self.container_value(column, at),
            Some(b't' | b'f') => {
                let end = scan::value(bytes, at)?;
                self.text_value(column, at, end, matches!(column.data, Data::Boolean(_)))
            }
            _ => {
                let end = scan::value(bytes, at)?;
                let takes_numbers = matches!(
                    column.data,
                    Data::Int8(_)
                        | Data::Int16(_)
                        | Data::Int32(_)
                        | Data::Int64(_)
                        | Data::Interval(_)
                        | Data::Float32(_)
                        | Data::Float64(_)
                        | Data::Decimal { .. }
                );
                self.text_value(column, at, end, takes_numbers)
            }
        }
    }

    /// Appends a number or boolean between `at` and `end`.
    fn text_value(&mut self, column: &mut Column, at: usize, end: usize, fits: bool) -> Parsed {
        let text = self.bytes.get(at..end).unwrap_or_default();
        if let Data::Text(views) = &mut column.data {
            if self.copies {
                views.push(text, BLOCK_SIDE, self.side.len());
                self.side.extend_from_slice(text);
            } else {
                views.push(text, BLOCK_CHUNK, at);
            }
        } else if fits {
            append_text(column, text, self.style, &mut self.side).map_err(field_fault)?;
        } else {
            return Err(field_fault(misfit(column, text, self.style)));
        }
        Ok(end)
    }

    fn string_value(&mut self, column: &mut Column, at: usize) -> Parsed {
        let (end, escaped) = scan::string(self.bytes, at + 1)?;
        if let Data::Text(views) = &mut column.data {
            let start = self.side.len();
            if escaped || self.copies {
                scan::escaped_string(self.bytes, at + 1, Some(&mut self.side))?;
                views.push(self.side.get(start..).unwrap_or_default(), BLOCK_SIDE, start);
            } else {
                let text = self.bytes.get(at + 1..end - 1).unwrap_or_default();
                views.push(text, BLOCK_CHUNK, at + 1);
            }
            return Ok(end);
        }
        let text = if escaped {
            self.scratch.clear();
            scan::escaped_string(self.bytes, at + 1, Some(&mut self.scratch))?;
            self.scratch.as_slice()
        } else {
            self.bytes.get(at + 1..end - 1).unwrap_or_default()
        };
        append_text(column, text, self.style, &mut self.side).map_err(field_fault)?;
        Ok(end)
    }

    fn container_value(&mut self, column: &mut Column, at: usize) -> Parsed {
        if self.depth >= limits::JSON_DEPTH_MAX {
            return Err(SyntaxError { at, reason: "nested too deeply" }.into());
        }
        self.depth += 1;
        let parsed = self.nested_value(column, at);
        self.depth -= 1;
        parsed
    }

    fn nested_value(&mut self, column: &mut Column, at: usize) -> Parsed {
        let object = self.bytes.get(at) == Some(&b'{');
        match &mut column.data {
            Data::List { offsets, child } if !object => {
                let end = self.array(child, at)?;
                offsets.push(offset(child.len())?);
                Ok(end)
            }
            Data::Map { offsets, key, value, .. } if object => {
                let end = self.map(key, value, at)?;
                offsets.push(offset(key.len())?);
                Ok(end)
            }
            Data::Row { rows, children, .. } if object => {
                let end = self.row(children, *rows, at)?;
                *rows += 1;
                Ok(end)
            }
            Data::Text(views) => {
                let end = scan::value(self.bytes, at)?;
                let start = self.side.len();
                scan::compact(self.bytes.get(at..end).unwrap_or_default(), &mut self.side);
                views.push(self.side.get(start..).unwrap_or_default(), BLOCK_SIDE, start);
                Ok(end)
            }
            _ => {
                let kind = if object { "an object" } else { "an array" };
                let name = type_name(column.field.data_type());
                Err(field_fault(format!("{kind} is not a {name}")))
            }
        }
    }

    fn array(&mut self, child: &mut Column, at: usize) -> Parsed {
        let mut at = scan::spaces(self.bytes, at + 1);
        if self.bytes.get(at) == Some(&b']') {
            return Ok(at + 1);
        }
        loop {
            at = scan::spaces(self.bytes, self.value(child, at)?);
            match self.bytes.get(at) {
                Some(b',') => at = scan::spaces(self.bytes, at + 1),
                Some(b']') => return Ok(at + 1),
                _ => return Err(SyntaxError { at, reason: "expected ',' or ']'" }.into()),
            }
        }
    }

    /// Entries are put in the order of their keys: two equal maps must be equal columns.
    fn map(&mut self, key: &mut Column, value: &mut Column, at: usize) -> Parsed {
        let mut entries = BTreeMap::new();
        let end = self.members(at, |reader, name, at| {
            entries.insert(name.to_vec(), at);
            Ok(scan::value(reader.bytes, at)?)
        })?;
        for (name, at) in entries {
            self.value(value, at)?;
            if let Data::Text(views) = &mut key.data {
                views.push(&name, BLOCK_SIDE, self.side.len());
                self.side.extend_from_slice(&name);
            }
        }
        Ok(end)
    }

    fn row(&mut self, children: &mut [Column], rows: usize, at: usize) -> Parsed {
        let end = self.members(at, |reader, name, at| {
            match children.iter_mut().find(|c| c.field.name().as_bytes() == name) {
                Some(child) => {
                    // Of two equal keys the last one counts.
                    child.truncate(rows);
                    let read = reader.value(child, at);
                    read.map_err(|fault| Box::new(fault.inside(child.field.name())))
                }
                None => Ok(scan::value(reader.bytes, at)?),
            }
        })?;
        for child in children.iter_mut().filter(|c| c.len() == rows) {
            missing(child, self.fail_on_missing).map_err(field_fault)?;
        }
        Ok(end)
    }

    /// Calls `member` with the name and the position of the value of each member of the object at
    /// `at`; it returns the position after the value.
    pub fn members(
        &mut self,
        at: usize,
        mut member: impl FnMut(&mut Self, &[u8], usize) -> Parsed,
    ) -> Parsed {
        let bytes = self.bytes;
        let mut at = scan::spaces(bytes, at + 1);
        if bytes.get(at) == Some(&b'}') {
            return Ok(at + 1);
        }
        let mut unescaped = Vec::new();
        loop {
            let (key_end, value, escaped) = scan::key(bytes, at)?;
            let name = if escaped {
                unescaped.clear();
                scan::escaped_string(bytes, at + 1, Some(&mut unescaped))?;
                unescaped.as_slice()
            } else {
                bytes.get(at + 1..key_end - 1).unwrap_or_default()
            };
            at = scan::spaces(bytes, member(self, name, value)?);
            match bytes.get(at) {
                Some(b',') => at = scan::spaces(bytes, at + 1),
                Some(b'}') => return Ok(at + 1),
                _ => return Err(SyntaxError { at, reason: "expected ',' or '}'" }.into()),
            }
        }
    }
}

impl Fault {
    /// The fault, said of the field `name`.
    pub fn inside(self, name: &str) -> Self {
        match self {
            Fault::Field(reason) => Fault::Field(format!("{}: {reason}", shorten(name.as_bytes()))),
            syntax @ Fault::Syntax { .. } => syntax,
        }
    }
}

/// Completes a column whose field a record does not have.
pub(super) fn missing(column: &mut Column, fail: bool) -> Result<(), String> {
    let name = column.field.name();
    if fail {
        return Err(format!("field '{name}' is missing"));
    }
    if !column.field.is_nullable() {
        return Err(format!("field '{name}' is missing and NOT NULL"));
    }
    column.push_null();
    Ok(())
}

/// Offsets of lists have 32 bits.
fn offset(length: usize) -> Result<i32, Box<Fault>> {
    i32::try_from(length).map_err(|_| field_fault("too many elements in one chunk".into()))
}
