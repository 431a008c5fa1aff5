//! `WINDOW w AS (..)` and `OVER (w ROWS ..)`: windows that build on others, written out.
//!
//! The planner knows a bare `OVER w` alone, and would ignore the name inside parentheses. Called by
//! the rewriter for each query block.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, NamedWindowDefinition, NamedWindowExpr, Select, VisitMut, VisitorMut, WindowSpec,
    WindowType,
};

/// Writes out the windows of `select` that name others.
pub fn resolve(select: &mut Select) {
    let mut known = BTreeMap::new();
    for NamedWindowDefinition(name, definition) in &mut select.named_window {
        if let NamedWindowExpr::WindowSpec(spec) = definition {
            complete(spec, &known);
        }
        let spec = match definition {
            NamedWindowExpr::WindowSpec(spec) => Some(spec.clone()),
            NamedWindowExpr::NamedWindow(other) => known.get(&other.value).cloned(),
        };
        known.extend(spec.map(|spec| (name.value.clone(), spec)));
    }
    let _ = select.projection.visit(&mut Resolver { known: &known });
    let _ = select.qualify.visit(&mut Resolver { known: &known });
}

/// Adds what the window that `spec` names says; whether that is known.
fn complete(spec: &mut WindowSpec, known: &BTreeMap<String, WindowSpec>) -> bool {
    let Some(name) = &spec.window_name else { return true };
    let Some(base) = known.get(&name.value) else { return false };
    if spec.partition_by.is_empty() {
        spec.partition_by = base.partition_by.clone();
    }
    if spec.order_by.is_empty() {
        spec.order_by = base.order_by.clone();
    }
    spec.window_frame = spec.window_frame.take().or_else(|| base.window_frame.clone());
    spec.window_name = None;
    true
}

struct Resolver<'a> {
    known: &'a BTreeMap<String, WindowSpec>,
}

impl VisitorMut for Resolver<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && let Some(over) = &mut function.over
        {
            let resolved = match over {
                WindowType::NamedWindow(name) => self.known.get(&name.value).cloned(),
                WindowType::WindowSpec(spec) => match complete(spec, self.known) {
                    true => None,
                    false => {
                        // The planner says that there is no such window.
                        let name = spec.window_name.take();
                        name.into_iter().for_each(|name| *over = WindowType::NamedWindow(name));
                        None
                    }
                },
            };
            resolved.into_iter().for_each(|spec| *over = WindowType::WindowSpec(spec));
        }
        ControlFlow::Continue(())
    }
}
