//! The Nexmark benchmark's persons, auctions and bids, 1 : 3 : 46.
//!
//! The rules are those of the published benchmark (hot auctions, sellers and bidders, prices,
//! channels, sizes); the random draws are a counter-based hash of seed, event number and purpose,
//! so that each value is a pure function of them. Called by [`super::source`], [`super::files`].

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::source::{GeneratorSource, Pace};
use super::{
    EventGenerator, Layout, StringColumn, assemble, below, no_such_column, options::Options, unit,
};
use crate::batch::hash::mix;
use crate::connectors::{Source, SourceSpec};
use crate::error::Result;
use crate::time::EventTime;

/// The options of the connector `nexmark`.
pub const OPTIONS: &[&str] =
    &["nexmark.table", "events", "events-per-second", "seed", "partitions", "rate"];

/// Events a second of event time unless asked otherwise.
pub const EVENTS_PER_SECOND_DEFAULT: u64 = 10_000;

/// 2021-01-01 00:00:00 UTC: the time of event 0.
const BEGINNING_MS: EventTime = 1_609_459_200_000;
const PERSONS: u64 = 1;
const AUCTIONS: u64 = 3;
const BIDS: u64 = 46;
/// Events after which the pattern of kinds repeats.
const EPOCH: u64 = PERSONS + AUCTIONS + BIDS;

const ID_FIRST: u64 = 1000;
const CATEGORY_FIRST: u64 = 10;
const CATEGORIES: u64 = 5;
/// Of so many consecutive auctions or persons, one is hot.
const HOT_GROUP: u64 = 100;
const HOT_AUCTION_RATIO: u64 = 2;
const HOT_BIDDER_RATIO: u64 = 4;
const HOT_SELLER_RATIO: u64 = 4;
const HOT_CHANNEL_RATIO: u64 = 2;
const AUCTIONS_IN_FLIGHT: u64 = 100;
const PERSONS_ACTIVE: u64 = 1000;
/// Ids that are referred to before they exist, as if events had overtaken one another.
const ID_LEAD: u64 = 10;
const PERSON_BYTES: usize = 200;
const AUCTION_BYTES: usize = 500;
const BID_BYTES: usize = 100;
const ITEM_NAME_BYTES: usize = 20;
const DESCRIPTION_BYTES: usize = 100;

const CHANNELS: u64 = 10_000;
const CHANNELS_HOT: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];
const CITIES: [&str; 10] = [
    "Phoenix",
    "Los Angeles",
    "San Francisco",
    "Boise",
    "Portland",
    "Bend",
    "Redmond",
    "Seattle",
    "Kent",
    "Cheyenne",
];
const FIRST_NAMES: [&str; 11] = [
    "Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter",
];
const LAST_NAMES: [&str; 9] =
    ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];

/// Random letters that long texts are cut from.
const POOL_BYTES: usize = 1 << 20;

/// What a random word is drawn for; each purpose has words of its own.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Purpose {
    HotId = 1,
    ColdId,
    Price,
    Reserve,
    HotChannel,
    Channel,
    Category,
    Expires,
    Extra,
    ExtraLength,
    Description,
    Item,
    ItemRest,
    Name,
    Email,
    Card,
    City,
    State,
    Pool,
    Url,
}

/// One of the three tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NexmarkTable {
    /// New persons: one event of fifty.
    Person,
    /// New auctions: three events of fifty.
    Auction,
    /// Bids: forty-six events of fifty.
    Bid,
}

impl NexmarkTable {
    /// Number of the table's rows among the first `events` events.
    fn rows(self, events: u64) -> u64 {
        let (first, each) = self.place();
        (events / EPOCH) * each + (events % EPOCH).saturating_sub(first).min(each)
    }

    /// Where the table's events lie in an epoch, and how many.
    fn place(self) -> (u64, u64) {
        match self {
            NexmarkTable::Person => (0, PERSONS),
            NexmarkTable::Auction => (PERSONS, AUCTIONS),
            NexmarkTable::Bid => (PERSONS + AUCTIONS, BIDS),
        }
    }

    /// The event that row `row` is.
    fn event(self, row: u64) -> u64 {
        let (first, each) = self.place();
        (row / each) * EPOCH + first + row % each
    }
}

/// The source of a table `WITH ('connector' = 'nexmark')`.
pub fn create(spec: &SourceSpec) -> Result<Arc<dyn Source>> {
    let options = Options::new("nexmark", spec, OPTIONS)?;
    let table = match options.choice("nexmark.table", &["person", "auction", "bid"])? {
        "person" => NexmarkTable::Person,
        "auction" => NexmarkTable::Auction,
        _ => NexmarkTable::Bid,
    };
    let events_per_second =
        options.integer("events-per-second")?.unwrap_or(EVENTS_PER_SECOND_DEFAULT);
    if events_per_second == 0 {
        return Err(options.error("option 'events-per-second' must be at least 1".into()));
    }
    let seed = options.integer("seed")?.unwrap_or(0);
    let events = options.integer("events")?;
    let generator = Nexmark::new(table, events, events_per_second, seed);
    options.check_columns(&generator.schema())?;
    let layout = Layout::new(generator.len(), options.partitions()?);
    let pace = Pace::new(options.positive_number("rate")?);
    Ok(Arc::new(GeneratorSource::new(Arc::new(generator), spec, layout, pace)?))
}

/// One table of the benchmark.
pub struct Nexmark {
    table: NexmarkTable,
    events: Option<u64>,
    events_per_second: u64,
    key: u64,
    texts: OnceLock<Texts>,
}

/// What all rows with text share; built when first needed.
struct Texts {
    pool: Vec<u8>,
    /// Name and URL of each channel; the hot ones after the others.
    channels: Vec<(String, String)>,
}

impl Nexmark {
    /// The rows of `table` among the first `events` events (`None`: unbounded).
    pub fn new(
        table: NexmarkTable,
        events: Option<u64>,
        events_per_second: u64,
        seed: u64,
    ) -> Self {
        let key = mix(seed, 0x6e65_786d_6172_6b31);
        let events_per_second = events_per_second.max(1);
        Nexmark { table, events, events_per_second, key, texts: OnceLock::new() }
    }

    #[inline]
    fn draw(&self, event: u64, purpose: Purpose) -> u64 {
        mix(mix(event, self.key), (purpose as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn time_ms(&self, event: u64) -> EventTime {
        let rate = self.events_per_second;
        BEGINNING_MS + ((event * 1000 + rate / 2) / rate) as i64
    }

    fn texts(&self) -> &Texts {
        self.texts.get_or_init(|| {
            let mut pool = Vec::with_capacity(POOL_BYTES + 16);
            let mut word = 0;
            while pool.len() < POOL_BYTES {
                push_letters(&mut pool, self.draw(word, Purpose::Pool), 13);
                word += 1;
            }
            let cold = (0..CHANNELS).map(|n| (format!("channel-{n}"), self.channel_url(n)));
            let hot = CHANNELS_HOT.iter().zip(CHANNELS..);
            let hot = hot.map(|(name, n)| ((*name).to_string(), self.base_url(n)));
            Texts { pool, channels: cold.chain(hot).collect() }
        })
    }

    fn base_url(&self, channel: u64) -> String {
        let mut random = self.draw(channel, Purpose::Url);
        let mut next = |bound: u64| {
            random = mix(random, 0x2545_f491_4f6c_dd1d);
            below(random, bound)
        };
        let mut url = String::from("https://www.nexmark.com/");
        for _ in 0..3 {
            for _ in 0..3 + next(2) {
                let special = next(13) == 0;
                url.push(if special { '_' } else { char::from(b'a' + next(26) as u8) });
            }
            url.push('/');
        }
        url + "item.htm?query=1"
    }

    fn channel_url(&self, channel: u64) -> String {
        let url = self.base_url(channel);
        // A tenth of the channels give no id.
        if below(self.draw(channel, Purpose::Channel), 10) == 0 {
            return url;
        }
        let id = (channel as u32).reverse_bits().cast_signed().unsigned_abs();
        format!("{url}&channel_id={id}")
    }

    /// The name and URL of the channel of bid `event`.
    fn channel<'a>(&self, texts: &'a Texts, event: u64) -> &'a (String, String) {
        let word = self.draw(event, Purpose::Channel);
        let index = if below(self.draw(event, Purpose::HotChannel), HOT_CHANNEL_RATIO) > 0 {
            CHANNELS + below(word, CHANNELS_HOT.len() as u64)
        } else {
            below(word, CHANNELS)
        };
        &texts.channels[index as usize]
    }

    /// The auction of bid `event`: half the bids are for the latest hot auction.
    fn bid_auction(&self, event: u64) -> u64 {
        let last = (event / EPOCH) * AUCTIONS + AUCTIONS - 1;
        ID_FIRST
            + if below(self.draw(event, Purpose::HotId), HOT_AUCTION_RATIO) > 0 {
                last / HOT_GROUP * HOT_GROUP
            } else {
                let first = last.saturating_sub(AUCTIONS_IN_FLIGHT);
                first + below(self.draw(event, Purpose::ColdId), last - first + 1 + ID_LEAD)
            }
    }

    /// The person of `event`: the `hot`th of the latest hundred, or any active one in `ratio`.
    fn person(&self, event: u64, ratio: u64, hot: u64) -> u64 {
        let last = event / EPOCH;
        ID_FIRST
            + if below(self.draw(event, Purpose::HotId), ratio) > 0 {
                last / HOT_GROUP * HOT_GROUP + hot
            } else {
                let persons = last + 1;
                let active = persons.min(PERSONS_ACTIVE);
                persons - active + below(self.draw(event, Purpose::ColdId), active + ID_LEAD)
            }
    }

    /// When auction `event` closes: after as long, on average, as the auctions in flight take.
    fn expires_ms(&self, event: u64) -> EventTime {
        let now = self.time_ms(event);
        let horizon = self.time_ms(event + AUCTIONS_IN_FLIGHT * EPOCH / AUCTIONS) - now;
        let length = below(self.draw(event, Purpose::Expires), (horizon as u64 * 2).max(1));
        now + 1 + length as i64
    }

    fn price(&self, event: u64, purpose: Purpose) -> i64 {
        price(self.draw(event, purpose))
    }

    /// Text that brings a row of `size` bytes to `average`, give or take a fifth.
    fn extra<'a>(&self, texts: &'a Texts, event: u64, size: usize, average: usize) -> &'a [u8] {
        let desired = average.saturating_sub(size);
        let delta = (desired + 2) / 5;
        let more = below(self.draw(event, Purpose::ExtraLength), 2 * delta.max(1) as u64);
        cut(&texts.pool, self.draw(event, Purpose::Extra), desired - delta + more as usize)
    }

    fn name(&self, event: u64) -> (&'static str, &'static str) {
        let word = self.draw(event, Purpose::Name);
        (pick(&FIRST_NAMES, word), pick(&LAST_NAMES, word.rotate_left(32)))
    }

    fn city(&self, event: u64) -> &'static str {
        pick(&CITIES, self.draw(event, Purpose::City))
    }

    fn person_extra<'a>(&self, texts: &'a Texts, event: u64) -> &'a [u8] {
        let (first, last) = self.name(event);
        // Id, e-mail address, credit card and state have fixed sizes.
        let size = 8 + 17 + 19 + 2 + first.len() + 1 + last.len() + self.city(event).len();
        self.extra(texts, event, size, PERSON_BYTES)
    }
}

fn pick<'a>(list: &[&'a str], word: u64) -> &'a str {
    list[below(word, list.len() as u64) as usize]
}

fn cut(pool: &[u8], word: u64, length: usize) -> &[u8] {
    let start = below(word, (pool.len() - length) as u64) as usize;
    &pool[start..start + length]
}

/// Appends `count` letters, at most 13, drawn from one word.
fn push_letters(out: &mut Vec<u8>, mut word: u64, count: usize) {
    for _ in 0..count {
        out.push(b'a' + (word % 26) as u8);
        word /= 26;
    }
}

/// `round(10^(6u) * 100)` for a uniform `u`: the same on every platform, unlike libm's `pow`.
fn price(word: u64) -> i64 {
    /// `1 / n!`
    const SERIES: [f64; 13] = [
        1.0,
        1.0,
        1.0 / 2.0,
        1.0 / 6.0,
        1.0 / 24.0,
        1.0 / 120.0,
        1.0 / 720.0,
        1.0 / 5_040.0,
        1.0 / 40_320.0,
        1.0 / 362_880.0,
        1.0 / 3_628_800.0,
        1.0 / 39_916_800.0,
        1.0 / 479_001_600.0,
    ];
    let exponent = unit(word) * 6.0 * std::f64::consts::LOG2_10;
    let whole = exponent as u64;
    let x = (exponent - whole as f64) * std::f64::consts::LN_2;
    let power = SERIES.iter().rev().fold(0.0, |sum, term| sum * x + term);
    (power * (1_u64 << whole) as f64 * 100.0 + 0.5) as i64
}

fn schema(fields: &[(&str, DataType)]) -> SchemaRef {
    let field = |(name, data_type): &(&str, DataType)| Field::new(*name, data_type.clone(), false);
    Arc::new(Schema::new(fields.iter().map(field).collect::<Vec<_>>()))
}

/// The rows of one call of [`EventGenerator::batch`].
struct Rows<'a> {
    nexmark: &'a Nexmark,
    range: Range<u64>,
}

impl Rows<'_> {
    fn events(&self) -> impl Iterator<Item = u64> {
        let table = self.nexmark.table;
        self.range.clone().map(move |row| table.event(row))
    }

    fn count(&self) -> usize {
        self.range.end.saturating_sub(self.range.start) as usize
    }

    fn ids(&self, value: impl Fn(u64) -> u64) -> ArrayRef {
        self.integers(|event| value(event) as i64)
    }

    fn integers(&self, value: impl Fn(u64) -> i64) -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(self.events().map(value)))
    }

    fn times(&self, value: impl Fn(u64) -> EventTime) -> ArrayRef {
        Arc::new(TimestampMillisecondArray::from_iter_values(self.events().map(value)))
    }

    fn strings<'s>(&self, bytes: usize, value: impl Fn(u64) -> &'s [u8]) -> Result<ArrayRef> {
        let mut column = StringColumn::new(self.count(), bytes);
        self.events().for_each(|event| column.push(value(event)));
        column.finish()
    }

    /// Strings put together in a buffer.
    fn composed(&self, bytes: usize, write: impl Fn(u64, &mut Vec<u8>)) -> Result<ArrayRef> {
        let mut column = StringColumn::new(self.count(), bytes);
        let mut buffer = Vec::with_capacity(bytes);
        for event in self.events() {
            buffer.clear();
            write(event, &mut buffer);
            column.push(&buffer);
        }
        column.finish()
    }

    fn person_column(&self, name: &str) -> Result<ArrayRef> {
        let n = self.nexmark;
        match name {
            "id" => Ok(self.ids(|event| ID_FIRST + event / EPOCH)),
            "name" => self.composed(16, |event, out| {
                let (first, last) = n.name(event);
                out.extend_from_slice(first.as_bytes());
                out.push(b' ');
                out.extend_from_slice(last.as_bytes());
            }),
            "emailAddress" => self.composed(17, |event, out| {
                let word = n.draw(event, Purpose::Email);
                push_letters(out, word, 7);
                out.push(b'@');
                push_letters(out, word / 26_u64.pow(7), 5);
                out.extend_from_slice(b".com");
            }),
            "creditCard" => self.composed(19, |event, out| {
                let mut word = n.draw(event, Purpose::Card);
                for group in 0..4 {
                    if group > 0 {
                        out.push(b' ');
                    }
                    for _ in 0..4 {
                        out.push(b'0' + (word % 10) as u8);
                        word /= 10;
                    }
                }
            }),
            "city" => self.strings(0, |event| n.city(event).as_bytes()),
            "state" => {
                self.strings(0, |event| pick(&STATES, n.draw(event, Purpose::State)).as_bytes())
            }
            "dateTime" => Ok(self.times(|event| n.time_ms(event))),
            "extra" => self.strings(135, |event| n.person_extra(n.texts(), event)),
            other => Err(no_such_column(other)),
        }
    }

    fn auction_column(&self, name: &str) -> Result<ArrayRef> {
        let n = self.nexmark;
        match name {
            "id" => {
                Ok(self
                    .ids(|event| ID_FIRST + event / EPOCH * AUCTIONS + (event % EPOCH - PERSONS)))
            }
            "itemName" => self.composed(ITEM_NAME_BYTES, |event, out| {
                push_letters(out, n.draw(event, Purpose::Item), 10);
                push_letters(out, n.draw(event, Purpose::ItemRest), ITEM_NAME_BYTES - 10);
            }),
            "description" => self.strings(DESCRIPTION_BYTES, |event| {
                cut(&n.texts().pool, n.draw(event, Purpose::Description), DESCRIPTION_BYTES)
            }),
            "initialBid" => Ok(self.integers(|event| n.price(event, Purpose::Price))),
            "reserve" => Ok(self.integers(|event| {
                n.price(event, Purpose::Price) + n.price(event, Purpose::Reserve)
            })),
            "dateTime" => Ok(self.times(|event| n.time_ms(event))),
            "expires" => Ok(self.times(|event| n.expires_ms(event))),
            "seller" => Ok(self.ids(|event| n.person(event, HOT_SELLER_RATIO, 0))),
            "category" => Ok(self
                .ids(|event| CATEGORY_FIRST + below(n.draw(event, Purpose::Category), CATEGORIES))),
            "extra" => {
                let size = 8 + ITEM_NAME_BYTES + DESCRIPTION_BYTES + 5 * 8;
                self.strings(335, |event| n.extra(n.texts(), event, size, AUCTION_BYTES))
            }
            other => Err(no_such_column(other)),
        }
    }

    fn bid_column(&self, name: &str) -> Result<ArrayRef> {
        let n = self.nexmark;
        match name {
            "auction" => Ok(self.ids(|event| n.bid_auction(event))),
            // The second of each hundred: hot bidders and hot sellers are different persons.
            "bidder" => Ok(self.ids(|event| n.person(event, HOT_BIDDER_RATIO, 1))),
            "price" => Ok(self.integers(|event| n.price(event, Purpose::Price))),
            "channel" => {
                let texts = n.texts();
                self.strings(9, |event| n.channel(texts, event).0.as_bytes())
            }
            "url" => {
                let texts = n.texts();
                self.strings(64, |event| n.channel(texts, event).1.as_bytes())
            }
            "dateTime" => Ok(self.times(|event| n.time_ms(event))),
            "extra" => {
                let texts = n.texts();
                self.strings(69, |event| n.extra(texts, event, 4 * 8, BID_BYTES))
            }
            other => Err(no_such_column(other)),
        }
    }
}

impl EventGenerator for Nexmark {
    fn schema(&self) -> SchemaRef {
        use DataType::{Int64, Utf8View as Text};
        let time = DataType::Timestamp(TimeUnit::Millisecond, None);
        match self.table {
            NexmarkTable::Person => schema(&[
                ("id", Int64),
                ("name", Text),
                ("emailAddress", Text),
                ("creditCard", Text),
                ("city", Text),
                ("state", Text),
                ("dateTime", time),
                ("extra", Text),
            ]),
            NexmarkTable::Auction => schema(&[
                ("id", Int64),
                ("itemName", Text),
                ("description", Text),
                ("initialBid", Int64),
                ("reserve", Int64),
                ("dateTime", time.clone()),
                ("expires", time),
                ("seller", Int64),
                ("category", Int64),
                ("extra", Text),
            ]),
            NexmarkTable::Bid => schema(&[
                ("auction", Int64),
                ("bidder", Int64),
                ("price", Int64),
                ("channel", Text),
                ("url", Text),
                ("dateTime", time),
                ("extra", Text),
            ]),
        }
    }

    fn len(&self) -> Option<u64> {
        self.events.map(|events| self.table.rows(events))
    }

    fn batch(&self, range: Range<u64>, wanted: &SchemaRef) -> Result<RecordBatch> {
        let rows = Rows { nexmark: self, range };
        assemble(rows.count(), wanted, |name| match self.table {
            NexmarkTable::Person => rows.person_column(name),
            NexmarkTable::Auction => rows.auction_column(name),
            NexmarkTable::Bid => rows.bid_column(name),
        })
    }
}

#[cfg(test)]
mod tests;
