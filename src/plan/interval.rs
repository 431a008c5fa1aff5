//! Joins whose times bound one another: the description, and the proof of the bounds.
//!
//! From comparisons of a left and a right time (`a.ts >= b.ts - INTERVAL ..`) and from what the
//! row-times of both inputs tell of rows still to come follows until when each row can find a
//! partner. Never looks at data. Built by the lowering, run by the dataflow.

use datafusion::common::JoinType;

use super::explain::names;
use super::expr::Expression;
use super::node::{Node, StreamPlan};
use super::props::Props;
use super::rowtime::RowTime;

/// A join of two append-only inputs, at least one of which is bounded by the other's time.
#[derive(Clone, Debug, PartialEq)]
pub struct IntervalJoin {
    /// The kind.
    pub kind: JoinType,
    /// Key columns of the left input; none: every row meets every other.
    pub left_keys: Vec<usize>,
    /// Key columns of the right input, pair by pair.
    pub right_keys: Vec<usize>,
    /// Whether NULL keys match (`IS NOT DISTINCT FROM`).
    pub null_equals_null: bool,
    /// The times that are compared; all must hold.
    pub times: Vec<TimeComparison>,
    /// How long left rows are kept.
    pub left: Lifetime,
    /// How long right rows are kept.
    pub right: Lifetime,
    /// What else must hold, over left columns, then right columns.
    pub filter: Option<Expression>,
}

/// `left relation right`, both timestamps.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeComparison {
    /// Over the columns of the left input.
    pub left: Expression,
    /// How they compare.
    pub relation: Relation,
    /// Over the columns of the right input.
    pub right: Expression,
}

/// How a left time must lie to a right time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// `<`
    Before,
    /// `<=`
    NotAfter,
    /// `=`
    Equal,
    /// `>=`
    NotBefore,
    /// `>`
    After,
}

/// Until when a row can find a partner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// Comparisons by which later partners are too late, with how far behind their value partners
    /// on time may come, in ms. The least of `value + lag` is the last time of a partner on time.
    /// None: a row is kept to the end.
    pub ends: Vec<(usize, i64)>,
    /// A comparison whose own value is a row-time, with the greatest lag of rows on time: tells
    /// which rows are late.
    pub own: Option<(usize, i64)>,
    /// How long after its own time a row on time may still find a partner, if that is constant.
    pub hold: Option<i64>,
}

impl Relation {
    /// The relation the other way round.
    pub fn flipped(self) -> Self {
        match self {
            Relation::Before => Relation::After,
            Relation::NotAfter => Relation::NotBefore,
            Relation::Equal => Relation::Equal,
            Relation::NotBefore => Relation::NotAfter,
            Relation::After => Relation::Before,
        }
    }

    /// Whether `left` and `right` are so related.
    #[inline]
    pub fn holds(self, left: i64, right: i64) -> bool {
        match self {
            Relation::Before => left < right,
            Relation::NotAfter => left <= right,
            Relation::Equal => left == right,
            Relation::NotBefore => left >= right,
            Relation::After => left > right,
        }
    }

    /// Whether it sets an upper limit to the left value; strictly below the right one?
    pub fn limits_left(self) -> Option<bool> {
        match self {
            Relation::Before => Some(true),
            Relation::NotAfter | Relation::Equal => Some(false),
            Relation::NotBefore | Relation::After => None,
        }
    }

    /// As SQL.
    pub fn symbol(self) -> &'static str {
        match self {
            Relation::Before => "<",
            Relation::NotAfter => "<=",
            Relation::Equal => "=",
            Relation::NotBefore => ">=",
            Relation::After => ">",
        }
    }
}

/// Until when the rows of the two inputs can find partners, by what `times` say of them.
pub fn lifetimes(times: &[TimeComparison], left: &Props, right: &Props) -> (Lifetime, Lifetime) {
    let (mut of_left, mut of_right) = (Lifetime::default(), Lifetime::default());
    for (index, time) in times.iter().enumerate() {
        let own = left.rowtime_of(&time.left);
        let other = right.rowtime_of(&time.right);
        if time.relation.limits_left().is_some() {
            of_right.end(index, own.as_ref(), other.as_ref());
        }
        if time.relation.flipped().limits_left().is_some() {
            of_left.end(index, other.as_ref(), own.as_ref());
        }
        of_left.tells(index, own.as_ref());
        of_right.tells(index, other.as_ref());
    }
    (of_left, of_right)
}

impl Lifetime {
    /// Comparison `index` limits the value `partner` of partners by the row's own value.
    fn end(&mut self, index: usize, partner: Option<&RowTime>, own: Option<&RowTime>) {
        let Some(partner) = partner else { return };
        self.ends.push((index, partner.max_lag));
        if let Some(own) = own {
            let hold = partner.max_lag.saturating_sub(own.min_lag).max(0);
            self.hold = Some(self.hold.map_or(hold, |known| known.min(hold)));
        }
    }

    fn tells(&mut self, index: usize, own: Option<&RowTime>) {
        if let (None, Some(own)) = (self.own, own) {
            self.own = Some((index, own.max_lag));
        }
    }

    /// Whether rows are dropped before the end of input.
    pub fn is_bounded(&self) -> bool {
        !self.ends.is_empty()
    }

    /// The row-times of rows that may come out `hold` ms after their own time.
    pub fn delayed(&self, rowtimes: &[RowTime], offset: usize) -> Vec<RowTime> {
        let Some(hold) = self.hold else { return Vec::new() };
        let later = rowtimes.iter().filter_map(|r| {
            Some(RowTime {
                value: Expression::at(r.column()? + offset),
                min_lag: r.min_lag,
                max_lag: r.max_lag.saturating_add(hold),
            })
        });
        later.collect()
    }
}

impl IntervalJoin {
    /// Whether left rows without a partner are part of the result.
    pub fn keeps_left(&self) -> bool {
        matches!(self.kind, JoinType::Left | JoinType::Full | JoinType::LeftAnti)
    }

    /// Whether right rows without a partner are part of the result.
    pub fn keeps_right(&self) -> bool {
        matches!(self.kind, JoinType::Right | JoinType::Full | JoinType::RightAnti)
    }
}

/// The operator as `EXPLAIN` shows it.
pub(super) fn text(plan: &StreamPlan, node: &Node, join: &IntervalJoin) -> String {
    let [left, right] = node.inputs.as_slice() else { return "IntervalJoin".into() };
    let (left, right) = (plan.node(*left), plan.node(*right));
    let equals = if join.null_equals_null { "IS NOT DISTINCT FROM" } else { "=" };
    let keys = join.left_keys.iter().zip(&join.right_keys);
    let keys: Vec<String> = keys
        .map(|(&l, &r)| format!("{} {equals} {}", names(left, &[l]), names(right, &[r])))
        .collect();
    let times: Vec<String> = join
        .times
        .iter()
        .map(|t| {
            let (l, r) = (shown(&t.left, 0), shown(&t.right, 0));
            format!("left.{l} {} right.{r}", t.relation.symbol())
        })
        .collect();
    let mut text = format!(
        "IntervalJoin({:?}, on=[{}], times=[{}]",
        join.kind,
        keys.join(", "),
        times.join(", ")
    );
    if let Some(filter) = &join.filter {
        text.push_str(&format!(", where=[{filter}]"));
    }
    text + ")"
}

/// A time and so many ms.
fn shown(value: &Expression, more: i64) -> String {
    let (text, offset) = match value.as_column_minus_millis() {
        Some((_, ms)) if value.is_computed() => {
            let text = value.to_string();
            let name = text.split([' ', '(']).find(|part| !part.is_empty() && *part != "CAST");
            (name.unwrap_or_default().to_string(), -ms)
        }
        _ => (value.to_string(), 0),
    };
    match offset.saturating_add(more) {
        0 => text,
        ms if ms < 0 => format!("{text} - {} ms", ms.saturating_neg()),
        ms => format!("{text} + {ms} ms"),
    }
}

/// What its state is keyed by and what bounds it.
pub(super) fn state(plan: &StreamPlan, node: &Node, join: &IntervalJoin) -> String {
    let left = node.inputs.first().map(|i| names(plan.node(*i), &join.left_keys));
    let side = |name: &str, is_left: bool| {
        let lifetime = if is_left { &join.left } else { &join.right };
        let ends = lifetime.ends.iter().filter_map(|(c, lag)| {
            let time = join.times.get(*c)?;
            let value = if is_left { &time.left } else { &time.right };
            Some(shown(value, *lag))
        });
        let mut ends: Vec<String> = ends.collect();
        ends.sort();
        ends.dedup();
        match ends.as_slice() {
            [] => format!(
                "{name} rows are kept (unbounded: no predicate says when the other side's time has \
                 passed; add an upper limit to it)"
            ),
            [one] => format!("{name} rows are dropped when the watermark passes {one}"),
            many => format!(
                "{name} rows are dropped when the watermark passes the least of {}",
                many.join(", ")
            ),
        }
    };
    format!(
        "state: both inputs keyed by [{}]; {}; {}",
        left.unwrap_or_default(),
        side("left", true),
        side("right", false)
    )
}
