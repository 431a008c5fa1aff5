//! What must not change a fingerprint, what must, and what those of this version are.

use std::collections::BTreeSet;

use super::*;
use crate::plan::lower::{LowerOptions, lower};
use crate::plan::props::ChangelogMode;
use crate::sql::bind::bind;
use crate::sql::script::parse_script;

const TABLES: &str = "
CREATE TABLE bid (auction BIGINT, price BIGINT, channel STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '4' SECOND)
WITH ('connector' = 'filesystem', 'path' = 'bids', 'format' = 'json');
CREATE TABLE person (id BIGINT, name STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'filesystem', 'path' = 'persons', 'format' = 'csv');
";
const VIEW: &str = "
CREATE MATERIALIZED VIEW v AS
SELECT auction, COUNT(*) AS n, MAX(price) AS top FROM bid WHERE price > 10 GROUP BY auction;
";

fn plan_of(sql: &str) -> StreamPlan {
    let script = parse_script("job.sql", sql).unwrap();
    let bound = bind(&[script], &[]).unwrap();
    let options = LowerOptions {
        is_bounded: &|_| false,
        changelog: true,
        side_views: false,
        source_mode: &|table| match table.options.get("format").map(String::as_str) {
            Some("debezium-json") => ChangelogMode::Retract,
            _ => ChangelogMode::Append,
        },
    };
    lower(&bound, &options).unwrap()
}

/// The fingerprints of the first output and of all state that it is made of.
fn first(sql: &str) -> (String, BTreeSet<String>) {
    let plan = plan_of(sql);
    let found = Fingerprints::of(&plan).unwrap();
    let (mut open, mut states) = (vec![plan.outputs[0].node], BTreeSet::new());
    while let Some(id) = open.pop() {
        let node = plan.node(id);
        let is_state = matches!(node.operator, Operator::GroupAggregate { .. } | Operator::Join(_));
        states.extend(is_state.then(|| found.nodes[id.0].clone()));
        open.extend(&node.inputs);
    }
    (found.outputs[0].clone(), states)
}

#[test]
fn names_texts_and_other_views_change_nothing() {
    let base = first(&format!("{TABLES}{VIEW}"));
    assert_eq!(base.1.len(), 1);
    let same = [
        // Comments, whitespace, letters.
        VIEW.replace("SELECT auction", "select /* the key */\n   auction").replace("AS n", "n"),
        // Names of views and columns.
        VIEW.replace("VIEW v", "VIEW other").replace("AS n", "AS many").replace("top", "greatest"),
        // Another view, of other columns of the table.
        format!("{VIEW} CREATE MATERIALIZED VIEW w AS SELECT channel, price, ts FROM bid;"),
        // A view in between.
        "CREATE VIEW dear AS SELECT auction AS a, price AS p FROM bid WHERE price > 10;
         CREATE MATERIALIZED VIEW v AS SELECT a, COUNT(*), MAX(p) FROM dear GROUP BY a;"
            .to_string(),
    ];
    for view in same {
        assert_eq!(first(&format!("{TABLES}{view}")), base, "{view}");
    }
    // The order of statements, an option without meaning, the order of options.
    let (bid, person) = TABLES.split_at(TABLES.find("CREATE TABLE person").unwrap());
    assert_eq!(first(&format!("{person}{bid}{VIEW}")), base);
    let options = "'format' = 'json', 'source.monitor-interval' = '1 s', 'path' = 'bids'";
    let watched = TABLES.replace("'path' = 'bids', 'format' = 'json'", options);
    assert_eq!(first(&format!("{watched}{VIEW}")), base);
    let settings = "SET 'snapshot.interval' = '3 s'; SET 'retain_history' = '2 h';";
    assert_eq!(first(&format!("{settings}{TABLES}{VIEW}")), base);
}

#[test]
fn what_is_computed_and_of_what_changes_it() {
    let base = first(&format!("{TABLES}{VIEW}"));
    let mut seen = BTreeSet::from([base.0.clone()]);
    let others = [
        (TABLES.to_string(), VIEW.replace("> 10", "> 11")),
        (TABLES.to_string(), VIEW.replace("> 10", ">= 10")),
        (TABLES.to_string(), VIEW.replace("MAX(price)", "MIN(price)")),
        (TABLES.to_string(), VIEW.replace("MAX(price)", "MAX(price) FILTER (WHERE auction > 0)")),
        (TABLES.to_string(), VIEW.replace("COUNT(*)", "COUNT(DISTINCT price)")),
        (TABLES.to_string(), VIEW.replace("GROUP BY auction", "GROUP BY auction, channel")),
        (TABLES.to_string(), VIEW.replace("auction", "channel")),
        (TABLES.replace("'4' SECOND", "'5' SECOND"), VIEW.to_string()),
        (TABLES.replace("'path' = 'bids'", "'path' = 'bids2'"), VIEW.to_string()),
        (
            TABLES.replace(
                "'format' = 'json')",
                "'format' = 'json', 'json.timestamp-format.standard' = 'ISO-8601')",
            ),
            VIEW.to_string(),
        ),
        (TABLES.replace("price BIGINT", "price INT"), VIEW.to_string()),
        (format!("SET 'time_resolution' = '1 s';{TABLES}"), VIEW.to_string()),
    ];
    for (tables, view) in others {
        let other = first(&format!("{tables}{view}"));
        assert!(seen.insert(other.0.clone()), "{tables}{view}");
        assert!(other.1.is_disjoint(&base.1), "{tables}{view}");
    }
}

#[test]
fn a_projection_behind_an_operator_changes_what_is_given_not_the_state() {
    let base = first(&format!("{TABLES}{VIEW}"));
    let other = first(&format!("{TABLES}{}", VIEW.replace("COUNT(*) AS n,", "COUNT(*) + 1 AS n,")));
    assert_eq!(other.1, base.1);
    assert_ne!(other.0, base.0);
    // Of a table whose columns are found by their places each column matters.
    let view = "CREATE MATERIALIZED VIEW v AS SELECT id, COUNT(*) FROM person GROUP BY id;";
    let more = TABLES.replace("name STRING", "name STRING, more INT");
    assert_ne!(first(&format!("{TABLES}{view}")), first(&format!("{more}{view}")));
    let more = TABLES.replace("channel STRING", "channel STRING, more INT");
    assert_eq!(first(&format!("{more}{VIEW}")), base);
}

#[test]
fn an_index_that_other_joins_widen_is_other_state_of_the_same_relation() {
    let join = "CREATE MATERIALIZED VIEW v AS SELECT bid.auction, person.id FROM bid JOIN person
        ON bid.auction = person.id;";
    let wider = "CREATE MATERIALIZED VIEW w AS SELECT bid.price, bid.channel, person.name FROM bid
        JOIN person ON bid.auction = person.id;";
    let (alone, both) =
        (first(&format!("{TABLES}{join}")), first(&format!("{TABLES}{join}{wider}")));
    assert_eq!(alone.0, both.0, "the view is the same");
    assert_ne!(alone.1, both.1, "its index has more columns");
}

/// Snapshots hold fingerprints: those of a version stay as they are. Where they have to change,
/// [`VERSION`] does too, and snapshots from before are upgraded by planning their scripts again.
#[test]
fn fingerprints_of_this_version_stay() {
    let sql = format!(
        "{TABLES}{VIEW}
         CREATE TABLE cdc (id BIGINT, x INT, PRIMARY KEY (id) NOT ENFORCED)
         WITH ('connector' = 'filesystem', 'path' = 'cdc', 'format' = 'debezium-json');
         CREATE TABLE out (auction BIGINT, n BIGINT)
         WITH ('connector' = 'filesystem', 'path' = 'out', 'format' = 'csv');
         INSERT INTO out SELECT auction, COUNT(*) FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(ts),
           INTERVAL '1' MINUTE)) GROUP BY auction, window_start, window_end;
         CREATE MATERIALIZED VIEW joined AS SELECT b.price, p.name, c.x FROM bid b
           JOIN person p ON b.auction = p.id LEFT JOIN cdc c ON c.id = p.id;
         CREATE MATERIALIZED VIEW ranked AS SELECT * FROM (SELECT auction, price, ROW_NUMBER()
           OVER (PARTITION BY auction ORDER BY price DESC) AS r FROM bid) WHERE r <= 3;
         CREATE MATERIALIZED VIEW some AS SELECT id FROM person INTERSECT SELECT auction FROM bid;
         CREATE MATERIALIZED VIEW summed AS SELECT auction, SUM(price) OVER (PARTITION BY auction
           ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS s FROM bid;
         CREATE MATERIALIZED VIEW near AS SELECT b.auction FROM bid b JOIN person p
           ON b.auction = p.id AND b.ts BETWEEN p.ts AND p.ts + INTERVAL '1' HOUR;
         CREATE MATERIALIZED VIEW reach AS WITH RECURSIVE r (id) AS (SELECT id FROM person UNION
           SELECT b.price FROM bid b JOIN r ON b.auction = r.id) SELECT id FROM r;
         CREATE MATERIALIZED VIEW matched AS SELECT * FROM bid MATCH_RECOGNIZE (
           PARTITION BY auction ORDER BY ts MEASURES LAST(B.price) AS up
           AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE B AS B.price > A.price);"
    );
    let found = Fingerprints::of(&plan_of(&sql)).unwrap();
    assert_eq!(found.outputs.len(), 9);
    assert_eq!(found.whole(), "s1-b0b04ff092315a48a4b1b1b72b1231bd", "{found:#?}");
}
