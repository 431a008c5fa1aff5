//! Window assignment: which windows of a shape hold a time, as pure arithmetic.
//!
//! A window is named by its start and end. All arithmetic is checked: times so extreme that a bound
//! would leave `i64` have no windows. Called by the windowed operators; sessions are not computable
//! from one time and are none of its business.

use crate::error::{Error, Result};
use crate::limits::{PANES_PER_WINDOW_MAX, WINDOWS_PER_ROW_MAX};
use crate::sql::window::WindowSpec;

/// A window `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// First time inside.
    pub start: i64,
    /// First time after.
    pub end: i64,
}

/// A shape of windows other than sessions, checked once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowShape {
    kind: Kind,
    size: i64,
    /// Distance of starts (hop) or of ends (cumulate).
    step: i64,
    offset: i64,
    /// Length of a pane.
    pane: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Hop,
    Cumulate,
}

/// A stretch of time whose rows are in the same windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pane {
    /// First time inside.
    pub start: i64,
    /// First time after.
    pub end: i64,
    /// The least end of a window that holds the pane; `None` if there is no window.
    pub first_end: Option<i64>,
    /// The greatest end of a window that holds the pane.
    pub last_end: Option<i64>,
}

impl WindowShape {
    /// The shape of `spec`; an error for sessions and for spans that are not positive.
    pub fn new(spec: &WindowSpec) -> Result<WindowShape> {
        let (kind, size, step, offset) = match *spec {
            WindowSpec::Tumble { size, offset } => (Kind::Hop, size, size, offset),
            WindowSpec::Hop { size, slide, offset } => (Kind::Hop, size, slide, offset),
            WindowSpec::Cumulate { size, step, offset } => (Kind::Cumulate, size, step, offset),
            WindowSpec::Session { .. } => {
                return Err(Error::internal("a session has no fixed windows"));
            }
        };
        if size <= 0 || step <= 0 {
            return Err(Error::sql("a window needs a size and a slide or step above zero"));
        }
        if kind == Kind::Cumulate && size % step != 0 {
            return Err(Error::sql("the size of a CUMULATE window must be a multiple of its step"));
        }
        if size / step > WINDOWS_PER_ROW_MAX {
            return Err(Error::sql(format!(
                "a row would be in {} windows; the bound is {WINDOWS_PER_ROW_MAX}",
                size / step
            ))
            .with_hint("use a shorter window or a longer slide or step"));
        }
        let pane = if kind == Kind::Hop { gcd(size, step) } else { step };
        // Windows repeat every step (cumulate: every size): the offset matters modulo that.
        let period = if kind == Kind::Hop { step } else { size };
        Ok(WindowShape { kind, size, step, offset: offset.rem_euclid(period), pane })
    }

    /// Whether windows are few enough panes to be put together from them.
    pub fn has_panes(&self) -> bool {
        self.size / self.pane <= PANES_PER_WINDOW_MAX
    }

    /// Whether every pane is one window.
    pub fn is_tumble(&self) -> bool {
        self.size == self.step
    }

    /// Whether windows of one cycle share their start.
    pub fn is_cumulate(&self) -> bool {
        self.kind == Kind::Cumulate
    }

    /// The pane that holds `time`; `None` where a bound of it or of its windows leaves `i64`.
    pub fn pane(&self, time: i64) -> Option<Pane> {
        let start = floor_to(time, self.pane, self.offset)?;
        let end = start.checked_add(self.pane)?;
        let (first_end, last_end) = match self.kind {
            Kind::Hop => {
                let newest = floor_to(start, self.step, self.offset)?;
                let age = start - newest;
                if age >= self.size {
                    (None, None)
                } else {
                    // The oldest window that still holds the pane's first time.
                    let older = (self.size - age - 1) / self.step;
                    let oldest = newest.checked_sub(older.checked_mul(self.step)?)?;
                    (Some(oldest.checked_add(self.size)?), Some(newest.checked_add(self.size)?))
                }
            }
            Kind::Cumulate => {
                let cycle = floor_to(start, self.size, self.offset)?;
                (Some(end), Some(cycle.checked_add(self.size)?))
            }
        };
        Some(Pane { start, end, first_end, last_end })
    }

    /// The windows that hold `time`, by ascending end; none where arithmetic leaves `i64`.
    pub fn windows(&self, time: i64) -> impl Iterator<Item = Window> + use<> {
        let pane = self.pane(time);
        let bounds = pane.and_then(|p| p.first_end.zip(p.last_end));
        let shape = *self;
        let cycle = floor_to(time, self.size, self.offset);
        let mut next = bounds.map(|(first, _)| first);
        std::iter::from_fn(move || {
            let (_, last) = bounds?;
            let end = next.filter(|&end| end <= last)?;
            next = end.checked_add(shape.step);
            let start = match shape.kind {
                Kind::Hop => end - shape.size,
                Kind::Cumulate => cycle?,
            };
            Some(Window { start, end })
        })
    }

    /// The window that ends at `end`, which is an end of some window.
    pub fn window_ending(&self, end: i64) -> Option<Window> {
        let start = match self.kind {
            Kind::Hop => end.checked_sub(self.size)?,
            Kind::Cumulate => floor_to(end.checked_sub(1)?, self.size, self.offset)?,
        };
        Some(Window { start, end })
    }

    /// The start of the window that closes after `window`, of a tumble or hop.
    pub fn next_start(&self, window: Window) -> i64 {
        window.start.saturating_add(self.step)
    }

    /// Whether `window`, of a cumulate, is the longest of its cycle.
    pub fn ends_cycle(&self, window: Window) -> bool {
        window.end.saturating_sub(window.start) >= self.size
    }

    /// About how many windows hold one row.
    pub fn windows_per_row(&self) -> i64 {
        self.size / self.step + 1
    }

    /// The least end of a window that is greater than `time`.
    pub fn next_end(&self, time: i64) -> Option<i64> {
        // Ends lie at the offset, plus the size for hops, modulo the step.
        let base = match self.kind {
            Kind::Hop => (self.offset + self.size % self.step) % self.step,
            Kind::Cumulate => self.offset % self.step,
        };
        floor_to(time, self.step, base)?.checked_add(self.step)
    }
}

/// The greatest `offset + k * step` that is at most `time`.
fn floor_to(time: i64, step: i64, offset: i64) -> Option<i64> {
    let shifted = i128::from(time) - i128::from(offset);
    let floor = match i64::try_from(shifted) {
        Ok(shifted) => i128::from(shifted.div_euclid(step)) * i128::from(step),
        Err(_) => shifted.div_euclid(i128::from(step)) * i128::from(step),
    };
    i64::try_from(floor + i128::from(offset)).ok()
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn specs() -> impl Strategy<Value = WindowSpec> {
        let (size, step, offset) = (1i64..30, 1i64..12, -40i64..40);
        prop_oneof![
            (size.clone(), offset.clone())
                .prop_map(|(size, offset)| WindowSpec::Tumble { size, offset }),
            (size, step.clone(), offset.clone())
                .prop_map(|(size, slide, offset)| WindowSpec::Hop { size, slide, offset }),
            (1i64..6, step, offset).prop_map(|(times, step, offset)| WindowSpec::Cumulate {
                size: times * step,
                step,
                offset
            }),
        ]
    }

    /// By the definition: try every window near `time`.
    fn naive(spec: &WindowSpec, time: i64) -> Vec<(i64, i64)> {
        let mut found = Vec::new();
        for k in -300i64..300 {
            match *spec {
                WindowSpec::Tumble { size, offset } => {
                    found.push((offset + k * size, offset + (k + 1) * size));
                }
                WindowSpec::Hop { size, slide, offset } => {
                    found.push((offset + k * slide, offset + k * slide + size));
                }
                WindowSpec::Cumulate { size, step, offset } => {
                    let start = offset + k * size;
                    found.extend((1..=size / step).map(|i| (start, start + i * step)));
                }
                WindowSpec::Session { .. } => {}
            }
        }
        found.retain(|&(start, end)| start <= time && time < end);
        found.sort_by_key(|&(start, end)| (end, start));
        found
    }

    proptest! {
        #[test]
        fn windows_are_those_of_the_definition(spec in specs(), time in -100i64..100) {
            let shape = WindowShape::new(&spec).unwrap();
            let windows: Vec<_> = shape.windows(time).map(|w| (w.start, w.end)).collect();
            prop_assert_eq!(&windows, &naive(&spec, time));
            let pane = shape.pane(time).unwrap();
            prop_assert!(pane.start <= time && time < pane.end);
            for inside in pane.start..pane.end {
                prop_assert_eq!(&naive(&spec, inside), &windows);
            }
            prop_assert_eq!(pane.first_end, windows.first().map(|w| w.1));
            prop_assert_eq!(pane.last_end, windows.last().map(|w| w.1));
            for &(start, end) in &windows {
                prop_assert_eq!(shape.window_ending(end), Some(Window { start, end }));
            }
            let next = shape.next_end(time).unwrap();
            prop_assert!(next > time);
            for &(_, end) in &windows {
                prop_assert!(next <= end);
            }
        }

        #[test]
        fn no_time_overflows(spec in specs(), near in 0i64..100, low in any::<bool>()) {
            let shape = WindowShape::new(&spec).unwrap();
            let time = if low { i64::MIN + near } else { i64::MAX - near };
            let _ = (shape.pane(time), shape.next_end(time), shape.window_ending(time));
            prop_assert!(shape.windows(time).all(|w| w.start <= time && time < w.end));
        }
    }

    #[test]
    fn wrong_shapes_are_refused() {
        for spec in [
            WindowSpec::Tumble { size: 0, offset: 0 },
            WindowSpec::Hop { size: 10, slide: -1, offset: 0 },
            WindowSpec::Hop { size: WINDOWS_PER_ROW_MAX + 1, slide: 1, offset: 0 },
            WindowSpec::Cumulate { size: 10, step: 3, offset: 0 },
            WindowSpec::Session { gap: 1 },
        ] {
            assert!(WindowShape::new(&spec).is_err(), "{spec:?}");
        }
    }
}
