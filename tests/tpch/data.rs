//! The tables of TPC-H at scale 0.01 as changelogs: loaded in random order over several ticks, then
//! changed at random.
//!
//! Follows the shapes of the benchmark's generator (keys, price formula, dates and flags that hang
//! together, phrases that queries look for); texts are short, and values that queries select are
//! somewhat more frequent, so that every answer has rows. The same bytes every time.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Ticks that load, then ticks that change.
pub const LOADS: usize = 4;
pub const CHANGES: usize = 4;
pub const TICKS: usize = LOADS + CHANGES;
/// Event time between ticks, in seconds.
pub const TICK_SECONDS: usize = 10;

const SUPPLIERS: u64 = 100;
const CUSTOMERS: u64 = 1_500;
const PARTS: u64 = 2_000;
const ORDERS: u64 = 15_000;

/// Values as JSON, column by column.
type Row = Vec<String>;

struct Table {
    name: &'static str,
    columns: &'static [&'static str],
    rows: Vec<Row>,
    /// Tick, kind and row.
    log: Vec<(usize, &'static str, Row)>,
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` to `high`, both included.
    fn of(&mut self, low: i64, high: i64) -> i64 {
        low + (self.next() % (high - low + 1) as u64) as i64
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.of(0, from.len() as i64 - 1) as usize]
    }

    fn words(&mut self, count: i64) -> String {
        let words: Vec<&str> = (0..count).map(|_| self.pick(WORDS)).collect();
        words.join(" ")
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.of(0, last as i64) as usize);
        }
    }
}

const WORDS: &[&str] = &[
    "furiously",
    "quickly",
    "express",
    "deposits",
    "ironic",
    "pending",
    "accounts",
    "packages",
    "final",
    "bold",
    "theodolites",
    "requests",
    "special",
    "silent",
    "foxes",
    "platelets",
];
const COLOURS: &[&str] = &[
    "almond", "azure", "blush", "chiffon", "coral", "cream", "forest", "ghost", "green",
    "honeydew", "ivory", "lace", "lemon", "linen", "maroon", "navy", "olive", "orchid", "peach",
    "plum", "rose", "salmon", "sienna", "smoke", "tan", "thistle", "wheat", "white",
];
const NATIONS: &[(&str, i64)] = &[
    ("ALGERIA", 0),
    ("ARGENTINA", 1),
    ("BRAZIL", 1),
    ("CANADA", 1),
    ("EGYPT", 4),
    ("ETHIOPIA", 0),
    ("FRANCE", 3),
    ("GERMANY", 3),
    ("INDIA", 2),
    ("INDONESIA", 2),
    ("IRAN", 4),
    ("IRAQ", 4),
    ("JAPAN", 2),
    ("JORDAN", 4),
    ("KENYA", 0),
    ("MOROCCO", 0),
    ("MOZAMBIQUE", 0),
    ("PERU", 1),
    ("CHINA", 2),
    ("ROMANIA", 3),
    ("SAUDI ARABIA", 4),
    ("VIETNAM", 2),
    ("RUSSIA", 3),
    ("UNITED KINGDOM", 3),
    ("UNITED STATES", 1),
];
const REGIONS: &[&str] = &["AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST"];
const SEGMENTS: &[&str] = &["AUTOMOBILE", "BUILDING", "FURNITURE", "MACHINERY", "HOUSEHOLD"];
const PRIORITIES: &[&str] = &["1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW"];
const INSTRUCTIONS: &[&str] = &[
    "DELIVER IN PERSON",
    "DELIVER IN PERSON",
    "DELIVER IN PERSON",
    "COLLECT COD",
    "NONE",
    "TAKE BACK RETURN",
];
const MODES: &[&str] = &["AIR REG", "AIR", "RAIL", "SHIP", "TRUCK", "MAIL", "FOB"];
const TYPES: [&[&str]; 3] = [
    &["STANDARD", "SMALL", "MEDIUM", "LARGE", "ECONOMY", "PROMO"],
    &["ANODIZED", "BURNISHED", "PLATED", "POLISHED", "BRUSHED"],
    &["TIN", "NICKEL", "BRASS", "STEEL", "COPPER"],
];
const CONTAINERS: [&[&str]; 2] =
    [&["SM", "LG", "MED", "JUMBO"], &["CASE", "BOX", "BAG", "PKG", "PACK"]];

fn text(value: &str) -> String {
    format!("\"{value}\"")
}

fn money(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100)
}

/// The date `days` after 1992-01-01.
fn date(days: i64) -> String {
    let (mut year, mut rest) = (1992, days);
    let leap = |year: i64| year % 4 == 0;
    while rest >= 365 + i64::from(leap(year)) {
        rest -= 365 + i64::from(leap(year));
        year += 1;
    }
    let february = 28 + i64::from(leap(year));
    let mut month = 1;
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if rest < days {
            break;
        }
        rest -= days;
        month += 1;
    }
    text(&format!("{year}-{month:02}-{:02}", rest + 1))
}

/// 1995-06-17, on which everything that was shipped by then had been received or returned.
const TODAY: i64 = 1_263;
const LAST_ORDER: i64 = 2_405;

fn phone(random: &mut Random, nation: i64) -> String {
    let (a, b, c) = (random.of(100, 999), random.of(100, 999), random.of(1000, 9999));
    text(&format!("{}-{a}-{b}-{c}", nation + 10))
}

fn price_of_part(part: i64) -> i64 {
    90_000 + (part / 10) % 20_001 + 100 * (part % 1_000)
}

fn supplier_of_part(part: i64, which: i64) -> i64 {
    let count = SUPPLIERS as i64;
    (part + which * (count / 4 + (part - 1) / count)) % count + 1
}

fn supplier(random: &mut Random, key: i64) -> Row {
    let nation = random.of(0, 24);
    let comment = match key % 30 {
        7 => "slyly Customer of old Complaints".to_string(),
        _ => random.words(3),
    };
    vec![
        key.to_string(),
        text(&format!("Supplier#{key:09}")),
        text(&random.words(2)),
        nation.to_string(),
        phone(random, nation),
        money(random.of(-99_999, 999_999)),
        text(&comment),
    ]
}

fn customer(random: &mut Random, key: i64) -> Row {
    let nation = random.of(0, 24);
    vec![
        key.to_string(),
        text(&format!("Customer#{key:09}")),
        text(&random.words(2)),
        nation.to_string(),
        phone(random, nation),
        money(random.of(-99_999, 999_999)),
        text(random.pick(SEGMENTS)),
        text(&random.words(3)),
    ]
}

fn part(random: &mut Random, key: i64) -> Row {
    let mut names: Vec<&str> = COLOURS.to_vec();
    random.shuffle(&mut names);
    let maker = random.of(1, 5);
    let brand = match random.of(0, 1) {
        0 => random.pick(&["12", "23", "34", "45"]).to_string(),
        _ => format!("{maker}{}", random.of(1, 5)),
    };
    let size = match random.of(0, 1) {
        0 => random.of(1, 15),
        _ => random.of(1, 50),
    };
    let kind: Vec<&str> = TYPES.iter().map(|of| random.pick(of)).collect();
    let container: Vec<&str> = CONTAINERS.iter().map(|of| random.pick(of)).collect();
    vec![
        key.to_string(),
        text(&names[..5].join(" ")),
        text(&format!("Manufacturer#{maker}")),
        text(&format!("Brand#{brand}")),
        text(&kind.join(" ")),
        size.to_string(),
        text(&container.join(" ")),
        money(price_of_part(key)),
        text(&random.words(2)),
    ]
}

fn line(random: &mut Random, order: i64, number: i64, ordered: i64) -> (Row, i64, bool) {
    let part = random.of(1, PARTS as i64);
    let quantity = random.of(1, 50);
    let price = quantity * price_of_part(part);
    let (discount, tax) = (random.of(0, 10), random.of(0, 8));
    let shipped = ordered + random.of(1, 121);
    let received = shipped + random.of(1, 30);
    let returned = match received <= TODAY {
        true => random.pick(&["R", "A"]),
        false => "N",
    };
    let open = shipped > TODAY;
    let which = random.of(0, 3);
    let row = vec![
        order.to_string(),
        part.to_string(),
        supplier_of_part(part, which).to_string(),
        number.to_string(),
        quantity.to_string(),
        money(price),
        money(discount),
        money(tax),
        text(returned),
        text(if open { "O" } else { "F" }),
        date(shipped),
        date(ordered + random.of(30, 90)),
        date(received),
        text(random.pick(INSTRUCTIONS)),
        text(random.pick(MODES)),
        text(&random.words(1)),
    ];
    (row, price * (100 + tax) * (100 - discount) / 10_000, open)
}

/// An order and its lines.
fn order(random: &mut Random, index: u64) -> (Row, Vec<Row>) {
    let key = (index / 8 * 32 + index % 8 + 1) as i64;
    let mut customer = random.of(1, CUSTOMERS as i64);
    if customer % 3 == 0 {
        customer -= 1;
    }
    let ordered = random.of(0, LAST_ORDER);
    let lines: Vec<_> =
        (1..=random.of(1, 7)).map(|number| line(random, key, number, ordered)).collect();
    let total = lines.iter().map(|(_, price, _)| price).sum();
    let open = lines.iter().filter(|(_, _, open)| *open).count();
    let status = match open {
        0 => "F",
        open if open == lines.len() => "O",
        _ => "P",
    };
    let row = vec![
        key.to_string(),
        customer.to_string(),
        text(status),
        money(total),
        date(ordered),
        text(random.pick(PRIORITIES)),
        text(&format!("Clerk#{:09}", random.of(1, 10))),
        "0".to_string(),
        text(&random.words(4)),
    ];
    (row, lines.into_iter().map(|(row, _, _)| row).collect())
}

macro_rules! table {
    ($name:literal, $($column:literal),+) => {
        Table { name: $name, columns: &[$($column),+], rows: Vec::new(), log: Vec::new() }
    };
}

fn tables() -> Vec<Table> {
    vec![
        table!("region", "r_regionkey", "r_name", "r_comment"),
        table!("nation", "n_nationkey", "n_name", "n_regionkey", "n_comment"),
        table!(
            "supplier",
            "s_suppkey",
            "s_name",
            "s_address",
            "s_nationkey",
            "s_phone",
            "s_acctbal",
            "s_comment"
        ),
        table!(
            "customer",
            "c_custkey",
            "c_name",
            "c_address",
            "c_nationkey",
            "c_phone",
            "c_acctbal",
            "c_mktsegment",
            "c_comment"
        ),
        table!(
            "part",
            "p_partkey",
            "p_name",
            "p_mfgr",
            "p_brand",
            "p_type",
            "p_size",
            "p_container",
            "p_retailprice",
            "p_comment"
        ),
        table!(
            "partsupp",
            "ps_partkey",
            "ps_suppkey",
            "ps_availqty",
            "ps_supplycost",
            "ps_comment"
        ),
        table!(
            "orders",
            "o_orderkey",
            "o_custkey",
            "o_orderstatus",
            "o_totalprice",
            "o_orderdate",
            "o_orderpriority",
            "o_clerk",
            "o_shippriority",
            "o_comment"
        ),
        table!(
            "lineitem",
            "l_orderkey",
            "l_partkey",
            "l_suppkey",
            "l_linenumber",
            "l_quantity",
            "l_extendedprice",
            "l_discount",
            "l_tax",
            "l_returnflag",
            "l_linestatus",
            "l_shipdate",
            "l_commitdate",
            "l_receiptdate",
            "l_shipinstruct",
            "l_shipmode",
            "l_comment"
        ),
    ]
}

/// The place of each table in [`tables`].
const NATION: usize = 1;
const SUPPLIER: usize = 2;
const CUSTOMER: usize = 3;
const PART: usize = 4;
const PARTSUPP: usize = 5;
const ORDER: usize = 6;
const LINE: usize = 7;

fn fill(random: &mut Random, tables: &mut [Table]) {
    for (key, name) in REGIONS.iter().enumerate() {
        tables[0].rows.push(vec![key.to_string(), text(name), text(&random.words(1))]);
    }
    for (key, (name, region)) in NATIONS.iter().enumerate() {
        let row = vec![key.to_string(), text(name), region.to_string(), text(&random.words(1))];
        tables[NATION].rows.push(row);
    }
    for key in 1..=SUPPLIERS as i64 {
        tables[SUPPLIER].rows.push(supplier(random, key));
    }
    for key in 1..=CUSTOMERS as i64 {
        tables[CUSTOMER].rows.push(customer(random, key));
    }
    for key in 1..=PARTS as i64 {
        tables[PART].rows.push(part(random, key));
        for which in 0..4 {
            tables[PARTSUPP].rows.push(vec![
                key.to_string(),
                supplier_of_part(key, which).to_string(),
                random.of(1, 9_999).to_string(),
                money(random.of(100, 100_000)),
                text(&random.words(1)),
            ]);
        }
    }
    for index in 0..ORDERS {
        let (order, lines) = order(random, index);
        tables[ORDER].rows.push(order);
        tables[LINE].rows.extend(lines);
    }
}

/// Every row once, in random order, over the first ticks.
fn load(random: &mut Random, tables: &mut [Table]) {
    for table in tables {
        let mut rows = table.rows.clone();
        random.shuffle(&mut rows);
        let count = rows.len();
        for (at, row) in rows.into_iter().enumerate() {
            table.log.push((at * LOADS / count, "+I", row));
        }
    }
}

fn update(table: &mut Table, at: usize, tick: usize, new: Row) {
    let old = std::mem::replace(&mut table.rows[at], new.clone());
    table.log.push((tick, "-U", old));
    table.log.push((tick, "+U", new));
}

fn delete(table: &mut Table, at: usize, tick: usize) {
    let old = table.rows.swap_remove(at);
    table.log.push((tick, "-D", old));
}

/// New values for some columns of `count` random rows.
fn touch(random: &mut Random, tables: &mut [Table], tick: usize) {
    let any =
        |random: &mut Random, table: &Table| random.of(0, table.rows.len() as i64 - 1) as usize;
    for (table, count, columns) in [
        (SUPPLIER, 5, vec![3, 5]),
        (CUSTOMER, 40, vec![3, 4, 5, 6]),
        (PART, 40, vec![1, 3, 4, 5, 6]),
    ] {
        for _ in 0..count {
            let at = any(random, &tables[table]);
            let old = tables[table].rows[at].clone();
            let key: i64 = old[0].parse().expect("a key");
            let fresh = match table {
                SUPPLIER => supplier(random, key),
                CUSTOMER => customer(random, key),
                _ => part(random, key),
            };
            let mut new = old;
            columns.iter().for_each(|&c| new[c] = fresh[c].clone());
            update(&mut tables[table], at, tick, new);
        }
    }
    for _ in 0..80 {
        let at = any(random, &tables[PARTSUPP]);
        let mut new = tables[PARTSUPP].rows[at].clone();
        new[2] = random.of(1, 9_999).to_string();
        new[3] = money(random.of(100, 100_000));
        update(&mut tables[PARTSUPP], at, tick, new);
    }
    for _ in 0..400 {
        let at = any(random, &tables[LINE]);
        let old = tables[LINE].rows[at].clone();
        let key = |column: usize| old[column].parse().expect("a key");
        let ordered = random.of(0, LAST_ORDER);
        let (new, _, _) = line(random, key(0), key(3), ordered);
        update(&mut tables[LINE], at, tick, new);
    }
    for _ in 0..100 {
        let at = any(random, &tables[ORDER]);
        let mut new = tables[ORDER].rows[at].clone();
        new[2] = text(random.pick(&["F", "O", "P"]));
        new[4] = date(random.of(0, LAST_ORDER));
        new[8] = text(&random.words(4));
        update(&mut tables[ORDER], at, tick, new);
    }
}

fn change(random: &mut Random, tables: &mut [Table]) {
    for tick in LOADS..TICKS {
        touch(random, tables, tick);
        // Orders leave with their lines, some lines and customers alone, and new orders come.
        let mut gone = BTreeSet::new();
        for _ in 0..150 {
            let at = random.of(0, tables[ORDER].rows.len() as i64 - 1) as usize;
            gone.insert(tables[ORDER].rows[at][0].clone());
            delete(&mut tables[ORDER], at, tick);
        }
        for at in (0..tables[LINE].rows.len()).rev() {
            if gone.contains(&tables[LINE].rows[at][0]) {
                delete(&mut tables[LINE], at, tick);
            }
        }
        for (table, count) in [(LINE, 100), (CUSTOMER, 10), (PARTSUPP, 20), (SUPPLIER, 1)] {
            for _ in 0..count {
                let at = random.of(0, tables[table].rows.len() as i64 - 1) as usize;
                delete(&mut tables[table], at, tick);
            }
        }
        for index in 0..150 {
            let index = ORDERS + (tick * 1_000) as u64 + index;
            let (order, lines) = order(random, index);
            tables[ORDER].log.push((tick, "+I", order.clone()));
            tables[ORDER].rows.push(order);
            for line in lines {
                tables[LINE].log.push((tick, "+I", line.clone()));
                tables[LINE].rows.push(line);
            }
        }
        // A nation leaves, and comes back at the next tick.
        let nation = &mut tables[NATION];
        if tick % 2 == 0 {
            let at = nation.rows.iter().position(|row| row[0] == "7").expect("Germany");
            delete(nation, at, tick);
        } else {
            let (name, region) = NATIONS[7];
            let row = vec!["7".into(), text(name), region.to_string(), text("back")];
            nation.log.push((tick, "+I", row.clone()));
            nation.rows.push(row);
        }
    }
}

/// Writes `<table>.jsonl` of every table into `dir`; the number of changes.
pub fn write(dir: &Path) -> usize {
    let mut random = Random(20_260_101);
    let mut tables = tables();
    fill(&mut random, &mut tables);
    load(&mut random, &mut tables);
    change(&mut random, &mut tables);
    let mut changes = 0;
    for table in &tables {
        let file = File::create(dir.join(format!("{}.jsonl", table.name))).expect("a file");
        let mut file = BufWriter::new(file);
        for (tick, kind, row) in &table.log {
            let seconds = (tick + 1) * TICK_SECONDS;
            let (minute, second) = (seconds / 60, seconds % 60);
            write!(file, "{{\"op\":\"{kind}\"").expect("written");
            for (name, value) in table.columns.iter().zip(row) {
                write!(file, ",\"{name}\":{value}").expect("written");
            }
            writeln!(file, ",\"ts\":\"2024-01-01 00:{minute:02}:{second:02}\"}}").expect("written");
        }
        file.flush().expect("written");
        changes += table.log.len();
    }
    changes
}
