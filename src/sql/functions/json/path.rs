//! SQL/JSON paths: `[lax | strict] $.a.b[0]['c'][*]..d[1:3]`.
//!
//! A path with a wildcard, a slice or `..` may lead to many values, which are then one array; any
//! other leads to one value or none. In `strict` mode a step that finds nothing is an error.

use serde_json::Value;

/// A compiled path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Path {
    steps: Vec<Step>,
    strict: bool,
}

/// One step of a path.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    /// From the end if negative.
    Index(i64),
    Items(Vec<i64>),
    Slice(Option<i64>, Option<i64>),
    Every,
    /// The value itself and all below it.
    Descend,
}

/// What a path leads to.
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    /// Nothing, which is no error.
    Empty,
    /// Nothing where the path demands something.
    Error,
    /// A value.
    One(Value),
}

impl Path {
    /// The path of a text; `None` if it is none.
    pub(super) fn parse(text: &str) -> Option<Path> {
        let text = text.trim();
        let (mode, rest) = text.split_once(char::is_whitespace).unwrap_or(("lax", text));
        let (strict, rest) = match mode.to_ascii_lowercase().as_str() {
            "strict" => (true, rest),
            "lax" => (false, rest),
            _ => (false, text),
        };
        let mut rest = rest.trim().strip_prefix('$')?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            rest = match rest.strip_prefix("..") {
                Some(after) => {
                    steps.push(Step::Descend);
                    if after.starts_with('[') {
                        bracket(after, &mut steps)?
                    } else {
                        member(after, &mut steps)?
                    }
                }
                None => match rest.strip_prefix('.') {
                    Some(after) => member(after, &mut steps)?,
                    None => bracket(rest, &mut steps)?,
                },
            };
        }
        Some(Path { steps, strict })
    }

    /// Whether at most one value can be reached.
    fn is_definite(&self) -> bool {
        self.steps.iter().all(|step| matches!(step, Step::Key(_) | Step::Index(_)))
    }

    /// What the path leads to in `document`.
    pub(super) fn find(&self, document: Value) -> Found {
        if self.is_definite() {
            let mut value = document;
            for step in &self.steps {
                match into_step(value, step) {
                    Some(next) => value = next,
                    None if self.strict => return Found::Error,
                    None => return Found::Empty,
                }
            }
            return Found::One(value);
        }
        let mut reached = vec![&document];
        for step in &self.steps {
            let mut next = Vec::new();
            reached.into_iter().for_each(|value| walk(value, step, &mut next));
            reached = next;
        }
        match reached.is_empty() {
            true if self.strict => Found::Error,
            true => Found::Empty,
            false => Found::One(Value::Array(reached.into_iter().cloned().collect())),
        }
    }
}

fn member<'t>(text: &'t str, steps: &mut Vec<Step>) -> Option<&'t str> {
    if let Some(quoted) = text.strip_prefix('"') {
        let (key, after) = quoted.split_once('"')?;
        steps.push(Step::Key(key.to_string()));
        return Some(after);
    }
    let (name, after) = text.split_at(text.find(['.', '[']).unwrap_or(text.len()));
    steps.push(match name.trim() {
        "" => return None,
        "*" => Step::Every,
        name => Step::Key(name.to_string()),
    });
    Some(after)
}

fn bracket<'t>(text: &'t str, steps: &mut Vec<Step>) -> Option<&'t str> {
    let inner = text.strip_prefix('[')?.trim_start();
    if let Some(quote) = inner.chars().next().filter(|c| "'\"".contains(*c)) {
        let (key, after) = inner.get(1..)?.split_once(quote)?;
        steps.push(Step::Key(key.to_string()));
        return after.trim_start().strip_prefix(']');
    }
    let (index, after) = inner.split_once(']')?;
    let number = |text: &str| text.trim().parse::<i64>().ok();
    steps.push(match index.trim() {
        "*" => Step::Every,
        range if range.contains(':') => {
            let (from, to) = range.split_once(':')?;
            let border = |text: &str| match text.trim() {
                "" => Some(None),
                text => number(text).map(Some),
            };
            Step::Slice(border(from)?, border(to)?)
        }
        list if list.contains(',') => {
            Step::Items(list.split(',').map(number).collect::<Option<_>>()?)
        }
        index => Step::Index(number(index)?),
    });
    Some(after)
}

/// Place `at` of `length` items, from the end if negative.
fn place(at: i64, length: usize) -> Option<usize> {
    let at = if at < 0 { at.checked_add(length as i64)? } else { at };
    usize::try_from(at).ok().filter(|at| *at < length)
}

/// One step of a definite path, taking the document apart.
fn into_step(value: Value, step: &Step) -> Option<Value> {
    match (step, value) {
        (Step::Key(key), Value::Object(mut members)) => members.swap_remove(key),
        (Step::Index(at), Value::Array(mut items)) => {
            let at = place(*at, items.len())?;
            Some(items.swap_remove(at))
        }
        _ => None,
    }
}

fn walk<'v>(value: &'v Value, step: &Step, next: &mut Vec<&'v Value>) {
    match (step, value) {
        (Step::Key(key), Value::Object(members)) => next.extend(members.get(key)),
        (Step::Index(at), Value::Array(items)) => {
            next.extend(place(*at, items.len()).and_then(|at| items.get(at)));
        }
        (Step::Items(list), Value::Array(items)) => {
            let places = list.iter().filter_map(|at| place(*at, items.len()));
            next.extend(places.filter_map(|at| items.get(at)));
        }
        (Step::Slice(from, to), Value::Array(items)) => {
            let length = items.len() as i64;
            let border = |at: i64| (if at < 0 { at + length } else { at }).clamp(0, length);
            let (from, to) = (border(from.unwrap_or(0)), border(to.unwrap_or(length)));
            next.extend(items.iter().take(to as usize).skip(from as usize));
        }
        (Step::Every, Value::Array(items)) => next.extend(items),
        (Step::Every, Value::Object(members)) => next.extend(members.values()),
        (Step::Descend, _) => {
            next.push(value);
            match value {
                Value::Array(items) => items.iter().for_each(|v| walk(v, step, next)),
                Value::Object(members) => members.values().for_each(|v| walk(v, step, next)),
                _ => {}
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_values() {
        let document = r#"{"a": {"b": [1, {"c": "x"}, 3]}, "k.e": true, "n": null}"#;
        let cases = [
            ("$.a.b[0]", "1"),
            ("$['k.e']", "true"),
            ("$.\"k.e\"", "true"),
            ("lax $.a.b[-1]", "3"),
            ("$.a.b[1].c", "\"x\""),
            ("$.a.b[*]", "[1,{\"c\":\"x\"},3]"),
            ("$.a.b[0,2]", "[1,3]"),
            ("$.a.b[1:]", "[{\"c\":\"x\"},3]"),
            ("$..c", "[\"x\"]"),
            ("$.n", "null"),
            ("$.z", "empty"),
            ("strict $.z", "error"),
            ("$.a.b[9]", "empty"),
            ("strict $.a[*].z", "error"),
        ];
        for (path, expected) in cases {
            let found = Path::parse(path).unwrap().find(serde_json::from_str(document).unwrap());
            let found = match found {
                Found::Empty => "empty".to_string(),
                Found::Error => "error".to_string(),
                Found::One(value) => value.to_string(),
            };
            assert_eq!(found, expected, "{path}");
        }
        for broken in ["a.b", "$.", "$[", "$[x]", "$['a]", "$.a..", "strict"] {
            assert!(Path::parse(broken).is_none(), "{broken}");
        }
    }
}
