//! The HTTP edge over a real socket: each route, each form, each error, the contract.

mod client_for_tests;
mod contract_tests;
mod service_for_tests;

use std::time::Duration;

use serde_json::{Value, json};

use self::client_for_tests::{Reply, raw, request};
use self::service_for_tests::start;
use crate::limits::HTTP_BODY_BYTES_MAX;

const NOON: i64 = 1_577_880_000_000;

#[tokio::test]
async fn health_and_lists_carry_an_event_time() {
    let server = start().await;
    let health = server.get("/healthz").await;
    assert_eq!(health.status, 200);
    assert_eq!(health.json()["status"], "ok");
    assert_eq!(health.json()["as_of"], "2020-01-01 12:00:00.000");
    assert_eq!(health.header("floodmark-as-of"), Some("2020-01-01 12:00:00.000"));
    let jobs = server.get("/v1/jobs").await.json();
    assert_eq!(jobs["as_of_ms"], NOON);
    assert_eq!(jobs["jobs"][0]["name"], "trips");
    assert_eq!(jobs["jobs"][0]["state"], "running");
    assert_eq!(jobs["jobs"][0]["sources"][0]["watermark"], "2020-01-01 12:00:00.000");
    let views = server.get("/v1/views").await.json();
    let names: Vec<&str> =
        views["views"].as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["floodmark.dead_letters", "large", "pairs", "tips", "tips$late"]);
    let tips = &views["views"][3];
    assert_eq!(tips["key"], json!(["driver"]));
    assert_eq!(tips["columns"][1], json!({"name": "tip", "type": "DECIMAL(10, 2)"}));
    assert_eq!(views["as_of"], "2020-01-01 12:00:00.000");
}

#[tokio::test]
async fn jobs_come_and_go() {
    let server = start().await;
    let body = json!({"name": "next_job", "sql": "SELECT 1"}).to_string();
    let created = server.post("/v1/jobs", &body).await;
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!(created.header("location"), Some("/v1/jobs/next_job"));
    assert_eq!(created.json()["state"], "starting");
    assert_eq!(created.json()["as_of"], Value::Null);
    assert_eq!(server.post("/v1/jobs", &body).await.status, 409);
    let job = server.get("/v1/jobs/next_job").await;
    assert_eq!((job.status, &job.json()["sql"]), (200, &json!("SELECT 1")));
    let plan = server.get("/v1/jobs/next_job/plan").await;
    assert_eq!(plan.json()["plan"], "plan of SELECT 1\n");
    let plan = server.get_as("/v1/jobs/trips/plan", "text/plain").await;
    assert_eq!(plan.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(plan.header("floodmark-as-of"), Some("2020-01-01 12:00:00.000"));
    assert!(plan.text().starts_with("plan of "));
    let gone = server.request("DELETE", "/v1/jobs/next_job", &[], "").await;
    assert_eq!((gone.status, &gone.json()["deleted"]), (200, &json!(true)));
    for path in ["/v1/jobs/next_job", "/v1/jobs/next_job/plan"] {
        assert_eq!(server.get(path).await.status, 404, "{path}");
    }
    assert_eq!(server.request("DELETE", "/v1/jobs/next_job", &[], "").await.status, 404);
}

#[tokio::test]
async fn a_failed_job_says_why_and_a_finished_one_when() {
    let server = start().await;
    let jobs = server.get("/v1/jobs").await.json();
    let failed = &jobs["jobs"].as_array().unwrap()[1];
    assert_eq!(failed["state"], "failed");
    assert_eq!(failed["error"]["message"], "the disk is full");
    let done = server.get("/v1/jobs/tail").await.json();
    assert_eq!(done["state"], "finished");
    assert_eq!(done["as_of"], "2020-01-01 11:30:00.001");
}

#[tokio::test]
async fn a_view_is_read_in_each_form() {
    let server = start().await;
    let reply = server.get("/v1/views/tips").await;
    let expected = json!({
        "as_of": "2020-01-01 12:00:00.000",
        "as_of_ms": NOON,
        "columns": [
            {"name": "driver", "type": "BIGINT"},
            {"name": "tip", "type": "DECIMAL(10, 2)"},
            {"name": "note", "type": "STRING"},
            {"name": "ts", "type": "TIMESTAMP(3)"},
        ],
        "rows": [
            {"driver": 1, "tip": 10.50, "note": "a \"b\", c", "ts": "2020-01-01 10:00:00.000"},
            {"driver": 2, "tip": 0.25, "note": null, "ts": "2020-01-01 11:00:00.000"},
        ],
        "truncated": false,
    });
    assert_eq!(reply.json(), expected);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let csv = server.get_as("/v1/views/tips", "text/csv").await;
    assert_eq!(csv.header("floodmark-as-of"), Some("2020-01-01 12:00:00.000"));
    let lines = "driver,tip,note,ts\n\
        1,10.50,\"a \"\"b\"\", c\",2020-01-01 10:00:00.000\n\
        2,0.25,,2020-01-01 11:00:00.000\n";
    assert_eq!(csv.text(), lines);
    let ndjson = server.get_as("/v1/views/tips", "application/x-ndjson").await;
    assert_eq!(ndjson.header("floodmark-as-of"), Some("2020-01-01 12:00:00.000"));
    let rows: Vec<Value> =
        ndjson.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(Value::Array(rows), expected["rows"]);
}

#[tokio::test]
async fn a_view_is_read_at_a_time_by_key_and_with_a_limit() {
    let server = start().await;
    let drivers = async |query: &str| {
        let reply = server.get(&format!("/v1/views/tips?{query}")).await;
        assert_eq!(reply.status, 200, "{query}: {reply:?}");
        let json = reply.json();
        let rows = json["rows"].as_array().unwrap().iter();
        (rows.map(|r| r["driver"].as_i64().unwrap()).collect::<Vec<_>>(), json)
    };
    for as_of in ["1577876400000", "2020-01-01%2011:00:00.000", "2020-01-01T11:00:00Z"] {
        let (found, json) = drivers(&format!("as_of={as_of}")).await;
        assert_eq!(found, [1], "{as_of}");
        assert_eq!(json["as_of"], "2020-01-01 11:00:00.000");
    }
    assert_eq!(drivers("key=2").await.0, [2]);
    assert_eq!(drivers("key=7").await.0, [0; 0]);
    let (found, json) = drivers("limit=1").await;
    assert_eq!((found, &json["truncated"]), (vec![1], &json!(true)));
    let csv = server.get_as("/v1/views/tips?limit=1", "text/csv").await;
    assert_eq!(csv.header("floodmark-truncated"), Some("true"));
    let pairs = server.get("/v1/views/pairs?key=%22x,y%22,2").await.json();
    assert_eq!(pairs["rows"], json!([{"a": "x,y", "b": 2}]));
}

#[tokio::test]
async fn every_view_has_an_address() {
    let server = start().await;
    let late = server.get("/v1/views/tips$late").await;
    assert_eq!((late.status, late.json()["rows"][0]["n"].as_i64()), (200, Some(9)));
    assert_eq!(server.get("/v1/views/tips%24late").await.status, 200);
    assert_eq!(server.get("/v1/views/trips.tips").await.status, 200);
    let empty = server.get("/v1/views/floodmark.dead_letters").await;
    assert_eq!((empty.status, &empty.json()["rows"]), (200, &json!([])));
    assert_eq!(empty.json()["as_of"], Value::Null);
}

#[tokio::test]
async fn a_large_answer_is_written_in_pieces() {
    let server = start().await;
    let reply = server.get("/v1/views/large?limit=100000").await;
    assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
    let json = reply.json();
    let rows = json["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 20_000);
    assert!(rows.iter().enumerate().all(|(i, row)| row["n"] == i));
    let csv = server.get_as("/v1/views/large?limit=100000", "text/csv").await;
    assert_eq!(csv.text().lines().count(), 20_001);
    let cut = server.get("/v1/views/large").await.json();
    assert_eq!(cut["rows"].as_array().unwrap().len(), 10_000);
    assert_eq!(cut["truncated"], true);
}

#[tokio::test]
async fn sql_is_answered_in_each_form() {
    let server = start().await;
    let query = json!({"query": "SELECT driver, tip FROM tips ORDER BY driver DESC"}).to_string();
    let json = server.post("/v1/sql", &query).await.json();
    assert_eq!(json["as_of_ms"], NOON);
    assert_eq!(json["rows"], json!([{"driver": 2, "tip": 0.25}, {"driver": 1, "tip": 10.5}]));
    let accept = [("accept", "text/csv")];
    let csv = server.request("POST", "/v1/sql", &accept, &query).await;
    assert_eq!(csv.text(), "driver,tip\n2,0.25\n1,10.50\n");
    let early = json!({"query": "SELECT COUNT(*) AS n FROM tips", "as_of": "2020-01-01 11:00:00",
        "limit": 5});
    let json = server.post("/v1/sql", &early.to_string()).await.json();
    assert_eq!(
        (&json["rows"], &json["as_of_ms"]),
        (&json!([{"n": 1}]), &json!(1_577_876_400_000i64))
    );
    let joined = json!({"query": "SELECT COUNT(*) AS n FROM trips.tips t, `tips$late` l"});
    assert_eq!(server.post("/v1/sql", &joined.to_string()).await.json()["rows"][0]["n"], 2);
}

#[tokio::test]
async fn errors_have_one_form_and_a_status_by_kind() {
    let server = start().await;
    let sql = |query: &str| json!({ "query": query }).to_string();
    let create = |name: &str, sql: &str| json!({"name": name, "sql": sql}).to_string();
    let cases: Vec<(Reply, u16, &str, &str)> = vec![
        (server.get("/v1/views/nothing").await, 404, "not_found", "nothing"),
        (server.get("/v1/jobs/nothing").await, 404, "not_found", "nothing"),
        (server.get("/v2/x").await, 404, "not_found", "no route"),
        (server.get("/").await, 404, "not_found", "no route"),
        (server.request("PUT", "/v1/jobs", &[], "").await, 405, "config", "PUT"),
        (server.request("POST", "/v1/views/tips", &[], "").await, 405, "config", "POST"),
        (server.get("/v1/views/tips?as_of=soon").await, 400, "config", "soon"),
        (server.get("/v1/views/tips?asof=1").await, 400, "config", "asof"),
        (server.get("/v1/views/tips?limit=-1").await, 400, "config", "limit"),
        (server.get("/v1/views/tips?limit=99999999").await, 400, "config", "limit"),
        (server.get("/v1/views/tips?as_of=1577880000001").await, 409, "conflict", "complete"),
        (server.get("/v1/views/tips?key=x").await, 400, "config", "BIGINT"),
        (server.get("/v1/views/pairs?key=x").await, 400, "config", "2 columns"),
        (server.get("/v1/views/large?key=x").await, 400, "config", "no known key"),
        (server.get("/v1/views/%ff").await, 400, "config", ""),
        (server.post("/v1/jobs", "{").await, 400, "config", "JSON"),
        (server.post("/v1/jobs", "{\"name\":\"a\"}").await, 400, "config", "sql"),
        (server.post("/v1/jobs", &create("a b", "")).await, 400, "config", "a b"),
        (server.post("/v1/jobs", &create("bad", "bad sql")).await, 400, "sql", "expected"),
        (server.post("/v1/jobs", &create("bug", "bug")).await, 500, "internal", "failed"),
        (server.post("/v1/sql", "{}").await, 400, "config", "query"),
        (server.post("/v1/sql", &sql("SELECT x FROM tips")).await, 400, "sql", "x"),
        (server.post("/v1/sql", &sql("SELECT 1 FROM nothing")).await, 400, "sql", "nothing"),
        (server.post("/v1/sql", &sql("DROP TABLE tips")).await, 400, "sql", "queries"),
    ];
    for (reply, status, kind, message) in cases {
        assert_eq!(reply.status, status, "{reply:?}");
        assert_eq!(reply.header("content-type"), Some("application/json"), "{reply:?}");
        let error = &reply.json()["error"];
        assert_eq!(error["kind"], kind, "{reply:?}");
        assert!(error["message"].as_str().unwrap().contains(message), "{message}: {reply:?}");
        assert!(error["text"].as_str().unwrap().starts_with("error: "), "{reply:?}");
    }
}

#[tokio::test]
async fn errors_in_sql_show_the_place() {
    let server = start().await;
    let query = json!({"query": "SELECT driver,\n  tipp FROM tips"}).to_string();
    let reply = server.post("/v1/sql", &query).await.json();
    let at = &reply["error"]["location"];
    assert_eq!((&at["line"], &at["column"]), (&json!(2), &json!(3)), "{reply}");
    assert_eq!((&at["file"], &at["text"]), (&json!("query"), &json!("  tipp FROM tips")));
    let text = reply["error"]["text"].as_str().unwrap();
    assert!(text.contains("--> query:2:3"), "{text}");
}

#[tokio::test]
async fn methods_and_media_types_are_negotiated() {
    let server = start().await;
    let reply = server.request("PATCH", "/v1/jobs", &[], "").await;
    assert_eq!(reply.status, 405);
    let allow = reply.header("allow").unwrap();
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    for path in ["/healthz", "/v1/jobs", "/v1/views", "/v1/views/tips", "/v1/jobs/trips/plan"] {
        let reply = server.get_as(path, "image/png").await;
        assert_eq!(reply.status, 406, "{path}");
        assert!(reply.json()["error"]["hint"].as_str().unwrap().contains("application/json"));
    }
    assert_eq!(server.get_as("/v1/jobs", "text/csv").await.status, 406);
    let head = server.request("HEAD", "/v1/views/tips", &[], "").await;
    assert_eq!((head.status, head.text()), (200, String::new()));
}

#[tokio::test]
async fn bodies_are_bounded() {
    let server = start().await;
    let long = format!("{{\"query\": \"{}\"}}", "x".repeat(HTTP_BODY_BYTES_MAX));
    let reply = server.post("/v1/sql", &long).await;
    assert_eq!(reply.status, 413);
    assert_eq!(reply.json()["error"]["kind"], "limit");
    // A length announced is refused before the body comes; one not announced, while it comes.
    let host = server.address;
    let head = format!("POST /v1/sql HTTP/1.1\r\nhost: {host}\r\ncontent-length: 9999999\r\n\r\n");
    assert!(raw(host, head.as_bytes()).await.starts_with("HTTP/1.1 413"));
    let chunk = "x".repeat(1 << 20);
    let mut chunked = format!("POST /v1/sql HTTP/1.1\r\nhost: {host}\r\n");
    chunked.push_str("transfer-encoding: chunked\r\n\r\n");
    for _ in 0..6 {
        chunked.push_str(&format!("100000\r\n{chunk}\r\n"));
    }
    assert!(raw(host, chunked.as_bytes()).await.starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn pages_of_other_sites_change_nothing() {
    let server = start().await;
    let foreign = [("origin", "http://elsewhere.example")];
    let body = json!({"name": "x", "sql": "SELECT 1"}).to_string();
    assert_eq!(server.request("POST", "/v1/jobs", &foreign, &body).await.status, 403);
    assert_eq!(server.request("DELETE", "/v1/jobs/trips", &foreign, "").await.status, 403);
    let own = format!("http://{}", server.address);
    let own = [("origin", own.as_str())];
    assert_eq!(server.request("POST", "/v1/jobs", &own, &body).await.status, 201);
}

#[tokio::test]
async fn a_connection_serves_many_requests_and_survives_nonsense() {
    let server = start().await;
    let replies = raw(
        server.address,
        b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /v1/jobs HTTP/1.1\r\nhost: x\r\n\
          connection: close\r\n\r\n",
    )
    .await;
    assert_eq!(replies.matches("HTTP/1.1 200").count(), 2, "{replies}");
    let reply = raw(server.address, b"\x16\x03\x01 nonsense\r\n\r\n").await;
    assert!(reply.starts_with("HTTP/1.1 400"), "{reply}");
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn open_requests_finish_at_shutdown() {
    let server = start().await;
    let address = server.address;
    let slow = json!({"name": "slow", "sql": "slow"}).to_string();
    let pending =
        tokio::spawn(async move { request(address, "POST", "/v1/jobs", &[], &slow).await.status });
    server.fake.slow_started().await;
    server.stop.send(()).unwrap();
    server.fake.release_slow();
    assert_eq!(pending.await.unwrap(), 201);
    tokio::time::timeout(Duration::from_secs(20), server.task).await.unwrap().unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
