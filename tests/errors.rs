//! What is wrong in a script is refused before anything runs: what, where (file, line, column, the
//! line shown), and a hint. One case a line: the script, and what the message must hold.

mod common;

use common::{floodmark, in_parallel, run_text, tests_dir, write};

const T: &str = "CREATE TABLE t (id INT, name STRING, price DECIMAL(10, 2), ts TIMESTAMP(3), \
    WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) \
    WITH ('connector' = 'filesystem', 'path' = 'sql/data/old.jsonl', 'format' = 'json');";

/// A script (its line 1 is [`T`]) and what its error must say, the place first.
const CASES: &[(&str, &[&str])] = &[
    // Tokens.
    ("SELECT 'open FROM t;", &["job.sql:2:8"]),
    ("SELECT id FROM t; /* open", &["job.sql:2"]),
    // Grammar.
    ("SELEC id FROM t;", &["job.sql:2:1", "SELEC"]),
    ("SELECT id FORM t WHERE;", &["job.sql:2"]),
    ("SELECT id,\nFROM t;", &["job.sql:3:1"]),
    ("SELECT (id FROM t;", &["job.sql:2"]),
    ("DROP EVERYTHING;", &["job.sql:2:"]),
    ("INSERT INTO t;", &["job.sql:2:"]),
    ("EXECUTE STATEMENT SET BEGIN INSERT INTO t SELECT * FROM t;", &["job.sql:2"]),
    // Names.
    ("SELECT id FROM tt;", &["job.sql:2:16", "tt", "'t'"]),
    ("SELECT nam FROM t;", &["job.sql:2:8", "nam", "name"]),
    ("SELECT\n  id,\n  t.prize\nFROM t;", &["job.sql:4:", "prize", "price"]),
    ("SELECT UPER(name) FROM t;", &["job.sql:2:8", "UPER", "upper"]),
    ("INSERT INTO nowhere SELECT id FROM t;", &["job.sql:2:13", "nowhere"]),
    ("CREATE VIEW v AS SELECT id FROM t; CREATE VIEW v AS SELECT id FROM t;", &["job.sql:2", "v"]),
    ("SET 'time_resolutoin' = '1 s';", &["job.sql:2", "time_resolution"]),
    // Types.
    ("SELECT name + INTERVAL '1' DAY + TRUE FROM t;", &["job.sql:2"]),
    ("SELECT id FROM t WHERE name;", &["job.sql:2"]),
    ("SELECT HOUR(name, id) FROM t;", &["job.sql:2"]),
    ("SELECT id, COUNT(*) FROM t;", &["job.sql:2", "id"]),
    ("SELECT name, SUM(id) FROM t GROUP BY price;", &["job.sql:2", "name"]),
    ("SELECT id FROM t UNION ALL SELECT id, name FROM t;", &["job.sql:2"]),
    ("INSERT INTO t SELECT id FROM t;", &["job.sql:2", "t"]),
    // Versions of tables.
    ("SELECT id FROM t FOR SYSTEM_TIME AS OF ts;", &["job.sql:2", "SYSTEM_TIME", "JOIN"]),
    (
        "SELECT a.id FROM t AS a JOIN t FOR SYSTEM_TIME AS OF a.ts AS b ON a.id = b.id;",
        &["job.sql:2", "no key", "PRIMARY KEY"],
    ),
    (
        "CREATE TABLE u (id INT, k INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts, \
         PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'datagen'); \
         SELECT a.id FROM t AS a JOIN u FOR SYSTEM_TIME AS OF a.ts AS b ON a.id = b.k;",
        &["job.sql:2", "whole key", "PRIMARY KEY"],
    ),
    (
        "CREATE TABLE u (id INT, at TIMESTAMP(3), ts TIMESTAMP(3), WATERMARK FOR ts AS ts, \
         PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'datagen'); \
         SELECT a.id FROM u AS a JOIN u FOR SYSTEM_TIME AS OF a.at AS b ON a.id = b.id;",
        &["job.sql:2", "event time", "WATERMARK"],
    ),
    (
        "SELECT a.id FROM t AS a RIGHT JOIN t FOR SYSTEM_TIME AS OF a.ts AS b ON a.id = b.id;",
        &["job.sql:2", "SYSTEM_TIME", "[LEFT] JOIN"],
    ),
    // Tables.
    ("CREATE TABLE u (a INTT) WITH ('connector' = 'blackhole');", &["job.sql:2:", "INTT"]),
    ("CREATE TABLE u (a INT); SELECT * FROM u;", &["job.sql:2", "connector"]),
    ("CREATE TABLE u (a INT, a INT) WITH ('connector' = 'blackhole');", &["job.sql:2", "a"]),
    (
        "CREATE TABLE u (a INT, WATERMARK FOR b AS b) WITH ('connector' = 'datagen'); \
         SELECT * FROM u;",
        &["job.sql:2:", "b"],
    ),
    (
        "CREATE TABLE u (a INT, WATERMARK FOR a AS a) WITH ('connector' = 'datagen'); \
         SELECT * FROM u;",
        &["job.sql:2", "a", "TIMESTAMP"],
    ),
    (
        "CREATE TABLE u (a INT) WITH ('connector' = 'kafak'); SELECT * FROM u;",
        &["job.sql:2", "kafak", "filesystem"],
    ),
    (
        "CREATE TABLE u (a INT) WITH ('connector' = 'filesystem', 'pth' = 'x', 'format' = 'json'); \
         SELECT * FROM u;",
        &["job.sql:2", "pth", "path"],
    ),
    (
        "CREATE TABLE u (a INT) WITH ('connector' = 'filesystem', 'path' = 'sql/data/old.jsonl'); \
         SELECT * FROM u;",
        &["job.sql:2", "format"],
    ),
    (
        "CREATE TABLE u (a INT) WITH ('connector' = 'filesystem', 'path' = 'sql/data/old.jsonl', \
         'format' = 'xml'); SELECT * FROM u;",
        &["xml", "parquet"],
    ),
    (
        "CREATE TABLE u (a INT) WITH ('connector' = 'filesystem', 'path' = 'sql/data/old.jsonl', \
         'format' = 'json', 'json.ignore-parse-errors' = 'maybe'); SELECT * FROM u;",
        &["json.ignore-parse-errors", "maybe", "true"],
    ),
    ("SELECT * FROM t TABLESAMPLE (10 ROWS);", &["TABLESAMPLE", "MOD(id, 10)"]),
    // An option's error is at the option, or at its value.
    (
        "CREATE TABLE u (a INT) WITH (\n  'connector' = 'filesystem',\n  'path' = 'x',\n  \
         'format' = \
         'jsom');\nSELECT * FROM u;",
        &["job.sql:5:14", "jsom", "did you mean 'json'"],
    ),
    (
        "CREATE TABLE u (a INT) WITH (\n  'connector' = 'filesystem',\n  'path' = 'x',\n  \
         'format' = \
         'json',\n  'json.ignore-parse-errors' = 'maybe');\nSELECT * FROM u;",
        &["job.sql:6:32", "maybe"],
    ),
    (
        "CREATE TABLE u (a INT) WITH (\n  'connector' = 'filesystem',\n  'pth' = 'x',\n  'format' \
         = \
         'json');\nSELECT * FROM u;",
        &["job.sql:4:3", "pth", "path"],
    ),
    (
        "CREATE TABLE u (a INT) WITH (\n  'connector' = 'datagen',\n  'fields.a.mni' = '1');\n\
         SELECT * FROM u;",
        &["job.sql:4:3", "fields.a.mni"],
    ),
    (
        "CREATE TABLE u (a INT) WITH (\n  'connector' = 'datagen',\n  'rows-per-second' = \
         'many');\n\
         SELECT * FROM u;",
        &["job.sql:4:23", "many"],
    ),
    (
        "CREATE TABLE u (a INT) WITH (\n  'connector' = 'filesystem',\n  'path' = 'x', 'format' = \
         'json',\n  'sink.partition-commit.policy.kind' = 'metastore');\nINSERT INTO u SELECT id \
         FROM t;",
        &["job.sql:5:3", "sink.partition-commit.policy.kind", "remove it"],
    ),
    // What cannot take rows back says what does.
    (
        "CREATE VIEW v AS SELECT id, MAX(ts) AS ts FROM t GROUP BY id;\nSELECT COUNT(*) FROM \
         TABLE(SESSION(TABLE v, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, \
         window_end;",
        &["job.sql:3", "session window", "GroupAggregate(groupBy=[id]"],
    ),
    ("SELECT CAST(ts AS BOOLEAN) FROM t;", &["job.sql:2", "TIMESTAMP(3)", "BOOLEAN"]),
    // Windows.
    (
        "SELECT * FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(time), INTERVAL '1' HOUR));",
        &["job.sql:2:", "time"],
    ),
    (
        "SELECT * FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(name), INTERVAL '1' HOUR));",
        &["job.sql:2:", "name"],
    ),
    ("SELECT * FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '0' SECOND));", &["job.sql:2:"]),
    (
        "SELECT * FROM TABLE(CUMULATE(TABLE t, DESCRIPTOR(ts), \
         INTERVAL '7' SECOND, INTERVAL '1' MINUTE));",
        &["job.sql:2:", "multiple"],
    ),
    (
        "SELECT * FROM TABLE(TUMBEL(TABLE t, DESCRIPTOR(ts), INTERVAL '1' HOUR));",
        &["job.sql:2:", "TUMBLE"],
    ),
    ("SELECT * FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts)));", &["job.sql:2:"]),
    // Subqueries and set operations.
    ("SELECT id, (SELECT id FROM t) AS x FROM t;", &["job.sql:2:", "more than one row", "MAX"]),
    (
        "SELECT id FROM t AS a WHERE id = (SELECT b.id FROM t AS b WHERE b.name = a.name);",
        &["job.sql:2:", "more than one row", "PRIMARY KEY"],
    ),
    (
        "SELECT id FROM t AS a WHERE id > (SELECT MAX(b.id) FROM t AS b WHERE b.price > a.price);",
        &["job.sql:2:70", "subquery", "equal columns", "LEFT JOIN b ON"],
    ),
    (
        "CREATE VIEW v AS SELECT * FROM (VALUES (1, 2)) AS v (k, x);\n\
         SELECT id, (SELECT MAX(x) FROM v WHERE\n  v.k > t.id) AS m FROM t;",
        &["job.sql:4:3", "subquery", "equal columns", "LEFT JOIN b ON"],
    ),
    (
        "SELECT id FROM t AS a WHERE EXISTS (SELECT COUNT(*) FROM t AS b WHERE b.id = a.id \
         HAVING COUNT(*) > 1);",
        &["job.sql:2:", "HAVING"],
    ),
    ("SELECT id FROM t WHERE id IN (SELECT id, name FROM t);", &["job.sql:2:", "one column"]),
    ("SELECT id FROM t EXCEPT SELECT id, name FROM t;", &["job.sql:2:", "columns"]),
    ("SELECT id FROM t INTERSECT SELECT ARRAY[id] FROM t;", &["job.sql:2:", "INTERSECT", "id"]),
    // Conditions.
    ("SELECT CASE WHEN id THEN 1 END FROM t;", &["job.sql:2:18", "CASE WHEN", "BOOLEAN", "INT"]),
    (
        "SELECT CASE WHEN id > 1 THEN 1 WHEN\n  t.id + 1 THEN 2 END FROM t;",
        &["job.sql:3:3", "CASE WHEN", "BOOLEAN"],
    ),
    ("SELECT COUNT(*) FILTER (WHERE id) FROM t;", &["job.sql:2:31", "FILTER", "BOOLEAN", "INT"]),
    ("SELECT id FROM t WHERE id;", &["job.sql:2:", "boolean"]),
    ("SELECT a.id FROM t AS a JOIN t AS b ON a.id;", &["job.sql:2", "boolean"]),
    ("SELECT name FROM t GROUP BY name HAVING COUNT(*);", &["job.sql:2", "boolean"]),
    // Frames.
    (
        "SELECT id,\n  SUM(id) OVER (ORDER BY ts ROWS BETWEEN 1 FOLLOWING AND 1 PRECEDING) FROM t;",
        &["job.sql:3:3", "1 FOLLOWING", "behind its end", "BETWEEN 1 PRECEDING AND 1 FOLLOWING"],
    ),
    (
        "SELECT SUM(id) OVER w FROM t\n\
         WINDOW w AS (ORDER BY ts ROWS BETWEEN CURRENT ROW AND 2 PRECEDING);",
        &["job.sql:3:8", "CURRENT ROW", "behind its end"],
    ),
    // Hints.
    (
        "SELECT id FROM t\n  /*+ OPTIONS('pth' = 'x') */;",
        &["job.sql:3:15", "no option 'pth'", "did you mean 'path'"],
    ),
    ("SELECT id FROM t /*+ OPTIONS('format' = 'jsom') */;", &["job.sql:2:41", "jsom", "json"]),
    ("SELECT /*+ BROADCST(t) */ id FROM t;", &["job.sql:2:12", "BROADCST", "'BROADCAST'"]),
    ("SELECT /*+ NO_SUCH(t) */ id FROM t;", &["job.sql:2:12", "OPTIONS", "STATE_TTL"]),
    ("SELECT /*+ OPTIONS('path' = 'x') */ id FROM t;", &["job.sql:2:12", "behind the name"]),
    ("SELECT id FROM t AS a /*+ OPTIONS('path' = 'x') */;", &["job.sql:2:21", "behind the name"]),
    (
        "CREATE VIEW v AS SELECT id FROM t; SELECT id FROM v /*+ OPTIONS('path' = 'x') */;",
        &["job.sql:2:51", "'v' is a view"],
    ),
    ("SELECT /*+ PARALLELISM(0) */ id FROM t;", &["job.sql:2:24", "'0'", "from 1 to"]),
    ("SELECT /*+ PARALLELISM(two) */ id FROM t;", &["job.sql:2:24", "'two'", "from 1 to"]),
    ("SELECT /*+ PARALLELISM */ id FROM t;", &["job.sql:2", "expected ("]),
    ("SELECT /*+ PARALELISM(2) */ id FROM t;", &["job.sql:2:12", "'PARALLELISM'"]),
    ("SELECT id FROM t /*+ PARALLELISM(2) */;", &["job.sql:2:22", "behind the SELECT"]),
    (
        "SELECT id FROM t WHERE id IN (SELECT /*+ PARALLELISM(2) */ id FROM t);",
        &["job.sql:2:42", "a subquery in an expression"],
    ),
    ("SELECT /*+ BROADCAST(tt) */ id FROM t;", &["job.sql:2:22", "'tt'", "'t'"]),
    ("SET 'parallelism' = '0'; SELECT 1;", &["job.sql:2", "'parallelism'", "from 1 to"]),
    (
        "SELECT id FROM t /*+ OPTIONS('scan.parallelism' = 'x') */;",
        &["job.sql:2:51", "'scan.parallelism' cannot be 'x'", "from 1 to"],
    ),
    (
        "SELECT id FROM t /*+ OPTIONS('scan.rebalance' = 'x') */;",
        &["job.sql:2:49", "'scan.rebalance' cannot be 'x'", "'true' or 'false'"],
    ),
    ("SELECT id FROM tt /*+ OPTIONS('path' = 'x') */;", &["job.sql:2:16", "'tt' not found", "'t'"]),
    // Row patterns.
    (
        "SELECT * FROM t MATCH_RECOGNIZE (PATTERN (A) DEFINE A AS TRUE);",
        &["job.sql:2:", "needs the order", "ORDER BY"],
    ),
    (
        "SELECT * FROM t MATCH_RECOGNIZE (ORDER BY id PATTERN (A) DEFINE A AS TRUE);",
        &["job.sql:2:43", "INT", "not a time"],
    ),
    (
        "SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts DESC PATTERN (A) DEFINE A AS TRUE);",
        &["job.sql:2:43", "ascending"],
    ),
    (
        "SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY id + 1 ORDER BY ts PATTERN (A) \
         DEFINE A AS TRUE);",
        &["job.sql:2:", "PARTITION BY", "subquery"],
    ),
    ("SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts PATTERN (A B+ C));", &["job.sql:2:", "DEFINE"]),
    (
        "SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts PATTERN (A | ) DEFINE A AS TRUE);",
        &["job.sql:2:59", "pattern variable"],
    ),
    (
        "SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts PATTERN (A{3,2}) DEFINE A AS TRUE);",
        &["job.sql:2:56", "ends below its start"],
    ),
    (
        "SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts PATTERN (A B) WITHIN 5 DEFINE A AS \
         TRUE);",
        &["job.sql:2:67", "interval"],
    ),
    (
        "SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts PATTERN (A B) WITHIN INTERVAL '1' \
         MONTH DEFINE A AS TRUE);",
        &["job.sql:2:67", "interval of fixed length"],
    ),
    (
        "SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts PATTERN (START_ROW DOWN) DEFINE \
         DOWM AS TRUE);",
        &["job.sql:2:", "DOWM", "'DOWN'"],
    ),
    (
        "SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts PATTERN (A B) DEFINE A AS TRUE, A \
         AS FALSE);",
        &["job.sql:2:78", "A is defined twice"],
    ),
    (
        "SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts PATTERN (A B) DEFINE B AS B.id + \
         1);",
        &["job.sql:2:", "condition of B is", "BOOLEAN"],
    ),
    (
        "SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts PATTERN (A B) DEFINE B AS B.prize > \
         1);",
        &["job.sql:2:", "prize", "price"],
    ),
    (
        "SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts PATTERN (A B) DEFINE B AS X.price > \
         1);",
        &["job.sql:2:72", "'X' is no variable of PATTERN"],
    ),
    (
        "SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts PATTERN (A B) DEFINE B AS LAST(A.id \
         - B.id) > 1);",
        &["job.sql:2:", "rows of two variables", "LAST(A.x) - LAST(B.x)"],
    ),
    (
        "SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts PATTERN (A B) DEFINE B AS \
         NEXT(B.id) > 1);",
        &["job.sql:2:72", "NEXT", "variable of its own"],
    ),
    (
        "SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts PATTERN (A B) DEFINE B AS \
         PREV(B.id, A.id) > 1);",
        &["job.sql:2:", "PREV", "constant"],
    ),
    (
        "SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts PATTERN (A B) DEFINE B AS FINAL \
         LAST(B.id) > 1);",
        &["job.sql:2:", "FINAL", "DEFINE"],
    ),
    (
        "SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts PATTERN (A B) DEFINE B AS B.id IN \
         (SELECT id FROM t));",
        &["job.sql:2:", "subquery"],
    ),
    (
        "SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts AFTER MATCH SKIP TO FIRST A PATTERN \
         (A B) DEFINE A AS TRUE);",
        &["job.sql:2:", "same match again", "TO NEXT ROW"],
    ),
    (
        "SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts AFTER MATCH SKIP TO LAST C PATTERN \
         (A B) DEFINE A AS TRUE);",
        &["job.sql:2:", "'C' is no variable"],
    ),
    (
        "SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts PATTERN (A B) SUBSET S = (A, D) \
         DEFINE A AS TRUE);",
        &["job.sql:2:", "'D' of SUBSET S"],
    ),
    (
        "SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts MEASURES A.id AS n, B.id AS n \
         PATTERN (A B) DEFINE A AS TRUE);",
        &["job.sql:2:", "two measures are named 'n'"],
    ),
    (
        "SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts ALL ROWS PER MATCH WITH UNMATCHED \
         ROWS PATTERN ({- A -} B) DEFINE A AS TRUE);",
        &["job.sql:2:", "WITH UNMATCHED ROWS"],
    ),
    (
        "SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts PATTERN (PERMUTE(A, B, C, D, E, F, \
         G, H)) DEFINE A AS TRUE);",
        &["job.sql:2", "10000 states"],
    ),
    (
        "SELECT * FROM (SELECT id, MAX(ts) AS ts FROM t GROUP BY id) MATCH_RECOGNIZE \
         (ORDER BY ts PATTERN (A) DEFINE A AS TRUE);",
        &["job.sql:2", "GroupAggregate", "takes rows back"],
    ),
    (
        "SELECT n, PROCTIME() FROM (SELECT id, COUNT(*) AS n FROM t GROUP BY id) AS g;",
        &["job.sql:2", "PROCTIME()", "GroupAggregate", "takes rows back"],
    ),
];

#[test]
fn what_is_wrong_in_a_script_is_shown_where_it_is() {
    in_parallel(CASES, |(sql, parts)| {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("job.sql");
        std::fs::write(&path, format!("{T}\n{sql}\n")).expect("a script");
        // Paths in the script are relative to tests/, so the script is named in full.
        let ran = floodmark(&tests_dir(), &["run", &path.display().to_string()]);
        let (code, stderr) = (ran.code(), &ran.stderr);
        let mut faults = Vec::new();
        if code <= 0 || stderr.contains("panicked") {
            faults.push(format!("exit {code}"));
        }
        if !ran.stdout.is_empty() {
            faults.push("results on standard output".to_owned());
        }
        let missing = ["error: "].iter().chain(*parts).filter(|part| !stderr.contains(**part));
        faults.extend(missing.map(|part| format!("no '{part}'")));
        if faults.is_empty() {
            return Ok(());
        }
        Err(format!("{sql}\n  {}\n  said: {}", faults.join("; "), stderr.trim()))
    });
}

#[test]
fn the_form_of_an_error_is_fixed() {
    let dir = tempfile::tempdir().expect("a folder");
    let ran = run_text(dir.path(), "-- one\nSELECT 1 AS a, nothing AS b;\n", &[]);
    let lines: Vec<&str> = ran.stderr.lines().collect();
    let start = lines.iter().position(|line| line.starts_with("error: ")).expect("an error");
    assert_eq!(lines[start + 1], " --> job.sql:2:16", "{}", ran.stderr);
    assert_eq!(lines[start + 3], "2 | SELECT 1 AS a, nothing AS b;");
    assert_eq!(lines[start + 4], format!("  | {}{}", " ".repeat(15), "^".repeat(7)));
    let message = lines[start].trim_start_matches("error: ");
    assert!(message.starts_with(|c: char| !c.is_ascii_uppercase()), "lower case: {message}");
    assert!(!message.ends_with('.'), "no final stop: {message}");
}

#[test]
fn explain_and_run_say_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "job.sql", "SELECT nothing;\n");
    let form = |ran: common::Ran| {
        let at = ran.stderr.find("error: ").expect("an error");
        ran.stderr.get(at..).map(str::to_owned)
    };
    let explained = form(floodmark(dir.path(), &["explain", "job.sql"]));
    assert_eq!(explained, form(floodmark(dir.path(), &["run", "job.sql"])));
}
