//! Joins with a table as of each row's time, and joins with tables that never change.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{JoinType, NullEquality, ScalarValue};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Extension, Join, LogicalPlan, Operator as BinaryOperator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::BinaryExpr;

use super::calc::all_columns;
use super::interval_join::JoinInput;
use super::regular_join::Side;
use super::{Lowerer, unsupported};
use crate::error::{Error, Result};
use crate::plan::expr::Expression;
use crate::plan::node::{NodeId, Operator, RankKind};
use crate::plan::props::{ChangelogMode, Distribution, Props, WindowColumns};
use crate::plan::rowtime::RowTime;
use crate::plan::temporal::{LookupJoin, TemporalJoin, Versions};
use crate::sql::hints::written_name;
use crate::sql::rewrites::Rewrite;
use crate::sql::temporal::{VersionedNode, as_of};

/// The right side as versions: the visible columns come first, then whether a version can match.
struct VersionSide {
    node: NodeId,
    width: usize,
    /// The visible columns of the key; `None` where it is not visible any more.
    key: Vec<Option<usize>>,
    /// The column of the version's time, behind the visible ones.
    time: Option<usize>,
}

impl Lowerer<'_> {
    /// `JOIN t FOR SYSTEM_TIME AS OF time ON ..`, if it is one.
    pub(super) fn temporal_join(&mut self, join: &Join) -> Result<Option<NodeId>> {
        let conjuncts = join.filter.clone().map(split_conjunction_owned).unwrap_or_default();
        let (carriers, rest): (Vec<Expr>, Vec<Expr>) =
            conjuncts.into_iter().partition(|c| as_of(c).is_some());
        let Some(time) = carriers.first().and_then(as_of).cloned() else { return Ok(None) };
        if !matches!(join.join_type, JoinType::Inner | JoinType::Left) {
            return Err(Error::sql("FOR SYSTEM_TIME AS OF takes JOIN and LEFT JOIN alone"));
        }
        let join = &Join { filter: conjunction(rest), ..join.clone() };
        let left = self.plan(&join.left)?;
        let (on_left, on_right): (Vec<_>, Vec<_>) = join.on.iter().cloned().unzip();
        let left_width = self.schema(left).fields().len();
        let (left, left_on) = self.key_columns(left, &on_left, join.left.schema())?;
        let side = self.versions(&join.right)?;
        let (right, right_on) = self.key_columns(side.node, &on_right, join.right.schema())?;
        let (l, r) = ((left, left_width, &*left_on), (right, side.width, &*right_on));
        if self.is_static(right) && !self.is_static(left) {
            return self.lookup_join(join, l, r, 1).map(Some);
        }
        if self.nodes[left.0].props.mode != ChangelogMode::Append {
            return Err(Error::sql("FOR SYSTEM_TIME AS OF takes a left side that only grows")
                .with_hint("a row that is updated later has no single time"));
        }
        let moment = Expression::compile(&time, join.left.schema(), &self.schema(left))?;
        let Some(rowtime) = self.nodes[left.0].props.rowtime_of(&moment) else {
            return Err(Error::sql("FOR SYSTEM_TIME AS OF takes the left side's event time")
                .with_hint("use its WATERMARK column, or a column computed by PROCTIME()"));
        };
        let width = self.schema(left).fields().len();
        if moment.columns().iter().any(|&c| c >= width) && !moment.is_event_time() {
            return Err(Error::sql("FOR SYSTEM_TIME AS OF takes a column")
                .with_hint("compute it in a view, or use PROCTIME() as it is"));
        }
        self.as_of_join(join, l, r, &side, &rowtime).map(Some)
    }

    fn as_of_join(
        &mut self,
        join: &Join,
        left: JoinInput<'_>,
        right: JoinInput<'_>,
        side: &VersionSide,
        rowtime: &RowTime,
    ) -> Result<NodeId> {
        let mut filter = self.join_filter(join, (left.0, left.1), (right.0, right.1))?;
        let is_append = self.nodes[right.0.0].props.mode == ChangelogMode::Append;
        let mut pairs: Vec<(usize, usize)> =
            left.2.iter().copied().zip(right.2.iter().copied()).collect();
        let mut versions = None;
        if is_append {
            let is_key = |(_, r): &(usize, usize)| side.key.contains(&Some(*r));
            let is_whole = side.key.iter().all(|k| k.is_some_and(|k| right.2.contains(&k)));
            if side.key.is_empty() || !is_whole {
                return Err(no_key(&side.key));
            }
            let (of_key, others): (Vec<_>, Vec<_>) = pairs.into_iter().partition(is_key);
            pairs = of_key;
            // A version is of its key, whatever else is compared.
            filter = self.and_equal(filter, left.0, right.0, &others)?;
            versions = Some(Versions { valid: side.width, time: side.time });
        }
        let (left_keys, right_keys): (Vec<usize>, Vec<usize>) = pairs.into_iter().unzip();
        let is_own_time = rowtime.value.is_event_time();
        let lag = rowtime.max_lag.max(0);
        let operator = TemporalJoin {
            kind: join.join_type,
            left_keys,
            right_keys,
            null_equals_null: join.null_equality == NullEquality::NullEqualsNull,
            moment: (!is_own_time).then(|| rowtime.value.clone()),
            lag,
            versions,
            filter,
        };
        let l = &self.nodes[left.0.0].props;
        let hold = lag.saturating_sub(rowtime.min_lag).max(0);
        let later = |r: &RowTime| RowTime { max_lag: r.max_lag.saturating_add(hold), ..r.clone() };
        let props = Props {
            mode: ChangelogMode::Append,
            unique_key: None,
            window: WindowColumns::default(),
            distribution: spread(&operator.left_keys),
            bounded: l.bounded && self.nodes[right.0.0].props.bounded,
            window_delay: 0,
            rowtimes: l.rowtimes.iter().map(later).collect(),
        };
        let wide = self.joined_schema(join.join_type, left.0, right.0);
        let inputs = vec![left.0, right.0];
        let node = self.add(Operator::TemporalJoin(operator), inputs, wide, props);
        let left = Side { node: left.0, width: left.1, keys: left.2.to_vec() };
        self.without_appended_keys(node, join, &left, right.1)
    }

    /// `filter` and that further columns are equal.
    fn and_equal(
        &self,
        filter: Option<Expression>,
        left: NodeId,
        right: NodeId,
        pairs: &[(usize, usize)],
    ) -> Result<Option<Expression>> {
        let wide = self.joined_schema(JoinType::Inner, left, right);
        let offset = self.schema(left).fields().len();
        let mut all = filter.map(|f| Arc::clone(f.physical()));
        for &(l, r) in pairs {
            let l = Arc::clone(Expression::column(&wide, l).physical());
            let r = Arc::clone(Expression::column(&wide, offset + r).physical());
            all = Some(both(all, BinaryOperator::And, binary(l, BinaryOperator::Eq, r)));
        }
        Ok(all.map(Expression::of))
    }

    /// The right side of a temporal join. Where it only grows its rows are versions: a filter on
    /// them says which can match, and does not bring back the version before.
    fn versions(&mut self, plan: &LogicalPlan) -> Result<VersionSide> {
        match plan {
            LogicalPlan::SubqueryAlias(alias) => self.versions(&alias.input),
            LogicalPlan::Extension(Extension { node }) => {
                match node.as_any().downcast_ref::<VersionedNode>() {
                    Some(versioned) => self.version_base(&versioned.input),
                    None => Err(unsupported(node.name())),
                }
            }
            LogicalPlan::Projection(p) => {
                let below = self.versions(&p.input)?;
                let columns = self.compile_all(&p.expr, p.input.schema(), below.node)?;
                let place =
                    |old: usize| columns.iter().position(|e| e.passed_column() == Some(old));
                let key = below.key.iter().map(|k| k.and_then(place)).collect();
                let names = p.schema.as_arrow().fields().to_vec();
                self.version_columns(below, columns, names, key)
            }
            LogicalPlan::Filter(f) => {
                let below = self.versions(&f.input)?;
                let schema = self.schema(below.node);
                let holds = Expression::compile(&f.predicate, f.input.schema(), &schema)?;
                let mut columns = all_columns(&schema);
                if self.nodes[below.node.0].props.mode != ChangelogMode::Append
                    || self.is_static(below.node)
                {
                    let node = self.calc(below.node, Some(holds), columns, schema)?;
                    return Ok(VersionSide { node, ..below });
                }
                if let Some(valid) = columns.get_mut(below.width) {
                    let was = Some(Arc::clone(valid.physical()));
                    let now = both(was, BinaryOperator::And, Arc::clone(holds.physical()));
                    *valid = Expression::of(now);
                }
                let node = self.calc(below.node, None, columns, schema)?;
                Ok(VersionSide { node, ..below })
            }
            other => {
                let what = other.display().to_string();
                Err(unsupported(&format!("{what} over FOR SYSTEM_TIME AS OF")))
            }
        }
    }

    /// `columns` instead of the visible ones.
    fn version_columns(
        &mut self,
        below: VersionSide,
        mut columns: Vec<Expression>,
        names: Vec<Arc<Field>>,
        key: Vec<Option<usize>>,
    ) -> Result<VersionSide> {
        let schema = self.schema(below.node);
        let (width, mut fields) = (columns.len(), names);
        for hidden in below.width..schema.fields().len() {
            columns.push(Expression::column(&schema, hidden));
            fields.push(Arc::clone(&schema.fields()[hidden]));
        }
        let node = self.calc(below.node, None, columns, Arc::new(Schema::new(fields)))?;
        let time = below.time.map(|t| width + t - below.width);
        Ok(VersionSide { node, width, key, time })
    }

    /// The relation that has versions, with its hidden columns.
    fn version_base(&mut self, plan: &LogicalPlan) -> Result<VersionSide> {
        let planned = self.plan(plan)?;
        let width = self.schema(planned).fields().len();
        let (node, key, time) = match self.last_row_view(planned)? {
            Some((node, key, time)) => (node, key, Some(time)),
            None => {
                let props = &self.nodes[planned.0].props;
                let key = props.unique_key.clone().unwrap_or_default();
                let time = props.rowtimes.iter().find_map(RowTime::column);
                let key: Vec<_> = key.into_iter().map(Some).collect();
                (planned, key, time.map(|t| Expression::column(&self.schema(planned), t)))
            }
        };
        let is_versions = self.nodes[node.0].props.mode == ChangelogMode::Append;
        if !is_versions || self.is_static(node) {
            return Ok(VersionSide { node, width, key, time: None });
        }
        let schema = self.schema(node);
        let mut columns: Vec<_> = (0..width).map(|c| Expression::column(&schema, c)).collect();
        let mut fields: Vec<_> = schema.fields().iter().take(width).cloned().collect();
        columns.push(Expression::literal(ScalarValue::Boolean(Some(true))));
        fields.push(Arc::new(Field::new("$valid", DataType::Boolean, true)));
        let has_time = time.is_some();
        if let Some(time) = time {
            let data_type = time.physical().data_type(&schema)?;
            columns.push(time);
            fields.push(Arc::new(Field::new("$version", data_type, true)));
        }
        let node = self.calc(node, None, columns, Arc::new(Schema::new(fields)))?;
        Ok(VersionSide { node, width, key, time: has_time.then_some(width + 1) })
    }

    /// A view that keeps the last row of each key by event time as the rows that it is made of:
    /// each is a version, valid from its own time on, to the millisecond.
    #[allow(clippy::type_complexity, reason = "node, key, time of the versions")]
    fn last_row_view(
        &mut self,
        view: NodeId,
    ) -> Result<Option<(NodeId, Vec<Option<usize>>, Expression)>> {
        let (calc, at) = match &self.nodes[view.0].operator {
            Operator::Calc(calc) if calc.filter.is_none() => {
                (Some(calc.clone()), self.nodes[view.0].inputs[0])
            }
            _ => (None, view),
        };
        let Operator::Rank(rank) = &self.nodes[at.0].operator else { return Ok(None) };
        let rank = rank.clone();
        let input = self.nodes[at.0].inputs[0];
        let below = &self.nodes[input.0].props;
        let [order] = rank.order.as_slice() else { return Ok(None) };
        let is_last = rank.kind == RankKind::RowNumber
            && (rank.from, rank.to) == (1, 1)
            && order.options.descending
            && below.mode == ChangelogMode::Append
            && below.rowtime(order.column).is_some_and(|r| (r.min_lag, r.max_lag) == (0, 0));
        if !is_last {
            return Ok(None);
        }
        let schema = self.schema(input);
        let mut definitions = all_columns(&schema);
        let number = ScalarValue::Int64(Some(1));
        definitions.push(Expression::literal(number));
        let columns = match calc {
            Some(calc) => {
                let width = schema.fields().len();
                let inline = |e: &Expression| e.inline(&definitions, width);
                calc.columns.iter().map(inline).collect::<Result<Vec<_>>>()?
            }
            None => definitions.into_iter().take(self.schema(at).fields().len()).collect(),
        };
        let place = |old: &usize| columns.iter().position(|e| e.passed_column() == Some(*old));
        let key = rank.partition.iter().map(place).collect();
        let width = columns.len();
        let mut fields = self.schema(view).fields().to_vec();
        let mut columns = columns;
        columns.push(Expression::column(&schema, order.column));
        fields.push(Arc::clone(&schema.fields()[order.column]));
        let schema = Arc::new(Schema::new(fields));
        let node = self.calc(input, None, columns, Arc::clone(&schema))?;
        Ok(Some((node, key, Expression::column(&schema, width))))
    }

    /// A join with a table that never changes, if one side is such a table.
    pub(super) fn table_join(
        &mut self,
        join: &Join,
        left: JoinInput<'_>,
        right: JoinInput<'_>,
    ) -> Result<Option<NodeId>> {
        use JoinType::{Inner, Left, LeftAnti, LeftSemi, Right, RightAnti, RightSemi};
        let table = match (self.is_static(left.0), self.is_static(right.0)) {
            (false, true) if matches!(join.join_type, Inner | Left | LeftSemi | LeftAnti) => 1,
            (true, false) if matches!(join.join_type, Inner | Right | RightSemi | RightAnti) => 0,
            _ => return Ok(None),
        };
        if join.null_aware || !self.makes(Rewrite::LookupJoins) {
            return Ok(None);
        }
        self.lookup_join(join, left, right, table).map(Some)
    }

    fn lookup_join(
        &mut self,
        join: &Join,
        left: JoinInput<'_>,
        right: JoinInput<'_>,
        table: usize,
    ) -> Result<NodeId> {
        let filter = self.join_filter(join, (left.0, left.1), (right.0, right.1))?;
        let stream = if table == 1 { left } else { right };
        let broadcast = self.is_broadcast(if table == 1 { &join.right } else { &join.left });
        let operator = LookupJoin {
            kind: match join.join_type {
                JoinType::Right => JoinType::Left,
                JoinType::RightSemi => JoinType::LeftSemi,
                JoinType::RightAnti => JoinType::LeftAnti,
                kind => kind,
            },
            table,
            left_keys: left.2.to_vec(),
            right_keys: right.2.to_vec(),
            null_equals_null: join.null_equality == NullEquality::NullEqualsNull,
            filter,
            broadcast,
        };
        let passes = matches!(operator.kind, JoinType::LeftSemi | JoinType::LeftAnti);
        // Right columns lie behind the left ones in pairs.
        let offset = match table == 0 && !passes {
            true => self.schema(left.0).fields().len(),
            false => 0,
        };
        let below = &self.nodes[stream.0.0].props;
        let moved = |c: usize| c + offset;
        let window = &below.window;
        let props = Props {
            mode: below.mode,
            unique_key: below.unique_key.clone().filter(|_| passes),
            window: WindowColumns {
                start: window.start.map(moved),
                end: window.end.map(moved),
                time: window.time.map(moved),
                size: window.size,
            },
            distribution: match (broadcast, &below.distribution) {
                (false, _) => spread(&stream.2.iter().map(|&c| moved(c)).collect::<Vec<_>>()),
                (true, Distribution::Single) => Distribution::Single,
                (true, _) => Distribution::Any,
            },
            bounded: below.bounded,
            window_delay: below.window_delay,
            rowtimes: below
                .rowtimes
                .iter()
                .filter_map(|r| {
                    Some(RowTime { value: Expression::at(moved(r.column()?)), ..r.clone() })
                })
                .collect(),
        };
        let wide = self.joined_schema(join.join_type, left.0, right.0);
        let inputs = vec![left.0, right.0];
        let node = self.add(Operator::LookupJoin(operator), inputs, wide, props);
        let left = Side { node: left.0, width: left.1, keys: left.2.to_vec() };
        self.without_appended_keys(node, join, &left, right.1)
    }

    /// Whether a hint of the block says that every worker has all rows of `table`.
    fn is_broadcast(&self, table: &LogicalPlan) -> bool {
        let named = &self.settings.block.broadcast;
        let mut at = table;
        while !named.is_empty() {
            at = match at {
                LogicalPlan::SubqueryAlias(alias) if named.contains(alias.alias.table()) => {
                    return true;
                }
                LogicalPlan::TableScan(scan) => {
                    return named.contains(written_name(scan.table_name.table()));
                }
                LogicalPlan::SubqueryAlias(alias) => &alias.input,
                LogicalPlan::Projection(projection) => &projection.input,
                LogicalPlan::Filter(filter) => &filter.input,
                LogicalPlan::Extension(Extension { node }) => {
                    match node.as_any().downcast_ref::<VersionedNode>() {
                        Some(versioned) => &versioned.input,
                        None => return false,
                    }
                }
                _ => return false,
            };
        }
        false
    }

    /// Whether a node is computed of constants and of tables that end and have no event time: it is
    /// complete before anything else.
    fn is_static(&self, node: NodeId) -> bool {
        let node = &self.nodes[node.0];
        match &node.operator {
            Operator::Scan(scan) => node.props.bounded && scan.watermark.is_none(),
            Operator::Values(_) => true,
            Operator::LateRows { .. } | Operator::DeadLetters => false,
            // What it holds changes as time passes.
            Operator::TemporalFilter(_) => false,
            _ => !node.inputs.is_empty() && node.inputs.iter().all(|&i| self.is_static(i)),
        }
    }
}

fn spread(keys: &[usize]) -> Distribution {
    if keys.is_empty() { Distribution::Single } else { Distribution::Hash(keys.to_vec()) }
}

type Physical = Arc<dyn PhysicalExpr>;

fn binary(left: Physical, op: BinaryOperator, right: Physical) -> Physical {
    Arc::new(BinaryExpr::new(left, op, right))
}

fn both(left: Option<Physical>, op: BinaryOperator, right: Physical) -> Physical {
    match left {
        Some(left) => binary(left, op, right),
        None => right,
    }
}

fn no_key(key: &[Option<usize>]) -> Error {
    match key.is_empty() {
        true => Error::sql("FOR SYSTEM_TIME AS OF needs versions: the table has no key").with_hint(
            "declare PRIMARY KEY (..) NOT ENFORCED and a WATERMARK, or join a view that keeps the \
             last row of each key",
        ),
        false => Error::sql("FOR SYSTEM_TIME AS OF joins on the whole key of the versions")
            .with_hint("compare each column of the table's PRIMARY KEY with = in ON"),
    }
}
