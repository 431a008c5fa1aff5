//! A strict reader of the text format of Prometheus, by the rules that `promtool check metrics`
//! applies.

use std::collections::{BTreeMap, BTreeSet};

/// The labels of a series.
pub type Labels = BTreeMap<String, String>;

/// A page of metrics.
#[derive(Default)]
pub struct Page {
    /// By family its type.
    pub families: BTreeMap<String, String>,
    /// By name and labels, in the order of the page.
    pub samples: Vec<(String, Labels, f64)>,
}

impl Page {
    /// Reads `text`; panics where it breaks a rule.
    pub fn read(text: &str) -> Page {
        assert!(text.ends_with('\n'), "the last line has an end");
        let mut page = Page::default();
        let (mut current, mut helped, mut seen) = (String::new(), BTreeSet::new(), BTreeSet::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a help text");
                assert!(!help.is_empty() && helped.insert(name.to_owned()), "one help: {line}");
                name.clone_into(&mut current);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                assert_eq!(name, current, "the type follows the help");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                let before = page.families.insert(name.to_owned(), kind.to_owned());
                assert!(before.is_none(), "one type: {line}");
            } else {
                let (name, labels, value) = sample(line);
                let kind = page.families.get(&current).map(String::as_str);
                let is_own = match kind.expect("help and type come first") {
                    "histogram" => ["_bucket", "_sum", "_count"]
                        .iter()
                        .any(|s| name.strip_suffix(s) == Some(current.as_str())),
                    _ => name == current,
                };
                assert!(is_own, "a family stands together: {line}");
                assert!(seen.insert((name.clone(), labels.clone())), "given twice: {line}");
                if kind == Some("counter") {
                    assert!(value >= 0.0 && value.is_finite(), "{line}");
                }
                page.samples.push((name, labels, value));
            }
        }
        page
    }

    /// The names and labels, in order.
    pub fn series(&self) -> Vec<(String, Labels)> {
        self.samples.iter().map(|(name, labels, _)| (name.clone(), labels.clone())).collect()
    }

    /// The values of `name` whose labels hold all of `with`.
    pub fn values(&self, name: &str, with: &[(&str, &str)]) -> Vec<f64> {
        let holds = |labels: &Labels| {
            with.iter().all(|(k, v)| labels.get(*k).map(String::as_str) == Some(v))
        };
        let found = self.samples.iter().filter(|(own, labels, _)| own == name && holds(labels));
        found.map(|(_, _, value)| *value).collect()
    }

    /// The sum of [`Page::values`], of which there is at least one.
    pub fn sum(&self, name: &str, with: &[(&str, &str)]) -> f64 {
        let values = self.values(name, with);
        assert!(!values.is_empty(), "no {name} with {with:?}");
        values.iter().sum()
    }
}

fn sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).expect("a name");
    let (name, mut rest) = line.split_at(end);
    let is_name = |text: &str| {
        let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        begins && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    assert!(is_name(name), "{line}");
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").expect("a label");
            assert!(is_name(label), "{line}");
            let (value, after) = quoted(after, line);
            assert!(labels.insert(label.to_owned(), value).is_none(), "twice {label}: {line}");
            if let Some(after) = after.strip_prefix('}') {
                rest = after;
                break;
            }
            rest = after.strip_prefix(',').expect("a comma between labels");
        }
    }
    let value = rest.strip_prefix(' ').expect("a space before the value");
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        "NaN" => f64::NAN,
        number => number.parse().unwrap_or_else(|e| panic!("{e}: {line}")),
    };
    (name.to_owned(), labels, value)
}

/// A value up to its closing quote, and what follows.
fn quoted<'a>(text: &'a str, line: &str) -> (String, &'a str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => value.push('\n'),
                Some(c @ ('"' | '\\')) => value.push(c),
                other => panic!("an escape {other:?}: {line}"),
            },
            c => value.push(c),
        }
    }
    panic!("a label without an end: {line}");
}
