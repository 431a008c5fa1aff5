//! MATCH_RECOGNIZE as a recursion over the whole input.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, TimestampMillisecondArray};

use super::{Row, Seen};
use crate::state::keyed::row_text;
use crate::time::LATEST;

/// A pattern over variables by number.
#[derive(Clone, Debug)]
pub enum Pat {
    Var(usize),
    Seq(Vec<Pat>),
    Or(Vec<Pat>),
    Rep(Box<Pat>, u32, Option<u32>, bool),
    Out(Box<Pat>),
}

/// A condition of a variable.
#[derive(Clone, Debug)]
pub enum Cond {
    Always,
    Less(i64),
    More(i64),
    Rises,
    NoLessThanLast,
    NoLessThanFirst(usize),
    SumBelow(i64),
    RowsUpTo(i64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum After {
    Past,
    Next,
    Last(usize),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    One,
    All,
    Unmatched,
}

/// A whole clause.
#[derive(Clone, Debug)]
pub struct Clause {
    pub pat: Pat,
    pub conds: Vec<Cond>,
    pub after: After,
    pub within: Option<i64>,
    pub shape: Shape,
    pub by_k: bool,
}

pub const NAMES: [&str; 4] = ["A", "B", "C", "D"];

impl Pat {
    pub fn sql(&self) -> String {
        match self {
            Pat::Var(v) => NAMES[*v].to_owned(),
            Pat::Seq(parts) => {
                format!("({})", parts.iter().map(Pat::sql).collect::<Vec<_>>().join(" "))
            }
            Pat::Or(parts) => {
                format!("({})", parts.iter().map(Pat::sql).collect::<Vec<_>>().join(" | "))
            }
            Pat::Rep(body, min, max, greedy) => {
                let max = max.map_or(String::new(), |m| m.to_string());
                let mark = if *greedy { "" } else { "?" };
                format!("({}){{{min},{max}}}{mark}", body.sql())
            }
            Pat::Out(body) => format!("{{- {} -}}", body.sql()),
        }
    }

    pub fn vars(&self, found: &mut BTreeSet<usize>) {
        match self {
            Pat::Var(v) => {
                found.insert(*v);
            }
            Pat::Seq(parts) | Pat::Or(parts) => parts.iter().for_each(|p| p.vars(found)),
            Pat::Rep(body, ..) | Pat::Out(body) => body.vars(found),
        }
    }

    fn has_out(&self) -> bool {
        match self {
            Pat::Var(_) => false,
            Pat::Seq(parts) | Pat::Or(parts) => parts.iter().any(Pat::has_out),
            Pat::Rep(body, ..) => body.has_out(),
            Pat::Out(_) => true,
        }
    }
}

impl Clause {
    pub fn is_valid(&self) -> bool {
        let mut vars = BTreeSet::new();
        self.pat.vars(&mut vars);
        let skips = match self.after {
            After::Last(v) => vars.contains(&v),
            _ => true,
        };
        let first = self.conds.iter().all(|c| match c {
            Cond::NoLessThanFirst(v) => vars.contains(v),
            _ => true,
        });
        skips && first && !(self.shape == Shape::Unmatched && self.pat.has_out())
    }

    pub fn sql(&self) -> String {
        let mut vars = BTreeSet::new();
        self.pat.vars(&mut vars);
        let defines = vars.iter().filter_map(|&v| {
            let n = NAMES[v];
            let text = match &self.conds[v] {
                Cond::Always => return None,
                Cond::Less(c) => format!("{n}.x < {c}"),
                Cond::More(c) => format!("{n}.x > {c}"),
                Cond::Rises => format!("{n}.x > PREV({n}.x)"),
                Cond::NoLessThanLast => {
                    format!("LAST({n}.x, 1) IS NULL OR {n}.x >= LAST({n}.x, 1)")
                }
                Cond::NoLessThanFirst(of) => format!("{n}.x >= FIRST({}.x)", NAMES[*of]),
                Cond::SumBelow(c) => format!("SUM({n}.x) < {c}"),
                Cond::RowsUpTo(c) => format!("COUNT(*) <= {c}"),
            };
            Some(format!("{n} AS {text}"))
        });
        let mut defines: Vec<String> = defines.collect();
        if defines.is_empty() {
            let first = vars.first().copied().unwrap_or(0);
            defines.push(format!("{} AS TRUE", NAMES[first]));
        }
        let v = NAMES[vars.first().copied().unwrap_or(0)];
        let measures = match self.shape {
            Shape::One => format!(
                "FIRST(id) AS f, LAST(id) AS l, COUNT(*) AS n, SUM({v}.x) AS s, \
                 LAST({v}.id, 1) AS q, CLASSIFIER() AS c"
            ),
            Shape::All => format!(
                "CLASSIFIER() AS c, COUNT(*) AS n, FINAL COUNT({v}.*) AS m, SUM({v}.x) AS s"
            ),
            Shape::Unmatched => "CLASSIFIER() AS c, MATCH_NUMBER() AS n".to_owned(),
        };
        let rows = match self.shape {
            Shape::One => "ONE ROW PER MATCH",
            Shape::All => "ALL ROWS PER MATCH",
            Shape::Unmatched => "ALL ROWS PER MATCH WITH UNMATCHED ROWS",
        };
        let skip = match self.after {
            After::Past => "PAST LAST ROW".to_owned(),
            After::Next => "TO NEXT ROW".to_owned(),
            After::Last(v) => format!("TO LAST {}", NAMES[v]),
        };
        let within = self
            .within
            .map_or(String::new(), |ms| format!("WITHIN INTERVAL '{}' SECOND", ms as f64 / 1000.0));
        let by = if self.by_k { "PARTITION BY k " } else { "" };
        format!(
            "{by}ORDER BY ts MEASURES {measures} {rows} AFTER MATCH SKIP {skip} PATTERN ({}) \
             {within} DEFINE {}",
            self.pat.sql(),
            defines.join(", ")
        )
    }

    /// What must come out.
    pub fn naive(&self, rows: &[Row]) -> Seen {
        let mut seen = Seen::default();
        let mut partitions: BTreeMap<i64, Vec<Row>> = BTreeMap::new();
        for row in rows {
            if row.time > row.ts {
                seen.late.extend(vec![(row.time, row.ts); 1]);
                continue;
            }
            let key = if self.by_k { row.k } else { 0 };
            let copies = vec![row.clone(); row.diff as usize];
            partitions.entry(key).or_default().extend(copies);
        }
        for rows in partitions.values_mut() {
            // A column that nobody reads breaks no tie.
            let reads_k = self.by_k || self.shape != Shape::One;
            rows.sort_by_key(|r| (r.ts, if reads_k { r.k } else { 0 }, r.x, r.id));
            Search { clause: self, rows, start: 0, high: i64::MIN }.all(&mut seen);
        }
        seen.late.sort_unstable();
        seen
    }
}

struct Search<'a> {
    clause: &'a Clause,
    rows: &'a [Row],
    start: usize,
    high: i64,
}

/// The variable of each row, and whether it is left out.
type Path = Vec<(usize, bool)>;

impl Search<'_> {
    fn all(&mut self, seen: &mut Seen) {
        let independent = self.clause.after == After::Next && self.clause.shape != Shape::Unmatched;
        let mut covered = vec![false; self.rows.len()];
        let mut number = 0;
        while self.start < self.rows.len() {
            if independent {
                self.high = i64::MIN;
            }
            self.high = self.high.max(self.rows[self.start].ts);
            let mut path = Path::new();
            let mut found = None;
            let pat = self.clause.pat.clone();
            self.find(&pat, false, &mut path, &mut |_, path| {
                found = Some(path.clone());
                true
            });
            let time = if self.high == i64::MAX { LATEST } else { self.high };
            let mut next = self.start + 1;
            if let Some(path) = found {
                number += 1;
                let shown = path.len().max(1);
                covered[self.start..self.start + shown].iter_mut().for_each(|c| *c = true);
                self.show(&path, number, time, seen);
                next = match self.clause.after {
                    After::Past => self.start + shown,
                    After::Next => self.start + 1,
                    After::Last(v) => {
                        let place = path.iter().rposition(|(of, _)| *of == v).unwrap_or(0);
                        if place == 0 && !path.is_empty() {
                            seen.dead.push((time, String::new()));
                        }
                        self.start + place.max(1)
                    }
                };
            }
            for (at, row) in self.rows.iter().enumerate().take(next).skip(self.start) {
                if !covered[at] && self.clause.shape == Shape::Unmatched {
                    seen.add(time, self.all_text(row, vec!["NULL".into(), "NULL".into()]));
                }
            }
            self.start = next;
        }
    }

    fn find(
        &mut self,
        pat: &Pat,
        out: bool,
        path: &mut Path,
        then: &mut dyn FnMut(&mut Self, &mut Path) -> bool,
    ) -> bool {
        match pat {
            Pat::Var(v) => {
                if !self.takes(*v, path) {
                    return false;
                }
                path.push((*v, out));
                let done = then(self, path);
                path.pop();
                done
            }
            Pat::Seq(parts) => match parts.split_first() {
                None => then(self, path),
                Some((first, rest)) => {
                    let rest = Pat::Seq(rest.to_vec());
                    self.find(first, out, path, &mut |me, path| me.find(&rest, out, path, then))
                }
            },
            Pat::Or(parts) => parts.iter().any(|part| self.find(part, out, path, then)),
            Pat::Out(body) => self.find(body, true, path, then),
            Pat::Rep(body, min, max, greedy) => {
                self.repeat((body, *min, *max, *greedy), out, 0, path, then)
            }
        }
    }

    fn repeat(
        &mut self,
        rep: (&Pat, u32, Option<u32>, bool),
        out: bool,
        done: u32,
        path: &mut Path,
        then: &mut dyn FnMut(&mut Self, &mut Path) -> bool,
    ) -> bool {
        let (body, min, max, greedy) = rep;
        if done < min {
            return self
                .find(body, out, path, &mut |me, path| me.repeat(rep, out, done + 1, path, then));
        }
        if !greedy && then(self, path) {
            return true;
        }
        if max.is_none_or(|max| done < max) {
            let before = path.len();
            let more = self.find(body, out, path, &mut |me, path| match path.len() == before {
                // A round without a row is the last.
                true => then(me, path),
                false => me.repeat(rep, out, done + 1, path, then),
            });
            if more {
                return true;
            }
        }
        greedy && then(self, path)
    }

    /// Whether the next row is one of `v`.
    fn takes(&mut self, v: usize, path: &Path) -> bool {
        let at = self.start + path.len();
        let deadline = self.clause.within.map_or(i64::MAX, |ms| self.rows[self.start].ts + ms);
        let Some(row) = self.rows.get(at).filter(|row| row.ts < deadline) else {
            let high = if deadline == i64::MAX { i64::MAX } else { deadline - 1 };
            self.high = self.high.max(high);
            return false;
        };
        self.high = self.high.max(row.ts);
        let own = |of: usize| {
            let rows = path.iter().enumerate().filter(move |(_, (var, _))| *var == of);
            rows.map(|(place, _)| self.rows[self.start + place].x)
        };
        match &self.clause.conds[v] {
            Cond::Always => true,
            Cond::Less(c) => row.x < *c,
            Cond::More(c) => row.x > *c,
            Cond::Rises => at > 0 && row.x > self.rows[at - 1].x,
            Cond::NoLessThanLast => own(v).next_back().is_none_or(|last| row.x >= last),
            Cond::NoLessThanFirst(of) if *of == v => own(v).next().is_none_or(|f| row.x >= f),
            Cond::NoLessThanFirst(of) => own(*of).next().is_some_and(|first| row.x >= first),
            Cond::SumBelow(c) => own(v).sum::<i64>() + row.x < *c,
            Cond::RowsUpTo(c) => (path.len() as i64) < *c,
        }
    }

    fn all_text(&self, row: &Row, measures: Vec<String>) -> String {
        let ts: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![row.ts]));
        let ts = row_text(&[ts], 0).unwrap();
        let mut text = if self.clause.by_k { vec![row.k.to_string(), ts] } else { vec![ts] };
        text.extend(measures);
        if !self.clause.by_k {
            text.push(row.k.to_string());
        }
        text.extend([row.x.to_string(), row.id.to_string()]);
        text.join(",")
    }

    fn show(&self, path: &Path, number: i64, time: i64, seen: &mut Seen) {
        let mut vars = BTreeSet::new();
        self.clause.pat.vars(&mut vars);
        let v = vars.first().copied().unwrap_or(0);
        let rows = &self.rows[self.start..self.start + path.len()];
        let null = || "NULL".to_owned();
        let or_null = |value: Option<i64>| value.map_or_else(null, |value| value.to_string());
        let own = |upto: usize| -> Vec<&Row> {
            let rows = rows[..upto].iter().zip(path);
            rows.filter(|(_, (of, _))| *of == v).map(|(row, _)| row).collect()
        };
        let sum = |upto: usize| match own(upto).as_slice() {
            [] => null(),
            rows => rows.iter().map(|r| r.x).sum::<i64>().to_string(),
        };
        let class = |upto: usize| path[..upto].last().map_or_else(null, |(v, _)| NAMES[*v].into());
        let count = path.len();
        if self.clause.shape == Shape::One {
            let mut text = Vec::new();
            if self.clause.by_k {
                text.push(self.rows[self.start].k.to_string());
            }
            text.push(or_null(rows.first().map(|r| r.id)));
            text.push(or_null(rows.last().map(|r| r.id)));
            text.push(count.to_string());
            text.push(sum(count));
            text.push(or_null(own(count).iter().rev().nth(1).map(|r| r.id)));
            text.push(class(count));
            seen.add(time, text.join(","));
            return;
        }
        let measures = |upto: usize| match self.clause.shape {
            Shape::Unmatched => vec![class(upto), number.to_string()],
            _ => vec![class(upto), upto.to_string(), own(count).len().to_string(), sum(upto)],
        };
        if path.is_empty() {
            seen.add(time, self.all_text(&self.rows[self.start], measures(0)));
        }
        for (place, row) in rows.iter().enumerate().filter(|(place, _)| !path[*place].1) {
            seen.add(time, self.all_text(row, measures(place + 1)));
        }
    }
}
