//! Distinct sets as stored values: the entries of each group one after the other.
//!
//! The entries of a group do not lie together: saving some groups looks at all entries once, and
//! writes theirs.

use super::{Distinct, Entry};
use crate::error::Result;
use crate::state::encode::{Encode, encode_length};
use crate::state::keys::{GroupKeys, decode_key};
use crate::state::saved::{LoadedColumns, SavedColumns};

impl Distinct {
    pub(super) fn save_entries(&self, groups: &[u32], out: &mut SavedColumns) {
        let mut places = vec![u32::MAX; self.lives_begun as usize];
        for (place, &group) in (0..).zip(groups) {
            places[self.lives[group as usize] as usize] = place;
        }
        let place = |entry: &Entry| places[entry.life as usize];
        let mut entries: Vec<&Entry> = Vec::new();
        if !groups.is_empty() {
            entries.extend(self.table.iter().filter(|entry| place(entry) != u32::MAX));
        }
        entries.sort_unstable_by_key(|entry| (place(entry), entry.value));
        let mut rest = entries.as_slice();
        out.encoded(0..groups.len() as u32, |row, out| {
            let (own, others) = rest.split_at(rest.partition_point(|entry| place(entry) <= row));
            rest = others;
            encode_length(own.len(), out);
            own.iter().for_each(|entry| self.encode_entry(entry, out));
        });
    }

    fn encode_entry(&self, entry: &Entry, out: &mut Vec<u8>) {
        match &self.values {
            Some((values, _)) => values.encode(entry.value as u32, out),
            None => entry.value.encode(out),
        }
        if self.retracts {
            let width = self.filters.len();
            let counts = &self.multiplicities[entry.seen as usize * width..][..width];
            counts.iter().for_each(|count| count.encode(out));
        } else {
            entry.seen.encode(out);
        }
    }

    pub(super) fn load_entries(
        &mut self,
        groups: &[u32],
        saved: &mut LoadedColumns<'_>,
    ) -> Result<()> {
        let width = self.filters.len();
        let mut builders = self.values.as_ref().map(|(values, _)| values.builders());
        let (mut owners, mut numbers) = (Vec::new(), Vec::new());
        let (mut masks, mut counts) = (Vec::new(), Vec::new());
        saved.encoded(|row, from| {
            for _ in 0..from.length()? {
                owners.push(groups[row] as usize);
                match &mut builders {
                    Some(builders) => decode_key(builders, from)?,
                    None => numbers.push(i64::decode(from)?),
                }
                if self.retracts {
                    for _ in 0..width {
                        counts.push(i64::decode(from)?);
                    }
                } else {
                    masks.push(u32::decode(from)?);
                }
            }
            Ok(())
        })?;
        if let (Some(builders), Some((values, uses))) = (&mut builders, &mut self.values) {
            let arrays = builders.iter_mut().map(|b| b.finish()).collect::<Result<Vec<_>>>()?;
            let columns = GroupKeys::read(&arrays)?;
            let columns: Vec<_> = columns.iter().collect();
            let mut interned = Vec::new();
            values.intern(&columns, 0..owners.len(), &mut interned)?;
            uses.resize(values.bound(), 0);
            numbers = interned.into_iter().map(i64::from).collect();
        }
        for (i, (&group, &value)) in owners.iter().zip(&numbers).enumerate() {
            let counts = counts.get(i * width..(i + 1) * width).unwrap_or_default();
            self.add_entry(group, value, masks.get(i).copied().unwrap_or(0), counts);
        }
        Ok(())
    }
}
