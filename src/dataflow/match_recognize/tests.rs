//! The law of the operator, against a naive matcher.
