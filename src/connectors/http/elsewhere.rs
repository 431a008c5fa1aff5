//! The source `http` in a process that takes no rows: they come to the first one of its cluster.

use std::sync::Arc;

use crate::connectors::{Decoded, NextSplit, PartitionInfo, PartitionPosition, Source, Split};
use crate::error::{Error, Result};

/// A source without partitions.
pub struct Elsewhere;

impl Source for Elsewhere {
    fn is_bounded(&self) -> bool {
        false
    }

    fn start(&self, _: Arc<dyn Fn() + Send + Sync>) -> Result<()> {
        Ok(())
    }

    fn resume(&self, _: &[PartitionPosition]) -> Result<()> {
        Ok(())
    }

    fn owns(&self, _: &str) -> bool {
        false
    }

    fn partitions(&self) -> Vec<PartitionInfo> {
        Vec::new()
    }

    fn next_split(&self, _: usize) -> NextSplit {
        NextSplit::Ended
    }

    fn partitions_complete(&self) -> bool {
        true
    }

    fn decode(&self, _: Split) -> Result<Decoded> {
        Err(Error::internal("a split came to a source without any"))
    }

    fn failure(&self) -> Option<Error> {
        None
    }
}
