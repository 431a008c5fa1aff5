//! Settings of a process as plain data.
