//! Keys as stored values: for sets of keys inside of a group's state.

use super::GroupKeys;
use super::store::{Store, Stored};
use crate::error::Result;
use crate::state::column::{ColumnBuilder, Form};
use crate::state::encode::{Encode, Encoded, encode_length};

impl GroupKeys {
    /// Appends the key of `group` as a stored value.
    pub fn encode(&self, group: u32, out: &mut Vec<u8>) {
        self.stores.iter().for_each(|store| store.encode(group as usize, out));
    }

    /// Builders of key columns, for [`decode_key`].
    pub fn builders(&self) -> Vec<ColumnBuilder> {
        self.types.iter().map(ColumnBuilder::new).collect()
    }
}

/// Appends a key that [`GroupKeys::encode`] stored to `builders`, which are those of its columns.
pub fn decode_key(builders: &mut [ColumnBuilder], from: &mut Encoded<'_>) -> Result<()> {
    for builder in builders {
        match builder.form() {
            _ if !bool::decode(from)? => builder.push_null(),
            Form::Int | Form::Float => builder.push_int(i64::decode(from)?),
            Form::Wide => builder.push_wide(i128::decode(from)?),
            Form::Bytes | Form::Rows => {
                let length = from.length()?;
                builder.push_bytes(from.bytes(length)?);
            }
        }
    }
    Ok(())
}

impl Store {
    fn encode(&self, group: usize, out: &mut Vec<u8>) {
        let is_valid = !self.is_null(group);
        is_valid.encode(out);
        match &self.values {
            _ if !is_valid => {}
            Stored::Int(values) => values[group].encode(out),
            Stored::Wide(values) => values[group].encode(out),
            Stored::Bytes(values) => {
                encode_length(values[group].len(), out);
                out.extend_from_slice(&values[group]);
            }
        }
    }
}
