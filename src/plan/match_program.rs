//! The pattern of a MATCH_RECOGNIZE as a program for a backtracking automaton.
//!
//! The order in which a program is tried is the standard's order of preference: a greedy repetition
//! tries another round before it goes on, a reluctant one the other way round, an alternation its
//! alternatives from left to right. A round of an unbounded or optional repetition that took no row
//! is its last, so every run ends. Made by the lowering, run by the operator.

use crate::error::{Error, Result};
use crate::limits::MATCH_STATES_MAX;
use crate::sql::match_recognize::node::Variables;
use crate::sql::match_recognize::pattern::Pattern;

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Takes the next row if it fulfils the condition of the variable.
    Row {
        /// The variable.
        variable: u8,
        /// Whether the row is left out of the output.
        excluded: bool,
    },
    /// Goes on at the first, and if that fails at the second.
    Split(u32, u32),
    /// Goes on elsewhere.
    Jump(u32),
    /// Notes the place among the rows where a round begins.
    Mark(u16),
    /// Leaves the repetition if the round that began at the mark took no row.
    Check {
        /// The mark.
        mark: u16,
        /// Behind the repetition.
        exit: u32,
    },
    /// Fails unless no row of the partition lies before.
    First,
    /// Fails unless no row of the partition follows.
    Last,
    /// The match is complete.
    Accept,
}

/// A pattern as steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The steps; the first is the start.
    pub steps: Vec<Step>,
    /// Number of marks.
    pub marks: usize,
}

struct Compiler<'a> {
    program: Program,
    variables: &'a [String],
    excluded: bool,
}

impl Program {
    /// Compiles `pattern`, whose variables are numbered as in `variables`.
    pub fn compile(pattern: &Pattern, variables: &[String]) -> Result<Program> {
        let program = Program { steps: Vec::new(), marks: 0 };
        let mut compiler = Compiler { program, variables, excluded: false };
        compiler.pattern(pattern)?;
        compiler.push(Step::Accept)?;
        Ok(compiler.program)
    }

    /// Whether matches may be of different lengths or variables: then it can take rows behind a
    /// match to know that it is the preferred one.
    pub fn has_choice(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Split(..)))
    }

    /// The variables that the first row of a match may have; `None` if a match may have no row.
    pub fn first(&self) -> Option<Variables> {
        let mut found = 0;
        let mut seen = vec![false; self.steps.len()];
        let mut open = vec![0u32];
        while let Some(at) = open.pop() {
            if std::mem::replace(seen.get_mut(at as usize)?, true) {
                continue;
            }
            match *self.steps.get(at as usize)? {
                Step::Row { variable, .. } => found |= 1 << variable,
                Step::Split(first, second) => open.extend([first, second]),
                Step::Jump(to) => open.push(to),
                Step::Mark(_) | Step::First => open.push(at + 1),
                Step::Check { exit, .. } => open.extend([exit, at + 1]),
                Step::Last | Step::Accept => return None,
            }
        }
        Some(found)
    }

    /// Whether it asks for the partition's beginning.
    pub fn asks_first(&self) -> bool {
        self.steps.contains(&Step::First)
    }

    /// Whether it asks for the partition's end.
    pub fn asks_last(&self) -> bool {
        self.steps.contains(&Step::Last)
    }
}

impl Compiler<'_> {
    fn here(&self) -> u32 {
        self.program.steps.len() as u32
    }

    fn push(&mut self, step: Step) -> Result<u32> {
        let at = self.here();
        if at as usize >= MATCH_STATES_MAX {
            let message = format!("the pattern has more than {MATCH_STATES_MAX} states");
            return Err(Error::sql(message)
                .with_hint("repetitions {n,m} and PERMUTE count once for each way they can go"));
        }
        self.program.steps.push(step);
        Ok(at)
    }

    fn set(&mut self, at: u32, step: Step) {
        if let Some(place) = self.program.steps.get_mut(at as usize) {
            *place = step;
        }
    }

    fn pattern(&mut self, pattern: &Pattern) -> Result<()> {
        match pattern {
            Pattern::Empty => Ok(()),
            Pattern::First => self.push(Step::First).map(|_| ()),
            Pattern::Last => self.push(Step::Last).map(|_| ()),
            Pattern::Row(name) => {
                let number = self.variables.iter().position(|known| known == name);
                let Some(variable) = number.and_then(|number| u8::try_from(number).ok()) else {
                    return Err(Error::internal(format!("the pattern variable {name} is unknown")));
                };
                self.push(Step::Row { variable, excluded: self.excluded }).map(|_| ())
            }
            Pattern::Concat(parts) => parts.iter().try_for_each(|part| self.pattern(part)),
            Pattern::Alternation(parts) => {
                let count = parts.len();
                self.alternatives(count, |compiler, index| match parts.get(index) {
                    Some(part) => compiler.pattern(part),
                    None => Ok(()),
                })
            }
            Pattern::Permute(parts) => self.permute(parts),
            Pattern::Exclude(inner) => {
                let outer = std::mem::replace(&mut self.excluded, true);
                let done = self.pattern(inner);
                self.excluded = outer;
                done
            }
            Pattern::Repeat { pattern, min, max, greedy } => {
                self.repeat(pattern, *min, *max, *greedy)
            }
        }
    }

    fn alternatives(
        &mut self,
        count: usize,
        mut each: impl FnMut(&mut Self, usize) -> Result<()>,
    ) -> Result<()> {
        let mut ends = Vec::new();
        for index in 0..count {
            if index + 1 == count {
                each(self, index)?;
                break;
            }
            let split = self.push(Step::Split(0, 0))?;
            each(self, index)?;
            ends.push(self.push(Step::Jump(0))?);
            let next = self.here();
            self.set(split, Step::Split(split + 1, next));
        }
        let end = self.here();
        ends.into_iter().for_each(|at| self.set(at, Step::Jump(end)));
        Ok(())
    }

    /// All orders of `parts`, those that begin as written first.
    fn permute(&mut self, parts: &[Pattern]) -> Result<()> {
        fn orders(chosen: &mut Vec<usize>, count: usize, found: &mut Vec<Vec<usize>>) {
            if chosen.len() == count {
                found.push(chosen.clone());
            }
            for next in 0..count {
                if found.len() <= MATCH_STATES_MAX && !chosen.contains(&next) {
                    chosen.push(next);
                    orders(chosen, count, found);
                    chosen.pop();
                }
            }
        }
        let mut found = Vec::new();
        orders(&mut Vec::new(), parts.len(), &mut found);
        self.alternatives(found.len(), |compiler, index| {
            let order = found.get(index).map(Vec::as_slice).unwrap_or_default();
            order.iter().filter_map(|&part| parts.get(part)).try_for_each(|p| compiler.pattern(p))
        })
    }

    fn repeat(&mut self, body: &Pattern, min: u32, max: Option<u32>, greedy: bool) -> Result<()> {
        for _ in 0..min {
            self.pattern(body)?;
        }
        let mut splits = Vec::new();
        let mut checks = Vec::new();
        let rounds = max.map_or(1, |max| max.saturating_sub(min));
        for _ in 0..rounds {
            splits.push(self.push(Step::Split(0, 0))?);
            let mark = match body.is_nullable() {
                true => Some(self.mark()?),
                false => None,
            };
            self.pattern(body)?;
            if let Some(mark) = mark {
                checks.push((self.push(Step::Check { mark, exit: 0 })?, mark));
            }
            if max.is_none() {
                let top = splits.first().copied().unwrap_or_default();
                self.push(Step::Jump(top))?;
            }
        }
        let exit = self.here();
        for split in splits {
            let round = split + 1;
            let step = if greedy { Step::Split(round, exit) } else { Step::Split(exit, round) };
            self.set(split, step);
        }
        for (at, mark) in checks {
            self.set(at, Step::Check { mark, exit });
        }
        Ok(())
    }

    fn mark(&mut self) -> Result<u16> {
        let mark = u16::try_from(self.program.marks)
            .map_err(|_| Error::internal("a pattern of more marks than states"))?;
        self.program.marks += 1;
        self.push(Step::Mark(mark))?;
        Ok(mark)
    }
}
