//! Joins without windows, over any changelog: two arrangements and a join of them.
//!
//! Called by the lowering of joins once no window, interval or version bounds the pair.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{JoinType, NullEquality, ScalarValue};
use datafusion::logical_expr::{Expr, Join as LogicalJoin, Operator as BinaryOperator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, is_not_null, is_null};

use super::Lowerer;
use super::calc::all_columns;
use crate::error::{Error, Result};
use crate::plan::expr::Expression;
use crate::plan::node::{Join, NodeId, Operator};
use crate::plan::props::{ChangelogMode, Distribution, Props, WindowColumns};
use crate::sql::rewrites::Rewrite;

/// One side of a join: its rows with the keys as columns.
#[derive(Clone)]
pub(super) struct Side {
    /// The rows.
    pub node: NodeId,
    /// How many columns it had before computed keys were appended.
    pub width: usize,
    /// The key columns.
    pub keys: Vec<usize>,
}

impl Lowerer<'_> {
    /// A join of `left` and `right` on equal keys.
    pub(super) fn regular_join(
        &mut self,
        join: &LogicalJoin,
        mut left: Side,
        mut right: Side,
    ) -> Result<NodeId> {
        left.node = self.with_a_column(left.node)?;
        right.node = self.with_a_column(right.node)?;
        let mut filter =
            self.join_filter(join, (left.node, left.width), (right.node, right.width))?;
        if join.null_aware && left.keys.len() == 1 && filter.is_none() {
            return self.not_in(join, &left, &right);
        }
        if join.null_aware {
            // What is beside the compared pair limits the rows that a NULL stands for.
            filter = self.unknown_or_equal(&mut left, &mut right, filter)?;
        }
        let nulls = join.null_equality == NullEquality::NullEqualsNull;
        let node = self.join_of(join.join_type, &left, &right, nulls, filter)?;
        let schema = Arc::new(join.schema.as_arrow().clone());
        self.calc(node, None, all_columns(&self.schema(node)), schema)
    }

    /// A row that is stored has a column.
    fn with_a_column(&mut self, node: NodeId) -> Result<NodeId> {
        if !self.schema(node).fields().is_empty() {
            return Ok(node);
        }
        let schema = Schema::new(vec![Field::new("$row", DataType::Int32, false)]);
        let column = Expression::literal(ScalarValue::Int32(Some(0)));
        self.calc(node, None, vec![column], Arc::new(schema))
    }

    /// The operator: its columns are those that the sides had before keys were appended.
    fn join_of(
        &mut self,
        kind: JoinType,
        left: &Side,
        right: &Side,
        null_equals_null: bool,
        filter: Option<Expression>,
    ) -> Result<NodeId> {
        let appended = self.schema(left.node).fields().len();
        let mark = appended + self.schema(right.node).fields().len();
        let lefts = 0..left.width;
        let rights = appended..appended + right.width;
        let columns: Vec<usize> = match kind {
            JoinType::LeftSemi | JoinType::LeftAnti => lefts.collect(),
            JoinType::RightSemi | JoinType::RightAnti => rights.collect(),
            JoinType::LeftMark => lefts.chain([mark]).collect(),
            JoinType::RightMark => rights.chain([mark]).collect(),
            _ => lefts.chain(rights).collect(),
        };
        let wide = self.wide_schema(kind, left.node, right.node);
        let schema = Arc::new(wide.project(&columns)?);
        let picked: Vec<_> = columns.iter().map(|&c| Expression::column(&wide, c)).collect();
        let props = self.regular_props(kind, left, right).project(&picked);
        let operator = Operator::Join(Join {
            kind,
            left_keys: left.keys.clone(),
            right_keys: right.keys.clone(),
            null_equals_null,
            filter,
            columns,
        });
        let inputs = vec![self.arrange(left), self.arrange(right)];
        Ok(self.add(operator, inputs, schema, props))
    }

    /// `x NOT IN (y ..)` where either may be NULL: rows with an `x` and no equal `y`, as long as no
    /// `y` is NULL; and rows without an `x`, as long as there is no `y` at all.
    fn not_in(&mut self, join: &LogicalJoin, left: &Side, right: &Side) -> Result<NodeId> {
        let schema = Arc::new(join.schema.as_arrow().clone());
        let (x, y) = match (left.keys.as_slice(), right.keys.as_slice()) {
            ([x], [y]) => (*x, *y),
            _ => return Err(Error::internal("NOT IN compares one pair")),
        };
        let nullable = |side: &Side, column: usize, lowerer: &Self| {
            lowerer.schema(side.node).field(column).is_nullable()
        };
        let (x_null, y_null) = (nullable(left, x, self), nullable(right, y, self));
        let known = if x_null { self.with_nulls(left, x, false)? } else { left.clone() };
        let mut node = self.join_of(JoinType::LeftAnti, &known, right, false, None)?;
        if y_null {
            let rest = Side { node, width: left.width, keys: vec![] };
            let mut nulls = self.with_nulls(right, y, true)?;
            nulls.keys.clear();
            node = self.join_of(JoinType::LeftAnti, &rest, &nulls, false, None)?;
        }
        if x_null {
            let mut unknown = self.with_nulls(left, x, true)?;
            unknown.keys.clear();
            let any = Side { keys: vec![], ..right.clone() };
            let unknown = self.join_of(JoinType::LeftAnti, &unknown, &any, false, None)?;
            node = self.union_of(vec![node, unknown], Arc::clone(&schema));
        }
        self.calc(node, None, all_columns(&self.schema(node)), schema)
    }

    /// The rows of `side` of which `column` is NULL, or is not.
    fn with_nulls(&mut self, side: &Side, column: usize, null: bool) -> Result<Side> {
        let schema = self.schema(side.node);
        let value = Arc::clone(Expression::column(&schema, column).physical());
        let filter = Expression::of(if null { is_null(value)? } else { is_not_null(value)? });
        let columns = all_columns(&schema);
        let node = self.calc(side.node, Some(filter), columns, Arc::clone(&schema))?;
        Ok(Side { node, ..side.clone() })
    }

    /// A join below a Calc need not produce what the Calc does not read.
    pub(super) fn narrowed_join(
        &mut self,
        input: NodeId,
        filter: &mut Option<Expression>,
        columns: &mut [Expression],
    ) -> Result<NodeId> {
        let below = &self.nodes[input.0];
        let Operator::Join(join) = &below.operator else { return Ok(input) };
        if !self.makes(Rewrite::NarrowJoins) {
            return Ok(input);
        }
        let mut read: Vec<usize> =
            columns.iter().chain(filter.iter()).flat_map(Expression::columns).collect();
        read.sort_unstable();
        read.dedup();
        let width = join.columns.len();
        read.retain(|&c| c < width);
        if read.is_empty() || read.len() == width {
            return Ok(input);
        }
        let schema = Arc::new(below.schema.project(&read)?);
        let picked: Vec<_> = read.iter().map(|&c| Expression::column(&below.schema, c)).collect();
        let props = below.props.project(&picked);
        let mut join = join.clone();
        join.columns = read.iter().map(|&c| join.columns[c]).collect();
        let inputs = below.inputs.clone();
        let mut places = vec![0; width];
        read.iter().enumerate().for_each(|(place, &c)| places[c] = place);
        for expr in columns.iter_mut().chain(filter.iter_mut()) {
            *expr = expr.remap(&places, &schema, read.len())?;
        }
        Ok(self.add(Operator::Join(join), inputs, schema, props))
    }

    /// The index of one side, shared by every join of the same rows by the same key.
    fn arrange(&mut self, side: &Side) -> NodeId {
        let below = &self.nodes[side.node.0];
        let (schema, mut props) = (Arc::clone(&below.schema), below.props.clone());
        props.distribution = distribution(&side.keys);
        self.add(Operator::Arrange { keys: side.keys.clone() }, vec![side.node], schema, props)
    }

    /// Of an anti join with NULLs: its first pair as a condition, which an unknown meets as well.
    fn unknown_or_equal(
        &mut self,
        left: &mut Side,
        right: &mut Side,
        filter: Option<Expression>,
    ) -> Result<Option<Expression>> {
        if left.keys.is_empty() {
            return Ok(filter);
        }
        let wide = self.joined_schema(JoinType::Inner, left.node, right.node);
        let offset = self.schema(left.node).fields().len();
        let column = |at: usize| Arc::clone(Expression::column(&wide, at).physical());
        let l = column(left.keys.remove(0));
        let r = column(offset + right.keys.remove(0));
        let both = |a: Arc<dyn PhysicalExpr>, op, b| Arc::new(BinaryExpr::new(a, op, b)) as _;
        let equal = both(Arc::clone(&l), BinaryOperator::Eq, Arc::clone(&r));
        let unknown = both(is_null(l)?, BinaryOperator::Or, is_null(r)?);
        let met = both(equal, BinaryOperator::Or, unknown);
        Ok(Some(Expression::of(match filter {
            Some(filter) => both(met, BinaryOperator::And, Arc::clone(filter.physical())),
            None => met,
        })))
    }

    /// Left columns, right columns, and the mark of the mark kinds.
    fn wide_schema(&self, kind: JoinType, left: NodeId, right: NodeId) -> SchemaRef {
        let kind = match kind {
            JoinType::Left | JoinType::Right | JoinType::Full => kind,
            JoinType::LeftMark | JoinType::RightMark => {
                let both = self.joined_schema(JoinType::Inner, left, right);
                let mut fields: Vec<_> = both.fields().iter().cloned().collect();
                fields.push(Arc::new(Field::new("mark", DataType::Boolean, false)));
                return Arc::new(Schema::new(fields));
            }
            _ => JoinType::Inner,
        };
        self.joined_schema(kind, left, right)
    }

    /// What is known of left columns, then right columns.
    fn regular_props(&self, kind: JoinType, left: &Side, right: &Side) -> Props {
        let (l, r) = (&self.nodes[left.node.0].props, &self.nodes[right.node.0].props);
        let offset = self.schema(left.node).fields().len();
        let moved: Vec<usize> = right.keys.iter().map(|k| k + offset).collect();
        let both = l.mode.max(r.mode);
        Props {
            mode: match kind {
                JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi => both,
                _ => ChangelogMode::Retract,
            },
            unique_key: self.joined_key(kind, left, right),
            // A pair may come when its window has long closed.
            window: WindowColumns::default(),
            distribution: match kind {
                _ if left.keys.is_empty() => Distribution::Single,
                JoinType::Full => Distribution::Any,
                JoinType::Right
                | JoinType::RightSemi
                | JoinType::RightAnti
                | JoinType::RightMark => Distribution::Hash(moved),
                _ => Distribution::Hash(left.keys.clone()),
            },
            bounded: l.bounded && r.bounded,
            window_delay: l.window_delay.max(r.window_delay),
            rowtimes: Vec::new(),
        }
    }

    /// One side's key if the other has one match at most; else both keys together.
    fn joined_key(&self, kind: JoinType, left: &Side, right: &Side) -> Option<Vec<usize>> {
        let key = |side: &Side| self.nodes[side.node.0].props.unique_key.clone();
        let single = |side: &Side, key: &Option<Vec<usize>>| {
            key.as_ref().is_some_and(|k| k.iter().all(|c| side.keys.contains(c)))
        };
        let (l, r) = (key(left), key(right));
        let (left_schema, right_schema) = (self.schema(left.node), self.schema(right.node));
        let offset = left_schema.fields().len();
        let moved = |r: Vec<usize>| r.into_iter().map(|c| c + offset).collect::<Vec<_>>();
        match kind {
            JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => return l,
            JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
                return r.map(moved);
            }
            _ => {}
        }
        let (left_kept, right_kept) = match kind {
            JoinType::Inner => (true, true),
            JoinType::Left => (true, false),
            JoinType::Right => (false, true),
            _ => (false, false),
        };
        if left_kept && single(right, &r) && l.is_some() {
            return l;
        }
        if right_kept && single(left, &l) && r.is_some() {
            return r.map(moved);
        }
        let (l, r) = (l?, r?);
        let never_null =
            |schema: &SchemaRef, key: &[usize]| key.iter().all(|&c| !schema.field(c).is_nullable());
        // Rows without a match on either side may look alike when keys can be NULL.
        let apart = never_null(&left_schema, &l) && never_null(&right_schema, &r);
        (kind != JoinType::Full || apart).then(|| [l, moved(r)].concat())
    }
}

fn distribution(keys: &[usize]) -> Distribution {
    if keys.is_empty() { Distribution::Single } else { Distribution::Hash(keys.to_vec()) }
}

/// The pairs of a join's `ON`, side by side.
pub(super) fn sides_of(join: &LogicalJoin) -> (Vec<Expr>, Vec<Expr>) {
    join.on.iter().cloned().unzip()
}
