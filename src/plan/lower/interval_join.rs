//! Joins with time bounds: the comparisons of times are taken out of the condition, and what they
//! prove decides whether state can be dropped.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use datafusion::common::{JoinType, NullEquality};
use datafusion::logical_expr::{Join, Operator as BinaryOperator};
use datafusion::physical_expr::expressions::BinaryExpr;
use datafusion::physical_expr::{PhysicalExpr, split_conjunction};

use super::Lowerer;
use super::regular_join::Side;
use crate::error::Result;
use crate::plan::expr::Expression;
use crate::plan::interval::{IntervalJoin, Relation, TimeComparison, lifetimes};
use crate::plan::node::{NodeId, Operator};
use crate::plan::props::{ChangelogMode, Distribution, Props, WindowColumns};
use crate::sql::rewrites::Rewrite;

/// One input of a join: its node, its width without appended keys, its key columns.
pub(super) type JoinInput<'a> = (NodeId, usize, &'a [usize]);

impl Lowerer<'_> {
    /// The join as one of bounded times; `None` if nothing bounds what it would have to keep.
    pub(super) fn interval_join(
        &mut self,
        join: &Join,
        left: JoinInput<'_>,
        right: JoinInput<'_>,
    ) -> Result<Option<NodeId>> {
        let is_mark = matches!(join.join_type, JoinType::LeftMark | JoinType::RightMark);
        if !self.makes(Rewrite::IntervalJoins) {
            return Ok(None);
        }
        if is_mark || join.null_aware || !self.is_timed(join, left.0, right.0) {
            return Ok(None);
        }
        let filter = self.join_filter(join, (left.0, left.1), (right.0, right.1))?;
        let (times, filter) = self.comparisons(filter.as_ref(), left, right)?;
        let (l, r) = (&self.nodes[left.0.0].props, &self.nodes[right.0.0].props);
        let (of_left, of_right) = lifetimes(&times, l, r);
        let operator = IntervalJoin {
            kind: join.join_type,
            left_keys: left.2.to_vec(),
            right_keys: right.2.to_vec(),
            null_equals_null: join.null_equality == NullEquality::NullEqualsNull,
            times,
            left: of_left,
            right: of_right,
            filter,
        };
        let padded = (!operator.keeps_left() || operator.left.is_bounded())
            && (!operator.keeps_right() || operator.right.is_bounded());
        if !padded || !(operator.left.is_bounded() || operator.right.is_bounded()) {
            return Ok(None);
        }
        let wide = self.joined_schema(join.join_type, left.0, right.0);
        let props = self.interval_props(&operator, left, right);
        let inputs = vec![left.0, right.0];
        let node = self.add(Operator::IntervalJoin(operator), inputs, wide, props);
        let left = Side { node: left.0, width: left.1, keys: left.2.to_vec() };
        self.without_appended_keys(node, join, &left, right.1).map(Some)
    }

    /// Whether the join could be one of times at all.
    fn is_timed(&self, join: &Join, left: NodeId, right: NodeId) -> bool {
        let is_append = |node: NodeId| {
            let props = &self.nodes[node.0].props;
            props.mode == ChangelogMode::Append && !props.rowtimes.is_empty()
        };
        let is_mark = matches!(join.join_type, JoinType::LeftMark | JoinType::RightMark);
        // One side may be without a row-time: its own times bound the other.
        let modes = [left, right].map(|n| self.nodes[n.0].props.mode);
        modes.iter().all(|m| *m == ChangelogMode::Append)
            && (is_append(left) || is_append(right))
            && !is_mark
            && !join.null_aware
    }

    /// The comparisons of a left and a right time among the keys and the condition, and the rest
    /// of the condition.
    fn comparisons(
        &self,
        filter: Option<&Expression>,
        left: JoinInput<'_>,
        right: JoinInput<'_>,
    ) -> Result<(Vec<TimeComparison>, Option<Expression>)> {
        let wide = self.joined_schema(JoinType::Inner, left.0, right.0);
        let (l, r) = (self.schema(left.0), self.schema(right.0));
        let sides = Sides { wide: &wide, left: l.fields().len(), right: &r };
        let mut times = Vec::new();
        for (&a, &b) in left.2.iter().zip(right.2) {
            let (a, b) = (Expression::column(&l, a), Expression::column(&r, b));
            let tells = self.nodes[left.0.0].props.rowtime_of(&a).is_some()
                || self.nodes[right.0.0].props.rowtime_of(&b).is_some();
            if tells && is_time(a.physical(), &l)? && is_time(b.physical(), &r)? {
                times.push(TimeComparison { left: a, relation: Relation::Equal, right: b });
            }
        }
        let mut rest: Option<Arc<dyn PhysicalExpr>> = None;
        for part in filter.map(|f| split_conjunction(f.physical())).unwrap_or_default() {
            if let Some(time) = sides.comparison(part)? {
                times.push(time);
                continue;
            }
            let part = Arc::clone(part);
            rest = Some(match rest {
                None => part,
                Some(rest) => Arc::new(BinaryExpr::new(rest, BinaryOperator::And, part)),
            });
        }
        Ok((times, rest.map(Expression::of)))
    }

    fn interval_props(
        &self,
        join: &IntervalJoin,
        left: JoinInput<'_>,
        right: JoinInput<'_>,
    ) -> Props {
        let (l, r) = (&self.nodes[left.0.0].props, &self.nodes[right.0.0].props);
        let offset = self.schema(left.0).fields().len();
        let left_times = join.left.delayed(&l.rowtimes, 0);
        let moved: Vec<usize> = right.2.iter().map(|c| c + offset).collect();
        let by = |keys: &[usize]| match keys.is_empty() {
            true => Distribution::Single,
            false => Distribution::Hash(keys.to_vec()),
        };
        let (rowtimes, unique_key, distribution) = match join.kind {
            JoinType::LeftSemi | JoinType::LeftAnti => {
                (left_times, l.unique_key.clone(), by(left.2))
            }
            JoinType::RightSemi | JoinType::RightAnti => {
                (join.right.delayed(&r.rowtimes, 0), r.unique_key.clone(), by(right.2))
            }
            kind => {
                let mut all = left_times;
                all.extend(join.right.delayed(&r.rowtimes, offset));
                let spread = match kind {
                    JoinType::Full => Distribution::Any,
                    JoinType::Right => by(&moved),
                    _ => by(left.2),
                };
                (all, None, spread)
            }
        };
        Props {
            mode: ChangelogMode::Append,
            unique_key,
            // A pair may come when its window has long closed.
            window: WindowColumns::default(),
            distribution,
            bounded: l.bounded && r.bounded,
            window_delay: 0,
            rowtimes,
        }
    }
}

/// The columns of both inputs, side by side.
struct Sides<'a> {
    wide: &'a SchemaRef,
    /// How many are the left's.
    left: usize,
    right: &'a SchemaRef,
}

impl Sides<'_> {
    /// `part` as a comparison of a left with a right time, if it is one.
    fn comparison(&self, part: &Arc<dyn PhysicalExpr>) -> Result<Option<TimeComparison>> {
        let Some(binary) = part.downcast_ref::<BinaryExpr>() else { return Ok(None) };
        let relation = match binary.op() {
            BinaryOperator::Lt => Relation::Before,
            BinaryOperator::LtEq => Relation::NotAfter,
            BinaryOperator::Eq => Relation::Equal,
            BinaryOperator::GtEq => Relation::NotBefore,
            BinaryOperator::Gt => Relation::After,
            _ => return Ok(None),
        };
        let (a, b) = (binary.left(), binary.right());
        if !is_time(a, self.wide)? || !is_time(b, self.wide)? {
            return Ok(None);
        }
        let (a, b) = (Expression::of(Arc::clone(a)), Expression::of(Arc::clone(b)));
        let (left, relation, right) = match (self.is_left(&a), self.is_left(&b)) {
            (Some(true), Some(false)) => (a, relation, b),
            (Some(false), Some(true)) => (b, relation.flipped(), a),
            _ => return Ok(None),
        };
        // The right expression over the right columns alone.
        let width = self.right.fields().len();
        let place = |wide: usize| wide.saturating_sub(self.left).min(width.saturating_sub(1));
        let places: Vec<usize> = (0..self.wide.fields().len()).map(place).collect();
        let right = right.remap(&places, self.right, width)?;
        Ok(Some(TimeComparison { left, relation, right }))
    }

    /// Whether an expression reads the left input alone (`false`: the right alone).
    fn is_left(&self, expr: &Expression) -> Option<bool> {
        let columns = expr.columns();
        let (first, last) = (columns.first()?, columns.last()?);
        match (*last < self.left, *first >= self.left) {
            (true, _) => Some(true),
            (_, true) if *last < self.wide.fields().len() => Some(false),
            _ => None,
        }
    }
}

/// Whether an expression is a timestamp that microseconds hold.
fn is_time(expr: &Arc<dyn PhysicalExpr>, schema: &SchemaRef) -> Result<bool> {
    let unit = match expr.data_type(schema)? {
        DataType::Timestamp(unit, _) => unit,
        _ => return Ok(false),
    };
    Ok(matches!(unit, TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Microsecond))
}
