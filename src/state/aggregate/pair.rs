//! `CORR`, `COVAR_POP`, `COVAR_SAMP` and `REGR_..` from exact sums of two columns, their squares
//! and their product.

use std::any::Any;
use std::ops::Range;

use super::per_group::{Additive, PerGroup};
use super::{AggregateState, StepInput, same};
use crate::error::{Error, Result};
use crate::plan::aggregate::PairStatistic;
use crate::state::column::{ColumnBuilder, Values};
use crate::state::encode::{Encode, Encoded};
use crate::state::exact::{FloatTotal, covariance_numerator, variance_numerator};
use crate::state::saved::{LoadedColumns, SavedColumns};

#[derive(Default)]
struct Moments {
    count: i64,
    x: FloatTotal,
    y: FloatTotal,
    xx: FloatTotal,
    yy: FloatTotal,
    xy: FloatTotal,
}

/// Sums of pairs by group.
pub(super) struct Pairs {
    /// The columns of y and x.
    columns: (usize, usize),
    selection: usize,
    members: Vec<PairStatistic>,
    moments: PerGroup<Moments>,
}

impl Pairs {
    pub(super) fn new(
        columns: (usize, usize),
        selection: usize,
        members: Vec<PairStatistic>,
    ) -> Self {
        Pairs { columns, selection, members, moments: PerGroup::default() }
    }
}

impl Moments {
    fn add(&mut self, y: f64, x: f64, diff: i64) {
        self.count += diff;
        self.x.add(x, diff);
        self.y.add(y, diff);
        self.xx.add_product(x, x, diff);
        self.yy.add_product(y, y, diff);
        self.xy.add_product(x, y, diff);
    }

    /// The statistic; `None` where it is not defined.
    fn value(&self, statistic: PairStatistic) -> Option<f64> {
        use PairStatistic as S;
        let n = self.count as f64;
        if statistic == S::Count {
            return Some(n);
        }
        if self.count <= 0 {
            return None;
        }
        if !(self.x.value().is_finite() && self.y.value().is_finite()) {
            return Some(f64::NAN);
        }
        let xx = variance_numerator(self.count, &self.x, &self.xx) / n;
        let yy = variance_numerator(self.count, &self.y, &self.yy) / n;
        let xy = covariance_numerator(self.count, (&self.x, &self.y), &self.xy) / n;
        let (mean_x, mean_y) = (self.x.value() / n, self.y.value() / n);
        let has_slope = self.count > 1 && xx > 0.0;
        match statistic {
            S::Count => Some(n),
            S::AverageX => Some(mean_x),
            S::AverageY => Some(mean_y),
            S::Sxx => Some(xx),
            S::Syy => Some(yy),
            S::Sxy => Some(xy),
            S::Covariance { sample: false } => Some(xy / n),
            S::Covariance { sample: true } => (self.count > 1).then(|| xy / (n - 1.0)),
            S::Slope => has_slope.then(|| xy / xx),
            S::Intercept => has_slope.then(|| mean_y - xy / xx * mean_x),
            S::Determination => (has_slope && yy > 0.0).then(|| xy * xy / (xx * yy)),
            S::Correlation => {
                (has_slope && yy > 0.0).then(|| (xy / (xx.sqrt() * yy.sqrt())).clamp(-1.0, 1.0))
            }
        }
    }
}

impl Encode for Moments {
    fn encode(&self, out: &mut Vec<u8>) {
        self.count.encode(out);
        self.x.encode(out);
        self.y.encode(out);
        self.xx.encode(out);
        self.yy.encode(out);
        self.xy.encode(out);
    }

    fn decode(from: &mut Encoded<'_>) -> Result<Self> {
        Ok(Moments {
            count: i64::decode(from)?,
            x: FloatTotal::decode(from)?,
            y: FloatTotal::decode(from)?,
            xx: FloatTotal::decode(from)?,
            yy: FloatTotal::decode(from)?,
            xy: FloatTotal::decode(from)?,
        })
    }
}

impl Additive for Moments {
    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.x.merge(&other.x);
        self.y.merge(&other.y);
        self.xx.merge(&other.xx);
        self.yy.merge(&other.yy);
        self.xy.merge(&other.xy);
    }
}

impl AggregateState for Pairs {
    fn resize(&mut self, groups: usize) {
        self.moments.resize(groups);
    }

    fn update(&mut self, input: &StepInput, rows: Range<usize>, groups: &[u32]) -> Result<()> {
        let (y, x) = (input.column(self.columns.0)?, input.column(self.columns.1)?);
        let (Values::Float(y), Values::Float(x)) = (&y.values, &x.values) else {
            return Err(Error::internal("the arguments of a pair were not read as floats"));
        };
        let moments = self.moments.as_mut_slice();
        input.for_each(self.selection, rows, groups, |row, group, diff| {
            moments[group].add(y[row], x[row], diff);
        });
        Ok(())
    }

    fn merge(&mut self, other: &dyn AggregateState, groups: &[u32]) -> Result<()> {
        self.moments.merge(&same::<Self>(other)?.moments, groups);
        Ok(())
    }

    fn absorb(&mut self, pairs: &[(u32, u32)]) {
        self.moments.absorb(pairs);
    }

    fn clear(&mut self, groups: &[u32]) {
        self.moments.clear(groups);
    }

    fn reset(&mut self) {
        self.moments.reset();
    }

    fn append(&self, member: usize, groups: &[u32], out: &mut ColumnBuilder) -> Result<()> {
        for &group in groups {
            let statistic = self.members.get(member);
            match statistic.and_then(|&s| self.moments[group].value(s)) {
                Some(_) if statistic == Some(&PairStatistic::Count) => {
                    out.push_int(self.moments[group].count);
                }
                Some(value) => out.push_float(value),
                None => out.push_null(),
            }
        }
        Ok(())
    }

    fn save(&self, groups: &[u32], out: &mut SavedColumns) {
        self.moments.save(groups, out);
    }

    fn load(&mut self, groups: &[u32], saved: &mut LoadedColumns<'_>) -> Result<()> {
        self.moments.load(groups, saved)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
