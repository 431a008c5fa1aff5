//! Queries as trees, and their text.

use std::fmt::Write as _;

use crate::value::{Type, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Compare {
    fn sign(self) -> &'static str {
        match self {
            Compare::Equal => "=",
            Compare::NotEqual => "<>",
            Compare::Less => "<",
            Compare::LessEqual => "<=",
            Compare::Greater => ">",
            Compare::GreaterEqual => ">=",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Add,
    Subtract,
    /// The remainder by 3.
    Modulo,
    Compare(Compare),
    And,
    Or,
    Not,
    IsNull,
    IsNotNull,
    IsDistinct,
    IsNotDistinct,
    /// CASE WHEN a THEN b ELSE c END
    Case,
    Coalesce,
    Upper,
    Length,
    /// LIKE 'a%'
    Like,
    /// a BETWEEN b AND c
    Between,
    /// a IN (b, c)
    OneOf,
    /// One second later.
    Later,
}

/// A query in an expression: of the rows of `from` that meet `filter`, which may look at the row
/// of the query around it.
#[derive(Clone, Debug)]
pub struct Subquery {
    pub from: Box<Node>,
    pub filter: Option<Box<Expr>>,
}

#[derive(Clone, Debug)]
pub enum Expr {
    /// A column of this query (0) or of the one around it (1).
    Column {
        up: usize,
        at: usize,
    },
    Literal(Value),
    Call(Call, Vec<Expr>),
    Exists {
        of: Subquery,
        negated: bool,
    },
    In {
        value: Box<Expr>,
        of: Subquery,
        item: Box<Expr>,
        negated: bool,
    },
    Scalar {
        of: Subquery,
        aggregate: Box<Aggregate>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    Count,
    Sum,
    Min,
    Max,
    Mean,
}

#[derive(Clone, Debug)]
pub struct Aggregate {
    pub function: Function,
    /// None: COUNT(*)
    pub argument: Option<Expr>,
    pub distinct: bool,
    pub filter: Option<Expr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    Inner,
    Left,
    Right,
    Full,
    /// A comma; the condition stands in WHERE.
    Comma,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    UnionAll,
    Union,
    IntersectAll,
    Intersect,
    ExceptAll,
    Except,
}

impl Set {
    fn words(self) -> &'static str {
        match self {
            Set::UnionAll => "UNION ALL",
            Set::Union => "UNION",
            Set::IntersectAll => "INTERSECT ALL",
            Set::Intersect => "INTERSECT",
            Set::ExceptAll => "EXCEPT ALL",
            Set::Except => "EXCEPT",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    pub at: usize,
    pub descending: bool,
    /// `NULLS FIRST` or `LAST`, where it is said.
    pub nulls_first: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    Row,
    Rank,
    DenseRank,
}

#[derive(Clone, Debug)]
pub enum OverCall {
    /// An aggregate over the rows from so many before (None: all) to so many after.
    Aggregate {
        function: Function,
        at: usize,
        before: Option<usize>,
        after: Option<usize>,
    },
    Lag {
        at: usize,
        by: usize,
    },
    Lead {
        at: usize,
        by: usize,
    },
    First {
        at: usize,
        before: Option<usize>,
    },
    Last {
        at: usize,
        before: Option<usize>,
    },
    Number(Number),
}

#[derive(Clone, Debug)]
pub enum Kind {
    Scan {
        source: usize,
    },
    Select {
        from: Box<Node>,
        columns: Vec<Expr>,
        filter: Option<Expr>,
        distinct: bool,
    },
    Group {
        from: Box<Node>,
        filter: Option<Expr>,
        keys: Vec<Expr>,
        aggregates: Vec<Aggregate>,
        having: Option<(Aggregate, Compare, Value)>,
    },
    Join {
        left: Box<Node>,
        right: Box<Node>,
        kind: Join,
        on: Expr,
        filter: Option<Expr>,
        columns: Vec<Expr>,
    },
    Set {
        kind: Set,
        left: Box<Node>,
        right: Box<Node>,
    },
    Top {
        from: Box<Node>,
        number: Number,
        partition: Vec<usize>,
        order: Vec<Order>,
        first: i64,
        last: i64,
        shown: bool,
    },
    Limit {
        from: Box<Node>,
        order: Vec<Order>,
        skip: usize,
        fetch: usize,
    },
    Over {
        from: Box<Node>,
        partition: Vec<usize>,
        order: Vec<Order>,
        calls: Vec<OverCall>,
    },
}

#[derive(Clone, Debug)]
pub struct Node {
    pub kind: Kind,
    pub types: Vec<Type>,
}

/// Prints queries; every table in FROM has a name of its own.
pub struct Printer<'a> {
    pub sources: &'a [String],
    pub names: usize,
}

type Scopes = Vec<Vec<String>>;

impl Printer<'_> {
    /// The text of a query.
    pub fn query(&mut self, node: &Node) -> String {
        match &node.kind {
            Kind::Scan { .. } => {
                let (item, scope) = self.item(node);
                format!("SELECT {} FROM {item}", named(&scope))
            }
            Kind::Select { from, columns, filter, distinct } => {
                let (item, scope) = self.item(from);
                let mut scopes = vec![scope];
                let columns = self.exprs(columns, &mut scopes);
                let distinct = if *distinct { "DISTINCT " } else { "" };
                let filter = self.filter(" WHERE", filter.as_ref(), &mut scopes);
                format!("SELECT {distinct}{} FROM {item}{filter}", named(&columns))
            }
            Kind::Group { from, filter, keys, aggregates, having } => {
                let (item, scope) = self.item(from);
                let mut scopes = vec![scope];
                let keys = self.exprs(keys, &mut scopes);
                let mut columns = keys.clone();
                columns.extend(aggregates.iter().map(|call| self.aggregate(call, &mut scopes)));
                let filter = self.filter(" WHERE", filter.as_ref(), &mut scopes);
                let mut text = format!("SELECT {} FROM {item}{filter}", named(&columns));
                if !keys.is_empty() {
                    let _ = write!(text, " GROUP BY {}", keys.join(", "));
                }
                if let Some((call, compare, value)) = having {
                    let call = self.aggregate(call, &mut scopes);
                    let _ = write!(text, " HAVING {call} {} {}", compare.sign(), value.sql());
                }
                text
            }
            Kind::Join { left, right, kind, on, filter, columns } => {
                let (left, mut scope) = self.item(left);
                let (right, more) = self.item(right);
                scope.extend(more);
                let mut scopes = vec![scope];
                let columns = self.exprs(columns, &mut scopes);
                let on = self.expr(on, &mut scopes);
                let words = match kind {
                    Join::Inner => "JOIN",
                    Join::Left => "LEFT JOIN",
                    Join::Right => "RIGHT JOIN",
                    Join::Full => "FULL JOIN",
                    Join::Comma => {
                        let and = self.filter(" AND", filter.as_ref(), &mut scopes);
                        let columns = named(&columns);
                        return format!("SELECT {columns} FROM {left}, {right} WHERE {on}{and}");
                    }
                };
                let filter = self.filter(" WHERE", filter.as_ref(), &mut scopes);
                format!("SELECT {} FROM {left} {words} {right} ON {on}{filter}", named(&columns))
            }
            Kind::Set { kind, left, right } => {
                let (left, l) = self.item(left);
                let (right, r) = self.item(right);
                let words = kind.words();
                let (l, r) = (named(&l), r.join(", "));
                format!("SELECT {l} FROM {left} {words} SELECT {r} FROM {right}")
            }
            Kind::Top { from, number, partition, order, first, last, shown } => {
                let (item, scope) = self.item(from);
                let mut inner = named(&scope);
                let over = over(partition, order, &scope, "");
                let _ = write!(inner, ", {}() OVER ({over}) AS n", word_of(*number));
                let alias = self.alias();
                let mut outer: Vec<String> =
                    (0..scope.len()).map(|at| format!("{alias}.c{at}")).collect();
                if *shown {
                    outer.push(format!("{alias}.n"));
                }
                let bounds = match (*first, *last) {
                    (1, 1) => "n = 1".to_owned(),
                    (1, last) => format!("n <= {last}"),
                    (first, last) => format!("n BETWEEN {first} AND {last}"),
                };
                let outer = named(&outer);
                format!(
                    "SELECT {outer} FROM (SELECT {inner} FROM {item}) AS {alias} WHERE {bounds}"
                )
            }
            Kind::Limit { from, order, skip, fetch } => {
                let (item, scope) = self.item(from);
                let order = ordered(order, &scope);
                let offset = if *skip > 0 { format!(" OFFSET {skip}") } else { String::new() };
                let columns = named(&scope);
                format!("SELECT {columns} FROM {item} ORDER BY {order} LIMIT {fetch}{offset}")
            }
            Kind::Over { from, partition, order, calls } => {
                let (item, scope) = self.item(from);
                let mut columns = scope.clone();
                for call in calls {
                    columns.push(over_call(call, partition, order, &scope));
                }
                format!("SELECT {} FROM {item}", named(&columns))
            }
        }
    }

    fn alias(&mut self) -> String {
        self.names += 1;
        format!("s{}", self.names)
    }

    /// A table of FROM and its columns.
    fn item(&mut self, node: &Node) -> (String, Vec<String>) {
        let text = match &node.kind {
            Kind::Scan { source } => self.sources[*source].clone(),
            _ => format!("({})", self.query(node)),
        };
        let alias = self.alias();
        let columns = (0..node.types.len()).map(|at| format!("{alias}.c{at}")).collect();
        (format!("{text} AS {alias}"), columns)
    }

    fn filter(&mut self, word: &str, filter: Option<&Expr>, scopes: &mut Scopes) -> String {
        match filter {
            Some(filter) => format!("{word} {}", self.expr(filter, scopes)),
            None => String::new(),
        }
    }

    fn exprs(&mut self, exprs: &[Expr], scopes: &mut Scopes) -> Vec<String> {
        exprs.iter().map(|expr| self.expr(expr, scopes)).collect()
    }

    fn aggregate(&mut self, call: &Aggregate, scopes: &mut Scopes) -> String {
        let argument = match &call.argument {
            Some(argument) => self.expr(argument, scopes),
            None => "*".to_owned(),
        };
        let distinct = if call.distinct { "DISTINCT " } else { "" };
        let mut text = format!("{}({distinct}{argument})", name_of(call.function));
        if let Some(filter) = &call.filter {
            let _ = write!(text, " FILTER (WHERE {})", self.expr(filter, scopes));
        }
        text
    }

    /// `SELECT what FROM .. WHERE ..` of a subquery.
    fn subquery(
        &mut self,
        of: &Subquery,
        scopes: &mut Scopes,
        what: impl FnOnce(&mut Self, &mut Scopes) -> String,
    ) -> String {
        let (item, scope) = self.item(&of.from);
        scopes.push(scope);
        let what = what(self, scopes);
        let filter = self.filter(" WHERE", of.filter.as_deref(), scopes);
        scopes.pop();
        format!("(SELECT {what} FROM {item}{filter})")
    }

    fn expr(&mut self, expr: &Expr, scopes: &mut Scopes) -> String {
        let not = |negated: bool| if negated { "NOT " } else { "" };
        match expr {
            Expr::Column { up, at } => scopes[scopes.len() - 1 - up][*at].clone(),
            Expr::Literal(value) => value.sql(),
            Expr::Call(call, arguments) => {
                let arguments = self.exprs(arguments, scopes);
                call_text(*call, &arguments)
            }
            Expr::Exists { of, negated } => {
                let of = self.subquery(of, scopes, |_, _| "1".to_owned());
                format!("{}EXISTS {of}", not(*negated))
            }
            Expr::In { value, of, item, negated } => {
                let value = self.expr(value, scopes);
                let of = self.subquery(of, scopes, |printer, scopes| printer.expr(item, scopes));
                format!("{value} {}IN {of}", not(*negated))
            }
            Expr::Scalar { of, aggregate } => {
                self.subquery(of, scopes, |printer, scopes| printer.aggregate(aggregate, scopes))
            }
        }
    }
}

fn call_text(call: Call, arguments: &[String]) -> String {
    let a = |at: usize| arguments[at].as_str();
    match call {
        Call::Add => format!("({} + {})", a(0), a(1)),
        Call::Subtract => format!("({} - {})", a(0), a(1)),
        Call::Modulo => format!("MOD({}, 3)", a(0)),
        Call::Compare(compare) => format!("({} {} {})", a(0), compare.sign(), a(1)),
        Call::And => format!("({} AND {})", a(0), a(1)),
        Call::Or => format!("({} OR {})", a(0), a(1)),
        Call::Not => format!("(NOT {})", a(0)),
        Call::IsNull => format!("({} IS NULL)", a(0)),
        Call::IsNotNull => format!("({} IS NOT NULL)", a(0)),
        Call::IsDistinct => format!("({} IS DISTINCT FROM {})", a(0), a(1)),
        Call::IsNotDistinct => format!("({} IS NOT DISTINCT FROM {})", a(0), a(1)),
        Call::Case => format!("CASE WHEN {} THEN {} ELSE {} END", a(0), a(1), a(2)),
        Call::Coalesce => format!("COALESCE({}, {})", a(0), a(1)),
        Call::Upper => format!("UPPER({})", a(0)),
        Call::Length => format!("CHAR_LENGTH({})", a(0)),
        Call::Like => format!("({} LIKE 'a%')", a(0)),
        Call::Between => format!("({} BETWEEN {} AND {})", a(0), a(1), a(2)),
        Call::OneOf => format!("({} IN ({}, {}))", a(0), a(1), a(2)),
        Call::Later => format!("({} + INTERVAL '1' SECOND)", a(0)),
    }
}

fn name_of(function: Function) -> &'static str {
    match function {
        Function::Count => "COUNT",
        Function::Sum => "SUM",
        Function::Min => "MIN",
        Function::Max => "MAX",
        Function::Mean => "AVG",
    }
}

fn word_of(number: Number) -> &'static str {
    match number {
        Number::Row => "ROW_NUMBER",
        Number::Rank => "RANK",
        Number::DenseRank => "DENSE_RANK",
    }
}

fn named(columns: &[String]) -> String {
    let columns: Vec<String> =
        columns.iter().enumerate().map(|(at, column)| format!("{column} AS c{at}")).collect();
    columns.join(", ")
}

fn ordered(order: &[Order], scope: &[String]) -> String {
    let keys: Vec<String> = order
        .iter()
        .map(|by| {
            let direction = if by.descending { " DESC" } else { "" };
            let nulls = match by.nulls_first {
                Some(true) => " NULLS FIRST",
                Some(false) => " NULLS LAST",
                None => "",
            };
            format!("{}{direction}{nulls}", scope[by.at])
        })
        .collect();
    keys.join(", ")
}

fn over(partition: &[usize], order: &[Order], scope: &[String], frame: &str) -> String {
    let mut text = String::new();
    if !partition.is_empty() {
        let keys: Vec<&str> = partition.iter().map(|&at| scope[at].as_str()).collect();
        let _ = write!(text, "PARTITION BY {} ", keys.join(", "));
    }
    let _ = write!(text, "ORDER BY {}{frame}", ordered(order, scope));
    text
}

fn frame(before: Option<usize>, after: Option<usize>) -> String {
    let before = match before {
        None => "UNBOUNDED PRECEDING".to_owned(),
        Some(0) => "CURRENT ROW".to_owned(),
        Some(rows) => format!("{rows} PRECEDING"),
    };
    let after = match after {
        None => "UNBOUNDED FOLLOWING".to_owned(),
        Some(0) => "CURRENT ROW".to_owned(),
        Some(rows) => format!("{rows} FOLLOWING"),
    };
    format!(" ROWS BETWEEN {before} AND {after}")
}

fn over_call(call: &OverCall, partition: &[usize], order: &[Order], scope: &[String]) -> String {
    let (name, rows) = match call {
        OverCall::Aggregate { function, at, before, after } => {
            (format!("{}({})", name_of(*function), scope[*at]), frame(*before, *after))
        }
        OverCall::Lag { at, by } => (format!("LAG({}, {by})", scope[*at]), String::new()),
        OverCall::Lead { at, by } => (format!("LEAD({}, {by})", scope[*at]), String::new()),
        OverCall::First { at, before } => {
            (format!("FIRST_VALUE({})", scope[*at]), frame(*before, Some(0)))
        }
        OverCall::Last { at, before } => {
            (format!("LAST_VALUE({})", scope[*at]), frame(*before, Some(0)))
        }
        OverCall::Number(number) => (format!("{}()", word_of(*number)), String::new()),
    };
    format!("{name} OVER ({})", over(partition, order, scope, &rows))
}
