//! Temporal filters: rows that a comparison with `NOW()` lets in and out as event time passes.

/// A filter whose truth for a row is an interval of `NOW()`.
///
/// Its output is the leading columns of its input; those behind hold the bounds. A row is there
/// from the greatest of `from` until the least of `until`; a NULL bound means never.
#[derive(Clone, Debug, PartialEq)]
pub struct TemporalFilter {
    /// How many leading columns are passed on.
    pub width: usize,
    /// What `NOW()` must have reached.
    pub from: Vec<TimeBound>,
    /// What `NOW()` must not have reached.
    pub until: Vec<TimeBound>,
    /// The comparisons as they were written, to show.
    pub text: String,
}

/// A moment of `NOW()` for each row: the first millisecond at which `NOW()`, rounded down to
/// whole `unit_ms`, is at (or above) the value of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeBound {
    /// The column: TIMESTAMP or DATE.
    pub column: usize,
    /// Strictly above the value, not at it.
    pub above: bool,
    /// To what `NOW()` is rounded down before it is compared.
    pub unit_ms: i64,
}

impl TimeBound {
    /// The moment for a value of `per_value` microseconds a unit; saturates at the ends of time.
    pub fn moment(&self, value: i64, per_value: i64) -> i64 {
        let (micros, unit) =
            (i128::from(value) * i128::from(per_value), i128::from(self.unit_ms.max(1)) * 1000);
        let whole = micros.div_euclid(unit);
        let next = self.above || micros.rem_euclid(unit) != 0;
        let moment = (whole + i128::from(next)) * unit / 1000;
        moment.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_the_first_milliseconds_of_truth() {
        for (unit_ms, per_value) in [(1, 1000), (1, 1), (1000, 1000), (7, 3000), (1, 1_000_000)] {
            for value in -25..25 {
                for above in [false, true] {
                    let bound = TimeBound { column: 0, above, unit_ms };
                    let holds = |now: i64| {
                        let (now, value) =
                            (now.div_euclid(unit_ms) * unit_ms * 1000, value * per_value);
                        now > value || (now == value && !above)
                    };
                    let moment = bound.moment(value, per_value);
                    assert!(holds(moment) && !holds(moment - 1), "{bound:?} {value} {moment}");
                }
            }
        }
    }
}
