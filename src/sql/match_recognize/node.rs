//! MATCH_RECOGNIZE as a logical node.
//!
//! Owns the node and what the optimiser may do with it. DEFINE and MEASURES are cut in two: what
//! they read of a row is an expression over the input ([`MatchNode::rows`], which the optimiser
//! sees), what they compute of the rows of a match is one over [`Atom`]s (which it does not).

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::{DFSchema, DFSchemaRef, TableReference, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use super::pattern::PatternClause;

/// A set of pattern variables by number; [`ALL_VARIABLES`] is the universal variable.
pub type Variables = u64;

/// The variables of every row of a match.
pub const ALL_VARIABLES: Variables = Variables::MAX;

/// Which row of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd)]
pub struct RowChoice {
    /// Counted from the last row rather than from the first.
    pub last: bool,
    /// Among the rows of these variables.
    pub of: Variables,
    /// So many rows further.
    pub offset: u64,
    /// Then so many rows back in the partition.
    pub back: u64,
    /// Up to the current row, rather than in the whole match.
    pub running: bool,
}

/// What an expression of DEFINE or MEASURES reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd)]
pub enum Atom {
    /// A column of [`MatchNode::rows`] of a row of the match.
    Value {
        /// The row.
        row: RowChoice,
        /// The column.
        column: usize,
    },
    /// The name of the variable of a row of the match.
    Classifier(RowChoice),
    /// An aggregate over rows of the match.
    Aggregate {
        /// The call; its arguments and filter are in [`MatchNode::rows`], by [`row_column`], or
        /// constants.
        call: Box<AggregateFunction>,
        /// Over the rows of these variables.
        of: Variables,
        /// Up to the current row, rather than over the whole match.
        running: bool,
    },
    /// `MATCH_NUMBER()`.
    Number,
}

/// An expression over atoms.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MatchExpr {
    /// The expression; its columns are the fields of `schema`.
    pub expr: Expr,
    /// What it reads.
    pub atoms: Vec<Atom>,
    /// One field an atom.
    pub schema: DFSchemaRef,
}

/// What a match gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd)]
pub enum Output {
    /// One row.
    OneRow,
    /// Its rows, of an empty match its first row if `empty`, and the rows of no match if
    /// `unmatched`.
    AllRows {
        /// `SHOW EMPTY MATCHES`.
        empty: bool,
        /// `WITH UNMATCHED ROWS`.
        unmatched: bool,
    },
}

/// Where the search goes on after a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd)]
pub enum Skip {
    /// Behind its last row.
    PastLastRow,
    /// At its second row.
    ToNextRow,
    /// At its first row of these variables.
    ToFirst(Variables),
    /// At its last row of these variables.
    ToLast(Variables),
}

/// An output column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd)]
pub enum OutputColumn {
    /// A column of [`MatchNode::rows`].
    Row(usize),
    /// A measure.
    Measure(usize),
}

/// A column to order by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd)]
pub struct OrderColumn {
    /// Of [`MatchNode::rows`].
    pub column: usize,
    /// Downwards.
    pub descending: bool,
    /// NULL before all values.
    pub nulls_first: bool,
}

/// What MATCH_RECOGNIZE says beside its expressions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd)]
pub struct MatchSpec {
    /// Pattern, interval, subsets.
    pub clause: PatternClause,
    /// The pattern's variables by number.
    pub variables: Vec<String>,
    /// Columns of [`MatchNode::rows`] that part the rows.
    pub partition: Vec<usize>,
    /// The order in a partition; the first is the time, ascending.
    pub order: Vec<OrderColumn>,
    /// What a match gives.
    pub output: Output,
    /// What follows a match.
    pub skip: Skip,
    /// The output columns.
    pub columns: Vec<OutputColumn>,
}

/// `input MATCH_RECOGNIZE (..)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MatchNode {
    /// The relation.
    pub input: LogicalPlan,
    /// Everything that is read of a row.
    pub rows: Vec<Expr>,
    /// Clauses without expressions.
    pub spec: MatchSpec,
    /// The condition of each variable; absent: every row.
    pub define: Vec<Option<MatchExpr>>,
    /// The measures.
    pub measures: Vec<MatchExpr>,
    /// The output columns.
    pub schema: DFSchemaRef,
}

/// The name of column `index` of [`MatchNode::rows`] in an [`Atom::Aggregate`].
pub fn row_column(index: usize) -> String {
    format!("${index}")
}

/// The column that [`row_column`] named.
pub fn column_of(name: &str) -> Option<usize> {
    name.strip_prefix('$')?.parse().ok()
}

impl MatchNode {
    /// The node with `fields` as output columns.
    pub fn try_new(
        input: LogicalPlan,
        rows: Vec<Expr>,
        spec: MatchSpec,
        define: Vec<Option<MatchExpr>>,
        measures: Vec<MatchExpr>,
        fields: Vec<(Option<TableReference>, FieldRef)>,
    ) -> Result<Self> {
        let metadata = input.schema().metadata().clone();
        let schema = Arc::new(DFSchema::new_with_metadata(fields, metadata)?);
        Ok(MatchNode { input, rows, spec, define, measures, schema })
    }
}

impl PartialOrd for MatchNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (&self.input, &self.rows, &self.spec).partial_cmp(&(&other.input, &other.rows, &other.spec))
    }
}

impl UserDefinedLogicalNodeCore for MatchNode {
    fn name(&self) -> &str {
        "MatchRecognize"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.rows.clone()
    }

    /// Only a filter that keeps or drops whole partitions may go below.
    #[allow(clippy::disallowed_types, reason = "the trait's type; its order is not used")]
    fn prevent_predicate_push_down_columns(&self) -> std::collections::HashSet<String> {
        let fields = self.schema.fields();
        let is_key = |index: usize| {
            let name = fields[index].name();
            let row = self.spec.partition.get(index).and_then(|column| self.rows.get(*column));
            let plain = matches!(row, Some(Expr::Column(c)) if c.name == *name);
            plain && fields.iter().filter(|f| f.name() == name).count() == 1
        };
        (0..fields.len())
            .filter(|index| !is_key(*index))
            .map(|index| fields[index].name().clone())
            .collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "MatchRecognize: {}", self.spec.clause)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        match inputs.into_iter().next() {
            Some(input) if exprs.len() == self.rows.len() => {
                Ok(MatchNode { input, rows: exprs, ..self.clone() })
            }
            _ => plan_err!("MATCH_RECOGNIZE has an input and its expressions"),
        }
    }

    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![Vec::new()])
    }
}
