//! The published benchmark's queries parse, bind and optimise, text unchanged.

use super::{job, plan};

const TABLES: &str = include_str!("../../../tests/data/nexmark/tables.sql");

const SIDE_TABLES: &str = "
CREATE TABLE bid_proc (
  auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING,
  `dateTime` TIMESTAMP(3), extra STRING, p_time AS PROCTIME()
) WITH ('connector' = 'filesystem', 'path' = 'bid.jsonl', 'format' = 'json');
CREATE TABLE side_input (key BIGINT, `value` STRING) WITH ('connector' = 'filesystem');
";

macro_rules! queries {
    ($($name:literal),*) => {
        [$(($name, include_str!(concat!("../../../tests/data/nexmark/queries/", $name, ".sql")))),*]
    };
}

fn query(text: &str) -> String {
    format!("{TABLES}{SIDE_TABLES}{text}")
}

#[test]
fn all_queries_bind() {
    let queries = queries![
        "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "q8", "q9", "q10", "q11", "q12", "q13",
        "q14", "q15", "q16", "q17", "q18", "q19", "q20", "q21", "q22"
    ];
    for (name, text) in queries {
        let job = job(&query(text));
        assert_eq!(job.outputs.len(), 1, "{name}");
        if std::env::var_os("SHOW_PLANS").is_some() {
            println!("{name}\n{}\n", job.outputs[0].plan.display_indent_schema());
        }
    }
}

#[test]
fn window_join_has_equalities_and_a_filter() {
    let text = include_str!("../../../tests/data/nexmark/queries/q5.sql");
    let plan = plan(&query(text));
    assert!(
        plan.contains(
            "Inner Join: counts.window_start = top.window_start, \
             counts.window_end = top.window_end Filter: counts.num >= top.max_num"
        ),
        "{plan}"
    );
    assert!(plan.contains("TableScan: bid projection=[auction, dateTime]"), "{plan}");
}
