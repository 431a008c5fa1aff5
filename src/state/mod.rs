//! Keyed columnar state.
