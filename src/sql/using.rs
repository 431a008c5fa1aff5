//! `JOIN .. USING (k)`: the one column `k` of both sides.
//!
//! The planner takes one side's column for the joined one, which is NULL where that side has no
//! row. Above an outer join the columns of both sides become the joined one (of a FULL join
//! `COALESCE(l.k, r.k)`), and their own values move to hidden columns. Who writes `l.k` means
//! the side's own: the syntax tree marks it with a function that nobody can write. NATURAL joins
//! are the same with the columns that both sides have. Called by the rewriting of statements and
//! by the binder.

use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::DataType;
use datafusion::common::JoinConstraint::Using;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType};
use datafusion::error::Result;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr as AstExpr, Ident, JoinConstraint, JoinOperator, ObjectName, Query,
    ReplaceSelectElement, ReplaceSelectItem, Select, SelectItem, SelectItemQualifiedWildcardKind,
    SetExpr, TableWithJoins, VisitMut, VisitorMut, WildcardAdditionalOptions,
};
use indexmap::IndexMap;

use super::dialect::call;
use super::rewrite::relation_name;

/// The function that marks a column as one side's own.
const OWN: &str = "$own";
/// What a hidden column's name begins with.
const HIDDEN: &str = "$own_";

#[derive(Debug, PartialEq, Eq, Hash)]
struct Own {
    signature: Signature,
}

impl ScalarUDFImpl for Own {
    fn name(&self) -> &str {
        OWN
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments.first().cloned().unwrap_or(DataType::Null))
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        datafusion::common::internal_err!("a column of USING was not resolved")
    }
}

/// The function.
pub fn udf() -> ScalarUDF {
    static UDF: LazyLock<ScalarUDF> = LazyLock::new(|| {
        ScalarUDF::from(Own { signature: Signature::any(1, Volatility::Immutable) })
    });
    UDF.clone()
}

/// Which columns of which relations are joined by USING.
#[derive(Default)]
struct Joined {
    /// Relation and column, and whether the relation surely has it.
    columns: Vec<(String, String, bool)>,
    /// Relations of a NATURAL join, any of whose columns may be.
    natural: Vec<String>,
    /// The relations of the first of several joins, if each has a name; `*` is all of theirs.
    relations: Vec<String>,
    /// The last relation that surely has the column.
    last: IndexMap<String, String>,
}

/// Marks the columns of `select` that name their side of a `JOIN .. USING`.
pub(crate) fn mark(select: &mut Select) {
    let joined = Joined::of(select);
    if joined.is_empty() {
        return;
    }
    let mut items = Vec::with_capacity(select.projection.len());
    for item in std::mem::take(&mut select.projection) {
        joined.item(item, &mut items);
    }
    select.projection = items;
    let _ = select.visit(&mut Marker { joined: &joined, depth: 0 });
}

/// The same in the order of a query's rows.
pub(crate) fn mark_order(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_ref() else { return };
    let joined = Joined::of(select);
    if !joined.is_empty() {
        let _ = query.order_by.visit(&mut Marker { joined: &joined, depth: 1 });
    }
}

impl Joined {
    fn of(select: &Select) -> Self {
        let mut joined = Joined::default();
        let one = select.from.len() == 1;
        for table in &select.from {
            let named = joined.collect(table);
            if !(one && named) {
                joined.relations.clear();
            }
        }
        joined
    }

    fn is_empty(&self) -> bool {
        self.columns.is_empty() && self.natural.is_empty()
    }

    /// The joined columns of `table`; whether all of its relations have names and no join is
    /// NATURAL.
    fn collect(&mut self, table: &TableWithJoins) -> bool {
        let first = relation_name(&table.relation);
        let mut named = first.is_some();
        let mut before: Vec<String> = first.into_iter().collect();
        for join in &table.joins {
            let relation = relation_name(&join.relation);
            named &= relation.is_some() && shows_both(&join.join_operator);
            match constraint(&join.join_operator) {
                Some(JoinConstraint::Using(columns)) => {
                    let names = columns.iter().filter_map(|c| c.0.last()?.as_ident());
                    for name in names.map(|ident| &ident.value) {
                        let sure = before.len() == 1;
                        let left = before.iter().map(|r| (r.clone(), name.clone(), sure));
                        self.columns.extend(left);
                        let Some(right) = &relation else { continue };
                        self.columns.push((right.clone(), name.clone(), true));
                        self.last.insert(name.clone(), right.clone());
                    }
                }
                Some(JoinConstraint::Natural) => {
                    named = false;
                    self.natural.extend(before.iter().chain(&relation).cloned());
                }
                _ => {}
            }
            before.extend(relation);
        }
        self.relations = before;
        named
    }

    fn has(&self, parts: &[Ident]) -> bool {
        let [relation, column] = parts else { return false };
        self.natural.contains(&relation.value)
            || self.columns.iter().any(|(r, c, _)| *r == relation.value && *c == column.value)
    }

    /// An item of a `SELECT` as one or several that say which side they mean.
    fn item(&self, item: SelectItem, items: &mut Vec<SelectItem>) {
        match item {
            SelectItem::UnnamedExpr(AstExpr::CompoundIdentifier(parts)) if self.has(&parts) => {
                let name = parts.last().cloned();
                let expr = AstExpr::CompoundIdentifier(parts);
                items.push(match name {
                    Some(name) => SelectItem::ExprWithAlias {
                        expr,
                        alias: Ident { span: name.span, ..Ident::with_quote('`', name.value) },
                    },
                    None => SelectItem::UnnamedExpr(expr),
                });
            }
            SelectItem::Wildcard(options) if !self.relations.is_empty() && is_plain(&options) => {
                // Each joined column stands where the first relation has it.
                for (at, relation) in self.relations.iter().enumerate() {
                    let right = |(r, c, sure): &(String, String, bool)| {
                        (at > 0 && *sure && r == relation).then(|| c.clone())
                    };
                    let mut without: Vec<String> = self.columns.iter().filter_map(right).collect();
                    without.dedup();
                    let names = without.iter().map(|c| ObjectName::from(vec![quoted(c)]));
                    let names: Vec<_> = names.collect();
                    let mut options = options.clone();
                    options.opt_exclude =
                        (!names.is_empty()).then_some(ExcludeSelectItem::Multiple(names));
                    let name = ObjectName::from(vec![quoted(relation)]);
                    let kind = SelectItemQualifiedWildcardKind::ObjectName(name);
                    items.push(SelectItem::QualifiedWildcard(kind, options));
                }
            }
            SelectItem::QualifiedWildcard(
                SelectItemQualifiedWildcardKind::ObjectName(name),
                mut options,
            ) if is_plain(&options) => {
                let last = name.0.last().and_then(|part| part.as_ident());
                let relation = last.map(|ident| ident.value.clone()).unwrap_or_default();
                let own = self.columns.iter().filter(|(r, _, sure)| *sure && *r == relation);
                let replaced = own.map(|(_, column, _)| {
                    let parts = vec![quoted(&relation), quoted(column)];
                    let expr = AstExpr::CompoundIdentifier(parts);
                    let column_name = quoted(column);
                    Box::new(ReplaceSelectElement { expr, column_name, as_keyword: true })
                });
                let replaced: Vec<_> = replaced.collect();
                options.opt_replace =
                    (!replaced.is_empty()).then_some(ReplaceSelectItem { items: replaced });
                let kind = SelectItemQualifiedWildcardKind::ObjectName(name);
                items.push(SelectItem::QualifiedWildcard(kind, options));
            }
            other => items.push(other),
        }
    }
}

fn quoted(name: &str) -> Ident {
    Ident::with_quote('`', name)
}

fn is_plain(options: &WildcardAdditionalOptions) -> bool {
    options.opt_replace.is_none() && options.opt_exclude.is_none() && options.opt_except.is_none()
}

/// Whether the rows of a join have the columns of both sides.
fn shows_both(operator: &JoinOperator) -> bool {
    use JoinOperator::{CrossJoin, FullOuter, Inner, Join, Left, LeftOuter, Right, RightOuter};
    matches!(
        operator,
        CrossJoin(_)
            | FullOuter(_)
            | Inner(_)
            | Join(_)
            | Left(_)
            | LeftOuter(_)
            | Right(_)
            | RightOuter(_)
    )
}

fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
    use JoinOperator::{FullOuter, Inner, Join, Left, LeftOuter, Right, RightOuter};
    match operator {
        Inner(of) | Join(of) | Left(of) | LeftOuter(of) | Right(of) | RightOuter(of)
        | FullOuter(of) => Some(of),
        _ => None,
    }
}

struct Marker<'a> {
    joined: &'a Joined,
    /// How deep in subqueries, whose bare names are not for this query to say.
    depth: usize,
}

impl VisitorMut for Marker<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut AstExpr) -> ControlFlow<()> {
        match &*expr {
            AstExpr::CompoundIdentifier(parts) if self.joined.has(parts) => {
                *expr = call(OWN, vec![expr.clone()]);
            }
            // The planner does not find the column of several joins.
            AstExpr::Identifier(name) if self.depth == 0 => {
                if let Some(relation) = self.joined.last.get(&name.value) {
                    *expr = AstExpr::CompoundIdentifier(vec![quoted(relation), name.clone()]);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Gives the columns of outer joins by USING their joined values.
pub(crate) fn merge(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut hidden: Vec<Column> = Vec::new();
    let merged = plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Join(join) if join.join_constraint == Using => {
            let plan = LogicalPlan::Join(join).recompute_schema()?;
            Ok(Transformed::yes(joined(plan, &mut hidden)?))
        }
        other if hidden.is_empty() => Ok(Transformed::no(other)),
        other => Ok(Transformed::yes(other.recompute_schema()?)),
    })?;
    if hidden.is_empty() {
        return Ok(merged.data);
    }
    let resolved = merged.data.transform_up_with_subqueries(|plan| {
        let schema = merge_schema(&plan.inputs());
        let names = NamePreserver::new(&plan);
        let changed = plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let changed = expr.transform_up(|expr| {
                let Expr::ScalarFunction(call) = &expr else { return Ok(Transformed::no(expr)) };
                let (true, [of]) = (call.func.name() == OWN, call.args.as_slice()) else {
                    return Ok(Transformed::no(expr));
                };
                Ok(Transformed::yes(match of {
                    Expr::Column(c) if schema.has_column(&own(c)) => Expr::Column(own(c)),
                    Expr::OuterReferenceColumn(field, c) if hidden.contains(&own(c)) => {
                        Expr::OuterReferenceColumn(Arc::clone(field), own(c))
                    }
                    other => other.clone(),
                }))
            })?;
            Ok(match changed.transformed {
                true => changed.update_data(|expr| name.restore(expr)),
                false => changed,
            })
        })?;
        changed.map_data(LogicalPlan::recompute_schema)
    })?;
    Ok(resolved.data)
}

fn own(column: &Column) -> Column {
    Column::new(column.relation.clone(), format!("{HIDDEN}{}", column.name))
}

/// The pairs of columns that joins by USING have made one, as far as their names reach.
fn pairs(plan: &LogicalPlan, found: &mut Vec<(Column, Column)>) {
    match plan {
        LogicalPlan::Join(join) => {
            if join.join_constraint == Using {
                let columns = |(left, right): &(Expr, Expr)| {
                    let right = right.get_as_join_column()?.clone();
                    Some((left.get_as_join_column()?.clone(), right))
                };
                found.extend(join.on.iter().filter_map(columns));
            }
            pairs(&join.left, found);
            pairs(&join.right, found);
        }
        // One of our own: those of subqueries have a name above them.
        LogicalPlan::Projection(projection) => pairs(&projection.input, found),
        _ => {}
    }
}

/// Every column that is one with `column` by `pairs`.
fn one_with(column: &Column, pairs: &[(Column, Column)]) -> Vec<Column> {
    let mut set = vec![column.clone()];
    loop {
        let new = pairs.iter().find_map(|(a, b)| match (set.contains(a), set.contains(b)) {
            (true, false) => Some(b.clone()),
            (false, true) => Some(a.clone()),
            _ => None,
        });
        match new {
            Some(column) => set.push(column),
            None => return set,
        }
    }
}

/// `plan`, a join, with the joined values in the columns that it joins by, and their own hidden
/// behind them.
fn joined(plan: LogicalPlan, hidden: &mut Vec<Column>) -> Result<LogicalPlan> {
    let LogicalPlan::Join(join) = &plan else { return Ok(plan) };
    let mut all = Vec::new();
    pairs(&plan, &mut all);
    // Of each joined column all those that it is in, and its value.
    let mut sets: Vec<(Vec<Column>, Expr)> = Vec::new();
    for (left, right) in &join.on {
        let (Some(left), Some(right)) = (left.get_as_join_column(), right.get_as_join_column())
        else {
            return Ok(plan);
        };
        let set = one_with(left, &all);
        let (left, right) = (Expr::Column(left.clone()), Expr::Column(right.clone()));
        match join.join_type {
            JoinType::Left => sets.push((set, left)),
            JoinType::Right => sets.push((set, right)),
            JoinType::Full => sets.push((set, coalesce(vec![left, right]))),
            // Both sides of an inner join are equal.
            _ => {}
        }
    }
    if sets.is_empty() {
        return Ok(plan);
    }
    let mut columns = Vec::new();
    let mut kept = Vec::new();
    for column in join.schema.columns() {
        let Some((_, value)) = sets.iter().find(|(set, _)| set.contains(&column)) else {
            columns.push(Expr::Column(column));
            continue;
        };
        let own = own(&column);
        if !join.schema.has_column(&own) {
            let value = Expr::Column(column.clone());
            kept.push(value.alias_qualified(own.relation.clone(), &own.name));
            hidden.push(own);
        }
        columns.push(value.clone().alias_qualified(column.relation, column.name));
    }
    columns.extend(kept);
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}
