//! What the process writes to standard error: log events and what the command line tells, as text
//! or as one JSON object a line.
//!
//! An object has `time` (RFC 3339, UTC), `level`, `target`, `message`, the number of the `process`
//! in its cluster if it has one, and the fields of the event and of the spans around it: `job`,
//! `worker`, `operator` and the like. Nothing else may write to standard error of a service.

use std::fmt;
use std::io::Write;
use std::str::FromStr;
use std::sync::OnceLock;

use chrono::DateTime;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use super::clock::wall_ms;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for Form {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Form::Text),
            "json" => Ok(Form::Json),
            _ => Err(format!("'{text}' is no form of logs: it is text or json")),
        }
    }
}

static FORM: OnceLock<Form> = OnceLock::new();
static PROCESS: OnceLock<u64> = OnceLock::new();

/// Starts logging what `filter` lets pass. To be called once, before anything is logged.
pub fn start(form: Form, filter: EnvFilter) {
    // The first call has decided.
    let _ = FORM.set(form);
    let started = match form {
        Form::Text => {
            let text = tracing_subscriber::fmt().with_env_filter(filter);
            text.with_writer(std::io::stderr).try_init().is_ok()
        }
        Form::Json => {
            std::panic::set_hook(Box::new(|info| {
                let thread = std::thread::current().name().unwrap_or_default().to_owned();
                write_line("error", &info.to_string(), &[("thread", &thread)]);
            }));
            tracing_subscriber::registry().with(filter).with(JsonLines).try_init().is_ok()
        }
    };
    debug_assert!(started, "logging is started once");
}

/// This process has the number `process` in its cluster.
pub fn is_process(process: usize) {
    // It has one number.
    let _ = PROCESS.set(process as u64);
}

/// Tells the user something that is no matter of a filter, with `fields` where lines are objects.
pub fn tell(message: &str, fields: &[(&str, &str)]) {
    say("info", message, fields);
}

/// As [`tell`], of an error that ends the command.
pub fn tell_error(message: &str) {
    say("error", message, &[]);
}

fn say(level: &str, message: &str, fields: &[(&str, &str)]) {
    match FORM.get() {
        Some(Form::Json) => write_line(level, message, fields),
        // Where standard error is closed nobody can be told.
        _ => drop(writeln!(std::io::stderr(), "{message}")),
    }
}

fn write_line(level: &str, message: &str, fields: &[(&str, &str)]) {
    let mut own = Map::new();
    own.insert("message".to_owned(), message.into());
    for (name, value) in fields {
        own.insert((*name).to_owned(), (*value).into());
    }
    write(&line(wall_ms(), level, None, own));
}

fn write(line: &str) {
    // Where standard error is closed nobody can be told.
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

/// One line: what every line has first, then `fields`.
fn line(now_ms: i64, level: &str, target: Option<&str>, mut fields: Map<String, Value>) -> String {
    let mut all = Map::new();
    let time = DateTime::from_timestamp_millis(now_ms);
    let time = time.map(|time| time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string());
    all.insert("time".to_owned(), time.into());
    all.insert("level".to_owned(), level.into());
    if let Some(target) = target {
        all.insert("target".to_owned(), target.into());
    }
    all.insert("message".to_owned(), fields.shift_remove("message").unwrap_or_else(|| "".into()));
    if let Some(process) = PROCESS.get() {
        all.insert("process".to_owned(), (*process).into());
    }
    for (name, value) in fields {
        all.entry(name).or_insert(value);
    }
    // The object ends where the line does: line ends within are escaped.
    format!("{}\n", Value::Object(all))
}

/// Fields of a span or an event.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
}

/// Writes events as lines of JSON.
struct JsonLines;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for JsonLines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.0.extend(of_span.0.clone());
            }
        }
        event.record(&mut fields);
        let metadata = event.metadata();
        let level = metadata.level().as_str().to_ascii_lowercase();
        write(&line(wall_ms(), &level, Some(metadata.target()), fields.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_object_whatever_is_said() {
        let mut fields = Map::new();
        fields.insert("job".to_owned(), "a\"b\nc".into());
        fields.insert("message".to_owned(), "two\nlines".into());
        fields.insert("level".to_owned(), "none of the caller's".into());
        let line = line(1_577_880_000_123, "warn", Some("floodmark::x"), fields);
        let start = r#"{"time":"2020-01-01T12:00:00.123Z","level":"warn","target":"floodmark::x","#;
        assert!(line.starts_with(start), "{line}");
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["message"], "two\nlines");
        assert_eq!(value["job"], "a\"b\nc");
    }

    #[test]
    fn forms_have_names() {
        assert_eq!("json".parse(), Ok(Form::Json));
        assert_eq!("text".parse(), Ok(Form::Text));
        assert!("xml".parse::<Form>().unwrap_err().contains("text or json"));
    }
}
