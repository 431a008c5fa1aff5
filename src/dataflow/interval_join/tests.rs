//! Interval joins against a naive one over all rows.
