//! The rewrites of plans that can be switched off: `SET 'plan.rewrites' = 'all, -share'`.
//!
//! Each of them changes what a plan costs and never what it answers; a test runs queries with each
//! of them off and demands the same answer. Owns their names; the optimiser and the lowering ask.

use super::diagnostics::nearest;
use crate::error::{Error, Result};

/// A rewrite that no answer depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// Unions of unions become one.
    OptimizeUnions,
    /// `DISTINCT` becomes a grouping.
    DistinctAsGroups,
    /// Conditions that are always or never true are dropped.
    ConstantFilters,
    /// Products with equal columns become joins by them.
    CrossJoins,
    /// Limits that limit nothing are dropped.
    TrivialLimits,
    /// What reads no rows is dropped.
    EmptyRelations,
    /// Outer joins whose padded rows are filtered away become inner ones.
    OuterJoins,
    /// Conditions are evaluated as near to the tables as they can be.
    PushDownFilters,
    /// Constant group keys are dropped.
    ConstantKeys,
    /// An expression that is there twice is computed once.
    CommonExpressions,
    /// Columns that nobody reads are dropped.
    PruneColumns,
    /// The same operator over the same inputs is there once.
    Share,
    /// Filters and projections in a row become one.
    MergeCalcs,
    /// Joins do not produce columns that nobody reads.
    NarrowJoins,
    /// Joins whose condition bounds the times of their rows drop rows that have passed.
    IntervalJoins,
    /// Joins with a table that never changes keep the table alone.
    LookupJoins,
    /// A rank that is cut by a constant keeps the first rows alone.
    TopN,
    /// The first row by event time is final.
    FirstByTime,
    /// Ranks do not number rows whose number nobody reads.
    DropRankNumbers,
    /// What nobody sees before the end is computed at the end.
    FinalOnly,
    /// A table is read once for all of its readers.
    MergeScans,
}

impl Rewrite {
    /// All of them.
    pub const ALL: [Rewrite; 21] = [
        Rewrite::OptimizeUnions,
        Rewrite::DistinctAsGroups,
        Rewrite::ConstantFilters,
        Rewrite::CrossJoins,
        Rewrite::TrivialLimits,
        Rewrite::EmptyRelations,
        Rewrite::OuterJoins,
        Rewrite::PushDownFilters,
        Rewrite::ConstantKeys,
        Rewrite::CommonExpressions,
        Rewrite::PruneColumns,
        Rewrite::Share,
        Rewrite::MergeCalcs,
        Rewrite::NarrowJoins,
        Rewrite::IntervalJoins,
        Rewrite::LookupJoins,
        Rewrite::TopN,
        Rewrite::FirstByTime,
        Rewrite::DropRankNumbers,
        Rewrite::FinalOnly,
        Rewrite::MergeScans,
    ];

    /// As the setting names it.
    pub fn name(self) -> &'static str {
        match self {
            Rewrite::OptimizeUnions => "optimize-unions",
            Rewrite::DistinctAsGroups => "distinct-as-groups",
            Rewrite::ConstantFilters => "constant-filters",
            Rewrite::CrossJoins => "cross-joins",
            Rewrite::TrivialLimits => "trivial-limits",
            Rewrite::EmptyRelations => "empty-relations",
            Rewrite::OuterJoins => "outer-joins",
            Rewrite::PushDownFilters => "push-down-filters",
            Rewrite::ConstantKeys => "constant-keys",
            Rewrite::CommonExpressions => "common-expressions",
            Rewrite::PruneColumns => "prune-columns",
            Rewrite::Share => "share",
            Rewrite::MergeCalcs => "merge-calcs",
            Rewrite::NarrowJoins => "narrow-joins",
            Rewrite::IntervalJoins => "interval-joins",
            Rewrite::LookupJoins => "lookup-joins",
            Rewrite::TopN => "top-n",
            Rewrite::FirstByTime => "first-by-time",
            Rewrite::DropRankNumbers => "drop-rank-numbers",
            Rewrite::FinalOnly => "final-only",
            Rewrite::MergeScans => "merge-scans",
        }
    }

    fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// The rewrites in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrites(u32);

impl Default for Rewrites {
    fn default() -> Self {
        Rewrites(Rewrite::ALL.iter().fold(0, |all, rewrite| all | rewrite.bit()))
    }
}

impl Rewrites {
    /// Whether `rewrite` is made.
    pub fn has(self, rewrite: Rewrite) -> bool {
        self.0 & rewrite.bit() != 0
    }

    /// `all`, `none` and names, from left to right; a name after `-` is taken out again.
    pub fn parse(text: &str) -> Result<Self> {
        let items: Vec<&str> = text.split(',').map(str::trim).collect();
        let begins_less = items.first().is_some_and(|first| first.starts_with('-'));
        let mut rewrites = if begins_less { Rewrites::default() } else { Rewrites(0) };
        for item in items {
            match (item, item.strip_prefix('-')) {
                ("all", _) => rewrites = Rewrites::default(),
                ("none", _) => rewrites = Rewrites(0),
                (_, Some(name)) => rewrites.0 &= !named(name.trim())?.bit(),
                (name, None) => rewrites.0 |= named(name)?.bit(),
            }
        }
        Ok(rewrites)
    }
}

fn named(name: &str) -> Result<Rewrite> {
    let found = Rewrite::ALL.into_iter().find(|rewrite| rewrite.name() == name);
    found.ok_or_else(|| {
        let known: Vec<&str> = Rewrite::ALL.iter().map(|rewrite| rewrite.name()).collect();
        let near = nearest(name, &known);
        let near = near.map(|near| format!("did you mean '{near}'? ")).unwrap_or_default();
        Error::config(format!("there is no rewrite '{name}'"))
            .with_hint(format!("{near}known rewrites: all, none, {}", known.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_from_left_to_right() {
        let all = Rewrites::default();
        assert!(Rewrite::ALL.into_iter().all(|rewrite| all.has(rewrite)));
        assert_eq!(Rewrites::parse("all").unwrap(), all);
        let none = Rewrites::parse("none").unwrap();
        assert!(!Rewrite::ALL.into_iter().any(|rewrite| none.has(rewrite)));
        let without = Rewrites::parse("-share, -top-n").unwrap();
        assert!(!without.has(Rewrite::Share) && !without.has(Rewrite::TopN));
        assert!(without.has(Rewrite::MergeScans));
        assert_eq!(without, Rewrites::parse("all,-share,-top-n").unwrap());
        let some = Rewrites::parse("share").unwrap();
        assert!(some.has(Rewrite::Share) && !some.has(Rewrite::MergeScans));
        let error = Rewrites::parse("-shares").unwrap_err();
        assert!(error.hint.unwrap().starts_with("did you mean 'share'?"));
    }
}
