//! The connectors by name: the one place to add another.
