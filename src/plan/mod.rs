//! Logical plan to stream plan.
