//! The contents of one view over a span of event times.

/// The contents of one view, written by its workers and read by anyone.
#[derive(Debug, Default)]
pub struct ViewContents {}
