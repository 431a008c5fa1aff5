//! The sink `blackhole`: takes everything, keeps nothing.

use crate::batch::UpdateBatch;
use crate::connectors::SinkWriter;
use crate::error::Result;
use crate::time::EventTime;

/// The options besides `connector`.
pub const OPTIONS: &[&str] = &[];

/// A sink that keeps nothing.
#[derive(Debug, Default)]
pub struct BlackholeSink;

impl SinkWriter for BlackholeSink {
    fn write(&mut self, _batch: &UpdateBatch) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self, _frontier: EventTime) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self, _complete: bool) -> Result<()> {
        Ok(())
    }
}
