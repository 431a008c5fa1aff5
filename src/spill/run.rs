//! A run: rows in the order of the hashes of their keys, on disk, and which of them are still
//! there.
//!
//! Rows lie in blocks. A block is its hashes, eight bytes each, and the rows themselves, each under
//! a checksum: most of what is asked for and is not there costs no more than a look at the hashes.
//! In memory is where each block begins and which hashes it spans, a filter, and a bit a row that
//! says whether it has been taken back.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;

use super::chunk;
use super::file::SpillFile;
use super::filter::Filter;
use crate::batch::hash::hash_bytes;
use crate::error::Result;
use crate::limits::{SPILL_BLOCK_BYTES, SPILL_BLOCK_ROWS_MAX, SPILL_BLOCK_ROWS_MIN};

/// Bytes of a stored hash.
const HASH_BYTES: usize = 8;

/// Where a block lies.
#[derive(Debug)]
struct Block {
    /// Its least and greatest hash.
    first: u64,
    last: u64,
    /// Where it begins in the file, and in the run.
    offset: u64,
    first_row: usize,
    rows: usize,
    /// Bytes of its rows, behind the hashes.
    bytes: usize,
    hashes_sum: u64,
    rows_sum: u64,
}

/// Rows on disk.
#[derive(Debug)]
pub struct Run {
    file: Arc<SpillFile>,
    blocks: Vec<Block>,
    filter: Filter,
    /// A bit for each row that is not there any more.
    gone: Vec<u64>,
    rows: usize,
    live: usize,
}

impl Run {
    /// Rows that are still there.
    pub fn live(&self) -> usize {
        self.live
    }

    /// Rows, with those that were taken.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The least and the greatest hash of its rows.
    pub fn span(&self) -> Option<(u64, u64)> {
        Some((self.blocks.first()?.first, self.blocks.last()?.last))
    }

    /// How many blocks there are.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Takes the rows of the hashes `wanted`, which ascend.
    pub fn take(&mut self, wanted: &[u64], found: &mut Vec<RecordBatch>) -> Result<()> {
        let wanted: Vec<u64> =
            wanted.iter().copied().filter(|&hash| self.filter.may_have(hash)).collect();
        let mut at = 0;
        for index in 0..self.blocks.len() {
            let Block { first, last, .. } = self.blocks[index];
            at += wanted[at..].partition_point(|&hash| hash < first);
            let upto = at + wanted[at..].partition_point(|&hash| hash <= last);
            let own = &wanted[at..upto];
            if at == wanted.len() {
                break;
            }
            // The last one may go on in the next block.
            at = upto.saturating_sub(1).max(at);
            if own.is_empty() {
                continue;
            }
            let hashes = self.hashes(index)?;
            let mut rows = Vec::new();
            for hash in own {
                let start = hashes.partition_point(|h| h < hash);
                let same = hashes[start..].iter().take_while(|h| *h == hash).count();
                rows.extend(self.live_of(index, start..start + same));
            }
            self.take_rows(index, rows, found)?;
        }
        Ok(())
    }

    /// Takes the rows with hashes from `first` up to `last`.
    pub fn take_range(
        &mut self,
        (first, last): (u64, u64),
        found: &mut Vec<RecordBatch>,
    ) -> Result<()> {
        let start = self.blocks.partition_point(|block| block.last < first);
        for index in start..self.blocks.len() {
            if self.blocks[index].first > last {
                break;
            }
            let hashes = self.hashes(index)?;
            let from = hashes.partition_point(|&h| h < first);
            let to = hashes.partition_point(|&h| h <= last);
            let rows = self.live_of(index, from..to);
            self.take_rows(index, rows, found)?;
        }
        Ok(())
    }

    /// The rows of a block that are there, with their hashes.
    pub fn read(&self, index: usize) -> Result<(Vec<u64>, Option<RecordBatch>)> {
        let rows = self.live_of(index, 0..self.blocks[index].rows);
        if rows.is_empty() {
            return Ok((Vec::new(), None));
        }
        let hashes = self.hashes(index)?;
        let own = rows.iter().map(|&row| hashes[row as usize]).collect();
        let all = self.block(index)?;
        if rows.len() == all.num_rows() {
            return Ok((own, Some(all)));
        }
        Ok((own, Some(picked(&all, rows)?)))
    }

    fn take_rows(
        &mut self,
        index: usize,
        rows: Vec<u32>,
        found: &mut Vec<RecordBatch>,
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let all = self.block(index)?;
        let first = self.blocks[index].first_row;
        self.live -= rows.len();
        for &row in &rows {
            let row = first + row as usize;
            self.gone[row / 64] |= 1 << (row % 64);
        }
        found.push(match rows.len() == all.num_rows() {
            true => all,
            false => picked(&all, rows)?,
        });
        Ok(())
    }

    /// Those of some rows of a block that are there.
    fn live_of(&self, index: usize, rows: Range<usize>) -> Vec<u32> {
        let first = self.blocks[index].first_row;
        let is_live = |row: &usize| {
            let row = first + row;
            self.gone[row / 64] & (1 << (row % 64)) == 0
        };
        rows.filter(is_live).map(|row| row as u32).collect()
    }

    fn hashes(&self, index: usize) -> Result<Vec<u64>> {
        let block = &self.blocks[index];
        let mut bytes = vec![0; block.rows * HASH_BYTES];
        self.file.read(&mut bytes, block.offset, block.hashes_sum)?;
        let word = |bytes: &[u8]| {
            let mut word = [0; HASH_BYTES];
            word.copy_from_slice(bytes);
            u64::from_le_bytes(word)
        };
        Ok(bytes.chunks_exact(HASH_BYTES).map(word).collect())
    }

    fn block(&self, index: usize) -> Result<RecordBatch> {
        let block = &self.blocks[index];
        let mut bytes = vec![0; block.bytes];
        let offset = block.offset + (block.rows * HASH_BYTES) as u64;
        self.file.read(&mut bytes, offset, block.rows_sum)?;
        let rows = chunk::decode(&bytes)?;
        if rows.num_rows() != block.rows {
            return Err(self.file.damaged(offset));
        }
        Ok(rows)
    }
}

/// Some rows of a block, without the bytes of the others: few may be wanted of each of many.
fn picked(all: &RecordBatch, rows: Vec<u32>) -> Result<RecordBatch> {
    chunk::own(&take_record_batch(all, &UInt32Array::from(rows))?, &all.schema())
}

/// Writes a run.
pub struct RunWriter {
    run: Run,
    schema: SchemaRef,
    pending: Vec<RecordBatch>,
    /// The hashes of what is pending.
    hashes: Vec<u64>,
    /// Rows of a block.
    block_rows: Option<usize>,
}

impl RunWriter {
    /// A run of about `rows` rows in `file`, which others may write to as well.
    pub fn new(file: &Arc<SpillFile>, schema: &SchemaRef, rows: usize) -> Self {
        RunWriter {
            run: Run {
                file: Arc::clone(file),
                blocks: Vec::new(),
                filter: Filter::new(rows),
                gone: Vec::new(),
                rows: 0,
                live: 0,
            },
            schema: Arc::clone(schema),
            pending: Vec::new(),
            hashes: Vec::new(),
            block_rows: None,
        }
    }

    /// Adds rows with their hashes, which ascend and are not below those before.
    pub fn push(&mut self, hashes: &[u64], rows: &RecordBatch) -> Result<()> {
        if hashes.is_empty() {
            return Ok(());
        }
        let own = chunk::own(rows, &self.schema)?;
        let width = (own.get_array_memory_size() / hashes.len()).max(1);
        let most = *self.block_rows.get_or_insert_with(|| {
            (SPILL_BLOCK_BYTES / width).clamp(SPILL_BLOCK_ROWS_MIN, SPILL_BLOCK_ROWS_MAX)
        });
        self.pending.push(own);
        self.hashes.extend_from_slice(hashes);
        if self.hashes.len() < most {
            return Ok(());
        }
        let all = concat_batches(&self.schema, &std::mem::take(&mut self.pending))?;
        let hashes = std::mem::take(&mut self.hashes);
        let mut at = 0;
        while at + most <= hashes.len() {
            self.write(&hashes[at..at + most], &all.slice(at, most))?;
            at += most;
        }
        if at < hashes.len() {
            self.pending.push(all.slice(at, hashes.len() - at));
            self.hashes.extend_from_slice(&hashes[at..]);
        }
        Ok(())
    }

    /// The run, unless it has no rows.
    pub fn finish(mut self) -> Result<Option<Run>> {
        if !self.hashes.is_empty() {
            let all = concat_batches(&self.schema, &std::mem::take(&mut self.pending))?;
            let hashes = std::mem::take(&mut self.hashes);
            self.write(&hashes, &all)?;
        }
        let mut run = self.run;
        run.gone = vec![0; run.rows.div_ceil(64)];
        run.live = run.rows;
        Ok((run.rows > 0).then_some(run))
    }

    fn write(&mut self, hashes: &[u64], rows: &RecordBatch) -> Result<()> {
        let (Some(&first), Some(&last)) = (hashes.first(), hashes.last()) else { return Ok(()) };
        let run = &mut self.run;
        hashes.iter().for_each(|&hash| run.filter.insert(hash));
        let words: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
        // A slice of views shares the bytes of the whole.
        let rows = chunk::encode(&chunk::own(rows, &self.schema)?)?;
        let offset = run.file.append(&words)?;
        run.file.append(&rows)?;
        run.blocks.push(Block {
            first,
            last,
            offset,
            first_row: run.rows,
            rows: hashes.len(),
            bytes: rows.len(),
            hashes_sum: hash_bytes(&words),
            rows_sum: hash_bytes(&rows),
        });
        run.rows += hashes.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, AsArray, Int64Array, StringViewArray};
    use arrow::datatypes::Int64Type;

    use super::super::memory::Memory;
    use super::*;
    use std::os::unix::fs::FileExt;

    fn rows(from: i64, to: i64) -> RecordBatch {
        let ints: ArrayRef = Arc::new(Int64Array::from_iter_values(from..to));
        let texts = (from..to).map(|n| format!("a text that is longer than a view: {n}"));
        let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values(texts));
        RecordBatch::try_from_iter([("x", ints), ("s", texts)]).unwrap()
    }

    /// Row `n` has the hash `n / 3`.
    fn run(memory: &Arc<Memory>, count: i64) -> Run {
        let schema = chunk::nullable(&rows(0, 0).schema());
        let file = SpillFile::create(memory).unwrap();
        let mut writer = RunWriter::new(&file, &schema, count as usize);
        let mut at = 0;
        while at < count {
            let to = (at + 1000).min(count);
            let hashes: Vec<u64> = (at..to).map(|n| n as u64 / 3).collect();
            writer.push(&hashes, &rows(at, to)).unwrap();
            at = to;
        }
        writer.finish().unwrap().unwrap()
    }

    fn ints(found: &[RecordBatch]) -> Vec<i64> {
        let of = |rows: &RecordBatch| rows.column(0).as_primitive::<Int64Type>().values().to_vec();
        found.iter().flat_map(of).collect()
    }

    #[test]
    fn a_row_is_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::new(1, dir.path(), 1);
        let mut run = run(&memory, 10_000);
        assert!(run.blocks() > 3);
        let mut found = Vec::new();
        run.take(&[0, 700, 701, 3333, 9999], &mut found).unwrap();
        assert_eq!(ints(&found), [0, 1, 2, 2100, 2101, 2102, 2103, 2104, 2105, 9999]);
        found.clear();
        run.take(&[0, 700, 702, 3333], &mut found).unwrap();
        assert_eq!(ints(&found), [2106, 2107, 2108]);
        found.clear();
        run.take_range((699, 800), &mut found).unwrap();
        assert_eq!(found.iter().map(RecordBatch::num_rows).sum::<usize>(), 3 * 99);
        assert_eq!(run.live(), 10_000 - 13 - 3 * 99);
        let read = |i| run.read(i).unwrap().0.len();
        assert_eq!((0..run.blocks()).map(read).sum::<usize>(), run.live());
        assert!(memory.spilled().disk > 0);
        drop(run);
        assert_eq!(memory.spilled().disk, 0);
    }

    #[test]
    fn a_hash_with_more_rows_than_a_block_comes_whole() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::new(1, dir.path(), 1);
        let schema = chunk::nullable(&rows(0, 0).schema());
        let mut writer = RunWriter::new(&SpillFile::create(&memory).unwrap(), &schema, 10);
        writer.push(&[1; 100], &rows(0, 100)).unwrap();
        writer.push(&vec![2; 20_000], &rows(100, 20_100)).unwrap();
        writer.push(&[3; 100], &rows(20_100, 20_200)).unwrap();
        let mut run = writer.finish().unwrap().unwrap();
        assert!(run.blocks() > 4);
        let mut found = Vec::new();
        run.take(&[2], &mut found).unwrap();
        assert_eq!(ints(&found), (100..20_100).collect::<Vec<_>>());
    }

    #[test]
    fn every_changed_byte_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::new(1, dir.path(), 1);
        let mut run = run(&memory, 300);
        for at in (0..run.file.end()).step_by(7) {
            let mut byte = [0];
            let file = Arc::clone(&run.file);
            file.file.read_exact_at(&mut byte, at).unwrap();
            file.file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
            let error = run.take_range((0, u64::MAX), &mut Vec::new()).unwrap_err();
            assert!(error.message.contains("not as it was written"), "{error}");
            file.file.write_all_at(&byte, at).unwrap();
        }
        run.take_range((0, u64::MAX), &mut Vec::new()).unwrap();
    }
}
