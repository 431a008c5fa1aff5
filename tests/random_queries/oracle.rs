//! The answer of a query over contents: the plainest evaluation of its tree, which shares nothing
//! with the engine.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::query::{
    Aggregate, Call, Compare, Expr, Function, Join, Kind, Node, Number, Order, OverCall, Set,
    Subquery,
};
use crate::value::{Float, ONE, Row, Value};

/// The query makes more rows than a test has time for.
#[derive(Debug)]
pub struct TooLarge;

type Rows = Rc<Vec<Row>>;
type Answer<T> = Result<T, TooLarge>;

/// Expressions evaluated for one answer at most.
const STEPS_MAX: usize = 150_000;

/// The aggregates without `GROUP BY` that had input at some border.
pub type Begun = BTreeSet<*const Node>;

/// Contents, and what has been computed of them.
pub struct Oracle<'b> {
    sources: Vec<Rows>,
    /// By source whether it is computed of an aggregate that has not begun.
    unbegun_sources: Vec<bool>,
    steps: Cell<usize>,
    known: RefCell<BTreeMap<*const Node, (Rows, bool)>>,
    begun: &'b RefCell<Begun>,
    /// Whether the rows at hand are computed of an aggregate that has not begun.
    unbegun: Cell<bool>,
}

impl<'b> Oracle<'b> {
    pub fn new(tables: Vec<Vec<Row>>, begun: &'b RefCell<Begun>) -> Self {
        Oracle {
            unbegun_sources: vec![false; tables.len()],
            sources: tables.into_iter().map(Rc::new).collect(),
            steps: Cell::new(0),
            known: RefCell::default(),
            begun,
            unbegun: Cell::new(false),
        }
    }

    /// The next source is what a query gives.
    pub fn define(&mut self, node: &Node) -> Answer<()> {
        let (rows, unbegun) = self.answer(node)?;
        self.sources.push(rows);
        self.unbegun_sources.push(unbegun);
        Ok(())
    }

    /// The rows of a query, and whether the engine may show others: an aggregate without `GROUP BY`
    /// shows no row before its first input, other than in a batch.
    pub fn answer(&self, node: &Node) -> Answer<(Rows, bool)> {
        self.unbegun.set(false);
        let rows = self.rows(node)?;
        Ok((rows, self.unbegun.get()))
    }

    /// The rows of a query, in any order.
    fn rows(&self, node: &Node) -> Answer<Rows> {
        if let Some((rows, unbegun)) = self.known.borrow().get(&std::ptr::from_ref(node)) {
            self.unbegun.set(self.unbegun.get() || *unbegun);
            return Ok(Rc::clone(rows));
        }
        let around = self.unbegun.replace(false);
        let rows = match &node.kind {
            Kind::Scan { source } => {
                self.unbegun.set(self.unbegun_sources[*source]);
                Rc::clone(&self.sources[*source])
            }
            _ => Rc::new(self.computed(node)?),
        };
        let unbegun = self.unbegun.get();
        self.known.borrow_mut().insert(node, (Rc::clone(&rows), unbegun));
        self.unbegun.set(around || unbegun);
        Ok(rows)
    }

    fn computed(&self, node: &Node) -> Answer<Vec<Row>> {
        match &node.kind {
            Kind::Scan { source } => Ok(self.sources[*source].to_vec()),
            Kind::Select { from, columns, filter, distinct } => {
                let rows = self.rows(from)?;
                let mut found = Vec::new();
                for row in rows.iter() {
                    if self.holds(filter.as_ref(), &[row])? {
                        found.push(self.row(columns, &[row])?);
                    }
                }
                if *distinct {
                    found.sort();
                    found.dedup();
                }
                Ok(found)
            }
            Kind::Group { .. } => self.group(node),
            Kind::Join { .. } => self.join(&node.kind),
            Kind::Set { kind, left, right } => {
                Ok(set(*kind, &self.rows(left)?, &self.rows(right)?))
            }
            Kind::Top { from, number, partition, order, first, last, shown } => {
                let rows = self.rows(from)?;
                let mut found = Vec::new();
                for rows in parts(&rows, partition, order) {
                    let numbers = numbers(&rows, *number, order);
                    for (row, number) in rows.iter().zip(numbers) {
                        if (*first..=*last).contains(&number) {
                            let mut row = (*row).clone();
                            row.extend(shown.then_some(Value::Int(number)));
                            found.push(row);
                        }
                    }
                }
                Ok(found)
            }
            Kind::Limit { from, order, skip, fetch } => {
                let rows = self.rows(from)?;
                let all = parts(&rows, &[], order).into_iter().flatten();
                Ok(all.skip(*skip).take(*fetch).cloned().collect())
            }
            Kind::Over { from, partition, order, calls } => {
                let rows = self.rows(from)?;
                let mut found = Vec::new();
                for rows in parts(&rows, partition, order) {
                    for (at, row) in rows.iter().enumerate() {
                        let mut row = (*row).clone();
                        row.extend(calls.iter().map(|call| over(call, &rows, at, order)));
                        found.push(row);
                    }
                }
                Ok(found)
            }
        }
    }

    fn holds(&self, condition: Option<&Expr>, scopes: &[&Row]) -> Answer<bool> {
        condition.map_or(Ok(true), |c| Ok(self.value(c, scopes)?.is_true()))
    }

    fn row(&self, columns: &[Expr], scopes: &[&Row]) -> Answer<Row> {
        columns.iter().map(|column| self.value(column, scopes)).collect()
    }

    fn group(&self, node: &Node) -> Answer<Vec<Row>> {
        let Kind::Group { from, filter, keys, aggregates, having } = &node.kind else {
            return Ok(vec![]);
        };
        let rows = self.rows(from)?;
        let mut groups: BTreeMap<Row, Vec<&Row>> = BTreeMap::new();
        if keys.is_empty() {
            groups.insert(vec![], vec![]);
        }
        for row in rows.iter() {
            if self.holds(filter.as_ref(), &[row])? {
                groups.entry(self.row(keys, &[row])?).or_default().push(row);
            }
        }
        if keys.is_empty() {
            let has_input = groups.values().any(|members| !members.is_empty());
            if has_input {
                self.begun.borrow_mut().insert(node);
            } else if !self.begun.borrow().contains(&std::ptr::from_ref(node)) {
                self.unbegun.set(true);
            }
        }
        let mut found = Vec::new();
        for (mut row, members) in groups {
            for call in aggregates {
                row.push(self.aggregate(call, &members, &[])?);
            }
            if let Some((call, compare, value)) = having {
                let have = self.aggregate(call, &members, &[])?;
                if !compared(*compare, &have, value).is_true() {
                    continue;
                }
            }
            found.push(row);
        }
        Ok(found)
    }

    fn aggregate(&self, call: &Aggregate, rows: &[&Row], outer: &[&Row]) -> Answer<Value> {
        let mut values = Vec::new();
        for row in rows {
            let scopes: Vec<&Row> = outer.iter().copied().chain([*row]).collect();
            if self.holds(call.filter.as_ref(), &scopes)? {
                values.push(match &call.argument {
                    Some(argument) => self.value(argument, &scopes)?,
                    None => Value::Bool(true),
                });
            }
        }
        if call.distinct {
            values = values.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        }
        Ok(aggregated(call.function, values))
    }

    fn join(&self, kind: &Kind) -> Answer<Vec<Row>> {
        let Kind::Join { left, right, kind, on, filter, columns } = kind else {
            return Ok(vec![]);
        };
        let (lefts, rights) = (self.rows(left)?, self.rows(right)?);
        let mut pairs: Vec<Row> = Vec::new();
        let mut right_met = vec![false; rights.len()];
        for l in lefts.iter() {
            let mut met = false;
            for (r, right_met) in rights.iter().zip(&mut right_met) {
                let pair: Row = l.iter().chain(r).cloned().collect();
                if self.holds(Some(on), &[&pair])? {
                    (met, *right_met) = (true, true);
                    pairs.push(pair);
                }
            }
            if !met && matches!(kind, Join::Left | Join::Full) {
                let nulls = vec![Value::Null; right.types.len()];
                pairs.push(l.iter().cloned().chain(nulls).collect());
            }
        }
        if matches!(kind, Join::Right | Join::Full) {
            for (r, met) in rights.iter().zip(right_met) {
                if !met {
                    let nulls = vec![Value::Null; left.types.len()];
                    pairs.push(nulls.into_iter().chain(r.iter().cloned()).collect());
                }
            }
        }
        let mut found = Vec::new();
        for pair in &pairs {
            if self.holds(filter.as_ref(), &[pair])? {
                found.push(self.row(columns, &[pair])?);
            }
        }
        Ok(found)
    }

    /// The rows of a subquery for the row around it, each as its scopes.
    fn matching<'r>(&self, of: &Subquery, rows: &'r [Row], outer: &Row) -> Answer<Vec<&'r Row>> {
        let mut found = Vec::new();
        for row in rows {
            if self.holds(of.filter.as_deref(), &[outer, row])? {
                found.push(row);
            }
        }
        Ok(found)
    }

    fn value(&self, expr: &Expr, scopes: &[&Row]) -> Answer<Value> {
        self.steps.set(self.steps.get() + 1);
        if self.steps.get() > STEPS_MAX {
            return Err(TooLarge);
        }
        let own = scopes[scopes.len() - 1];
        match expr {
            Expr::Column { up, at } => Ok(scopes[scopes.len() - 1 - up][*at].clone()),
            Expr::Literal(value) => Ok(value.clone()),
            Expr::Call(call, arguments) => {
                let values: Row = self.row(arguments, scopes)?;
                Ok(called(*call, &values))
            }
            Expr::Exists { of, negated } => {
                let rows = self.rows(&of.from)?;
                Ok(Value::Bool(self.matching(of, &rows, own)?.is_empty() == *negated))
            }
            Expr::In { value, of, item, negated } => {
                let value = self.value(value, scopes)?;
                let rows = self.rows(&of.from)?;
                let mut met = Value::Bool(false);
                for row in self.matching(of, &rows, own)? {
                    let item = self.value(item, &[own, row])?;
                    met = or(&met, &compared(Compare::Equal, &value, &item));
                }
                Ok(if *negated { not(&met) } else { met })
            }
            Expr::Scalar { of, aggregate } => {
                let rows = self.rows(&of.from)?;
                self.aggregate(aggregate, &self.matching(of, &rows, own)?, &[own])
            }
        }
    }
}

fn not(value: &Value) -> Value {
    match value {
        Value::Bool(value) => Value::Bool(!value),
        _ => Value::Null,
    }
}

fn or(a: &Value, b: &Value) -> Value {
    match (a, b) {
        (Value::Bool(true), _) | (_, Value::Bool(true)) => Value::Bool(true),
        (Value::Null, _) | (_, Value::Null) => Value::Null,
        _ => Value::Bool(false),
    }
}

fn and(a: &Value, b: &Value) -> Value {
    not(&or(&not(a), &not(b)))
}

/// The order of two values that are not NULL; numbers of different types by their amount.
fn order_of(a: &Value, b: &Value) -> Ordering {
    let number = |value: &Value| match value {
        Value::Int(value) => Some(*value as f64),
        Value::Decimal(units) => Some(*units as f64 / ONE as f64),
        Value::Double(Float(value)) => Some(*value),
        _ => None,
    };
    match (a, b) {
        (Value::Int(a), Value::Decimal(b)) => (i128::from(*a) * ONE).cmp(b),
        (Value::Decimal(a), Value::Int(b)) => a.cmp(&(i128::from(*b) * ONE)),
        (Value::Int(_) | Value::Decimal(_), Value::Double(_))
        | (Value::Double(_), Value::Int(_) | Value::Decimal(_)) => {
            number(a).partial_cmp(&number(b)).unwrap_or(Ordering::Equal)
        }
        _ => a.cmp(b),
    }
}

fn compared(compare: Compare, a: &Value, b: &Value) -> Value {
    if *a == Value::Null || *b == Value::Null {
        return Value::Null;
    }
    let order = order_of(a, b);
    Value::Bool(match compare {
        Compare::Equal => order.is_eq(),
        Compare::NotEqual => order.is_ne(),
        Compare::Less => order.is_lt(),
        Compare::LessEqual => order.is_le(),
        Compare::Greater => order.is_gt(),
        Compare::GreaterEqual => order.is_ge(),
    })
}

fn called(call: Call, values: &[Value]) -> Value {
    let a = &values[0];
    match (call, a, values.get(1)) {
        (Call::Compare(compare), a, Some(b)) => compared(compare, a, b),
        (Call::And, a, Some(b)) => and(a, b),
        (Call::Or, a, Some(b)) => or(a, b),
        (Call::Not, a, _) => not(a),
        (Call::IsNull, a, _) => Value::Bool(*a == Value::Null),
        (Call::IsNotNull, a, _) => Value::Bool(*a != Value::Null),
        (Call::IsDistinct, a, Some(b)) => Value::Bool(!same(a, b)),
        (Call::IsNotDistinct, a, Some(b)) => Value::Bool(same(a, b)),
        (Call::Case, a, Some(b)) => {
            if a.is_true() {
                b.clone()
            } else {
                values[2].clone()
            }
        }
        (Call::Coalesce, Value::Null, Some(b)) => b.clone(),
        (Call::Coalesce, a, _) => a.clone(),
        (Call::Between, a, Some(b)) => and(
            &compared(Compare::GreaterEqual, a, b),
            &compared(Compare::LessEqual, a, &values[2]),
        ),
        (Call::OneOf, a, Some(b)) => {
            or(&compared(Compare::Equal, a, b), &compared(Compare::Equal, a, &values[2]))
        }
        (Call::Add, Value::Int(a), Some(Value::Int(b))) => Value::Int(a + b),
        (Call::Add, Value::Decimal(a), Some(Value::Decimal(b))) => Value::Decimal(a + b),
        (Call::Add, Value::Double(a), Some(Value::Double(b))) => Value::Double(Float(a.0 + b.0)),
        (Call::Subtract, Value::Decimal(a), Some(Value::Decimal(b))) => Value::Decimal(a - b),
        (Call::Subtract, Value::Double(a), Some(Value::Double(b))) => {
            Value::Double(Float(a.0 - b.0))
        }
        (Call::Modulo, Value::Int(a), _) => Value::Int(a % 3),
        (Call::Upper, Value::Text(a), _) => Value::Text(a.to_uppercase()),
        (Call::Length, Value::Text(a), _) => Value::Int(a.len() as i64),
        (Call::Like, Value::Text(a), _) => Value::Bool(a.starts_with('a')),
        (Call::Later, Value::Time(a), _) => Value::Time(a + 1000),
        _ => Value::Null,
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Null, _) | (_, Value::Null) => false,
        _ => order_of(a, b).is_eq(),
    }
}

fn aggregated(function: Function, mut values: Vec<Value>) -> Value {
    values.retain(|value| *value != Value::Null);
    let count = values.len() as i64;
    match function {
        Function::Count => Value::Int(count),
        Function::Min => values.into_iter().min().unwrap_or(Value::Null),
        Function::Max => values.into_iter().max().unwrap_or(Value::Null),
        Function::Sum | Function::Mean => {
            let sum = values.into_iter().reduce(|a, b| called(Call::Add, &[a, b]));
            match (function, sum) {
                (_, None) => Value::Null,
                (Function::Mean, Some(Value::Int(sum))) => Value::Int(sum / count),
                (Function::Mean, Some(Value::Double(Float(sum)))) => {
                    Value::Double(Float(sum / count as f64))
                }
                (Function::Mean, Some(Value::Decimal(sum))) => {
                    let count = i128::from(count);
                    // Half away from zero.
                    let half = if sum < 0 { -count } else { count };
                    Value::Decimal((2 * sum + half) / (2 * count))
                }
                (_, Some(sum)) => sum,
            }
        }
    }
}

fn set(kind: Set, left: &[Row], right: &[Row]) -> Vec<Row> {
    let mut counts: BTreeMap<&Row, (usize, usize)> = BTreeMap::new();
    left.iter().for_each(|row| counts.entry(row).or_default().0 += 1);
    right.iter().for_each(|row| counts.entry(row).or_default().1 += 1);
    let mut found = Vec::new();
    for (row, (l, r)) in counts {
        let count = match kind {
            Set::UnionAll => l + r,
            Set::Union => 1,
            Set::IntersectAll => l.min(r),
            Set::Intersect => l.min(r).min(1),
            Set::ExceptAll => l.saturating_sub(r),
            Set::Except => usize::from(l > 0 && r == 0),
        };
        found.extend(std::iter::repeat_n(row.clone(), count));
    }
    found
}

fn by(order: &[Order], a: &Row, b: &Row) -> Ordering {
    for by in order {
        let (a, b) = (&a[by.at], &b[by.at]);
        let nulls_first = by.nulls_first.unwrap_or(!by.descending);
        let found = match (*a == Value::Null, *b == Value::Null) {
            (true, true) => Ordering::Equal,
            (true, false) if nulls_first => Ordering::Less,
            (true, false) => Ordering::Greater,
            (false, true) if nulls_first => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) if by.descending => b.cmp(a),
            (false, false) => a.cmp(b),
        };
        if found.is_ne() {
            return found;
        }
    }
    Ordering::Equal
}

/// The rows of each partition, in order.
fn parts<'r>(rows: &'r [Row], partition: &[usize], order: &[Order]) -> Vec<Vec<&'r Row>> {
    let mut parts: BTreeMap<Vec<&Value>, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        let key = partition.iter().map(|&at| &row[at]).collect();
        parts.entry(key).or_default().push(row);
    }
    let mut parts: Vec<Vec<&Row>> = parts.into_values().collect();
    parts.iter_mut().for_each(|rows| rows.sort_by(|a, b| by(order, a, b).then_with(|| a.cmp(b))));
    parts
}

fn numbers(rows: &[&Row], number: Number, order: &[Order]) -> Vec<i64> {
    let (mut rank, mut dense) = (0, 0);
    let mut numbers = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        if at == 0 || by(order, rows[at - 1], row).is_ne() {
            rank = at as i64 + 1;
            dense += 1;
        }
        numbers.push(match number {
            Number::Row => at as i64 + 1,
            Number::Rank => rank,
            Number::DenseRank => dense,
        });
    }
    numbers
}

fn over(call: &OverCall, rows: &[&Row], at: usize, order: &[Order]) -> Value {
    let frame = |before: Option<usize>, after: Option<usize>, column: usize| {
        let from = before.map_or(0, |rows| at.saturating_sub(rows));
        let to = after.map_or(rows.len(), |more| rows.len().min(at + more + 1));
        rows[from..to].iter().map(|row| row[column].clone()).collect::<Vec<_>>()
    };
    let known = |values: Vec<Value>| values.into_iter().filter(|value| *value != Value::Null);
    let at_place = |place: Option<usize>, column: usize| {
        place.and_then(|place| rows.get(place)).map_or(Value::Null, |row| row[column].clone())
    };
    match call {
        OverCall::Aggregate { function, at, before, after } => {
            aggregated(*function, frame(*before, *after, *at))
        }
        OverCall::Lag { at: column, by } => at_place(at.checked_sub(*by), *column),
        OverCall::Lead { at: column, by } => at_place(Some(at + by), *column),
        OverCall::First { at, before } => {
            known(frame(*before, Some(0), *at)).next().unwrap_or(Value::Null)
        }
        OverCall::Last { at, before } => {
            known(frame(*before, Some(0), *at)).next_back().unwrap_or(Value::Null)
        }
        OverCall::Number(number) => Value::Int(numbers(rows, *number, order)[at]),
    }
}
