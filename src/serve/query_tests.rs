//! Ad-hoc queries over views at one event time.

use arrow::array::{Int64Array, StringViewArray, TimestampMillisecondArray};
use arrow::util::pretty::pretty_format_batches;

use super::*;
use crate::batch::UpdateBatch;
use crate::serve::view::ViewContents;

struct Views(Vec<ServedView>);

impl ViewCatalog for Views {
    fn find(&self, name: &str) -> Result<ServedView> {
        let name = name.strip_prefix("job1.").unwrap_or(name);
        let found = self.0.iter().find(|v| v.name == name).cloned();
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("view '{name}' not found")))
    }

    fn all(&self) -> Vec<ServedView> {
        self.0.clone()
    }
}

fn view(name: &str, rows: &[(&str, i64, i64)], upper: EventTime, retain: i64) -> ServedView {
    let schema: SchemaRef = Arc::new(Schema::new(vec![
        Field::new("Key", DataType::Utf8View, true),
        Field::new("n", DataType::Int64, true),
        Field::new("ts", DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, None), false),
    ]));
    let contents = ViewContents::new(Arc::clone(&schema), 1, retain);
    let keys: StringViewArray = rows.iter().map(|r| Some(r.0)).collect();
    let numbers: Int64Array = rows.iter().map(|r| Some(r.1)).collect();
    let times: Vec<i64> = rows.iter().map(|r| r.2).collect();
    let stamps = TimestampMillisecondArray::from(times.clone());
    let columns: Vec<arrow::array::ArrayRef> =
        vec![Arc::new(keys), Arc::new(numbers), Arc::new(stamps)];
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
    contents.append(0, vec![UpdateBatch::new(batch, times.into(), None)], upper).unwrap();
    ServedView { name: name.to_owned(), schema, key: vec![0], contents: Arc::new(contents) }
}

fn views() -> Views {
    Views(vec![
        view("v", &[("a", 1, 0), ("b", 2, 10), ("a", 3, 20), ("c", 4, 30)], 25 + 10, 1000),
        view("w", &[("a", 10, 5), ("b", 20, 21)], 22, 1000),
        view("v$late", &[("z", 9, 1)], CLOSED, 1000),
        view("floodmark.dead_letters", &[], CLOSED, 1000),
    ])
}

fn ask(query: &str) -> Result<QueryAnswer> {
    run_query(&views(), &QueryRequest { query: query.to_owned(), as_of: None, limit: 100 })
}

fn table(query: &str) -> (EventTime, Vec<String>) {
    let answer = ask(query).unwrap();
    let text = pretty_format_batches(&answer.rows).unwrap().to_string();
    let lines = text.lines().filter(|l| l.starts_with('|')).skip(1);
    let cell = |l: &str| l.trim_matches('|').split('|').map(|c| c.trim().to_owned()).collect();
    (
        answer.as_of,
        lines
            .map(|l| {
                let c: Vec<String> = cell(l);
                c.join(",")
            })
            .collect(),
    )
}

#[test]
fn one_view_is_read_at_its_upper_and_sorted() {
    let (as_of, rows) = table("SELECT Key, n FROM v");
    assert_eq!(as_of, 35);
    assert_eq!(rows, ["a,1", "a,3", "b,2", "c,4"]);
    let (_, rows) = table("SELECT n, Key FROM v ORDER BY n DESC LIMIT 2;");
    assert_eq!(rows, ["4,c", "3,a"]);
}

#[test]
fn views_are_read_at_one_common_time() {
    let (as_of, rows) = table(
        "WITH s AS (SELECT Key, SUM(n) AS total FROM v GROUP BY Key) \
         SELECT s.Key, total, w.n FROM s JOIN w ON s.Key = w.Key",
    );
    assert_eq!(as_of, 22);
    assert_eq!(rows, ["a,4,10", "b,2,20"]);
    // An ended view does not hold the others back.
    let (as_of, rows) = table("SELECT Key FROM w UNION ALL SELECT Key FROM v$late");
    assert_eq!((as_of, rows), (22, ["a", "b", "z"].map(String::from).to_vec()));
    let (as_of, rows) = table("SELECT n FROM `v$late`");
    assert_eq!((as_of, rows), (2, vec!["9".to_owned()]));
}

#[test]
fn names_may_be_quoted_and_qualified() {
    for from in ["\"v$late\"", "v$late", "job1.v$late"] {
        assert_eq!(table(&format!("SELECT n FROM {from}")).1, ["9"], "{from}");
    }
    assert_eq!(table("SELECT count(*) FROM floodmark.dead_letters").1, ["0"]);
    assert_eq!(table("SELECT v.Key FROM job1.v WHERE v.n = 4").1, ["c"]);
    assert_eq!(table("SELECT COUNT(*), MAX(n) FROM v").1, ["4,4"]);
}

#[test]
fn now_is_the_event_time() {
    for now in ["NOW()", "now()", "PROCTIME()", "CURRENT_TIMESTAMP", "LOCALTIMESTAMP"] {
        let (_, rows) = table(&format!("SELECT {now} AS t FROM v LIMIT 1"));
        assert!(rows[0].starts_with("1970-01-01T00:00:00.035"), "{now}: {rows:?}");
    }
    assert_eq!(table("SELECT CURRENT_DATE AS d FROM v LIMIT 1").1, ["1970-01-01"]);
    let late = "SELECT n FROM v WHERE ts >= LOCALTIMESTAMP - INTERVAL '0.010' SECOND";
    assert_eq!(table(late).1, ["4"]);
}

#[test]
fn an_explicit_time_is_kept() {
    let request = QueryRequest { query: "SELECT n FROM v".into(), as_of: Some(11), limit: 1 };
    let answer = run_query(&views(), &request).unwrap();
    assert_eq!((answer.as_of, answer.truncated), (11, true));
    assert_eq!(answer.rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
    let error = run_query(&views(), &QueryRequest { as_of: Some(36), ..request }).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(error.message.contains("view 'v'"), "{error}");
}

#[test]
fn queries_without_views_have_an_answer() {
    assert_eq!(table("SELECT 1 + 1 AS two, 0.1 + 0.2 AS d").1, ["2,0.3"]);
    assert_eq!(table("VALUES (2), (1)").1, ["1", "2"]);
}

#[test]
fn repeated_column_names_are_numbered() {
    let answer = ask("SELECT v.n, w.n FROM v JOIN w ON v.Key = w.Key").unwrap();
    let names: Vec<&str> = answer.schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["n", "n0"]);
}

#[test]
fn errors_have_a_place() {
    let cases = [
        ("SELECT n FORM v", 1, 15, ""),
        ("SELECT n\nFROM nothing", 2, 6, "nothing"),
        ("SELECT v.Key, m FROM v", 1, 15, "m"),
        ("SELECT key FROM v", 1, 8, "key"),
        ("CREATE TABLE t (a INT)", 1, 1, "only queries"),
        ("INSERT INTO v VALUES (1)", 1, 1, "only queries"),
        ("DROP TABLE v", 1, 1, "only queries"),
        ("SET x = 1", 1, 1, "only queries"),
        ("WITH x AS (SELECT 1) DELETE FROM v", 1, 1, "only queries"),
        ("SELECT 1; SELECT 2", 1, 11, "more than one"),
    ];
    for (query, line, column, message) in cases {
        let error = ask(query).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Sql, "{query}: {error}");
        assert!(error.message.contains(message), "{query}: {error}");
        let at = error.location.as_ref().unwrap_or_else(|| panic!("{query}: {error}"));
        assert_eq!(at.line, line, "{query}: {error}");
        if !message.starts_with("only") {
            assert_eq!(at.column, column, "{query}: {error}");
        }
    }
    assert_eq!(ask("").unwrap_err().kind, ErrorKind::Sql);
    assert_eq!(ask("SELECT 1/0 AS x, n FROM v").unwrap_err().kind, ErrorKind::Sql);
}

#[test]
fn memory_is_bounded() {
    let query = "WITH d AS (SELECT * FROM (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), \
        (9)) AS t (x)) SELECT COUNT(*) AS n FROM (SELECT DISTINCT repeat(CAST(a.x + 10 * b.x + \
        100 * c.x + 1000 * e.x + 10000 * f.x AS STRING), 2500) AS s FROM d a, d b, d c, d e, d f)";
    let error = ask(query).expect_err("a limit");
    assert_eq!(error.kind, ErrorKind::Limit, "{error}");
}

#[test]
fn errors_name_what_is_near() {
    let error = ask("SELECT n FROM v$lat").unwrap_err();
    assert!(error.hint.as_deref().unwrap().contains("v$late"), "{error}");
    let error = ask("SELECT N FROM v").unwrap_err();
    assert!(error.hint.as_deref().unwrap().contains("'n'"), "{error}");
    let error = ask("SELECT coun(n) FROM v").unwrap_err();
    assert!(error.hint.as_deref().unwrap().contains("count"), "{error}");
}

#[test]
fn windows_belong_to_jobs() {
    let query = "SELECT window_end, COUNT(*) AS c FROM \
        TABLE(TUMBLE(TABLE v, DESCRIPTOR(ts), INTERVAL '1' HOUR)) GROUP BY window_end";
    let error = ask(query).unwrap_err();
    assert!(error.message.contains("ad-hoc"), "{error}");
    assert_eq!(error.location.as_ref().map(|at| at.line), Some(1));
}

#[test]
fn the_library_is_that_of_jobs() {
    assert_eq!(table("SELECT DATE_FORMAT(ts, 'yyyy-MM-dd') AS d FROM v LIMIT 1").1, ["1970-01-01"]);
    assert_eq!(table("SELECT SPLIT_INDEX('a,b', ',', 1) AS x").1, ["b"]);
    assert_eq!(table("SELECT CAST(n AS STRING) AS x FROM v WHERE Key = 'c'").1, ["4"]);
}
