//! The routes, the answers and `docs/openapi.json` agree.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::service_for_tests::start;
use crate::api::ROUTES;
use crate::telemetry::prometheus::MEDIA_TYPE;

fn document() -> Value {
    serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap()
}

#[test]
fn the_document_names_every_route_and_no_other() {
    let document = document();
    let mut named = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let methods = ["get", "post", "put", "patch", "delete"];
        for method in methods.iter().filter(|method| item.get(**method).is_some()) {
            named.insert((method.to_uppercase(), path.clone()));
        }
    }
    let routes = ROUTES.iter().map(|(m, p)| ((*m).to_owned(), (*p).to_owned())).collect();
    assert_eq!(named, routes);
}

#[test]
fn every_reference_of_the_document_is_defined() {
    fn walk(document: &Value, value: &Value) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    let pointer = reference.trim_start_matches('#');
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                }
                members.values().for_each(|v| walk(document, v));
            }
            Value::Array(items) => items.iter().for_each(|v| walk(document, v)),
            _ => {}
        }
    }
    let document = document();
    walk(&document, &document);
}

/// Checks `value` by the part of JSON Schema that the document uses.
fn check(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.trim_start_matches('#')).unwrap();
        return check(document, target, value, at);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let index = usize::from(value.is_null());
        return check(document, &choices[index], value, at);
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(some) => some.iter().map(|t| t.as_str().unwrap()).collect(),
        other => panic!("{at}: a schema of type {other}"),
    };
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_i64() || n.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    assert!(types.contains(&found), "{at}: {found} is none of {types:?}");
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(value), "{at}: {value}");
    }
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        values.iter().for_each(|v| check(document, items, v, &format!("{at}[]")));
    }
    if let (Some(properties), Some(members)) = (schema["properties"].as_object(), value.as_object())
    {
        for (name, member) in members {
            let schema = properties.get(name).unwrap_or_else(|| panic!("{at}.{name} is unknown"));
            check(document, schema, member, &format!("{at}.{name}"));
        }
        for name in schema["required"].as_array().unwrap() {
            assert!(members.contains_key(name.as_str().unwrap()), "{at}.{name} is missing");
        }
    }
}

#[tokio::test]
async fn every_answer_is_as_documented() {
    let server = start().await;
    let document = document();
    let job = json!({"name": "j", "sql": "SELECT 1"}).to_string();
    let query = json!({"query": "SELECT * FROM tips"}).to_string();
    let wrong = json!({"query": "SELECT nope FROM tips"}).to_string();
    let dir = tempfile::tempdir().unwrap();
    let to = json!({"to": dir.path().join("export")}).to_string();
    let script = json!({"sql": "SELECT 2", "apply": true}).to_string();
    let held = json!({"query": "EXPLAIN FRONTIER FOR trips"}).to_string();
    let frontier = "/v1/jobs/{name}/frontier";
    let upgrade = "/v1/jobs/{name}/upgrade";
    let snapshots = "/v1/jobs/{name}/snapshots";
    let snapshot = "/v1/jobs/{name}/snapshots/{id}";
    let verify = "/v1/jobs/{name}/snapshots/{id}/verify";
    let export = "/v1/jobs/{name}/snapshots/{id}/export";
    let cases = [
        ("GET", "/healthz", "/healthz", "", 200),
        ("GET", "/v1/cluster", "/v1/cluster", "", 200),
        ("POST", "/v1/jobs", "/v1/jobs", job.as_str(), 201),
        ("POST", "/v1/jobs", "/v1/jobs", job.as_str(), 409),
        ("POST", "/v1/jobs", "/v1/jobs", "[]", 400),
        ("GET", "/v1/jobs", "/v1/jobs", "", 200),
        ("GET", "/v1/jobs/{name}", "/v1/jobs/tail", "", 200),
        ("GET", "/v1/jobs/{name}", "/v1/jobs/trips", "", 200),
        ("GET", "/v1/jobs/{name}", "/v1/jobs/x", "", 404),
        ("GET", "/v1/jobs/{name}/plan", "/v1/jobs/j/plan", "", 200),
        ("GET", frontier, "/v1/jobs/trips/frontier", "", 200),
        ("GET", frontier, "/v1/jobs/unlucky/frontier", "", 200),
        ("GET", frontier, "/v1/jobs/x/frontier", "", 404),
        ("DELETE", "/v1/jobs/{name}", "/v1/jobs/j", "", 200),
        ("DELETE", "/v1/jobs/{name}", "/v1/jobs/j", "", 404),
        ("GET", snapshots, "/v1/jobs/trips/snapshots", "", 200),
        ("GET", snapshots, "/v1/jobs/x/snapshots", "", 404),
        ("POST", snapshots, "/v1/jobs/trips/snapshots", "", 201),
        ("GET", snapshot, "/v1/jobs/trips/snapshots/2", "", 200),
        ("GET", snapshot, "/v1/jobs/trips/snapshots/9", "", 404),
        ("GET", snapshot, "/v1/jobs/trips/snapshots/last", "", 400),
        ("POST", verify, "/v1/jobs/trips/snapshots/2/verify", "", 200),
        ("POST", export, "/v1/jobs/trips/snapshots/2/export", to.as_str(), 200),
        ("POST", export, "/v1/jobs/trips/snapshots/2/export", to.as_str(), 409),
        ("DELETE", snapshot, "/v1/jobs/trips/snapshots/1", "", 200),
        ("GET", "/v1/jobs/{name}/runs", "/v1/jobs/trips/runs", "", 200),
        ("POST", upgrade, "/v1/jobs/trips/upgrade", script.as_str(), 200),
        ("POST", upgrade, "/v1/jobs/x/upgrade", script.as_str(), 404),
        ("POST", upgrade, "/v1/jobs/trips/upgrade", "{}", 400),
        ("GET", "/v1/views", "/v1/views", "", 200),
        ("GET", "/v1/views/{name}", "/v1/views/tips", "", 200),
        ("GET", "/v1/views/{name}", "/v1/views/x", "", 404),
        ("GET", "/v1/views/{name}", "/v1/views/tips?as_of=9999999999999", "", 409),
        ("GET", "/v1/views/{name}", "/v1/views/tips?min_time=4102444800000&wait_ms=1", "", 504),
        ("POST", "/v1/tables/{name}/rows", "/v1/tables/x/rows", "[]", 404),
        ("POST", "/v1/sql", "/v1/sql", query.as_str(), 200),
        ("POST", "/v1/sql", "/v1/sql", wrong.as_str(), 400),
        ("POST", "/v1/sql", "/v1/sql", held.as_str(), 200),
        ("GET", "/openapi.json", "/openapi.json", "", 200),
    ];
    let mut seen = BTreeSet::new();
    let page = server.get("/metrics").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some(MEDIA_TYPE)));
    assert_eq!(page.text(), "# TYPE jobs gauge\njobs 3\n");
    let documented = &document["paths"]["/metrics"]["get"]["responses"]["200"]["content"];
    assert!(documented["text/plain"]["schema"].is_object());
    seen.insert(("GET", "/metrics"));
    for (method, path, uri, body, status) in cases {
        let reply = server.request(method, uri, &[], body).await;
        assert_eq!(reply.status, status, "{method} {uri}: {reply:?}");
        let responses = &document["paths"][path][method.to_lowercase()]["responses"];
        let schema = &responses[status.to_string()]["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{method} {path} {status} is not documented");
        check(&document, schema, &reply.json(), &format!("{method} {path} {status}"));
        seen.insert((method, path));
    }
    assert_eq!(seen, BTreeSet::from(ROUTES));
}
