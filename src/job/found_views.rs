//! The views of all jobs by the names that users write.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::serve::ServedView;
use crate::serve::view::ViewContents;
use crate::sql::context::DEAD_LETTERS;
use crate::time::CLOSED;

/// The view `name` among `views`, each with its job: `v`, `v$late`, `floodmark.dead_letters`,
/// `job.v`.
pub fn find(views: &[(String, ServedView)], name: &str) -> Result<ServedView> {
    let is_named = |(job, view): &&(String, ServedView)| {
        view.name == name
            || name
                .strip_prefix(job)
                .is_some_and(|rest| rest.strip_prefix('.').is_some_and(|rest| rest == view.name))
    };
    let found: Vec<_> = views.iter().filter(is_named).collect();
    match found.as_slice() {
        [(_, view)] => Ok(view.clone()),
        [] => Err(not_found(name, views)),
        several if name == DEAD_LETTERS => merged(several),
        several => {
            let names: Vec<_> = several.iter().map(|(j, v)| format!("{j}.{}", v.name)).collect();
            let message = format!("several jobs have a view {name}");
            Err(Error::new(ErrorKind::Conflict, message)
                .with_hint(format!("write one of {}", names.join(", "))))
        }
    }
}

fn not_found(name: &str, views: &[(String, ServedView)]) -> Error {
    let known: Vec<&str> = views.iter().map(|(_, v)| v.name.as_str()).collect();
    let error = Error::new(ErrorKind::NotFound, format!("there is no view {name}"));
    match crate::sql::diagnostics::nearest(name, &known) {
        Some(near) => error.with_hint(format!("did you mean {near}?")),
        None => error.with_hint("GET /v1/views lists the views"),
    }
}

/// The dead letters of several jobs as one view, as of now.
fn merged(views: &[&(String, ServedView)]) -> Result<ServedView> {
    let first = &views[0].1;
    let contents = ViewContents::new(Arc::clone(&first.schema), 1, i64::MAX);
    let mut updates = Vec::new();
    for (_, view) in views {
        let (since, upper) = (view.contents.since(), view.contents.upper());
        let base = view.contents.read(since.min(upper))?;
        updates.push(crate::batch::UpdateBatch::at(base, since.max(0)));
        updates.push(view.contents.changes(since, upper)?);
    }
    contents.append(0, updates, CLOSED)?;
    Ok(ServedView { contents: Arc::new(contents), ..first.clone() })
}
