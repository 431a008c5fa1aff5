//! Temporal joins.
