//! Values, their types and the tape of choices that everything random is made from.

use std::cmp::Ordering;
use std::fmt::Write as _;

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// INT and BIGINT.
    Int,
    /// STRING.
    Text,
    /// DOUBLE; all values are quarters, so that sums are exact.
    Double,
    /// DECIMAL, in millionths.
    Decimal,
    /// BOOLEAN.
    Bool,
    /// TIMESTAMP(3).
    Time,
    /// A mean of DOUBLE values: not a quarter, so that it is compared and passed on alone.
    Mean,
}

impl Type {
    /// Those that columns of tables have.
    pub const OF_TABLES: [Type; 6] =
        [Type::Int, Type::Text, Type::Double, Type::Decimal, Type::Bool, Type::Time];

    pub fn is_exact_number(self) -> bool {
        matches!(self, Type::Int | Type::Double | Type::Decimal)
    }
}

/// A DOUBLE with the order of its values; never NaN, never a negative zero.
#[derive(Clone, Copy, Debug)]
pub struct Float(pub f64);

impl PartialEq for Float {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Float {}
impl PartialOrd for Float {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Float {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// A value; NULL is the least, as in an ascending order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    /// Millionths.
    Decimal(i128),
    Double(Float),
    Text(String),
    /// Milliseconds.
    Time(i64),
}

pub type Row = Vec<Value>;

/// A decimal of one has so many units.
pub const ONE: i128 = 1_000_000;

impl Value {
    pub fn is_true(&self) -> bool {
        *self == Value::Bool(true)
    }

    /// As a literal of SQL.
    pub fn sql(&self) -> String {
        match self {
            Value::Null => "NULL".to_owned(),
            Value::Bool(true) => "TRUE".to_owned(),
            Value::Bool(false) => "FALSE".to_owned(),
            Value::Int(value) => value.to_string(),
            Value::Decimal(units) => decimal_text(*units),
            Value::Double(Float(value)) => format!("CAST({value:?} AS DOUBLE)"),
            Value::Text(text) => format!("'{text}'"),
            Value::Time(time) => format!("TIMESTAMP '{}'", time_text(*time)),
        }
    }

    /// As it stands in a JSON file.
    pub fn json(&self) -> String {
        match self {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Double(Float(value)) => format!("{value:?}"),
            Value::Int(value) => value.to_string(),
            Value::Decimal(units) => format!("\"{}\"", decimal_text(*units)),
            Value::Text(text) => format!("\"{text}\""),
            Value::Time(time) => format!("\"{}\"", time_text(*time)),
        }
    }
}

/// Two digits behind the point: tables and literals have no more.
fn decimal_text(units: i128) -> String {
    let cents = units / (ONE / 100);
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100)
}

/// Where event time begins; the tables' times lie within a minute behind it.
pub const BASE: i64 = 1_704_067_200_000;

pub fn time_text(time: i64) -> String {
    let ms = time - BASE;
    // Literals may be before the base, by less than a minute.
    let (day, ms) =
        if ms < 0 { ("2023-12-31 23:59", ms + 60_000) } else { ("2024-01-01 00:00", ms) };
    let mut text = String::new();
    let _ = write!(text, "{day}:{:02}.{:03}", ms / 1000, ms % 1000);
    text
}

/// Choices, one after the other; the simplest ones for ever once they are used up.
pub struct Tape<'a> {
    choices: &'a [u8],
    at: usize,
}

impl<'a> Tape<'a> {
    pub fn new(choices: &'a [u8]) -> Self {
        Tape { choices, at: 0 }
    }

    /// A number below `count`; 0 is the simplest choice.
    pub fn pick(&mut self, count: usize) -> usize {
        let choice = self.choices.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        usize::from(choice) % count.max(1)
    }

    /// True in so many of 100 cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.pick(100) >= 100 - percent
    }

    /// One of `items`; the first is the simplest.
    pub fn one<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.pick(items.len())]
    }

    /// A value of a small domain.
    pub fn value(&mut self, data_type: Type) -> Value {
        match data_type {
            Type::Int => Value::Int(self.one(&[0, 1, 2, 3, -1])),
            Type::Text => Value::Text(self.one(&["a", "b", "ab", "", "A"]).to_owned()),
            Type::Double | Type::Mean => Value::Double(Float(self.one(&[0.0, 0.5, 1.0, -1.25]))),
            Type::Decimal => Value::Decimal(self.one(&[0, 50, 100, -125]) * (ONE / 100)),
            Type::Bool => Value::Bool(self.pick(2) == 1),
            Type::Time => Value::Time(BASE + self.one(&[0, 1000, 1500, 3000])),
        }
    }
}
