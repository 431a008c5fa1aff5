//! The text format of Prometheus, version 0.0.4: families of series, in an order that depends on
//! nothing but their names and labels.
//!
//! Called by the job layer, which knows what there is to tell. Knows no metric itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The media type of a page.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the process or the job starts again.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Observations by size.
    Histogram,
}

impl Kind {
    /// The word of the format.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// A family of series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Name.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// Its labels, in the order that values are given in.
    pub labels: &'static [&'static str],
    /// What it says, in a sentence.
    pub help: &'static str,
}

/// Observations by size: those up to each bound, and their sum.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// How many were at most as large as the bound of the same place; cumulative.
    pub up_to: Vec<(f64, u64)>,
    /// All of them.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
}

impl Observed {
    /// Nothing yet, by `bounds`, which increase.
    pub fn by(bounds: &[f64]) -> Self {
        Observed { up_to: bounds.iter().map(|bound| (*bound, 0)).collect(), count: 0, sum: 0.0 }
    }

    /// One more.
    pub fn observe(&mut self, value: f64) {
        for (_, count) in self.up_to.iter_mut().filter(|(bound, _)| value <= *bound) {
            *count += 1;
        }
        self.count += 1;
        self.sum += value;
    }
}

#[derive(Clone, Debug)]
enum Value {
    Number(f64),
    Observed(Observed),
}

/// A page of metrics: what one scrape is answered with.
#[derive(Debug)]
pub struct Page {
    families: Vec<(Family, BTreeMap<Vec<String>, Value>)>,
    series: usize,
    series_max: usize,
    left_out: u64,
}

impl Page {
    /// An empty page of `families`, in this order, with at most `series_max` series; those added
    /// beyond are counted.
    pub fn new(families: &[Family], series_max: usize) -> Self {
        Page {
            families: families.iter().map(|family| (*family, BTreeMap::new())).collect(),
            series: 0,
            series_max,
            left_out: 0,
        }
    }

    /// Adds a value; the labels are in the order of the family. What has the same labels is added
    /// up. A family that is not on the page is left out.
    pub fn add(&mut self, family: &Family, labels: &[&str], value: f64) {
        if let Some(Value::Number(sum)) = self.slot(family, labels, Value::Number(0.0)) {
            *sum += value;
        }
    }

    /// Adds the least of the values that are given of the same labels.
    pub fn add_least(&mut self, family: &Family, labels: &[&str], value: f64) {
        if let Some(Value::Number(least)) = self.slot(family, labels, Value::Number(f64::INFINITY))
        {
            *least = least.min(value);
        }
    }

    /// Adds observations, which nothing else has the labels of.
    pub fn add_observed(&mut self, family: &Family, labels: &[&str], observed: &Observed) {
        if let Some(slot) = self.slot(family, labels, Value::Observed(Observed::default())) {
            *slot = Value::Observed(observed.clone());
        }
    }

    /// How many series there was no room for.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    fn slot(&mut self, family: &Family, labels: &[&str], start: Value) -> Option<&mut Value> {
        debug_assert_eq!(family.labels.len(), labels.len(), "the labels of {}", family.name);
        let (_, series) = self.families.iter_mut().find(|(own, _)| own.name == family.name)?;
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        if !series.contains_key(&labels) {
            if self.series >= self.series_max {
                self.left_out += 1;
                return None;
            }
            self.series += 1;
        }
        Some(series.entry(labels).or_insert(start))
    }

    /// The page as text. Families without series are not on it.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (family, series) in self.families.iter().filter(|(_, series)| !series.is_empty()) {
            let Family { name, kind, labels, help } = family;
            let kind = kind.name();
            push(&mut text, format_args!("# HELP {name} {}\n", escaped_help(help)));
            push(&mut text, format_args!("# TYPE {name} {kind}\n"));
            for (values, value) in series {
                let labels = written(labels, values);
                match value {
                    Value::Number(value) => sample(&mut text, name, "", &labels, None, *value),
                    Value::Observed(observed) => histogram(&mut text, name, &labels, observed),
                }
            }
        }
        text
    }
}

fn histogram(text: &mut String, name: &str, labels: &str, observed: &Observed) {
    for (bound, count) in &observed.up_to {
        sample(text, name, "_bucket", labels, Some(number(*bound)), *count as f64);
    }
    sample(text, name, "_bucket", labels, Some("+Inf".to_owned()), observed.count as f64);
    sample(text, name, "_sum", labels, None, observed.sum);
    sample(text, name, "_count", labels, None, observed.count as f64);
}

fn sample(
    text: &mut String,
    name: &str,
    suffix: &str,
    labels: &str,
    bound: Option<String>,
    value: f64,
) {
    let bound = bound.map(|bound| format!("le=\"{bound}\"")).unwrap_or_default();
    let comma = if labels.is_empty() || bound.is_empty() { "" } else { "," };
    let all = format!("{labels}{comma}{bound}");
    let all = if all.is_empty() { all } else { format!("{{{all}}}") };
    push(text, format_args!("{name}{suffix}{all} {}\n", number(value)));
}

/// Labels as they stand between braces.
fn written(names: &[&str], values: &[String]) -> String {
    let pairs = names.iter().zip(values);
    let pairs = pairs.map(|(name, value)| format!("{name}=\"{}\"", escaped_label(value)));
    pairs.collect::<Vec<_>>().join(",")
}

/// A value as Prometheus reads it.
fn number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    value.to_string()
}

fn escaped_help(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

fn escaped_label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn push(text: &mut String, written: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(written);
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: Family =
        Family { name: "rows_total", kind: Kind::Counter, labels: &["job", "op"], help: "Rows." };
    const AGE: Family =
        Family { name: "age_seconds", kind: Kind::Gauge, labels: &[], help: "A \\ and a\nline." };
    const TOOK: Family =
        Family { name: "took_seconds", kind: Kind::Histogram, labels: &["job"], help: "Took." };

    #[test]
    fn a_page_is_in_order_whatever_the_order_of_adding() {
        let mut page = Page::new(&[AGE, ROWS, TOOK], 100);
        page.add(&ROWS, &["b", "x"], 1.0);
        page.add(&ROWS, &["a", "y"], 2.0);
        page.add(&AGE, &[], 0.25);
        let mut took = Observed::by(&[0.1, 1.0]);
        [0.05, 0.5, 2.0].into_iter().for_each(|value| took.observe(value));
        page.add_observed(&TOOK, &["a"], &took);
        let expected = r#"# HELP age_seconds A \\ and a\nline.
# TYPE age_seconds gauge
age_seconds 0.25
# HELP rows_total Rows.
# TYPE rows_total counter
rows_total{job="a",op="y"} 2
rows_total{job="b",op="x"} 1
# HELP took_seconds Took.
# TYPE took_seconds histogram
took_seconds_bucket{job="a",le="0.1"} 1
took_seconds_bucket{job="a",le="1"} 2
took_seconds_bucket{job="a",le="+Inf"} 3
took_seconds_sum{job="a"} 2.55
took_seconds_count{job="a"} 3
"#;
        assert_eq!(page.render(), expected);
    }

    #[test]
    fn label_values_are_escaped() {
        let mut page = Page::new(&[ROWS], 100);
        page.add(&ROWS, &["a\"b\\c\nd", "{,}= ä"], 1.0);
        let line = "rows_total{job=\"a\\\"b\\\\c\\nd\",op=\"{,}= ä\"} 1\n";
        assert!(page.render().ends_with(line), "{}", page.render());
    }

    #[test]
    fn the_same_labels_are_one_series() {
        let mut page = Page::new(&[ROWS, AGE], 100);
        page.add(&ROWS, &["a", "x"], 1.0);
        page.add(&ROWS, &["a", "x"], 2.0);
        page.add_least(&AGE, &[], 7.0);
        page.add_least(&AGE, &[], 5.0);
        let text = page.render();
        assert!(text.contains("rows_total{job=\"a\",op=\"x\"} 3\n"), "{text}");
        assert!(text.contains("age_seconds 5\n"), "{text}");
    }

    #[test]
    fn numbers_are_those_of_prometheus() {
        let all = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e21, 0.001, 12.0];
        let all = all.map(number);
        assert_eq!(all, ["NaN", "+Inf", "-Inf", "1000000000000000000000", "0.001", "12"]);
    }

    #[test]
    fn beyond_the_bound_series_are_counted_and_left_out() {
        let mut page = Page::new(&[ROWS], 1);
        page.add(&ROWS, &["a", "x"], 1.0);
        page.add(&ROWS, &["b", "x"], 1.0);
        page.add(&ROWS, &["a", "x"], 1.0);
        assert_eq!(page.left_out(), 1);
        assert!(page.render().ends_with("rows_total{job=\"a\",op=\"x\"} 2\n"));
    }
}
