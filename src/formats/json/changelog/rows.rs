//! The rows inside a changelog's records, read into columns wherever they stand.

use std::collections::BTreeMap;

use super::super::super::column::{Column, Data};
use super::super::scan;
use super::super::value::{Fault, ValueReader, missing};
use super::{MetadataForm, MetadataKey};
use crate::batch::changes::ChangeKind;

/// What a decoder knows of its columns.
pub(super) struct Layout {
    /// The columns that rows hold, by name.
    pub names: BTreeMap<Vec<u8>, usize>,
    /// The same by position: in which order records are likely to have them.
    pub order: Vec<(Vec<u8>, usize)>,
    /// The columns from around the row: each with what it asks for.
    pub metadata: Vec<(usize, &'static MetadataKey)>,
    pub ignore_parse_errors: bool,
}

/// Reads the changes of one chunk.
pub(super) struct RowReader<'a> {
    pub values: ValueReader<'a>,
    pub columns: Vec<Column>,
    pub kinds: Vec<ChangeKind>,
    /// Where the record of each change starts.
    pub starts: Vec<u32>,
    /// What was ignored in the present record.
    pub ignored: Vec<String>,
    pub layout: &'a Layout,
    /// Positions of the present record's metadata, one an entry of the layout.
    pub metadata: Vec<Option<usize>>,
}

type Read<T> = Result<T, Box<Fault>>;

/// A fault that is not one of syntax.
pub(super) fn fault(reason: impl Into<String>) -> Box<Fault> {
    Box::new(Fault::Field(reason.into()))
}

impl<'a> RowReader<'a> {
    pub fn new(values: ValueReader<'a>, columns: Vec<Column>, layout: &'a Layout) -> Self {
        RowReader {
            values,
            columns,
            kinds: Vec::new(),
            starts: Vec::new(),
            ignored: Vec::new(),
            layout,
            metadata: Vec::new(),
        }
    }

    /// Takes back all changes from `rows` on, finished or not.
    pub fn roll_back(&mut self, rows: usize) {
        self.columns.iter_mut().for_each(|c| c.truncate(rows));
        self.kinds.truncate(rows);
        self.starts.truncate(rows);
    }

    /// Appends a change of the row at `at`, in the record that starts at `record`. What the row
    /// does not have is as in the row at `base`, if there is one.
    pub fn push(
        &mut self,
        kind: ChangeKind,
        at: usize,
        base: Option<usize>,
        record: usize,
    ) -> Read<()> {
        let rows = self.kinds.len();
        self.read_object(at, rows, false)?;
        if let Some(base) = base {
            self.read_object(base, rows, true)?;
        }
        for &(_, index) in &self.layout.order {
            if let Some(column) = self.columns.get_mut(index)
                && column.len() == rows
            {
                missing(column, false).map_err(Fault::Field)?;
            }
        }
        self.push_metadata()?;
        self.kinds.push(kind);
        // The chunk's size was checked.
        self.starts.push(record as u32);
        Ok(())
    }

    /// Reads the members of the object at `at`; with `fill`, only those that are missing so far.
    fn read_object(&mut self, at: usize, rows: usize, fill: bool) -> Read<()> {
        if self.values.bytes.get(at) != Some(&b'{') {
            return Err(fault("a row is an object"));
        }
        let RowReader { values, columns, layout, ignored, .. } = self;
        let mut likely = 0;
        values.members(at, |values, name, at| {
            let index = match layout.order.get(likely) {
                Some((expected, index)) if expected == name => Some(*index),
                _ => layout.names.get(name).copied(),
            };
            let Some((index, column)) = index.and_then(|i| Some((i, columns.get_mut(i)?))) else {
                return Ok(scan::value(values.bytes, at)?);
            };
            if layout.order.get(likely).is_some_and(|(_, expected)| *expected == index) {
                likely += 1;
            } else {
                likely = layout.order.iter().position(|(_, i)| *i == index).map_or(0, |p| p + 1);
            }
            if fill && column.len() > rows {
                return Ok(scan::value(values.bytes, at)?);
            }
            // Of two equal keys the last one counts.
            column.truncate(rows);
            let misfit = match values.value(column, at) {
                Ok(end) => return Ok(end),
                Err(misfit) => misfit.inside(column.field.name()),
            };
            match misfit {
                Fault::Field(reason)
                    if layout.ignore_parse_errors && column.field.is_nullable() =>
                {
                    column.truncate(rows);
                    column.push_null();
                    ignored.push(format!("{reason}; read as NULL"));
                    Ok(scan::value(values.bytes, at)?)
                }
                misfit => Err(Box::new(misfit)),
            }
        })?;
        Ok(())
    }

    fn push_metadata(&mut self) -> Read<()> {
        for (place, &(index, key)) in self.layout.metadata.iter().enumerate() {
            let Some(column) = self.columns.get_mut(index) else { continue };
            match self.metadata.get(place).copied().flatten() {
                Some(at) => push_value(&mut self.values, column, key.form, at)
                    .map_err(|misfit| Box::new(misfit.inside(key.key)))?,
                None => missing(column, false).map_err(Fault::Field)?,
            }
        }
        Ok(())
    }
}

fn push_value(
    values: &mut ValueReader<'_>,
    column: &mut Column,
    form: MetadataForm,
    at: usize,
) -> Read<()> {
    if let (MetadataForm::Moment { per_second }, Data::Timestamp { values: moments, parser }) =
        (form, &mut column.data)
    {
        let (number, _) =
            scan::integer(values.bytes, at).ok_or_else(|| fault("a moment is a number"))?;
        let unit = parser.per_second();
        let moment = i128::from(number) * i128::from(unit);
        let moment = i64::try_from(moment.div_euclid(i128::from(per_second)));
        moments.push(moment.map_err(|_| fault("a moment beyond all time"))?);
        return Ok(());
    }
    values.value(column, at)?;
    Ok(())
}
