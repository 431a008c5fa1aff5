//! [`HttpSource`]: a reader of an [`Inlet`] as a source: one partition without an end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::datatypes::SchemaRef;

use super::idle_timeout_ms;
use super::inlet::{Block, Inlet};
use crate::connectors::{
    Decoded, NextSplit, PartitionInfo, PartitionPosition, RowOffsets, Source, SourceSpec, Split,
};
use crate::error::{Error, Result};
use crate::time::EventTime;

/// The name of the one partition.
const PARTITION: &str = "http";

/// A reader of the rows that come over HTTP.
pub struct HttpSource {
    inlet: Arc<Inlet>,
    /// Its number among the readers of the inlet.
    index: usize,
    /// The columns wanted, and where they are among the stored ones.
    schema: SchemaRef,
    columns: Vec<usize>,
    /// Splits handed out.
    sequence: AtomicU64,
}

impl HttpSource {
    pub(super) fn new(inlet: Arc<Inlet>, index: usize, spec: &SourceSpec) -> Result<Self> {
        let stored = spec.table.stored_schema();
        let place = |name: &str| stored.index_of(name).map_err(Error::from);
        let names = spec.schema.fields().iter().map(|field| place(field.name()));
        let columns = names.collect::<Result<Vec<_>>>()?;
        let schema = Arc::clone(&spec.schema);
        Ok(HttpSource { inlet, index, schema, columns, sequence: AtomicU64::new(0) })
    }
}

impl Source for HttpSource {
    fn is_bounded(&self) -> bool {
        false
    }

    fn idle_timeout_ms(&self) -> Option<i64> {
        idle_timeout_ms(self.inlet.table())
    }

    fn start(&self, wake: Arc<dyn Fn() + Send + Sync>) -> Result<()> {
        self.inlet.start(self.index, wake)
    }

    fn resume(&self, positions: &[PartitionPosition]) -> Result<()> {
        if let Some(position) = positions.iter().find(|p| p.name == PARTITION) {
            self.inlet.resume(self.index, position.offset);
        }
        Ok(())
    }

    fn partitions(&self) -> Vec<PartitionInfo> {
        vec![PartitionInfo { name: PARTITION.to_owned() }]
    }

    fn next_split(&self, partition: usize) -> NextSplit {
        match self.inlet.next(self.index) {
            None => NextSplit::Pending,
            Some(block) => {
                let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
                let payload = Box::new(block);
                NextSplit::Split(Split { partition, sequence, last: false, payload })
            }
        }
    }

    fn partitions_complete(&self) -> bool {
        true
    }

    fn decode(&self, split: Split) -> Result<Decoded> {
        let block = split.payload.downcast::<Block>();
        let block = block.map_err(|_| Error::internal("a split of another source"))?;
        let rows = block.rows.project(&self.columns)?;
        Ok(Decoded {
            rows: Some(rows.with_schema(Arc::clone(&self.schema))?),
            offset: block.first,
            end: Some(block.end()),
            row_offsets: RowOffsets::Consecutive,
            bytes: block.bytes,
            ..Decoded::default()
        })
    }

    fn timed(&self, _: usize, end: i64, latest: EventTime) {
        self.inlet.timed(self.index, end, latest);
    }

    fn failure(&self) -> Option<Error> {
        self.inlet.failure(self.index)
    }
}
