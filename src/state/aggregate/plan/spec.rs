//! [`Spec`]: what a state is made of, which calls share one, and the state made of it.

use arrow::datatypes::DataType;

use crate::plan::aggregate::{BitOperation, PairStatistic, Quantile};
use crate::state::aggregate::bits::Bits;
use crate::state::aggregate::count::Count;
use crate::state::aggregate::distinct::{Distinct, Member};
use crate::state::aggregate::extreme::{Bytes, Extreme, Ints, Kind, Multiset, Timed, Wides};
use crate::state::aggregate::ordered::{Ordered, Reader};
use crate::state::aggregate::pair::Pairs;
use crate::state::aggregate::quantile::{Meaning, Quantiles};
use crate::state::aggregate::sum::{Measure, Sum, WideTotal};
use crate::state::aggregate::variance::{Spread, Variance};
use crate::state::aggregate::{AggregateState, ValueState};
use crate::state::column::{Form, decimal_scale, form_of};
use crate::state::exact::FloatTotal;

/// What a state is made of; equal keys mean one state for several calls.
#[derive(Clone, Debug)]
pub(super) enum Spec {
    Count {
        selection: usize,
    },
    Sum {
        column: usize,
        selection: usize,
        form: Form,
        scale: i8,
        members: Vec<Measure>,
    },
    Variance {
        column: usize,
        selection: usize,
        scale: i8,
        members: Vec<Spread>,
    },
    Extreme {
        column: usize,
        selection: usize,
        form: Form,
        timed: bool,
        greatest: bool,
    },
    Ordered {
        column: usize,
        selection: usize,
        reader: Reader,
    },
    Quantile {
        column: usize,
        selection: usize,
        form: Form,
        meaning: Meaning,
        members: Vec<Quantile>,
    },
    Pairs {
        columns: (usize, usize),
        selection: usize,
        members: Vec<PairStatistic>,
    },
    Bits {
        column: usize,
        selection: usize,
        width: usize,
        members: Vec<BitOperation>,
    },
    Distinct {
        columns: Vec<usize>,
        types: Vec<DataType>,
        filters: Vec<usize>,
        members: Vec<Unique>,
    },
}

/// A call over distinct values: the index of its filter, and what it does with new values.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unique {
    pub(super) filter: usize,
    pub(super) inner: Inner,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Inner {
    Count,
    Sum(Measure),
    Variance(Spread),
}

impl Spec {
    /// Makes this state serve `other` as well, if it can.
    pub(super) fn take_in(&mut self, other: &Spec) -> Option<usize> {
        match (self, other) {
            (Spec::Count { selection: a }, Spec::Count { selection: b }) => (*a == *b).then_some(0),
            (
                Spec::Sum { column: a, selection: b, members, .. },
                Spec::Sum { column: c, selection: d, members: more, .. },
            ) if a == c && b == d => more.first().map(|m| position_or_push(members, *m)),
            (
                Spec::Variance { column: a, selection: b, members, .. },
                Spec::Variance { column: c, selection: d, members: more, .. },
            ) if a == c && b == d => more.first().map(|m| position_or_push(members, *m)),
            (
                Spec::Quantile { column: a, selection: b, members, .. },
                Spec::Quantile { column: c, selection: d, members: more, .. },
            ) if a == c && b == d => more.first().map(|m| position_or_push(members, *m)),
            (
                Spec::Pairs { columns: a, selection: b, members },
                Spec::Pairs { columns: c, selection: d, members: more },
            ) if a == c && b == d => more.first().map(|m| position_or_push(members, *m)),
            (
                Spec::Bits { column: a, selection: b, members, .. },
                Spec::Bits { column: c, selection: d, members: more, .. },
            ) if a == c && b == d => more.first().map(|m| position_or_push(members, *m)),
            (
                Spec::Extreme { column: a, selection: b, timed: t, greatest: g, .. },
                Spec::Extreme { column: c, selection: d, timed: u, greatest: h, .. },
            ) => ((*a, *b, *t, *g) == (*c, *d, *u, *h)).then_some(0),
            _ => None,
        }
    }

    pub(super) fn state(&self, append_only: bool) -> Box<dyn AggregateState> {
        match self {
            Spec::Count { selection } => Box::new(Count::new(*selection)),
            Spec::Sum { column, selection, form, scale, members } => {
                sum(*column, *selection, *form, *scale, members.clone())
            }
            Spec::Variance { column, selection, scale, members } => {
                Box::new(Variance::new(*column, *selection, *scale, members.clone()))
            }
            Spec::Extreme { column, selection, form, timed, greatest } => {
                let make = (*column, *selection, *greatest, append_only);
                match (form, timed) {
                    (Form::Int | Form::Float, false) => extreme::<Ints>(make),
                    (Form::Wide, false) => extreme::<Wides>(make),
                    (_, false) => extreme::<Bytes>(make),
                    (Form::Int | Form::Float, true) => extreme::<Timed<Ints>>(make),
                    (Form::Wide, true) => extreme::<Timed<Wides>>(make),
                    (_, true) => extreme::<Timed<Bytes>>(make),
                }
            }
            Spec::Quantile { column, selection, form, meaning, members } => {
                let (column, selection, members) = (*column, *selection, members.clone());
                match form {
                    Form::Int | Form::Float => {
                        Box::new(Quantiles::<Ints>::new(column, selection, *meaning, members))
                    }
                    Form::Wide => {
                        Box::new(Quantiles::<Wides>::new(column, selection, *meaning, members))
                    }
                    _ => Box::new(Quantiles::<Bytes>::new(column, selection, *meaning, members)),
                }
            }
            Spec::Pairs { columns, selection, members } => {
                Box::new(Pairs::new(*columns, *selection, members.clone()))
            }
            Spec::Bits { column, selection, width, members } => {
                Box::new(Bits::new(*column, *selection, *width, members.clone()))
            }
            Spec::Ordered { column, selection, reader } => {
                Box::new(Ordered::new(*column, *selection, !append_only, reader.clone()))
            }
            Spec::Distinct { columns, types, filters, members } => {
                let members = members.iter().map(|unique| unique.member(types)).collect();
                let (columns, types, filters) = (columns.clone(), types.clone(), filters.clone());
                Box::new(Distinct::new(columns, types, filters, members, !append_only))
            }
        }
    }
}

impl Unique {
    fn member(&self, types: &[DataType]) -> Member {
        let data_type = types.first().unwrap_or(&DataType::Int64);
        let scale = decimal_scale(data_type);
        let inner = match &self.inner {
            Inner::Count => None,
            Inner::Sum(measure) => Some(sum(0, 0, form_of(data_type), scale, vec![*measure])),
            Inner::Variance(spread) => {
                let state = Variance::new(0, 0, scale, vec![*spread]);
                Some(Box::new(state) as Box<dyn ValueState>)
            }
        };
        Member { filter: self.filter, inner }
    }
}

fn sum(
    column: usize,
    selection: usize,
    form: Form,
    scale: i8,
    members: Vec<Measure>,
) -> Box<dyn ValueState> {
    match form {
        Form::Float => Box::new(Sum::<FloatTotal>::new(column, selection, scale, members)),
        Form::Wide => Box::new(Sum::<WideTotal>::new(column, selection, scale, members)),
        _ => Box::new(Sum::<i128>::new(column, selection, scale, members)),
    }
}

fn extreme<K: Kind>(
    (column, selection, greatest, append_only): (usize, usize, bool, bool),
) -> Box<dyn AggregateState> {
    if append_only {
        Box::new(Extreme::<K>::new(column, selection, greatest))
    } else {
        Box::new(Multiset::<K>::new(column, selection, greatest))
    }
}

pub(super) fn position_or_push<T: PartialEq>(all: &mut Vec<T>, one: T) -> usize {
    all.iter().position(|other| *other == one).unwrap_or_else(|| {
        all.push(one);
        all.len() - 1
    })
}
