//! What the planner knows of a node's output: changelog mode, unique keys, windows, distribution.

use super::expr::Expression;
use super::rowtime::RowTime;

/// Whether a collection only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangelogMode {
    /// Only insertions (`+I`).
    Append,
    /// Rows that take the place of the one with their key, and deletions (`+I +U -D`): what comes
    /// from outside before it is made consistent.
    Upsert,
    /// Insertions and retractions (`+I -U +U -D`).
    Retract,
}

/// Columns that hold the window of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct WindowColumns {
    /// `window_start`.
    pub start: Option<usize>,
    /// `window_end`.
    pub end: Option<usize>,
    /// `window_time`.
    pub time: Option<usize>,
    /// Length in ms if every window has the same.
    pub size: Option<i64>,
}

impl WindowColumns {
    /// Start and end, if both are there.
    pub fn pair(&self) -> Option<(usize, usize)> {
        Some((self.start?, self.end?))
    }
}

/// How rows are spread over workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// Anyhow.
    Any,
    /// By the hash of these columns, in this order.
    Hash(Vec<usize>),
    /// All on the first worker.
    Single,
}

/// What is known of a node's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Props {
    /// Whether it only grows.
    pub mode: ChangelogMode,
    /// Columns of which no two rows share the values; `None` if unknown.
    pub unique_key: Option<Vec<usize>>,
    /// Its window columns.
    pub window: WindowColumns,
    /// How its rows are spread.
    pub distribution: Distribution,
    /// Whether it ends.
    pub bounded: bool,
    /// How many ms after its window's end a row of it may come: sessions close behind their end.
    pub window_delay: i64,
    /// Columns that tell the event time. Set by the lowering when the node is added, but for the
    /// operators that [`super::rowtime::derive`] does not know.
    pub rowtimes: Vec<RowTime>,
}

impl Default for Props {
    /// Of a collection of which nothing is known but that it grows.
    fn default() -> Self {
        Props::source(false)
    }
}

impl Props {
    /// Of a source.
    pub fn source(bounded: bool) -> Self {
        Props {
            mode: ChangelogMode::Append,
            unique_key: None,
            window: WindowColumns::default(),
            distribution: Distribution::Any,
            bounded,
            window_delay: 0,
            rowtimes: Vec::new(),
        }
    }

    /// Behind a projection to `columns`.
    pub fn project(&self, columns: &[Expression]) -> Props {
        let place = |old: usize| columns.iter().position(|e| e.passed_column() == Some(old));
        let all = |old: &[usize]| old.iter().map(|&c| place(c)).collect::<Option<Vec<_>>>();
        Props {
            mode: self.mode,
            unique_key: self.project_key(place),
            window: WindowColumns {
                start: self.window.start.and_then(place),
                end: self.window.end.and_then(place),
                time: self.window.time.and_then(place),
                size: self.window.size,
            },
            distribution: match &self.distribution {
                Distribution::Hash(old) => all(old).map_or(Distribution::Any, Distribution::Hash),
                other => other.clone(),
            },
            bounded: self.bounded,
            window_delay: self.window_delay,
            rowtimes: super::rowtime::project(self, columns),
        }
    }

    /// The unique key by its new places; of a window of fixed size either border says the other.
    fn project_key(&self, place: impl Fn(usize) -> Option<usize>) -> Option<Vec<usize>> {
        let key = self.unique_key.as_ref()?;
        let other_border = |column: usize| match column {
            _ if self.window.size.is_none() => None,
            c if Some(c) == self.window.start => self.window.end,
            c if Some(c) == self.window.end => self.window.start,
            _ => None,
        };
        let mut placed = Vec::with_capacity(key.len());
        for &column in key {
            match (place(column), other_border(column)) {
                (Some(at), _) => placed.push(at),
                (None, Some(other)) if key.contains(&other) && place(other).is_some() => {}
                (None, _) => return None,
            }
        }
        Some(placed)
    }
}
