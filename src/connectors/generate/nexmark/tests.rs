//! Nexmark's ratios and distributions, and that a row depends on nothing but seed and number.

use arrow::array::{Array, AsArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int64Type, TimestampMillisecondType};
use proptest::prelude::*;

use super::*;
use crate::connectors::generate::text::{Encoding, TextEncoder};

const TABLES: [NexmarkTable; 3] = [NexmarkTable::Person, NexmarkTable::Auction, NexmarkTable::Bid];

fn all(table: NexmarkTable, events: u64, seed: u64) -> RecordBatch {
    let nexmark = Nexmark::new(table, Some(events), 300, seed);
    nexmark.batch(0..nexmark.len().unwrap(), &nexmark.schema()).unwrap()
}

fn integers<'a>(batch: &'a RecordBatch, name: &str) -> &'a [i64] {
    batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().values()
}

fn share(values: &[i64], is_hot: impl Fn(i64) -> bool) -> f64 {
    values.iter().filter(|v| is_hot(**v)).count() as f64 / values.len() as f64
}

#[test]
fn one_person_to_three_auctions_to_forty_six_bids() {
    assert_eq!(TABLES.map(|t| t.rows(30_000)), [600, 1800, 27_600]);
    for events in 0..200 {
        assert_eq!(TABLES.map(|t| t.rows(events)).iter().sum::<u64>(), events);
    }
    let mut events: Vec<u64> =
        TABLES.iter().flat_map(|t| (0..t.rows(1234)).map(|row| t.event(row))).collect();
    events.sort_unstable();
    assert!(events.into_iter().eq(0..1234));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn ranges_cut_anywhere_give_the_same_rows(
        seed in any::<u64>(), cuts in prop::collection::btree_set(0_u64..5000, 0..6),
    ) {
        for table in TABLES {
            let nexmark = Nexmark::new(table, Some(5000), 10_000, seed);
            let rows = nexmark.len().unwrap();
            let schema = nexmark.schema();
            let mut from = 0;
            let mut pieces = vec![];
            for cut in cuts.iter().copied().filter(|cut| *cut < rows).chain([rows]) {
                // A generator of its own: nothing may carry over.
                let alone = Nexmark::new(table, None, 10_000, seed);
                pieces.push(alone.batch(from..cut, &schema).unwrap());
                from = cut;
            }
            let whole = nexmark.batch(0..rows, &schema).unwrap();
            prop_assert_eq!(concat_batches(&schema, &pieces).unwrap(), whole);
        }
    }
}

#[test]
fn seeds_differ_and_columns_do_not_depend_on_one_another() {
    for table in TABLES {
        let (one, other) = (all(table, 5000, 1), all(table, 5000, 2));
        assert_ne!(one, other);
        assert_eq!(one.column_by_name("dateTime"), other.column_by_name("dateTime"));
        for (i, field) in one.schema().fields().iter().enumerate() {
            let nexmark = Nexmark::new(table, Some(5000), 300, 1);
            let wanted = Arc::new(Schema::new(vec![Arc::clone(field)]));
            let alone = nexmark.batch(0..one.num_rows() as u64, &wanted).unwrap();
            assert_eq!(alone.column(0), one.column(i));
        }
    }
}

#[test]
fn bids_are_distributed_as_in_the_benchmark() {
    let bids = all(NexmarkTable::Bid, 60_000, 7);
    let auctions = integers(&bids, "auction");
    assert!((0.49..0.53).contains(&share(auctions, |id| id % 100 == 0)));
    assert!((0.74..0.78).contains(&share(integers(&bids, "bidder"), |id| id % 100 == 1)));
    assert!(auctions.iter().zip(0..).all(|(id, row)| {
        let last = 1000 + row / 46 * 3 + 2;
        (1000..=last + 10).contains(id) && *id >= last - 100
    }));
    let prices = integers(&bids, "price");
    assert!(prices.iter().all(|price| (100..=100_000_000).contains(price)));
    // Uniform in the exponent: half lie below 10^3 units of 100.
    assert!((0.48..0.52).contains(&share(prices, |price| price < 100_000)));

    let channels = bids.column_by_name("channel").unwrap().as_string_view();
    let urls = bids.column_by_name("url").unwrap().as_string_view();
    let hot = channels.iter().flatten().filter(|c| CHANNELS_HOT.contains(c)).count();
    assert!((0.48..0.52).contains(&(hot as f64 / channels.len() as f64)));
    let with_id = urls.iter().flatten().filter(|url| url.contains("&channel_id=")).count();
    assert!((0.43..0.47).contains(&(with_id as f64 / urls.len() as f64)));
    assert!(urls.iter().flatten().all(|url| {
        url.starts_with("https://www.nexmark.com/") && url.contains("/item.htm?query=1")
    }));
}

#[test]
fn persons_and_auctions_are_distributed_as_in_the_benchmark() {
    let auctions = all(NexmarkTable::Auction, 60_000, 7);
    assert!(integers(&auctions, "id").iter().copied().eq(1000..4600));
    assert!((0.73..0.79).contains(&share(integers(&auctions, "seller"), |id| id % 100 == 0)));
    assert!(integers(&auctions, "category").iter().all(|c| (10..15).contains(c)));
    let time = |name: &str| {
        let column = auctions.column_by_name(name).unwrap();
        column.as_primitive::<TimestampMillisecondType>().values().clone()
    };
    let (opens, closes) = (time("dateTime"), time("expires"));
    let mut open_ms: Vec<i64> = opens.iter().zip(&closes).map(|(o, c)| c - o).collect();
    open_ms.sort_unstable();
    assert!(open_ms[0] >= 1 && open_ms[open_ms.len() - 1] <= 11_200, "{open_ms:?}");
    assert!((5_000..6_100).contains(&open_ms[open_ms.len() / 2]));
    assert!(opens.is_sorted());

    let persons = all(NexmarkTable::Person, 60_000, 7);
    assert!(integers(&persons, "id").iter().copied().eq(1000..2200));
}

#[test]
fn rows_have_the_sizes_of_the_benchmark() {
    let size = |table| {
        let batch = all(table, 60_000, 3);
        let mut out = vec![];
        TextEncoder::new(Encoding::Json, &batch.schema()).unwrap().encode(&batch, &mut out);
        out.len() / batch.num_rows()
    };
    // The benchmark's own generator: 317, 645 and 255 bytes at these ids.
    assert!((310..325).contains(&size(NexmarkTable::Person)));
    assert!((638..652).contains(&size(NexmarkTable::Auction)));
    assert!((250..262).contains(&size(NexmarkTable::Bid)));
}

#[test]
fn the_first_rows_never_change() {
    let bids = all(NexmarkTable::Bid, 50, 0).slice(0, 2);
    let mut out = vec![];
    TextEncoder::new(Encoding::Json, &bids.schema()).unwrap().encode(&bids, &mut out);
    let expected = concat!(
        "{\"auction\":1000,\"bidder\":1001,\"price\":237725,\"channel\":\"Facebook\",",
        "\"url\":\"https://www.nexmark.com/gbro/vti/yeof/item.htm?query=1\",",
        "\"dateTime\":\"2021-01-01 00:00:00.013\",\"extra\":\"brywlvcbvjbgrdiqjwjchmlatlitikgyb",
        "erldtzjwzinmvnzmyyywcdjiypintlpcop\"}\n",
        "{\"auction\":1000,\"bidder\":1000,\"price\":564,\"channel\":\"Baidu\",",
        "\"url\":\"https://www.nexmark.com/_aj/vzlw/ksg/item.htm?query=1\",",
        "\"dateTime\":\"2021-01-01 00:00:00.017\",\"extra\":\"fdiwyvehwptpoyiljkfatqweykgytqdqn",
        "msglcdzgaxxctvgegkjjfucivwmoibavqgvsp\"}\n",
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}
