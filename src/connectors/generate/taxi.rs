//! The taxi rides and fares of Flink's hands-on training, value for value.
//!
//! Every value is a pure function of the ride's id (1, 2, 3 ...). The stream of rides mixes START
//! events, shuffled in groups of five, with the END events that have come due; where an event
//! stands in it follows from the durations of the last ten hours' rides alone, so that any range of
//! the stream can be computed without its beginning. Called by [`super::source`], [`super::files`].

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Int16Array, Int64Array, RecordBatch,
    TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::java_random::{JavaRandom, java_round};
use super::source::{GeneratorSource, Pace};
use super::{EventGenerator, Layout, StringColumn, assemble, no_such_column, options::Options};
use crate::connectors::{Source, SourceSpec};
use crate::error::Result;
use crate::time::EventTime;

/// The options of the connector `taxi`.
pub const OPTIONS: &[&str] = &["taxi.table", "rides", "partitions", "rate"];

/// 2020-01-01 12:00:00 UTC: the time of ride 0, which does not exist.
const BEGINNING_MS: EventTime = 1_577_880_000_000;
const RIDE_EVERY_MS: i64 = 20_000;
const GROUP_RIDES: u64 = 5;
const DURATION_MINUTES_MAX: i64 = 600;
/// Rides that can still be on their way when a ride starts.
const RIDES_UNDER_WAY_MAX: u64 = (DURATION_MINUTES_MAX * 60_000 / RIDE_EVERY_MS) as u64;
const LAT: (f32, f32) = ((40.5 - 0.1) as f32, (41.0 + 0.1_f32 as f64) as f32);
const LON: (f32, f32) = ((-74.05 - 0.1) as f32, (-73.7 + 0.1_f32 as f64) as f32);

/// The source of a table `WITH ('connector' = 'taxi')`.
pub fn create(spec: &SourceSpec) -> Result<Arc<dyn Source>> {
    let options = Options::new("taxi", spec, OPTIONS)?;
    let rides = options.integer("rides")?;
    let generator: Arc<dyn EventGenerator> =
        match options.choice("taxi.table", &["rides", "fares"])? {
            "rides" => Arc::new(Rides::new(rides)),
            _ => Arc::new(Fares::new(rides)),
        };
    options.check_columns(&generator.schema())?;
    let layout = Layout::new(generator.len(), options.partitions()?);
    let pace = Pace::new(options.positive_number("rate")?);
    Ok(Arc::new(GeneratorSource::new(generator, spec, layout, pace)?))
}

fn start_ms(ride: u64) -> EventTime {
    BEGINNING_MS.saturating_add((ride as i64).saturating_mul(RIDE_EVERY_MS))
}

fn duration_minutes(ride: u64) -> i64 {
    draw_integer(ride, 0, DURATION_MINUTES_MAX, 20.0, 40.0)
}

fn end_ms(ride: u64) -> EventTime {
    start_ms(ride).saturating_add(duration_minutes(ride) * 60_000)
}

fn driver(ride: u64) -> i64 {
    2_013_000_000 + i64::from(JavaRandom::new(ride as i64).next_int(200))
}

fn passengers(ride: u64) -> i16 {
    draw_integer(ride, 1, 4, 2.5, 0.375) as i16
}

fn tip(ride: u64) -> f32 {
    draw_integer(ride, 0, 60, 10.0, 15.0) as f32
}

fn tolls(ride: u64) -> f32 {
    if ride.is_multiple_of(10) { draw_integer(ride, 0, 5, 2.5, 0.625) as f32 } else { 0.0 }
}

fn total_fare(ride: u64) -> f32 {
    (3.0 + duration_minutes(ride) as f64 + f64::from(tip(ride)) + f64::from(tolls(ride))) as f32
}

/// A rounded normal draw, repeated until it lies in `low..=high`.
fn draw_integer(seed: u64, low: i64, high: i64, mean: f32, deviation: f32) -> i64 {
    let mut random = JavaRandom::new(seed as i64);
    loop {
        let drawn = f64::from(deviation) * random.next_gaussian() + f64::from(mean);
        let value = java_round(drawn);
        if (low..=high).contains(&value) {
            return value;
        }
    }
}

/// A normal draw in 32-bit floats about the middle of the range, repeated until it lies in it.
fn draw_float(seed: u64, (low, high): (f32, f32)) -> f32 {
    let mut random = JavaRandom::new(seed as i64);
    let (mean, deviation) = ((low + high) / 2.0, (high - low) / 8.0);
    loop {
        let value = (f64::from(deviation) * random.next_gaussian()) as f32 + mean;
        if (low..=high).contains(&value) {
            return value;
        }
    }
}

fn field(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, false)
}

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, None)
}

/// One event of the stream of rides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RideEvent {
    ride: u64,
    is_start: bool,
}

/// The stream of rides: one START and, later, one END event a ride, in the training's order.
#[derive(Clone, Debug)]
pub struct Rides {
    rides: u64,
    rows: Option<u64>,
}

impl Rides {
    /// The events that the first `rides` rides give; an END beyond the last START is cut off.
    pub fn new(rides: Option<u64>) -> Self {
        let rows = rides.map(|rides| {
            let under_way = (first_under_way(rides)..=rides)
                .filter(|ride| end_ms(*ride) > start_ms(rides))
                .count();
            2 * rides - under_way as u64
        });
        // Times must stay in range for as long as anyone will run this.
        Rides { rides: rides.unwrap_or(u64::MAX / 4), rows }
    }

    /// The events at the positions `range`.
    fn events(&self, range: &Range<u64>) -> Vec<RideEvent> {
        let length = range.end.saturating_sub(range.start) as usize;
        let mut events = Vec::with_capacity(length + 64);
        // A group comes to at most ten events on average of all groups before it.
        let mut stream = RideStream::at_group(range.start / (2 * GROUP_RIDES), self.rides);
        while stream.position < range.end && stream.group * GROUP_RIDES < self.rides {
            let before = events.len();
            let position = stream.position;
            stream.next_group(&mut events);
            let skip = range.start.saturating_sub(position).min((events.len() - before) as u64);
            events.drain(before..before + skip as usize);
        }
        events.truncate(length);
        events
    }
}

/// The first ride that may still be under way when `ride` starts.
fn first_under_way(ride: u64) -> u64 {
    ride.saturating_sub(RIDES_UNDER_WAY_MAX - 1).max(1)
}

/// A place in the stream of rides, between two groups of five.
struct RideStream {
    /// The next group.
    group: u64,
    /// Events before that group.
    position: u64,
    rides: u64,
    /// Rides under way, by the time of their end.
    under_way: BinaryHeap<Reverse<(EventTime, u64)>>,
}

impl RideStream {
    fn at_group(group: u64, rides: u64) -> Self {
        let last = (group * GROUP_RIDES).min(rides);
        let under_way: BinaryHeap<_> = (first_under_way(last)..=last)
            .map(|ride| Reverse((end_ms(ride), ride)))
            .filter(|Reverse((end, _))| *end > start_ms(last))
            .collect();
        RideStream { group, position: 2 * last - under_way.len() as u64, rides, under_way }
    }

    /// Appends the events of the next group.
    fn next_group(&mut self, events: &mut Vec<RideEvent>) {
        let before = events.len();
        let first = self.group * GROUP_RIDES + 1;
        let last = (first + GROUP_RIDES - 1).min(self.rides);
        self.under_way.extend((first..=last).map(|ride| Reverse((end_ms(ride), ride))));
        while let Some(Reverse((end, ride))) = self.under_way.peek().copied() {
            if end > start_ms(last) {
                break;
            }
            self.under_way.pop();
            events.push(RideEvent { ride, is_start: false });
        }
        let starts = events.len();
        events.extend((first..=last).map(|ride| RideEvent { ride, is_start: true }));
        JavaRandom::new(first as i64 - 1).shuffle(&mut events[starts..]);
        self.group += 1;
        self.position += (events.len() - before) as u64;
    }
}

impl EventGenerator for Rides {
    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![
            field("rideId", DataType::Int64),
            field("isStart", DataType::Boolean),
            field("eventTime", timestamp()),
            field("startLon", DataType::Float32),
            field("startLat", DataType::Float32),
            field("endLon", DataType::Float32),
            field("endLat", DataType::Float32),
            field("passengerCnt", DataType::Int16),
            field("taxiId", DataType::Int64),
            field("driverId", DataType::Int64),
        ]))
    }

    fn len(&self) -> Option<u64> {
        self.rows
    }

    fn batch(&self, range: Range<u64>, wanted: &SchemaRef) -> Result<RecordBatch> {
        let events = self.events(&range);
        let integers = |value: fn(u64) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(events.iter().map(|e| value(e.ride))))
        };
        let floats = |offset: u64, bounds: (f32, f32)| -> ArrayRef {
            Arc::new(Float32Array::from_iter_values(
                events.iter().map(|e| draw_float(e.ride + offset, bounds)),
            ))
        };
        assemble(events.len(), wanted, |name| {
            Ok(match name {
                "rideId" => integers(|ride| ride as i64),
                "isStart" => {
                    Arc::new(events.iter().map(|e| Some(e.is_start)).collect::<BooleanArray>())
                }
                "eventTime" => Arc::new(TimestampMillisecondArray::from_iter_values(
                    events.iter().map(|e| if e.is_start { start_ms } else { end_ms }(e.ride)),
                )),
                "startLon" => floats(0, LON),
                "startLat" => floats(0, LAT),
                "endLon" => floats(42, LON),
                "endLat" => floats(42, LAT),
                "passengerCnt" => Arc::new(Int16Array::from_iter_values(
                    events.iter().map(|e| passengers(e.ride)),
                )),
                "taxiId" | "driverId" => integers(driver),
                other => return Err(no_such_column(other)),
            })
        })
    }
}

/// The stream of fares: one a ride, in order of the rides' starts.
#[derive(Clone, Debug)]
pub struct Fares {
    rides: Option<u64>,
}

impl Fares {
    /// The fares of the first `rides` rides.
    pub fn new(rides: Option<u64>) -> Self {
        Fares { rides }
    }
}

impl EventGenerator for Fares {
    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![
            field("rideId", DataType::Int64),
            field("taxiId", DataType::Int64),
            field("driverId", DataType::Int64),
            field("startTime", timestamp()),
            field("paymentType", DataType::Utf8View),
            field("tip", DataType::Float32),
            field("tolls", DataType::Float32),
            field("totalFare", DataType::Float32),
        ]))
    }

    fn len(&self) -> Option<u64> {
        self.rides
    }

    fn batch(&self, range: Range<u64>, wanted: &SchemaRef) -> Result<RecordBatch> {
        let rides = range.start + 1..range.end + 1;
        let rows = rides.end.saturating_sub(rides.start) as usize;
        let integers = |value: fn(u64) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(rides.clone().map(value)))
        };
        let floats = |value: fn(u64) -> f32| -> ArrayRef {
            Arc::new(Float32Array::from_iter_values(rides.clone().map(value)))
        };
        assemble(rows, wanted, |name| {
            Ok(match name {
                "rideId" => integers(|ride| ride as i64),
                "taxiId" | "driverId" => integers(driver),
                "startTime" => Arc::new(TimestampMillisecondArray::from_iter_values(
                    rides.clone().map(start_ms),
                )),
                "paymentType" => {
                    let mut column = StringColumn::new(rows, 0);
                    for ride in rides.clone() {
                        column.push(if ride.is_multiple_of(2) { b"CARD" } else { b"CASH" });
                    }
                    column.finish()?
                }
                "tip" => floats(tip),
                "tolls" => floats(tolls),
                "totalFare" => floats(total_fare),
                other => return Err(no_such_column(other)),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::text::{Encoding, TextEncoder};
    use super::*;

    fn json(generator: &dyn EventGenerator, step: u64) -> String {
        let encoder = TextEncoder::new(Encoding::Json, &generator.schema()).unwrap();
        let rows = generator.len().unwrap();
        let mut out = vec![];
        let mut from = 0;
        while from < rows {
            let to = (from + step).min(rows);
            encoder.encode(&generator.batch(from..to, &generator.schema()).unwrap(), &mut out);
            from = to;
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_first_day_equals_the_training_byte_for_byte() {
        let rides = json(&Rides::new(Some(4320)), 1000);
        assert!(rides == include_str!("../../../tests/data/taxi/rides.jsonl"));
        let fares = json(&Fares::new(Some(4320)), 1000);
        assert!(fares == include_str!("../../../tests/data/taxi/fares.jsonl"));
    }

    #[test]
    fn an_unbounded_stream_begins_like_a_bounded_one() {
        let bounded = Rides::new(Some(4320));
        let rows = bounded.len().unwrap();
        assert_eq!(rows, 8564);
        let range = rows - 100..rows;
        assert_eq!(Rides::new(None).events(&range), bounded.events(&range));
        assert_eq!(Rides::new(None).len(), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_range_of_rides_is_that_part_of_the_stream(
            rides in 0_u64..6000, from in 0_u64..12_000, length in 0_u64..500,
        ) {
            let generator = Rides::new(Some(rides));
            let rows = generator.len().unwrap();
            let mut stream = RideStream::at_group(0, rides);
            let mut whole = vec![];
            while stream.group * GROUP_RIDES < rides {
                stream.next_group(&mut whole);
            }
            prop_assert_eq!(whole.len() as u64, rows);
            let from = from.min(rows);
            let to = (from + length).min(rows);
            prop_assert_eq!(&generator.events(&(from..to)), &whole[from as usize..to as usize]);
        }
    }
}
