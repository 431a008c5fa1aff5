//! Rows in columns behind stable numbers: chunks of Arrow arrays that are copied seldom.
//!
//! A step's rows are [`RowPool::open`]ed as a chunk without being copied; those that matter get a
//! slot ([`RowPool::keep`]), which names them until [`RowPool::release`], wherever they lie. When
//! enough small or half-dead chunks have gathered, their living rows are copied together, so that
//! no input buffer is kept alive for long and a row is copied a logarithmic number of times. Called
//! by operators that keep rows in an order of their own.

use std::cell::OnceCell;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{interleave, take};
use arrow::datatypes::{DataType, SchemaRef};

use super::column::{Column, Reading, Values, converter, form_of};
use crate::error::{Error, Result};
use crate::limits::{POOL_CHUNK_ROWS, POOL_CHUNKS_MERGED, POOL_LEVELS_MAX, POOL_ROWS_OPEN_MAX};

/// No slot: a row that was not kept.
const NONE: u32 = u32::MAX;

/// Where a row lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    chunk: u32,
    row: u32,
}

/// Rows of one schema behind slots.
pub struct RowPool {
    schema: SchemaRef,
    chunks: Vec<Option<Chunk>>,
    free_chunks: Vec<u32>,
    places: Vec<Place>,
    free_slots: Vec<u32>,
    /// Chunks that are to be merged, by how often their rows were copied.
    levels: Vec<Level>,
}

/// Chunks that are to be merged.
#[derive(Default)]
struct Level {
    chunks: Vec<u32>,
    /// Their rows: all of them at level 0, where they hold input buffers; above it those that were
    /// living when the chunk was listed.
    rows: usize,
}

struct Chunk {
    rows: RecordBatch,
    /// The columns in comparable form, read when first asked for.
    read: Vec<OnceCell<Column>>,
    /// The slot of each row.
    slots: Vec<u32>,
    live: u32,
    level: usize,
    /// Whether it is in a list of `levels` (or open): only others may be dropped at once.
    listed: bool,
}

impl Chunk {
    fn new(rows: RecordBatch, slots: Vec<u32>, level: usize) -> Self {
        let read = (0..rows.num_columns()).map(|_| OnceCell::new()).collect();
        Chunk { rows, read, slots, live: 0, level, listed: true }
    }

    /// Column `index` in comparable form; types that have none are refused by [`RowPool::new`].
    fn column(&self, index: usize) -> &Column {
        self.read[index].get_or_init(|| {
            Column::read(self.rows.column(index), Reading::Ordered).unwrap_or_else(|_| {
                let nulls = arrow::buffer::NullBuffer::new_null(self.rows.num_rows());
                Column { values: Values::Int(Vec::new().into()), nulls: Some(nulls) }
            })
        })
    }
}

impl RowPool {
    /// No rows yet, of `schema`.
    pub fn new(schema: SchemaRef) -> Result<Self> {
        for field in schema.fields() {
            if form_of(field.data_type()) == super::column::Form::Rows {
                converter(field.data_type())?;
            }
        }
        Ok(RowPool {
            schema,
            chunks: Vec::new(),
            free_chunks: Vec::new(),
            places: Vec::new(),
            free_slots: Vec::new(),
            levels: Vec::new(),
        })
    }

    /// Number of rows kept.
    pub fn len(&self) -> usize {
        self.places.len() - self.free_slots.len()
    }

    /// Whether no rows are kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the columns and of the tables beside them.
    pub fn bytes(&self) -> usize {
        let chunk = |c: &Chunk| c.rows.get_array_memory_size() + c.slots.capacity() * 4;
        let chunks: usize = self.chunks.iter().flatten().map(chunk).sum();
        chunks + self.places.capacity() * size_of::<Place>() + self.free_slots.capacity() * 4
    }

    /// Adds the rows of a step, none of them kept yet; [`RowPool::close`] ends the step.
    pub fn open(&mut self, rows: RecordBatch) -> u32 {
        let slots = vec![NONE; rows.num_rows()];
        self.add(Chunk::new(rows, slots, 0))
    }

    /// The place of a row of an open chunk.
    pub fn place(chunk: u32, row: u32) -> Place {
        Place { chunk, row }
    }

    /// Keeps a row: its slot.
    pub fn keep(&mut self, place: Place) -> u32 {
        let slot = match self.free_slots.pop() {
            Some(slot) => {
                self.places[slot as usize] = place;
                slot
            }
            None => {
                self.places.push(place);
                self.places.len() as u32 - 1
            }
        };
        if let Some(chunk) = &mut self.chunks[place.chunk as usize] {
            chunk.slots[place.row as usize] = slot;
            chunk.live += 1;
        }
        slot
    }

    /// Forgets the row of `slot`, whose number is given again.
    pub fn release(&mut self, slot: u32) {
        let place = self.places[slot as usize];
        self.free_slots.push(slot);
        let Some(chunk) = &mut self.chunks[place.chunk as usize] else { return };
        chunk.slots[place.row as usize] = NONE;
        chunk.live -= 1;
        if chunk.listed {
            return;
        }
        if chunk.live == 0 {
            self.chunks[place.chunk as usize] = None;
            self.free_chunks.push(place.chunk);
        } else if (chunk.live as usize) < chunk.slots.len() / 2 {
            chunk.listed = true;
            let (level, rows) = (chunk.level, chunk.live as usize);
            self.list(level, place.chunk, rows);
        }
    }

    /// The place of the row of `slot`; it holds until the next [`RowPool::close`].
    #[inline]
    pub fn at(&self, slot: u32) -> Place {
        self.places[slot as usize]
    }

    /// Ends the step of an open chunk.
    pub fn close(&mut self, chunk: u32) -> Result<()> {
        match &self.chunks[chunk as usize] {
            Some(open) if open.live > 0 => {
                let rows = open.slots.len();
                self.list(0, chunk, rows);
            }
            _ => {
                self.chunks[chunk as usize] = None;
                self.free_chunks.push(chunk);
            }
        }
        for level in 0..self.levels.len() {
            // Above level 0 a full chunk is enough: more would make one step wait for all of them.
            let rows_max = if level == 0 { POOL_ROWS_OPEN_MAX } else { POOL_CHUNK_ROWS };
            let Level { chunks, rows } = &self.levels[level];
            if chunks.len() >= POOL_CHUNKS_MERGED || *rows > rows_max {
                self.merge(level)?;
            }
        }
        Ok(())
    }

    /// The column `index` of the chunk of `place`, in comparable form, and the row in it.
    #[inline]
    pub fn value(&self, place: Place, index: usize) -> Option<(&Column, usize)> {
        let chunk = self.chunks[place.chunk as usize].as_ref()?;
        Some((chunk.column(index), place.row as usize))
    }

    /// Column `index` of a chunk in comparable form.
    pub fn column(&self, chunk: u32, index: usize) -> Option<&Column> {
        Some(self.chunks[chunk as usize].as_ref()?.column(index))
    }

    /// The rows of `slots`, in that order, as columns.
    pub fn columns(&self, slots: impl Iterator<Item = u32>) -> Result<Vec<ArrayRef>> {
        let places: Vec<Place> = slots.map(|slot| self.places[slot as usize]).collect();
        self.gather(&places)
    }

    fn gather(&self, places: &[Place]) -> Result<Vec<ArrayRef>> {
        let mut used: Vec<u32> = Vec::new();
        let mut local: Vec<u32> = vec![NONE; self.chunks.len()];
        let mut indices: Vec<(usize, usize)> = Vec::with_capacity(places.len());
        for place in places {
            let at = &mut local[place.chunk as usize];
            if *at == NONE {
                *at = used.len() as u32;
                used.push(place.chunk);
            }
            indices.push((*at as usize, place.row as usize));
        }
        let chunks: Vec<&RecordBatch> = used
            .iter()
            .filter_map(|&id| self.chunks[id as usize].as_ref().map(|chunk| &chunk.rows))
            .collect();
        if chunks.len() < used.len() {
            return Err(Error::internal("a slot of a chunk that is gone"));
        }
        let one: Option<arrow::array::UInt32Array> =
            (chunks.len() == 1).then(|| places.iter().map(|place| place.row).collect());
        (0..self.schema.fields().len())
            .map(|column| match (&one, chunks.as_slice()) {
                (Some(rows), [chunk]) => Ok(take(chunk.column(column), rows, None)?),
                (_, []) => Ok(arrow::array::new_empty_array(self.schema.field(column).data_type())),
                _ => {
                    let arrays: Vec<&dyn Array> =
                        chunks.iter().map(|rows| rows.column(column).as_ref()).collect();
                    Ok(interleave(&arrays, &indices)?)
                }
            })
            .collect()
    }

    fn add(&mut self, chunk: Chunk) -> u32 {
        match self.free_chunks.pop() {
            Some(id) => {
                self.chunks[id as usize] = Some(chunk);
                id
            }
            None => {
                self.chunks.push(Some(chunk));
                self.chunks.len() as u32 - 1
            }
        }
    }

    fn list(&mut self, level: usize, chunk: u32, rows: usize) {
        if self.levels.len() <= level {
            self.levels.resize_with(level + 1, Level::default);
        }
        self.levels[level].chunks.push(chunk);
        self.levels[level].rows += rows;
    }

    /// Copies the living rows of the chunks of `level` into chunks of their own.
    fn merge(&mut self, level: usize) -> Result<()> {
        let merged = std::mem::take(&mut self.levels[level]).chunks;
        let above = (level + 1).min(POOL_LEVELS_MAX);
        let (mut places, mut slots) = (Vec::new(), Vec::new());
        for &id in &merged {
            let Some(chunk) = &self.chunks[id as usize] else { continue };
            for (row, &slot) in chunk.slots.iter().enumerate().filter(|(_, slot)| **slot != NONE) {
                places.push(Place { chunk: id, row: row as u32 });
                slots.push(slot);
            }
        }
        let parts = places.chunks(POOL_CHUNK_ROWS).zip(slots.chunks(POOL_CHUNK_ROWS));
        let mut copies = Vec::new();
        for (places, slots) in parts {
            let columns = self.gather(places)?.into_iter().map(compact).collect();
            let options = RecordBatchOptions::new().with_row_count(Some(places.len()));
            let schema = std::sync::Arc::clone(&self.schema);
            let rows = RecordBatch::try_new_with_options(schema, columns, &options)?;
            copies.push(Chunk::new(rows, slots.to_vec(), above));
        }
        for id in merged {
            self.chunks[id as usize] = None;
            self.free_chunks.push(id);
        }
        for mut chunk in copies {
            let rows = chunk.slots.len();
            chunk.live = rows as u32;
            chunk.listed = rows < POOL_CHUNK_ROWS / 2;
            let (slots, listed) = (chunk.slots.clone(), chunk.listed);
            let id = self.add(chunk);
            for (row, slot) in slots.into_iter().enumerate() {
                self.places[slot as usize] = Place { chunk: id, row: row as u32 };
            }
            if listed {
                self.list(above, id, rows);
            }
        }
        Ok(())
    }
}

/// An array whose strings hold no bytes but their own.
fn compact(array: ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Utf8View => std::sync::Arc::new(array.as_string_view().gc()),
        DataType::BinaryView => std::sync::Arc::new(array.as_binary_view().gc()),
        _ => array,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringViewArray};
    use arrow::datatypes::{Field, Int64Type, Schema};
    use proptest::prelude::*;

    use super::*;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("t", DataType::Utf8View, true),
        ]))
    }

    fn rows(numbers: &[i64]) -> RecordBatch {
        let texts = numbers.iter().map(|n| format!("a text of more than twelve bytes: {n}"));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(numbers.to_vec())),
            Arc::new(StringViewArray::from_iter_values(texts)),
        ];
        RecordBatch::try_new(schema(), columns).unwrap()
    }

    proptest! {
        /// Kept rows stay what they are, whatever is kept, released and merged around them.
        #[test]
        fn slots_name_their_rows(
            steps in prop::collection::vec(
                (prop::collection::vec((any::<bool>(), 0usize..1000), 0..30), 0usize..40), 0..60),
        ) {
            let mut pool = RowPool::new(schema()).unwrap();
            let mut kept: Vec<(u32, i64)> = Vec::new();
            let mut next = 0;
            for (step, drops) in steps {
                let numbers: Vec<i64> = (next..next + step.len() as i64).collect();
                next += step.len() as i64;
                let chunk = pool.open(rows(&numbers));
                for (row, (keeps, _)) in step.iter().enumerate() {
                    if *keeps {
                        kept.push((pool.keep(RowPool::place(chunk, row as u32)), numbers[row]));
                    }
                }
                for (_, which) in step.iter().take(drops) {
                    if *which < kept.len() {
                        pool.release(kept.swap_remove(*which).0);
                    }
                }
                pool.close(chunk).unwrap();
                let columns = pool.columns(kept.iter().map(|(slot, _)| *slot)).unwrap();
                let found = columns[0].as_primitive::<Int64Type>().values().to_vec();
                let wanted: Vec<i64> = kept.iter().map(|(_, number)| *number).collect();
                prop_assert_eq!(&found, &wanted);
                prop_assert_eq!(pool.len(), kept.len());
                let texts = columns[1].as_string_view();
                for (row, number) in wanted.iter().enumerate() {
                    let ending = format!(": {number}");
                    prop_assert!(texts.value(row).ends_with(&ending));
                }
            }
            kept.into_iter().for_each(|(slot, _)| pool.release(slot));
            prop_assert!(pool.is_empty());
        }
    }

    #[test]
    fn no_step_waits_for_the_copies_of_many_half_dead_chunks() {
        let mut pool = RowPool::new(schema()).unwrap();
        let numbers: Vec<i64> = (0..POOL_CHUNK_ROWS as i64 / 2).collect();
        let (mut slots, mut chunks) = (Vec::new(), 0);
        for _ in 0..12 {
            let chunk = pool.open(rows(&numbers));
            slots.extend((0..numbers.len() as u32).map(|r| pool.keep(RowPool::place(chunk, r))));
            pool.close(chunk).unwrap();
        }
        for (at, slot) in slots.into_iter().enumerate().filter(|(at, _)| at % 5 != 0) {
            pool.release(slot);
            if at % 1000 == 1 {
                let chunk = pool.open(rows(&[1]));
                pool.close(chunk).unwrap();
                chunks = pool.chunks.iter().flatten().count();
                assert!(pool.levels.iter().skip(1).all(|level| level.rows <= POOL_CHUNK_ROWS));
            }
        }
        assert!(chunks <= 4, "{chunks} chunks of {} rows", pool.len());
    }

    #[test]
    fn dead_chunks_go_and_many_small_ones_become_few() {
        let mut pool = RowPool::new(schema()).unwrap();
        let mut slots = Vec::new();
        for step in 0..1000 {
            let chunk = pool.open(rows(&[step, step + 1]));
            slots.push(pool.keep(RowPool::place(chunk, 0)));
            pool.close(chunk).unwrap();
        }
        let chunks = pool.chunks.iter().flatten().count();
        assert!(chunks < 64, "{chunks} chunks of 1000 rows");
        slots.into_iter().for_each(|slot| pool.release(slot));
        let chunk = pool.open(rows(&[1]));
        pool.close(chunk).unwrap();
        assert!(pool.is_empty());
    }
}
