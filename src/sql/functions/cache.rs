//! Compiled patterns, kept per thread: no locks between workers, and no compilation per batch.

use std::cell::RefCell;
use std::rc::Rc;

use datafusion::common::Result;

use crate::limits::PATTERNS_COMPILED_MAX;

/// Patterns by their text, most recently compiled last; the oldest gives way at the bound.
///
/// Lives in a `thread_local`; what is cached never changes a result.
pub(super) struct Compiled<T> {
    entries: RefCell<Vec<(String, Rc<T>)>>,
}

impl<T> Compiled<T> {
    /// An empty cache.
    pub(super) const fn new() -> Self {
        Compiled { entries: RefCell::new(Vec::new()) }
    }

    /// The compiled form of `text`.
    pub(super) fn get(&self, text: &str, compile: impl Fn(&str) -> Result<T>) -> Result<Rc<T>> {
        let known = |entry: &&(String, Rc<T>)| entry.0 == text;
        if let Some((_, compiled)) = self.entries.borrow().iter().find(known) {
            return Ok(Rc::clone(compiled));
        }
        let compiled = Rc::new(compile(text)?);
        let mut entries = self.entries.borrow_mut();
        if entries.len() >= PATTERNS_COMPILED_MAX {
            entries.remove(0);
        }
        entries.push((text.to_string(), Rc::clone(&compiled)));
        Ok(compiled)
    }
}
