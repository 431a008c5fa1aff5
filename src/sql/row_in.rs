//! `(a, b) [NOT] IN (query)`, which the planner does not know, as subqueries with EXISTS.
//!
//! Rows are compared as SQL does: a pair of unequal values makes them unequal, else a NULL in a
//! pair makes it unknown whether they are equal. Where NULL means the same as FALSE, in conditions,
//! one EXISTS is enough; elsewhere there is another for what is unknown. Called by the rewriter.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, Ident, JoinConstraint, JoinOperator, Query, Select, SetExpr,
    TableFactor, UnaryOperator, Value, ValueWithSpan, helpers::attached_token::AttachedToken,
};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Span;

use super::dialect::{DIALECT, cast};

/// Rewrites the rows that the conditions of `select` look for.
pub(super) fn conditions(select: &mut Select) {
    select.selection.iter_mut().chain(&mut select.having).for_each(condition);
    for join in select.from.iter_mut().flat_map(|table| &mut table.joins) {
        use JoinOperator::{FullOuter, Inner, Join, Left, LeftOuter, Right, RightOuter};
        if let Join(constraint)
        | Inner(constraint)
        | Left(constraint)
        | LeftOuter(constraint)
        | Right(constraint)
        | RightOuter(constraint)
        | FullOuter(constraint) = &mut join.join_operator
            && let JoinConstraint::On(on) = constraint
        {
            condition(on);
        }
    }
}

/// A condition of which NULL means the same as FALSE.
fn condition(expr: &mut Expr) {
    match expr {
        Expr::Nested(inner) => condition(inner),
        Expr::BinaryOp { left, op: BinaryOperator::And | BinaryOperator::Or, right } => {
            condition(left);
            condition(right);
        }
        Expr::UnaryOp { op: UnaryOperator::Not, expr: inner } => {
            let mut at = inner.as_mut();
            while let Expr::Nested(deeper) = at {
                at = deeper;
            }
            if let Expr::InSubquery { expr: items, subquery, negated } = at
                && let Expr::Tuple(items) = items.as_ref()
                && let Some(new) = found(items, subquery, !*negated)
            {
                *expr = new;
            }
        }
        Expr::InSubquery { expr: items, subquery, negated } => {
            if let Expr::Tuple(items) = items.as_ref()
                && let Some(new) = found(items, subquery, *negated)
            {
                *expr = new;
            }
        }
        _ => {}
    }
}

/// Whether there is a row that equals; negated, whether there is none that may equal.
fn found(items: &[Expr], subquery: &Query, negated: bool) -> Option<Expr> {
    Some(Expr::Exists { subquery: matching(items, subquery, negated)?, negated })
}

/// `(a, b) [NOT] IN (query)` in three values.
pub(super) fn value(items: &[Expr], subquery: &Query, negated: bool) -> Option<Expr> {
    let exists = |maybe| {
        let subquery = matching(items, subquery, maybe)?;
        Some(Expr::Exists { subquery, negated: false })
    };
    let literal = |value| Expr::Value(ValueWithSpan { value, span: Span::empty() });
    let boolean = |value| literal(Value::Boolean(value));
    let conditions = vec![
        CaseWhen { condition: exists(false)?, result: boolean(!negated) },
        CaseWhen { condition: exists(true)?, result: cast(literal(Value::Null), "BOOLEAN") },
    ];
    Some(Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions,
        else_result: Some(Box::new(boolean(negated))),
    })
}

/// The rows of `subquery` that equal `items`, or with `maybe` those that are not unequal to them.
fn matching(items: &[Expr], subquery: &Query, maybe: bool) -> Option<Box<Query>> {
    let names: Vec<String> = (0..items.len()).map(|at| format!("`__row_in_{at}`")).collect();
    let text = format!("SELECT 1 FROM (SELECT 1) AS `__row_in` ({})", names.join(", "));
    let mut parser = Parser::new(&DIALECT).try_with_sql(&text).ok()?;
    let mut query = parser.parse_query().ok()?;
    let SetExpr::Select(select) = query.body.as_mut() else { return None };
    let TableFactor::Derived { subquery: rows, .. } = &mut select.from.first_mut()?.relation else {
        return None;
    };
    **rows = subquery.clone();
    let nested = |expr: Expr| Expr::Nested(Box::new(expr));
    let binary = |left: Expr, op, right: Expr| Expr::BinaryOp {
        left: Box::new(left),
        op,
        right: Box::new(right),
    };
    let pairs = items.iter().enumerate().map(|(at, item)| {
        let column = Expr::Identifier(Ident::with_quote('`', format!("__row_in_{at}")));
        let equal = binary(column.clone(), BinaryOperator::Eq, nested(item.clone()));
        if !maybe {
            return equal;
        }
        let unknown = binary(
            Expr::IsNull(Box::new(column)),
            BinaryOperator::Or,
            Expr::IsNull(Box::new(nested(item.clone()))),
        );
        nested(binary(equal, BinaryOperator::Or, unknown))
    });
    select.selection = pairs.reduce(|all, pair| binary(all, BinaryOperator::And, pair));
    Some(query)
}
