//! Lookup joins.
