//! Changelogs: what each dialect's records say, and what is written for each kind of change.

use super::*;
use crate::batch::changes::ChangeKind;
use crate::formats::{metadata_keys, text_encoder};

fn people() -> SchemaRef {
    schema(&[("!id", DataType::Int64), ("name", DataType::Utf8View), ("w", DataType::Float64)])
}

/// Each change as `+I {json}`, then each dead letter's reason.
fn decoded(format: &str, given: &[(&str, &str)], keyed: bool, text: &str) -> Vec<String> {
    let stored = people();
    let mut spec = spec(format, given, &stored, &all(&stored));
    spec.keyed = keyed;
    if keyed {
        let relaxed = |f: &Arc<Field>| f.as_ref().clone().with_nullable(f.name() != "id");
        spec.wanted =
            Arc::new(Schema::new(stored.fields().iter().map(relaxed).collect::<Vec<_>>()));
    }
    changes(spec, text)
}

/// A line that is indented goes on from the one before.
fn joined(text: &str) -> String {
    text.replace("\n  ", "")
}

fn changes(spec: FormatSpec, text: &str) -> Vec<String> {
    let decoder = text_decoder(spec).unwrap();
    let text = joined(text);
    let decoded = decoder.decode(text.into_bytes().into(), "p", 0, true).unwrap();
    let kinds = decoded.kinds.unwrap();
    assert_eq!(kinds.len(), decoded.rows.num_rows());
    let lines = shown(&decoded.rows);
    let rows = kinds.iter().zip(lines.lines()).map(|(kind, row)| format!("{} {row}", kind.sign()));
    rows.chain(decoded.dead_letters.into_iter().map(|(_, letter)| letter.reason)).collect()
}

#[test]
fn debezium() {
    let text = r#"{"before":null,"after":{"id":1,"name":"a","w":1.5},
  "source":{"db":"x"},"op":"c","ts_ms":1}
{"before":{"id":1,"name":"a","w":1.5},"after":{"id":1,"name":"b","w":1.5},"op":"u"}
{"op":"r","after":{"w":2,"name":null,"id":2}}
null

{"before":{"id":1,"name":"b","w":1.5},"after":null,"op":"d"}
{"before":null,"after":{"id":2},"op":"u"}
{"before":null,"after":null,"op":"d"}
{"op":"t"}
{"after":{"id":7}}
{"op":"c","after":{"id":"x"}}
{"op":"c","after":{"name":"no id"}}
"#;
    let rows = [
        r#"+I {"id":1,"name":"a","w":1.5}"#,
        r#"-U {"id":1,"name":"a","w":1.5}"#,
        r#"+U {"id":1,"name":"b","w":1.5}"#,
        r#"+I {"id":2,"name":null,"w":2.0}"#,
        r#"-D {"id":1,"name":"b","w":1.5}"#,
    ];
    let no_before = "no 'before' row: the database must log whole rows (PostgreSQL: REPLICA \
        IDENTITY FULL), or the table needs a PRIMARY KEY";
    let faults = [
        "unknown op 't', expected c, r, u or d",
        "no 'op'",
        "after: id: 'x' is not a BIGINT",
        "after: field 'id' is missing and NOT NULL",
    ];
    let got = decoded("debezium-json", &[], false, text);
    assert_eq!(got[..5], rows);
    assert_eq!(got[5..7], [no_before; 2]);
    assert_eq!(got[7..], faults);
    // With a key an update needs no row before it.
    let got = decoded("debezium-json", &[], true, text);
    assert_eq!(got[..5], rows);
    assert_eq!(got[5], r#"+U {"id":2,"name":null,"w":null}"#);
    assert_eq!(got[6], no_before);
    assert_eq!(got[7..], faults);
}

#[test]
fn debezium_with_its_schema() {
    let text = r#"{"schema":{"type":"struct"},"payload":{"before":null,"after":{"id":1},"op":"c",
  "ts_ms":1589362330904,"source":{"ts_ms":1589362330000,"db":"inventory","table":"products",
  "schema":null}}}
{"after":{"id":1},"op":"c"}
"#;
    let stored = people();
    let include = ("debezium-json.schema-include", "true");
    let mut spec = spec("debezium-json", &[include], &stored, &["id"]);
    let moment = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let mut fields = vec![stored.field(0).clone()];
    for (name, key, data_type) in [
        ("read", "ingestion-timestamp", moment.clone()),
        ("done", "value.source.timestamp", moment),
        ("db", "source.database", DataType::Utf8View),
        ("ns", "source.schema", DataType::Utf8View),
        ("source", "source.properties", map(DataType::Utf8View)),
        ("doc", "schema", DataType::Utf8View),
    ] {
        fields.push(Field::new(name, data_type, true));
        spec.metadata.insert(name.into(), key.into());
    }
    spec.wanted = Arc::new(Schema::new(fields));
    let got = changes(spec, text);
    let row = r#"+I {"id":1,"read":"2020-05-13 09:32:10.904Z","done":"2020-05-13 09:32:10.000Z",
  "db":"inventory","ns":null,"source":{"db":"inventory","schema":null,"table":"products",
  "ts_ms":"1589362330000"},"doc":"{\"type\":\"struct\"}"}"#;
    assert_eq!(got, [joined(row).as_str(), "the record has no 'payload'"]);
    let got = decoded("debezium-json", &[], false, text);
    assert!(got[1].contains("'debezium-json.schema-include'"), "{got:?}");
}

#[test]
fn canal() {
    let text = r#"{"data":[{"id":"1","name":"a","w":"1.5"},{"id":"2","name":"b","w":"2"}],
  "type":"INSERT","database":"d","table":"t","old":null,"isDdl":false}
{"data":[{"id":"1","name":"a","w":"3"},{"id":"2","name":null,"w":"2"}],
  "old":[{"w":"1.5"},{"name":"b"}],"type":"UPDATE","database":"d","table":"t"}
{"old":[{"name":null}],"data":[{"id":"2","name":"c","w":"2"}],
  "type":"UPDATE","database":"d","table":"t"}
{"data":[{"id":"9","name":"other","w":"0"}],"type":"INSERT","database":"e","table":"t"}
{"data":null,"type":"CREATE","database":"d","table":"t","isDdl":true,"sql":"create table t"}
{"data":[{"id":"1","name":"a","w":"3"}],"type":"DELETE","database":"d","table":"t"}
{"data":null,"type":"TRUNCATE","database":"d","table":"t"}
{"data":[{"id":"1"}],"old":null,"type":"UPDATE","database":"d","table":"t"}
"#;
    let given = [("canal-json.database.include", "d"), ("canal-json.table.include", "[st]")];
    let got = decoded("canal-json", &given, false, text);
    assert_eq!(
        got[..9],
        [
            r#"+I {"id":1,"name":"a","w":1.5}"#,
            r#"+I {"id":2,"name":"b","w":2.0}"#,
            r#"-U {"id":1,"name":"a","w":1.5}"#,
            r#"+U {"id":1,"name":"a","w":3.0}"#,
            r#"-U {"id":2,"name":"b","w":2.0}"#,
            r#"+U {"id":2,"name":null,"w":2.0}"#,
            r#"-U {"id":2,"name":null,"w":2.0}"#,
            r#"+U {"id":2,"name":"c","w":2.0}"#,
            r#"-D {"id":1,"name":"a","w":3.0}"#,
        ]
    );
    assert_eq!(got[9], "unknown type 'TRUNCATE', expected INSERT, UPDATE or DELETE");
    assert!(got[10].starts_with("no 'old' row"), "{got:?}");
    assert_eq!(got.len(), 11);
}

#[test]
fn maxwell() {
    let text = r#"{"database":"d","table":"t","type":"insert","ts":1,
  "data":{"id":1,"name":"a","w":1}}
{"type":"update","ts":1477053234,"data":{"id":1,"name":"b","w":1},"old":{"name":"a"},
  "primary_key_columns":["id"]}
{"type":"bootstrap-start","data":{}}
{"type":"bootstrap-insert","data":{"id":3}}
{"type":"delete","data":{"id":1,"name":"b","w":1}}
{"type":"table-drop"}
"#;
    let got = decoded("maxwell-json", &[], false, text);
    assert_eq!(
        got,
        [
            r#"+I {"id":1,"name":"a","w":1.0}"#,
            r#"-U {"id":1,"name":"a","w":1.0}"#,
            r#"+U {"id":1,"name":"b","w":1.0}"#,
            r#"+I {"id":3,"name":null,"w":null}"#,
            r#"-D {"id":1,"name":"b","w":1.0}"#,
            "unknown type 'table-drop', expected insert, update or delete",
        ]
    );
    let stored = people();
    let mut spec = spec("maxwell-json", &[], &stored, &["name"]);
    spec.metadata.insert("at".into(), "ingestion-timestamp".into());
    spec.metadata.insert("keys".into(), "primary-key-columns".into());
    spec.wanted = Arc::new(Schema::new(vec![
        stored.field(1).clone(),
        Field::new("at", millis(), true),
        Field::new("keys", array(DataType::Utf8View), true),
    ]));
    let got = changes(spec, text);
    assert_eq!(got[2], r#"+U {"name":"b","at":"2016-10-21 12:33:54.000","keys":["id"]}"#);
}

#[test]
fn plain_records() {
    let text = r#"{"data":{"id":1,"name":"a","w":1},"op":"+I"}
{"op":"-U","data":{"id":1,"name":"a","w":1}}
{"op":"+U","data":{"id":1,"name":"b","w":1}}
{"op":"-D","id":1,"name":"b","w":1,"time":"2024-01-01"}
{"op":"+i","data":{"id":1}}
{"data":{"id":1}}
[]
"#;
    assert_eq!(
        decoded("changelog-json", &[], false, text),
        [
            r#"+I {"id":1,"name":"a","w":1.0}"#,
            r#"-U {"id":1,"name":"a","w":1.0}"#,
            r#"+U {"id":1,"name":"b","w":1.0}"#,
            r#"-D {"id":1,"name":"b","w":1.0}"#,
            "unknown op '+i', expected +I, -U, +U or -D",
            "no 'op'",
            "broken JSON: expected an object at byte 0 of the record",
        ]
    );
}

#[test]
fn faults_of_fields_are_ignored_where_asked_for() {
    let text = "{\"op\":\"c\",\"after\":{\"id\":1,\"w\":\"much\"}}\n";
    let given = [("debezium-json.ignore-parse-errors", "true")];
    assert_eq!(
        decoded("debezium-json", &given, false, text),
        [r#"+I {"id":1,"name":null,"w":null}"#, "w: 'much' is not a DOUBLE; read as NULL",]
    );
}

#[test]
fn changes_are_written_as_flink_writes_them() {
    let rows = r#"{"op":"+I","id":1,"name":"a"}
{"op":"-U","id":1,"name":"a"}
{"op":"+U","id":1,"name":"b"}
{"op":"-D","id":1,"name":"b"}
"#;
    let stored = schema(&[("id", DataType::Int64), ("name", DataType::Utf8View)]);
    let decoder = text_decoder(spec("changelog-json", &[], &stored, &all(&stored))).unwrap();
    let decoded = decoder.decode(rows.as_bytes().to_vec().into(), "p", 0, true).unwrap();
    let (kinds, rows) = (decoded.kinds.unwrap(), decoded.rows);
    let written = |format: &str| {
        let mut encoder = text_encoder(format, &options(&[]), Arc::clone(&stored)).unwrap();
        let mut out = Vec::new();
        encoder.encode_changes(&rows, &kinds, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        written("changelog-json"),
        r#"{"data":{"id":1,"name":"a"},"op":"+I"}
{"data":{"id":1,"name":"a"},"op":"-U"}
{"data":{"id":1,"name":"b"},"op":"+U"}
{"data":{"id":1,"name":"b"},"op":"-D"}
"#
    );
    assert_eq!(
        written("debezium-json"),
        r#"{"before":null,"after":{"id":1,"name":"a"},"op":"c"}
{"before":{"id":1,"name":"a"},"after":null,"op":"d"}
{"before":null,"after":{"id":1,"name":"b"},"op":"c"}
{"before":{"id":1,"name":"b"},"after":null,"op":"d"}
"#
    );
    assert_eq!(
        written("canal-json").lines().take(2).collect::<Vec<_>>(),
        [
            r#"{"data":[{"id":1,"name":"a"}],"type":"INSERT"}"#,
            r#"{"data":[{"id":1,"name":"a"}],"type":"DELETE"}"#,
        ]
    );
    assert_eq!(
        written("maxwell-json").lines().take(2).collect::<Vec<_>>(),
        [
            r#"{"data":{"id":1,"name":"a"},"type":"insert"}"#,
            r#"{"data":{"id":1,"name":"a"},"type":"delete"}"#,
        ]
    );
    let mut plain = text_encoder("json", &options(&[]), Arc::clone(&stored)).unwrap();
    assert!(plain.encode_changes(&rows, &kinds, &mut Vec::new()).is_err());
    assert_eq!(kinds[3], ChangeKind::Delete);
}

#[test]
fn options_and_metadata_have_flinks_names() {
    for (format, key, value) in [
        ("debezium-json", "debezium-json.schema-include", "perhaps"),
        ("canal-json", "canal-json.table.include", "("),
        ("maxwell-json", "maxwell-json.ignore-parse-errors", "1"),
        ("changelog-json", "changelog-json.timestamp-format.standard", "US"),
    ] {
        let error = validate_options(format, &options(&[(key, value)])).unwrap_err();
        assert!(error.message.contains(key), "{}", error.message);
    }
    assert!(metadata_keys("debezium-json").contains(&"source.properties"));
    assert!(metadata_keys("json").is_empty());
    let include = options(&[("debezium-json.schema-include", "true")]);
    assert!(text_encoder("debezium-json", &include, people()).is_err());
}
