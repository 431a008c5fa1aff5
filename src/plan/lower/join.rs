//! Joins: those of equal windows here, all others by [`super::regular_join`].

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::{JoinType, NullEquality};
use datafusion::logical_expr::{Expr, Join};

use super::Lowerer;
use super::aggregate::field_of;
use super::calc::all_columns;
use super::regular_join::{Side, sides_of};
use crate::error::Result;
use crate::plan::expr::Expression;
use crate::plan::node::{NodeId, Operator, WindowJoin};
use crate::plan::props::{ChangelogMode, Distribution, Props, WindowColumns};

impl Lowerer<'_> {
    pub(super) fn join(&mut self, join: &Join) -> Result<NodeId> {
        if let Some(node) = self.temporal_join(join)? {
            return Ok(node);
        }
        let left = self.plan(&join.left)?;
        let right = self.plan(&join.right)?;
        let (on_left, on_right) = sides_of(join);
        let left_width = self.schema(left).fields().len();
        let right_width = self.schema(right).fields().len();
        let (left, left_on) = self.key_columns(left, &on_left, join.left.schema())?;
        let (right, right_on) = self.key_columns(right, &on_right, join.right.schema())?;
        let left = Side { node: left, width: left_width, keys: left_on };
        let right = Side { node: right, width: right_width, keys: right_on };
        if let Some(node) = self.window_join(join, &left, &right)? {
            return Ok(node);
        }
        let sides = ((left.node, left.width, &*left.keys), (right.node, right.width, &*right.keys));
        if let Some(node) = self.table_join(join, sides.0, sides.1)? {
            return Ok(node);
        }
        match self.interval_join(join, sides.0, sides.1)? {
            Some(node) => Ok(node),
            None => self.regular_join(join, left, right),
        }
    }

    /// A join on equal windows, if it is one.
    fn window_join(&mut self, join: &Join, left: &Side, right: &Side) -> Result<Option<NodeId>> {
        let windows = (self.nodes[left.node.0].props.window, self.nodes[right.node.0].props.window);
        let (Some(left_window), Some(right_window)) = (windows.0.pair(), windows.1.pair()) else {
            return Ok(None);
        };
        let mut matched = (false, false);
        let (mut left_keys, mut right_keys) = (Vec::new(), Vec::new());
        for (&l, &r) in left.keys.iter().zip(&right.keys) {
            match (l == left_window.0, l == left_window.1) {
                (true, _) if r == right_window.0 => matched.0 = true,
                (_, true) if r == right_window.1 => matched.1 = true,
                _ => {
                    left_keys.push(l);
                    right_keys.push(r);
                }
            }
        }
        let same_size = windows.0.size.is_some() && windows.0.size == windows.1.size;
        let joined_on_window = (matched.0 && matched.1) || ((matched.0 || matched.1) && same_size);
        let is_mark = matches!(join.join_type, JoinType::LeftMark | JoinType::RightMark);
        if !joined_on_window || is_mark || join.null_aware {
            return Ok(None);
        }
        let filter = self.join_filter(join, (left.node, left.width), (right.node, right.width))?;
        let operator = Operator::WindowJoin(WindowJoin {
            kind: join.join_type,
            left_window,
            right_window,
            left_keys,
            right_keys,
            null_equals_null: join.null_equality == NullEquality::NullEqualsNull,
            filter,
        });
        let wide = self.joined_schema(join.join_type, left.node, right.node);
        let props = self.join_props(join.join_type, left.node, right.node);
        let node = self.add(operator, vec![left.node, right.node], wide, props);
        self.without_appended_keys(node, join, left, right.width).map(Some)
    }

    /// The join's own columns, without keys that were computed for it.
    pub(super) fn without_appended_keys(
        &mut self,
        node: NodeId,
        join: &Join,
        left: &Side,
        right_width: usize,
    ) -> Result<NodeId> {
        let schema = self.schema(node);
        let appended = self.schema(left.node).fields().len();
        let keep: Vec<usize> = match join.join_type {
            JoinType::LeftSemi | JoinType::LeftAnti => (0..left.width).collect(),
            JoinType::RightSemi | JoinType::RightAnti => (0..right_width).collect(),
            _ => (0..left.width).chain((0..right_width).map(|c| appended + c)).collect(),
        };
        let columns = keep.iter().map(|&c| Expression::column(&schema, c)).collect();
        self.calc(node, None, columns, Arc::new(join.schema.as_arrow().clone()))
    }

    /// The ON expressions of one side as columns; computed ones are appended to the input.
    pub(super) fn key_columns(
        &mut self,
        input: NodeId,
        on: &[Expr],
        logical: &datafusion::common::DFSchema,
    ) -> Result<(NodeId, Vec<usize>)> {
        let schema = self.schema(input);
        let exprs = self.compile_all(on, logical, input)?;
        let mut columns = all_columns(&schema);
        let mut fields: Vec<_> = schema.fields().iter().map(|f| f.as_ref().clone()).collect();
        let mut places = Vec::new();
        for (expr, on) in exprs.into_iter().zip(on) {
            match expr.as_column() {
                Some(column) => places.push(column),
                None => {
                    fields.push(field_of(&expr, &schema, &on.schema_name().to_string())?);
                    columns.push(expr);
                    places.push(columns.len() - 1);
                }
            }
        }
        let node = self.calc(input, None, columns, Arc::new(Schema::new(fields)))?;
        Ok((node, places))
    }

    pub(super) fn join_filter(
        &mut self,
        join: &Join,
        (left, left_width): (NodeId, usize),
        (right, right_width): (NodeId, usize),
    ) -> Result<Option<Expression>> {
        let Some(filter) = &join.filter else { return Ok(None) };
        let logical = join.left.schema().join(join.right.schema())?;
        let schema: SchemaRef = Arc::new(logical.as_arrow().clone());
        let compiled = Expression::compile(filter, &logical, &schema)?;
        // Key columns were appended behind each side's own.
        let appended = self.schema(left).fields().len();
        let mut places: Vec<usize> = (0..left_width).collect();
        places.extend((0..right_width).map(|c| appended + c));
        let wide = self.joined_schema(JoinType::Inner, left, right);
        let width = wide.fields().len();
        Ok(Some(compiled.remap(&places, &wide, width)?))
    }

    pub(super) fn joined_schema(&self, kind: JoinType, left: NodeId, right: NodeId) -> SchemaRef {
        let side = |node: NodeId, nullable: bool| {
            let schema = self.schema(node);
            let fields = schema.fields().iter().map(|f| {
                let null = f.is_nullable() || nullable;
                f.as_ref().clone().with_nullable(null)
            });
            fields.collect::<Vec<_>>()
        };
        let left_null = matches!(kind, JoinType::Right | JoinType::Full);
        let right_null = matches!(kind, JoinType::Left | JoinType::Full);
        let fields = match kind {
            JoinType::LeftSemi | JoinType::LeftAnti => side(left, false),
            JoinType::RightSemi | JoinType::RightAnti => side(right, false),
            _ => [side(left, left_null), side(right, right_null)].concat(),
        };
        Arc::new(Schema::new(fields))
    }

    pub(super) fn join_props(&self, kind: JoinType, left: NodeId, right: NodeId) -> Props {
        let (l, r) = (&self.nodes[left.0].props, &self.nodes[right.0].props);
        let offset = self.schema(left).fields().len();
        let moved = WindowColumns {
            start: r.window.start.map(|c| c + offset),
            end: r.window.end.map(|c| c + offset),
            time: r.window.time.map(|c| c + offset),
            size: r.window.size,
        };
        let window = match kind {
            JoinType::RightSemi | JoinType::RightAnti => r.window,
            JoinType::Right => moved,
            // Either side's window may be NULL.
            JoinType::Full => WindowColumns::default(),
            _ => l.window,
        };
        Props {
            mode: l.mode.max(r.mode).max(ChangelogMode::Append),
            unique_key: match kind {
                JoinType::LeftSemi | JoinType::LeftAnti => l.unique_key.clone(),
                JoinType::RightSemi | JoinType::RightAnti => r.unique_key.clone(),
                _ => None,
            },
            window,
            distribution: Distribution::Any,
            bounded: l.bounded && r.bounded,
            window_delay: l.window_delay.max(r.window_delay),
            rowtimes: Vec::new(),
        }
    }
}
