//! Random queries: a tree from a tape of choices, of right types by construction.

use crate::query::{
    Aggregate, Call, Compare, Expr, Function, Join, Kind, Node, Number, Order, OverCall, Set,
    Subquery,
};
use crate::value::{Tape, Type, Value};

/// Columns of a query at most.
const COLUMNS_MAX: usize = 4;

const COMPARES: [Compare; 6] = [
    Compare::Equal,
    Compare::NotEqual,
    Compare::Less,
    Compare::LessEqual,
    Compare::Greater,
    Compare::GreaterEqual,
];

pub struct Generator<'t, 'c, 's> {
    pub tape: &'t mut Tape<'c>,
    /// The types of the columns of tables and views.
    pub sources: &'s [Vec<Type>],
}

impl Generator<'_, '_, '_> {
    pub fn node(&mut self, depth: usize) -> Node {
        if depth == 0 {
            return self.scan();
        }
        match self.tape.pick(20) {
            0 => self.scan(),
            1..=3 => self.select(depth),
            4..=7 => self.group(depth),
            8..=12 => self.join(depth),
            13..=15 => self.set(depth),
            16 | 17 => self.top(depth),
            18 => self.limit(depth),
            _ => self.over(depth),
        }
    }

    fn scan(&mut self) -> Node {
        let source = self.tape.pick(self.sources.len());
        Node { kind: Kind::Scan { source }, types: self.sources[source].clone() }
    }

    fn below(&mut self, depth: usize) -> Node {
        // Most branches are short.
        let less = 1 + self.tape.one(&[0, 1, 0, 3]);
        self.node(depth.saturating_sub(less))
    }

    fn some_columns(&mut self, scope: &[Type]) -> (Vec<Expr>, Vec<Type>) {
        let count = 1 + self.tape.pick(COLUMNS_MAX);
        let mut types = Vec::new();
        let mut columns = Vec::new();
        for _ in 0..count {
            let data_type = self.tape.one(scope);
            columns.push(self.expr(data_type, scope, 2));
            types.push(data_type);
        }
        (columns, types)
    }

    fn select(&mut self, depth: usize) -> Node {
        let from = self.below(depth);
        let scope = from.types.clone();
        let (mut columns, mut types) = self.some_columns(&scope);
        if self.tape.chance(12) {
            columns.push(self.condition(&scope, 1, depth));
            types.push(Type::Bool);
        } else if self.tape.chance(12) {
            let (scalar, data_type) = self.scalar(&scope, depth);
            columns.push(scalar);
            types.push(data_type);
        }
        let filter = self.tape.chance(70).then(|| self.condition(&scope, 2, depth));
        let distinct = self.tape.chance(20);
        Node { kind: Kind::Select { from: Box::new(from), columns, filter, distinct }, types }
    }

    fn group(&mut self, depth: usize) -> Node {
        let from = self.below(depth);
        let scope = from.types.clone();
        let filter = self.tape.chance(40).then(|| self.condition(&scope, 1, depth));
        let (mut keys, mut types) = (Vec::new(), Vec::new());
        for _ in 0..self.tape.one(&[1, 1, 2, 0, 2]) {
            let data_type = self.tape.one(&scope);
            let key = self.expr(data_type, &scope, 1);
            // A constant among the keys is a place in the list of columns.
            if reads_column(&key) {
                keys.push(key);
                types.push(data_type);
            }
        }
        let mut aggregates = Vec::new();
        for _ in 0..1 + self.tape.pick(3) {
            let (call, data_type) = self.aggregate(&scope);
            aggregates.push(call);
            types.push(data_type);
        }
        let having = self.tape.chance(25).then(|| {
            let (call, data_type) = self.aggregate(&scope);
            (call, self.tape.one(&COMPARES), self.tape.value(data_type))
        });
        let kind = Kind::Group { from: Box::new(from), filter, keys, aggregates, having };
        Node { kind, types }
    }

    fn aggregate(&mut self, scope: &[Type]) -> (Aggregate, Type) {
        let filter = |g: &mut Self| g.tape.chance(20).then(|| g.plain_condition(scope, 1));
        let kind = self.tape.pick(6);
        if kind == 0 {
            let filter = filter(self);
            let function = Function::Count;
            return (Aggregate { function, argument: None, distinct: false, filter }, Type::Int);
        }
        let data_type = self.tape.one(scope);
        let argument = Some(self.expr(data_type, scope, 1));
        let function = match kind {
            1 | 2 if data_type.is_exact_number() => Function::Sum,
            3 if data_type != Type::Bool => Function::Min,
            4 if data_type != Type::Bool => Function::Max,
            5 if data_type.is_exact_number() => Function::Mean,
            _ => Function::Count,
        };
        let distinct = self.tape.chance(25);
        let filter = filter(self);
        let result = result_type(function, data_type);
        (Aggregate { function, argument, distinct, filter }, result)
    }

    fn join(&mut self, depth: usize) -> Node {
        let left = self.below(depth);
        let right = self.below(depth);
        let width = left.types.len();
        let scope: Vec<Type> = left.types.iter().chain(&right.types).copied().collect();
        let kind = self.tape.one(&[Join::Inner, Join::Left, Join::Right, Join::Full, Join::Comma]);
        let mut on: Option<Expr> = None;
        for _ in 0..self.tape.one(&[1, 1, 2, 0, 1]) {
            let l = self.tape.pick(width);
            let same: Vec<usize> =
                (width..scope.len()).filter(|&r| comparable(scope[l], scope[r])).collect();
            if same.is_empty() {
                continue;
            }
            let r = self.tape.one(&same);
            let call = if self.tape.chance(15) {
                Call::IsNotDistinct
            } else {
                Call::Compare(Compare::Equal)
            };
            let mut sides = [column(l), column(r)];
            if scope[l] == Type::Int && self.tape.chance(15) {
                sides[0] = Expr::Call(Call::Modulo, vec![column(l)]);
            }
            on = Some(and(on, Expr::Call(call, sides.to_vec())));
        }
        if on.is_none() || self.tape.chance(25) {
            let more = self.plain_condition(&scope, 2);
            on = Some(and(on, more));
        }
        let on = on.unwrap_or(Expr::Literal(Value::Bool(true)));
        let filter = self.tape.chance(35).then(|| self.condition(&scope, 1, depth));
        let (columns, types) = self.some_columns(&scope);
        let (left, right) = (Box::new(left), Box::new(right));
        Node { kind: Kind::Join { left, right, kind, on, filter, columns }, types }
    }

    fn set(&mut self, depth: usize) -> Node {
        let left = self.below(depth);
        let from = self.below(depth);
        let kind = self.tape.one(&[
            Set::UnionAll,
            Set::Union,
            Set::Except,
            Set::Intersect,
            Set::ExceptAll,
            Set::IntersectAll,
        ]);
        let scope = from.types.clone();
        let types = left.types.clone();
        let columns = types.iter().map(|&data_type| self.expr(data_type, &scope, 1)).collect();
        let select = Kind::Select { from: Box::new(from), columns, filter: None, distinct: false };
        let right = Box::new(Node { kind: select, types: types.clone() });
        Node { kind: Kind::Set { kind, left: Box::new(left), right }, types }
    }

    fn order(&mut self, at: usize) -> Order {
        let descending = self.tape.chance(40);
        let nulls_first = self.tape.one(&[None, None, Some(true), Some(false)]);
        Order { at, descending, nulls_first }
    }

    /// By every column but those of `except`: rows that are told apart by none are equal.
    fn total_order(&mut self, width: usize, except: &[usize]) -> Vec<Order> {
        let first = self.tape.pick(width);
        let places = (0..width).map(|at| (at + first) % width);
        let mut order: Vec<Order> =
            places.filter(|at| !except.contains(at)).map(|at| self.order(at)).collect();
        if order.is_empty() {
            order.push(self.order(first));
        }
        order
    }

    fn partition(&mut self, width: usize) -> Vec<usize> {
        let mut partition = Vec::new();
        for _ in 0..self.tape.one(&[1, 0, 2]) {
            let at = self.tape.pick(width);
            if !partition.contains(&at) {
                partition.push(at);
            }
        }
        partition
    }

    fn top(&mut self, depth: usize) -> Node {
        let from = self.below(depth);
        let width = from.types.len();
        let number = self.tape.one(&[Number::Row, Number::Rank, Number::Row, Number::DenseRank]);
        let partition = self.partition(width);
        let mut order = self.total_order(width, &partition);
        if number != Number::Row {
            order.truncate(1 + self.tape.pick(2));
        }
        let first = self.tape.one(&[1, 1, 1, 2]);
        let last = first + self.tape.one(&[0, 1, 2]);
        let shown = self.tape.chance(50);
        let mut types = from.types.clone();
        types.extend(shown.then_some(Type::Int));
        let from = Box::new(from);
        Node { kind: Kind::Top { from, number, partition, order, first, last, shown }, types }
    }

    fn limit(&mut self, depth: usize) -> Node {
        let from = self.below(depth);
        let order = self.total_order(from.types.len(), &[]);
        let (skip, fetch) = (self.tape.one(&[0, 0, 1, 2]), self.tape.one(&[2, 1, 3, 5]));
        let types = from.types.clone();
        Node { kind: Kind::Limit { from: Box::new(from), order, skip, fetch }, types }
    }

    fn over(&mut self, depth: usize) -> Node {
        let from = self.below(depth);
        let width = from.types.len();
        let partition = self.partition(width);
        let mut order = self.total_order(width, &partition);
        if let (true, Some(time)) =
            (self.tape.chance(50), order.iter().position(|by| from.types[by.at] == Type::Time))
        {
            // Perhaps the row-time: then results never change.
            let by = order.remove(time);
            order.insert(0, Order { descending: false, nulls_first: None, ..by });
        }
        let mut types = from.types.clone();
        let mut calls = Vec::new();
        for _ in 0..1 + self.tape.pick(2) {
            let at = self.tape.pick(width);
            let data_type = from.types[at];
            let before = self.tape.one(&[Some(1), Some(0), None, Some(2)]);
            let (call, result) = match self.tape.pick(8) {
                0 | 1 => (OverCall::Lag { at, by: 1 + self.tape.pick(2) }, data_type),
                2 => (OverCall::Lead { at, by: 1 + self.tape.pick(2) }, data_type),
                3 => (OverCall::First { at, before }, data_type),
                4 => (OverCall::Last { at, before }, data_type),
                5 => (OverCall::Number(Number::Row), Type::Int),
                _ => {
                    let function = match self.tape.pick(5) {
                        0 | 1 if data_type.is_exact_number() => Function::Sum,
                        2 if data_type != Type::Bool => Function::Max,
                        3 if data_type != Type::Bool => Function::Min,
                        4 if data_type.is_exact_number() => Function::Mean,
                        _ => Function::Count,
                    };
                    let after = self.tape.one(&[Some(0), Some(0), Some(1), None]);
                    let call = OverCall::Aggregate { function, at, before, after };
                    (call, result_type(function, data_type))
                }
            };
            calls.push(call);
            types.push(result);
        }
        Node { kind: Kind::Over { from: Box::new(from), partition, order, calls }, types }
    }

    /// An expression of a type.
    fn expr(&mut self, data_type: Type, scope: &[Type], depth: usize) -> Expr {
        let same: Vec<usize> = (0..scope.len()).filter(|&at| scope[at] == data_type).collect();
        let leaf = |g: &mut Self| match same.is_empty() || g.tape.chance(12) {
            true => Expr::Literal(g.tape.value(data_type)),
            false => column(g.tape.one(&same)),
        };
        if depth == 0 || !self.tape.chance(30) {
            return leaf(self);
        }
        let kind = self.tape.pick(4);
        if kind == 0 {
            let condition = self.plain_condition(scope, 1);
            let then = self.expr(data_type, scope, depth - 1);
            let otherwise = match self.tape.chance(30) && reads_column(&then) {
                true => Expr::Literal(Value::Null),
                false => self.expr(data_type, scope, depth - 1),
            };
            return Expr::Call(Call::Case, vec![condition, then, otherwise]);
        }
        let first = self.expr(data_type, scope, depth - 1);
        let second = |g: &mut Self| g.expr(data_type, scope, depth - 1);
        let (call, more) = match (data_type, kind) {
            (Type::Int, 2) if scope.contains(&Type::Text) => {
                return Expr::Call(Call::Length, vec![self.expr(Type::Text, scope, depth - 1)]);
            }
            (Type::Bool, _) => return self.plain_condition(scope, depth),
            (Type::Int, 3) => (Call::Modulo, None),
            (Type::Int | Type::Double | Type::Decimal, 1) => (Call::Add, Some(second(self))),
            (Type::Double | Type::Decimal, 2) => (Call::Subtract, Some(second(self))),
            (Type::Text, 1 | 2) => (Call::Upper, None),
            (Type::Time, 1) => (Call::Later, None),
            _ => (Call::Coalesce, Some(second(self))),
        };
        Expr::Call(call, std::iter::once(first).chain(more).collect())
    }

    /// A condition without subqueries.
    fn plain_condition(&mut self, scope: &[Type], depth: usize) -> Expr {
        let kind = self.tape.pick(12);
        if depth > 0 && kind >= 8 {
            let first = self.plain_condition(scope, depth - 1);
            return match kind {
                8 => Expr::Call(Call::Not, vec![first]),
                9 => Expr::Call(Call::Or, vec![first, self.plain_condition(scope, depth - 1)]),
                _ => and(Some(first), self.plain_condition(scope, depth - 1)),
            };
        }
        let data_type = self.tape.one(scope);
        let depth = depth.min(1);
        let a = self.expr(data_type, scope, depth);
        let value = |g: &mut Self| g.expr(data_type, scope, depth);
        match kind {
            3 => Expr::Call(Call::IsNull, vec![a]),
            4 => Expr::Call(Call::IsNotNull, vec![a]),
            5 if data_type == Type::Text => Expr::Call(Call::Like, vec![a]),
            5 => Expr::Call(Call::Between, vec![a, value(self), value(self)]),
            6 => {
                let first = Expr::Literal(self.tape.value(data_type));
                let second = match self.tape.chance(30) {
                    true => Expr::Literal(Value::Null),
                    false => Expr::Literal(self.tape.value(data_type)),
                };
                Expr::Call(Call::OneOf, vec![a, first, second])
            }
            7 => {
                let call = self.tape.one(&[Call::IsDistinct, Call::IsNotDistinct]);
                Expr::Call(call, vec![a, value(self)])
            }
            _ => {
                let compare = Call::Compare(self.tape.one(&COMPARES));
                let other = match data_type.is_exact_number() && self.tape.chance(15) {
                    true => self.tape.one(&[Type::Int, Type::Double, Type::Decimal]),
                    false => data_type,
                };
                let b = match self.tape.chance(50) {
                    true => Expr::Literal(self.tape.value(other)),
                    false => self.expr(other, scope, depth),
                };
                Expr::Call(compare, vec![a, b])
            }
        }
    }

    /// A condition, perhaps with a subquery.
    fn condition(&mut self, scope: &[Type], depth: usize, below: usize) -> Expr {
        if below == 0 || !self.tape.chance(25) {
            return self.plain_condition(scope, depth);
        }
        let subquery = match self.tape.pick(4) {
            0 | 1 => self.member(scope, below),
            2 => self.exists(scope, below),
            _ => {
                let (scalar, data_type) = self.scalar(scope, below);
                let a = self.expr(data_type, scope, 1);
                Expr::Call(Call::Compare(self.tape.one(&COMPARES)), vec![a, scalar])
            }
        };
        match self.tape.pick(6) {
            4 => and(Some(self.plain_condition(scope, 1)), subquery),
            5 => Expr::Call(Call::Or, vec![self.plain_condition(scope, 0), subquery]),
            3 => Expr::Call(Call::Not, vec![subquery]),
            _ => subquery,
        }
    }

    /// FROM and WHERE of a subquery; `equal`: nothing but equality ties it to what is around it.
    fn subquery(&mut self, outer: &[Type], depth: usize, tied: usize, equal: bool) -> Subquery {
        let from = self.below(depth);
        let mut filter = None;
        if self.tape.chance(tied) {
            let pairs: Vec<(usize, usize)> = (0..from.types.len())
                .flat_map(|own| (0..outer.len()).map(move |out| (own, out)))
                .filter(|&(own, out)| from.types[own] == outer[out])
                .collect();
            if !pairs.is_empty() {
                let (own, out) = self.tape.one(&pairs);
                let compare = match equal || !self.tape.chance(25) {
                    true => Compare::Equal,
                    false => self.tape.one(&COMPARES),
                };
                let sides = vec![column(own), Expr::Column { up: 1, at: out }];
                filter = Some(Expr::Call(Call::Compare(compare), sides));
            }
        }
        if self.tape.chance(30) {
            let scope = from.types.clone();
            let more = self.plain_condition(&scope, 1);
            filter = Some(and(filter, more));
        }
        Subquery { from: Box::new(from), filter: filter.map(Box::new) }
    }

    fn exists(&mut self, outer: &[Type], depth: usize) -> Expr {
        let of = self.subquery(outer, depth, 85, false);
        Expr::Exists { of, negated: self.tape.chance(50) }
    }

    fn member(&mut self, outer: &[Type], depth: usize) -> Expr {
        let of = self.subquery(outer, depth, 30, false);
        let negated = self.tape.chance(50);
        let data_type = self.tape.one(&of.from.types);
        let scope = of.from.types.clone();
        let item = Box::new(self.expr(data_type, &scope, 1));
        let value = Box::new(self.expr(data_type, outer, 1));
        Expr::In { value, of, item, negated }
    }

    fn scalar(&mut self, outer: &[Type], depth: usize) -> (Expr, Type) {
        let of = self.subquery(outer, depth, 50, true);
        let scope = of.from.types.clone();
        let (aggregate, data_type) = self.aggregate(&scope);
        (Expr::Scalar { of, aggregate: Box::new(aggregate) }, data_type)
    }
}

fn result_type(function: Function, of: Type) -> Type {
    match function {
        Function::Count => Type::Int,
        Function::Mean if of == Type::Double => Type::Mean,
        _ => of,
    }
}

fn comparable(a: Type, b: Type) -> bool {
    a == b || (a.is_exact_number() && b.is_exact_number())
}

fn column(at: usize) -> Expr {
    Expr::Column { up: 0, at }
}

fn and(first: Option<Expr>, second: Expr) -> Expr {
    match first {
        Some(first) => Expr::Call(Call::And, vec![first, second]),
        None => second,
    }
}

fn reads_column(expr: &Expr) -> bool {
    match expr {
        Expr::Column { .. } => true,
        Expr::Call(_, arguments) => arguments.iter().any(reads_column),
        _ => false,
    }
}
