//! The `WITH` options of a table: lookup, values with units, unknown and missing keys.
//!
//! Pure functions over [`TableDef`]; never does I/O. Called by every connector.

use indexmap::IndexMap;

use crate::error::{Error, Result};
use crate::sql::catalog::TableDef;
use crate::sql::diagnostics::edit_distance;
use crate::sql::parallelism;

/// The options of one table, with errors that name the table and the key.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    table: &'a TableDef,
}

impl<'a> Options<'a> {
    /// The options of `table`.
    pub fn of(table: &'a TableDef) -> Self {
        Options { table }
    }

    /// The value of `key`, if given.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.table.options.get(key).map(String::as_str)
    }

    /// The value of `key`; an error if it is missing.
    pub fn required(&self, key: &str) -> Result<&'a str> {
        self.get(key).ok_or_else(|| {
            self.error(format!("table '{}' lacks the option '{key}'", self.table.name))
                .with_hint(format!("add '{key}' = '..' to its WITH clause"))
        })
    }

    /// A boolean, `default` if absent.
    pub fn boolean(&self, key: &str, default: bool) -> Result<bool> {
        match self.get(key).map(str::trim) {
            None => Ok(default),
            Some(v) if v.eq_ignore_ascii_case("true") => Ok(true),
            Some(v) if v.eq_ignore_ascii_case("false") => Ok(false),
            Some(v) => Err(self.bad(key, v, "write 'true' or 'false'")),
        }
    }

    /// A duration in milliseconds such as `10 s`, `1min` or `500`, if given.
    pub fn duration_ms(&self, key: &str) -> Result<Option<i64>> {
        let Some(text) = self.get(key) else { return Ok(None) };
        parse_duration_ms(text)
            .map(Some)
            .ok_or_else(|| self.bad(key, text, "write a duration such as '10 s', '1 min' or '2 h'"))
    }

    /// A duration as [`Options::duration_ms`] that must be longer than zero.
    pub fn positive_duration_ms(&self, key: &str) -> Result<Option<i64>> {
        match self.duration_ms(key)? {
            Some(ms) if ms <= 0 => {
                let text = self.get(key).unwrap_or_default();
                Err(self.bad(key, text, "write a duration of at least '1 ms'"))
            }
            duration => Ok(duration),
        }
    }

    /// A size in bytes such as `128MB`, `64 kb` or `1000`, if given; at least one.
    pub fn bytes(&self, key: &str) -> Result<Option<u64>> {
        let Some(text) = self.get(key) else { return Ok(None) };
        parse_bytes(text)
            .filter(|&bytes| bytes > 0)
            .map(Some)
            .ok_or_else(|| self.bad(key, text, "write a size such as '128MB' or '64 kb'"))
    }

    /// The options whose keys begin with `prefix`, keys kept whole.
    pub fn with_prefix(&self, prefix: &str) -> IndexMap<String, String> {
        let all = self.table.options.iter().filter(|(key, _)| key.starts_with(prefix));
        all.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// An error about this table's options, placed where the table is declared.
    pub fn error(&self, message: impl Into<String>) -> Error {
        self.table.at(Error::config(message))
    }

    /// An error about the value of `key`.
    pub fn bad(&self, key: &str, value: &str, hint: impl Into<String>) -> Error {
        let table = &self.table.name;
        let error = Error::config(format!("table '{table}': '{key}' cannot be '{value}'"));
        self.table.at_value(key, error.with_hint(hint))
    }

    /// Refuses every key that is in none of the `known` lists.
    pub fn check_known(&self, what: &str, known: &[&[&str]]) -> Result<()> {
        let known: Vec<&str> = known.iter().flat_map(|keys| keys.iter().copied()).collect();
        let known: Vec<&str> = known.into_iter().chain(parallelism::OPTIONS).collect();
        for key in self.table.options.keys() {
            if !known.contains(&key.as_str()) {
                let table = &self.table.name;
                let error = Error::config(format!("table '{table}': {what} has no option '{key}'"));
                return Err(self.table.at_option(key, error.with_hint(choices(key, &known))));
            }
        }
        Ok(())
    }
}

/// A hint that names the nearest of `known` if one is near, and lists them all.
pub fn choices(given: &str, known: &[&str]) -> String {
    let mut sorted: Vec<&str> = known.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let list = sorted.join(", ");
    let near = sorted.iter().map(|k| (edit_distance(given, k), *k)).min();
    match near {
        Some((d, name)) if d <= 2.max(given.chars().count() / 3) => {
            format!("did you mean '{name}'? known: {list}")
        }
        _ => format!("known: {list}"),
    }
}

/// A number and its unit, in lower case; `None` if it does not begin with a number.
fn number_and_unit(text: &str) -> Option<(u64, String)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim().to_ascii_lowercase()))
}

/// Flink's durations; a bare number is milliseconds. Finer units round up to a millisecond.
fn parse_duration_ms(text: &str) -> Option<i64> {
    let (number, unit) = number_and_unit(text)?;
    let ms = match unit.as_str() {
        "ns" | "nano" | "nanosecond" | "nanoseconds" => number.div_ceil(1_000_000),
        "us" | "µs" | "micro" | "microsecond" | "microseconds" => number.div_ceil(1_000),
        "" | "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => number,
        "s" | "sec" | "secs" | "second" | "seconds" => number.checked_mul(1_000)?,
        "m" | "min" | "minute" | "minutes" => number.checked_mul(60_000)?,
        "h" | "hour" | "hours" => number.checked_mul(3_600_000)?,
        "d" | "day" | "days" => number.checked_mul(86_400_000)?,
        _ => return None,
    };
    i64::try_from(ms).ok()
}

/// Flink's memory sizes: powers of 1024; a bare number is bytes.
fn parse_bytes(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let shift = match unit.as_str() {
        "" | "b" | "byte" | "bytes" => 0,
        "k" | "kb" | "kibibytes" => 10,
        "m" | "mb" | "mebibytes" => 20,
        "g" | "gb" | "gibibytes" => 30,
        "t" | "tb" | "tebibytes" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_read_as_flink_reads_them() {
        for (text, ms) in [
            ("10 s", Some(10_000)),
            ("1min", Some(60_000)),
            ("500", Some(500)),
            ("1 ns", Some(1)),
            (" 2 h ", Some(7_200_000)),
            ("1 d", Some(86_400_000)),
            ("1 fortnight", None),
            ("", None),
            ("-1 s", None),
            ("99999999999999999 d", None),
        ] {
            assert_eq!(parse_duration_ms(text), ms, "{text}");
        }
        for (text, bytes) in [
            ("128MB", Some(128 << 20)),
            ("1 kb", Some(1024)),
            ("7", Some(7)),
            ("1gb", Some(1 << 30)),
            ("many", None),
        ] {
            assert_eq!(parse_bytes(text), bytes, "{text}");
        }
    }

    #[test]
    fn the_nearest_name_is_suggested() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
        assert!(choices("formt", &["path", "format"]).starts_with("did you mean 'format'?"));
        assert_eq!(choices("zzzzzz", &["path", "format"]), "known: format, path");
    }
}
