//! Statements of a script, with their places in the text.
