//! Frames of windows that start behind their end, which the planner takes for empty ones.
//!
//! Refuses them, at the function or the window's name. Called by the statement parser.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, NamedWindowDefinition, NamedWindowExpr, Select, Spanned, Visit, Visitor,
    WindowFrameBound, WindowSpec, WindowType,
};
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::Span;

use super::diagnostics::parser_error;

/// Refuses frames that start behind their end.
pub(crate) fn check<V: Visit>(tree: &V) -> Result<(), ParserError> {
    match tree.visit(&mut Frames) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Frames;

impl Visitor for Frames {
    type Break = ParserError;

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<ParserError> {
        for NamedWindowDefinition(name, definition) in &select.named_window {
            if let NamedWindowExpr::WindowSpec(spec) = definition {
                check_frame(spec, name.span)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<ParserError> {
        match expr {
            Expr::Function(Function { name, over: Some(WindowType::WindowSpec(spec)), .. }) => {
                check_frame(spec, name.span())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

/// An error at `span`, what the window is of, if its frame starts behind its end.
fn check_frame(spec: &WindowSpec, span: Span) -> ControlFlow<ParserError> {
    use WindowFrameBound::{CurrentRow, Following, Preceding};
    let Some(frame) = &spec.window_frame else { return ControlFlow::Continue(()) };
    let end = frame.end_bound.as_ref().unwrap_or(&CurrentRow);
    let is_backward = matches!(
        (&frame.start_bound, end),
        (Following(None), _)
            | (_, Preceding(None))
            | (Following(_), CurrentRow | Preceding(_))
            | (CurrentRow, Preceding(_))
    );
    if !is_backward {
        return ControlFlow::Continue(());
    }
    let text = |bound: &WindowFrameBound| bound.to_string();
    let message = format!("the frame starts at {}, behind its end", text(&frame.start_bound));
    let hint = format!(
        "the earlier border comes first: BETWEEN {} AND {}",
        text(end),
        text(&frame.start_bound)
    );
    ControlFlow::Break(parser_error(&message, Some(&hint), span.start))
}
