//! The `WITH` options of generated tables: read, checked, and refused with the nearest known name.

use arrow::compute::can_cast_types;
use arrow::datatypes::SchemaRef;

use crate::connectors::SourceSpec;
use crate::error::{Error, Result};
use crate::limits::GENERATED_PARTITIONS_MAX;
use crate::sql::catalog::{ColumnKind, TableDef};
use crate::sql::diagnostics::edit_distance;
use crate::sql::parallelism;

/// Largest row or event number that times can be computed for.
const ROWS_MAX: u64 = 1 << 50;

/// The options of one table.
pub(super) struct Options<'a> {
    connector: &'static str,
    table: &'a TableDef,
}

impl<'a> Options<'a> {
    /// The options of `spec`'s table; a key that is not in `known` is an error.
    ///
    /// A `#` in a known key stands for the name of a column.
    pub fn new(connector: &'static str, spec: &'a SourceSpec, known: &[&str]) -> Result<Self> {
        let options = Options { connector, table: &spec.table };
        let column = |name: &str| spec.table.columns.iter().any(|c| c.name == name);
        for key in spec.table.options.keys() {
            let listed = known.iter().any(|known| match known.split_once('#') {
                None => key == known,
                Some((before, after)) => key
                    .strip_prefix(before)
                    .and_then(|rest| rest.strip_suffix(after))
                    .is_some_and(column),
            });
            if key != "connector" && !parallelism::OPTIONS.contains(&key.as_str()) && !listed {
                return Err(options.unknown(key, known));
            }
        }
        Ok(options)
    }

    fn unknown(&self, key: &str, known: &[&str]) -> Error {
        let near = nearest(key, known).map(|n| format!("did you mean '{n}'? ")).unwrap_or_default();
        self.error(format!("unknown option '{key}' of connector '{}'", self.connector))
            .with_hint(format!("{near}known options: {}", known.join(", ")))
    }

    /// An error about this table's declaration, with its place.
    pub fn error(&self, message: String) -> Error {
        let error = Error::config(format!("table '{}': {message}", self.table.name));
        self.table.at_named_option(error)
    }

    /// The text of option `key`.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.table.options.get(key).map(String::as_str)
    }

    /// A required option with one of the values `known`.
    pub fn choice<'k>(&self, key: &str, known: &[&'k str]) -> Result<&'k str> {
        let list = known.join(", ");
        let Some(text) = self.text(key) else {
            let message = format!("connector '{}' needs option '{key}'", self.connector);
            return Err(self.error(message).with_hint(format!("one of: {list}")));
        };
        known.iter().copied().find(|k| *k == text).ok_or_else(|| {
            self.error(format!("unknown value '{text}' of option '{key}'"))
                .with_hint(format!("one of: {list}"))
        })
    }

    /// A whole number that counts rows or events.
    pub fn integer(&self, key: &str) -> Result<Option<u64>> {
        let Some(text) = self.text(key) else { return Ok(None) };
        match text.trim().parse::<u64>() {
            Ok(value) if value <= ROWS_MAX => Ok(Some(value)),
            _ => Err(self.error(format!(
                "option '{key}' must be a whole number from 0 to {ROWS_MAX}, found '{text}'"
            ))),
        }
    }

    /// A number greater than 0.
    pub fn positive_number(&self, key: &str) -> Result<Option<f64>> {
        let Some(text) = self.text(key) else { return Ok(None) };
        match text.trim().parse::<f64>() {
            Ok(value) if value > 0.0 && value.is_finite() => Ok(Some(value)),
            _ => Err(self
                .error(format!("option '{key}' must be a number greater than 0, found '{text}'"))),
        }
    }

    /// The option `partitions`; one if absent.
    pub fn partitions(&self) -> Result<u64> {
        let count = self.integer("partitions")?.unwrap_or(1);
        if (1..=GENERATED_PARTITIONS_MAX).contains(&count) {
            return Ok(count);
        }
        Err(self.error(format!(
            "option 'partitions' must be from 1 to {GENERATED_PARTITIONS_MAX}, found {count}"
        )))
    }

    /// Checks that every declared column is one of `known` and can have its declared type.
    pub fn check_columns(&self, known: &SchemaRef) -> Result<()> {
        let names: Vec<&str> = known.fields().iter().map(|f| f.name().as_str()).collect();
        for column in &self.table.columns {
            match column.kind {
                ColumnKind::Computed(_) => continue,
                ColumnKind::Metadata { .. } => return Err(self.no_metadata(&column.name)),
                ColumnKind::Physical => {}
            }
            let Ok(field) = known.field_with_name(&column.name) else {
                let near = nearest(&column.name, &names);
                let near = near.map(|n| format!("did you mean '{n}'? ")).unwrap_or_default();
                return Err(self
                    .error(format!(
                        "connector '{}' has no column '{}'",
                        self.connector, column.name
                    ))
                    .with_hint(format!("{near}known columns: {}", names.join(", "))));
            };
            if !can_cast_types(field.data_type(), &column.data_type) {
                return Err(self.error(format!(
                    "column '{}' is generated as {} and cannot be {}",
                    column.name,
                    field.data_type(),
                    column.data_type
                )));
            }
        }
        Ok(())
    }

    /// The error of a metadata column: generated rows have none.
    pub fn no_metadata(&self, column: &str) -> Error {
        self.error(format!("connector '{}' has no metadata for column '{column}'", self.connector))
    }
}

/// The name in `known` that `name` was most likely meant to be.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|k| (edit_distance(&name.to_lowercase(), &k.to_lowercase()), *k))
        .min()
        .filter(|(distance, k)| *distance <= (k.chars().count() / 2).max(1))
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_only_if_near() {
        let known = ["rate", "events", "partitions"];
        assert_eq!(nearest("event", &known), Some("events"));
        assert_eq!(nearest("Partition", &known), Some("partitions"));
        assert_eq!(nearest("something-else", &known), None);
    }
}
