//! Laws of OVER.
