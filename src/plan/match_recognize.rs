//! What a MATCH_RECOGNIZE operator does, over the columns of its input by position.

use arrow::datatypes::SchemaRef;

use super::aggregate::AggregateCall;
use super::explain::names;
use super::expr::Expression;
use super::match_program::Program;
use super::node::{Node, SortColumn};
use crate::sql::match_recognize::node::{Output, OutputColumn, RowChoice, Skip, Variables};

/// Row pattern recognition: everything that it reads is a column of its input.
#[derive(Clone, Debug, PartialEq)]
pub struct MatchRecognize {
    /// The pattern.
    pub program: Program,
    /// Its text.
    pub pattern: String,
    /// The pattern's variables by number.
    pub variables: Vec<String>,
    /// Columns that part the rows.
    pub partition: Vec<usize>,
    /// The order in a partition: the time first, ascending.
    pub order: Vec<SortColumn>,
    /// The columns that break ties, upwards: all, in the order of the table.
    pub ties: Vec<usize>,
    /// The condition of each variable; absent: every row.
    pub define: Vec<Option<Computation>>,
    /// The measures.
    pub measures: Vec<Computation>,
    /// What a match gives.
    pub output: Output,
    /// The output columns.
    pub columns: Vec<OutputColumn>,
    /// What follows a match.
    pub skip: Skip,
    /// A match's last row is less than this many ms behind its first.
    pub within: Option<i64>,
    /// Rows on time come up to so many ms after the time that they are ordered by.
    pub delay: i64,
}

/// An expression over what is read of a match.
#[derive(Clone, Debug, PartialEq)]
pub struct Computation {
    /// The expression, over `schema`.
    pub expr: Expression,
    /// What it reads.
    pub atoms: Vec<MatchAtom>,
    /// One field an atom.
    pub schema: SchemaRef,
}

/// What is read of a match.
#[derive(Clone, Debug, PartialEq)]
pub enum MatchAtom {
    /// A column of a row.
    Value {
        /// The row.
        row: RowChoice,
        /// The column.
        column: usize,
    },
    /// The name of a row's variable.
    Classifier(RowChoice),
    /// An aggregate over rows.
    Aggregate {
        /// The call over the input's columns.
        call: AggregateCall,
        /// The variables of the rows.
        of: Variables,
        /// Up to the current row, rather than over the whole match.
        running: bool,
    },
    /// The match's number in its partition.
    Number,
}

impl MatchRecognize {
    /// All computations.
    pub fn computations(&self) -> impl Iterator<Item = &Computation> {
        self.define.iter().flatten().chain(&self.measures)
    }

    /// Whether matches are numbered.
    pub fn numbers(&self) -> bool {
        let numbered = |c: &Computation| c.atoms.contains(&MatchAtom::Number);
        self.computations().any(numbered)
    }

    /// How many rows before a match are read.
    pub fn rows_before(&self) -> u64 {
        let back = |atom: &MatchAtom| match atom {
            MatchAtom::Value { row, .. } | MatchAtom::Classifier(row) => row.back,
            MatchAtom::Aggregate { .. } | MatchAtom::Number => 0,
        };
        self.computations().flat_map(|c| c.atoms.iter().map(back)).max().unwrap_or(0)
    }

    /// Whether each row begins a search of its own, whatever becomes of the others.
    pub fn is_independent(&self) -> bool {
        let unmatched = matches!(self.output, Output::AllRows { unmatched: true, .. });
        self.skip == Skip::ToNextRow && !self.numbers() && !unmatched
    }

    /// Whether something must be remembered of a partition for ever.
    pub fn keeps_partitions(&self) -> bool {
        self.numbers() || self.rows_before() > 0 || self.program.asks_first()
    }

    /// What bounds the state, for a reader of the plan.
    pub(super) fn bound(&self) -> String {
        let mut text = match self.within {
            _ if self.program.asks_last() => "unbounded: '$' waits for the end of the input".into(),
            Some(ms) => format!(
                "bounded: an open match is dropped when the watermark passes its first row + \
                 {ms} ms"
            ),
            None => "unbounded: nothing limits how long a match stays open; add WITHIN \
                     INTERVAL .. behind PATTERN (..)"
                .to_string(),
        };
        if self.keeps_partitions() {
            let what = match (self.rows_before(), self.numbers()) {
                (0, true) => "the number of its last match (MATCH_NUMBER)".to_string(),
                (0, false) => "that it has begun (^)".to_string(),
                (rows, _) => format!("its last {rows} rows (PREV)"),
            };
            text.push_str(&format!("; keeps of each partition {what}"));
        }
        text
    }

    /// The operator in one line.
    pub(super) fn describe(&self, input: Option<&Node>) -> String {
        let of = |columns: &[usize]| input.map_or_else(String::new, |i| names(i, columns));
        let order: Vec<String> = self
            .order
            .iter()
            .map(|o| of(&[o.column]) + if o.options.descending { " DESC" } else { "" })
            .collect();
        let rows = match self.output {
            Output::OneRow => "ONE ROW PER MATCH",
            Output::AllRows { unmatched: true, .. } => "ALL ROWS PER MATCH WITH UNMATCHED ROWS",
            Output::AllRows { empty: false, .. } => "ALL ROWS PER MATCH OMIT EMPTY MATCHES",
            Output::AllRows { .. } => "ALL ROWS PER MATCH",
        };
        let skip = match self.skip {
            Skip::PastLastRow => "PAST LAST ROW".to_string(),
            Skip::ToNextRow => "TO NEXT ROW".to_string(),
            Skip::ToFirst(of) => format!("TO FIRST {}", self.variable_names(of)),
            Skip::ToLast(of) => format!("TO LAST {}", self.variable_names(of)),
        };
        let within = self.within.map_or_else(String::new, |ms| format!(", within={ms} ms"));
        format!(
            "MatchRecognize(partitionBy=[{}], orderBy=[{}], measures={}, {rows}, skip {skip}, \
             pattern=({}){within})",
            of(&self.partition),
            order.join(", "),
            self.measures.len(),
            self.pattern.replace('`', "")
        )
    }

    fn variable_names(&self, of: Variables) -> String {
        let named = self.variables.iter().enumerate().filter(|(i, _)| of & (1 << i) != 0);
        named.map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(" or ")
    }
}
