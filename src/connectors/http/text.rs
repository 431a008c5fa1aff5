//! The body of a request as lines of one record each.
//!
//! Only finds where records begin and end; what is in them is the decoder's business.

use crate::error::{Error, Result};

/// The JSON objects of `body`, an array of them or a single one, a line each.
pub(super) fn json_lines(body: &[u8]) -> Result<Vec<u8>> {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let start = spaces(body, 0);
    let Some(inner) = body.get(start..).and_then(|text| text.strip_prefix(b"[")) else {
        return line(body.trim_ascii(), 0).map(|mut found| {
            found.push(b'\n');
            found
        });
    };
    let mut lines = Vec::with_capacity(inner.len());
    let mut at = spaces(inner, 0);
    let mut row = 0;
    if inner.get(at) == Some(&b']') {
        return end(inner, at + 1).map(|()| lines);
    }
    loop {
        let length = element(inner.get(at..).unwrap_or_default());
        let text = inner.get(at..at + length).unwrap_or_default();
        if text.trim_ascii().is_empty() {
            return Err(broken(&format!("row {row} of the array is empty")));
        }
        lines.extend(line(text.trim_ascii(), row)?);
        lines.push(b'\n');
        row += 1;
        at += length;
        match inner.get(at) {
            Some(b',') => at += 1,
            Some(b']') => return end(inner, at + 1).map(|()| lines),
            _ => return Err(broken("the array has no end")),
        }
    }
}

fn broken(what: &str) -> Error {
    Error::config(format!("the body is not the JSON expected: {what}"))
        .with_hint("send an array of objects, one object, or application/x-ndjson: one a line")
}

fn spaces(text: &[u8], from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    from + rest.iter().take_while(|c| c.is_ascii_whitespace()).count()
}

fn end(text: &[u8], at: usize) -> Result<()> {
    match spaces(text, at) {
        all if all == text.len() => Ok(()),
        _ => Err(broken("more text after the array")),
    }
}

/// The length of the element that `text` begins with: up to the comma or bracket behind it.
fn element(text: &[u8]) -> usize {
    let mut depth = 0_u32;
    let mut in_text = false;
    let mut is_escaped = false;
    for (at, c) in text.iter().enumerate() {
        if in_text {
            match c {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' => in_text = false,
                _ => {}
            }
            continue;
        }
        match c {
            b'"' => in_text = true,
            b'{' | b'[' => depth += 1,
            b']' | b',' if depth == 0 => return at,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    text.len()
}

/// `text` without line breaks, which JSON knows between values only.
fn line(text: &[u8], row: usize) -> Result<Vec<u8>> {
    let mut line = text.to_vec();
    let mut in_text = false;
    let mut is_escaped = false;
    for c in &mut line {
        match *c {
            b'\n' | b'\r' if in_text => {
                return Err(broken(&format!("a line break inside of a text of row {row}")));
            }
            b'\n' | b'\r' => *c = b' ',
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            _ => {}
        }
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_and_objects_become_lines() {
        for (body, lines) in [
            ("[]", ""),
            (" [ ] ", ""),
            ("{\"a\":\n1}", "{\"a\": 1}\n"),
            ("[{\"a\":1},\n {\"a\":[1,2]}]", "{\"a\":1}\n{\"a\":[1,2]}\n"),
            (r#"[{"a":"],\"{"} , 7]"#, "{\"a\":\"],\\\"{\"}\n7\n"),
        ] {
            let found = json_lines(body.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(found).unwrap(), lines, "{body}");
        }
        for body in ["[", "[1", "[1,]", "[,1]", "[1] 2", "[\"a\nb\"]", "[{]"] {
            assert!(json_lines(body.as_bytes()).is_err(), "{body}");
        }
    }
}
