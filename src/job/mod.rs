//! Job definitions and lifecycle.
