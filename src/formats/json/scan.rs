//! The grammar of JSON over bytes: where strings, numbers and values end.
//!
//! No types and no columns. All functions take the bytes of a chunk and a position; none of them
//! passes a line feed, so that a record cannot run into the next one.

use crate::limits;

/// What is wrong, and where in the chunk.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub at: usize,
    pub reason: &'static str,
}

/// The result of scanning: the position after what was scanned.
pub(super) type Scanned = Result<usize, SyntaxError>;

#[cold]
fn error(at: usize, reason: &'static str) -> SyntaxError {
    SyntaxError { at, reason }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Marks (in the high bits) the bytes of `word` that end a run of plain string characters.
///
/// Only the lowest mark is exact: a borrow may pass on upwards.
#[inline]
fn specials(word: u64) -> u64 {
    let control = word.wrapping_sub(ONES * 0x20);
    let quote = (word ^ (ONES * b'"' as u64)).wrapping_sub(ONES);
    let escape = (word ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
    (control | quote | escape) & !word & HIGHS
}

/// The position of the first quote, backslash or control character from `at` on.
#[inline]
pub(super) fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(words) = bytes.get(at..).and_then(|rest| rest.first_chunk::<16>()) {
        let both = u128::from_le_bytes(*words);
        let (low, high) = (specials(both as u64), specials((both >> 64) as u64));
        if low != 0 {
            return at + low.trailing_zeros() as usize / 8;
        }
        if high != 0 {
            return at + 8 + high.trailing_zeros() as usize / 8;
        }
        at += 16;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let end = rest.iter().position(|&b| b < 0x20 || b == b'"' || b == b'\\');
    at + end.unwrap_or(rest.len())
}

/// Past spaces; a line feed ends a record and is no space here.
#[inline]
pub(super) fn spaces(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\r')) {
        at += 1;
    }
    at
}

/// Past a string whose opening quote is before `at`; says whether it has escapes.
#[inline]
pub(super) fn string(bytes: &[u8], at: usize) -> Result<(usize, bool), SyntaxError> {
    let end = plain_end(bytes, at);
    if bytes.get(end) == Some(&b'"') {
        return Ok((end + 1, false));
    }
    escaped_string(bytes, end, None).map(|end| (end, true))
}

/// Past a string, from `at` inside it on; appends its characters to `out`.
pub(super) fn escaped_string(
    bytes: &[u8],
    mut at: usize,
    mut out: Option<&mut Vec<u8>>,
) -> Scanned {
    loop {
        let end = plain_end(bytes, at);
        if let (Some(out), Some(run)) = (out.as_deref_mut(), bytes.get(at..end)) {
            out.extend_from_slice(run);
        }
        match bytes.get(end) {
            Some(b'"') => return Ok(end + 1),
            Some(b'\\') => {
                let (character, next) = escape(bytes, end + 1)?;
                if let Some(out) = out.as_deref_mut() {
                    let mut buffer = [0; 4];
                    out.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
                }
                at = next;
            }
            Some(b'\n') | None => return Err(error(end, "the string does not end")),
            Some(_) => return Err(error(end, "a control character in a string")),
        }
    }
}

/// The character of the escape after a backslash, and the position after it.
fn escape(bytes: &[u8], at: usize) -> Result<(char, usize), SyntaxError> {
    let character = match bytes.get(at) {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode_escape(bytes, at + 1),
        _ => return Err(error(at, "an unknown escape in a string")),
    };
    Ok((character, at + 1))
}

fn unicode_escape(bytes: &[u8], at: usize) -> Result<(char, usize), SyntaxError> {
    let first = hex4(bytes, at)?;
    if !(0xD800..0xDC00).contains(&first) {
        let character = char::from_u32(first);
        return Ok((character.ok_or_else(|| error(at, LONE_SURROGATE))?, at + 4));
    }
    if bytes.get(at + 4..at + 6) != Some(b"\\u") {
        return Err(error(at, LONE_SURROGATE));
    }
    let second = hex4(bytes, at + 6)?;
    if !(0xDC00..0xE000).contains(&second) {
        return Err(error(at, LONE_SURROGATE));
    }
    let code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
    Ok((char::from_u32(code).ok_or_else(|| error(at, LONE_SURROGATE))?, at + 10))
}

const LONE_SURROGATE: &str = "half a surrogate pair in a string";

fn hex4(bytes: &[u8], at: usize) -> Result<u32, SyntaxError> {
    let digits = bytes.get(at..at + 4).unwrap_or_default();
    let mut code = 0;
    for digit in digits {
        let value = (*digit as char).to_digit(16);
        code = code << 4 | value.ok_or_else(|| error(at, "a bad \\u escape in a string"))?;
    }
    if digits.len() < 4 {
        return Err(error(at, "a bad \\u escape in a string"));
    }
    Ok(code)
}

/// The integer at `at`, if it is a plain one of up to 18 digits.
#[inline]
pub(super) fn integer(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    let negative = bytes.get(at) == Some(&b'-');
    let start = at + usize::from(negative);
    let (value, end) = digits(bytes, start, 0);
    let length = end - start;
    if length == 0
        || length > 18
        || (length > 1 && bytes.get(start) == Some(&b'0'))
        || matches!(bytes.get(end), Some(b'.' | b'e' | b'E'))
    {
        return None;
    }
    let value = value as i64;
    Some((if negative { -value } else { value }, end))
}

/// Goes on with `value` over the digits from `at` on (wraps beyond 18 of them).
#[inline]
fn digits(bytes: &[u8], mut at: usize, mut value: u64) -> (u64, usize) {
    while let Some(digit) = bytes.get(at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d <= 9) {
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (value, at)
}

/// A short number: its digits as an integer, how many of them are after the point, and its end.
#[inline]
pub(super) fn short_number(bytes: &[u8], at: usize) -> Option<(i64, usize, usize)> {
    let negative = bytes.get(at) == Some(&b'-');
    let start = at + usize::from(negative);
    let (mut value, point) = digits(bytes, start, 0);
    let whole = point - start;
    if whole == 0 || (whole > 1 && bytes.get(start) == Some(&b'0')) {
        return None;
    }
    let (mut end, mut fraction) = (point, 0);
    if bytes.get(point) == Some(&b'.') {
        (value, end) = digits(bytes, point + 1, value);
        fraction = end - point - 1;
        if fraction == 0 {
            return None;
        }
    }
    if whole + fraction > 18 || matches!(bytes.get(end), Some(b'e' | b'E')) {
        return None;
    }
    let value = value as i64;
    Some((if negative { -value } else { value }, fraction, end))
}

/// Past a number.
pub(super) fn number(bytes: &[u8], at: usize) -> Scanned {
    let digits_from = |start: usize| {
        let end = digits(bytes, start, 0).1;
        if end == start { Err(error(end, "expected a digit")) } else { Ok(end) }
    };
    let start = at + usize::from(bytes.get(at) == Some(&b'-'));
    let mut end = digits_from(start)?;
    if end - start > 1 && bytes.get(start) == Some(&b'0') {
        return Err(error(start, "a number with a leading zero"));
    }
    if bytes.get(end) == Some(&b'.') {
        end = digits_from(end + 1)?;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = matches!(bytes.get(end + 1), Some(b'+' | b'-'));
        end = digits_from(end + 1 + usize::from(sign))?;
    }
    Ok(end)
}

/// Past `word`, if it stands at `at`.
#[inline]
pub(super) fn word(bytes: &[u8], at: usize, word: &'static [u8]) -> Option<usize> {
    let end = at + word.len();
    (bytes.get(at..end) == Some(word)).then_some(end)
}

/// Past a value of any kind.
#[inline]
pub(super) fn value(bytes: &[u8], at: usize) -> Scanned {
    match bytes.get(at) {
        Some(b'"') => string(bytes, at + 1).map(|(end, _)| end),
        Some(b'{' | b'[') => container(bytes, at),
        _ => atom(bytes, at),
    }
}

/// Past a number, `true`, `false` or `null`.
#[inline]
fn atom(bytes: &[u8], at: usize) -> Scanned {
    let end = match bytes.get(at) {
        Some(b'-' | b'0'..=b'9') => return number(bytes, at),
        Some(b't') => word(bytes, at, b"true"),
        Some(b'f') => word(bytes, at, b"false"),
        Some(b'n') => word(bytes, at, b"null"),
        _ => None,
    };
    end.ok_or_else(|| error(at, "expected a value"))
}

/// Past an object or array. The bits of a word say which of the two each open level is.
fn container(bytes: &[u8], mut at: usize) -> Scanned {
    const { assert!(limits::JSON_DEPTH_MAX <= 128) };
    let mut objects = 0u128;
    let mut depth = 0;
    loop {
        // At the start of a value.
        at = match bytes.get(at) {
            Some(&open @ (b'{' | b'[')) => {
                if depth >= limits::JSON_DEPTH_MAX {
                    return Err(error(at, "nested too deeply"));
                }
                depth += 1;
                objects = objects << 1 | u128::from(open == b'{');
                let next = spaces(bytes, at + 1);
                if bytes.get(next) != Some(&(open + 2)) {
                    at = if open == b'{' { key(bytes, next)?.1 } else { next };
                    continue;
                }
                next
            }
            Some(b'"') => string(bytes, at + 1)?.0,
            _ => atom(bytes, at)?,
        };
        // After a value: close levels until there is another one.
        loop {
            at = spaces(bytes, at);
            let object = objects & 1 == 1;
            match bytes.get(at) {
                Some(b',') => {
                    at = spaces(bytes, at + 1);
                    if object {
                        at = key(bytes, at)?.1;
                    }
                    break;
                }
                Some(b'}') if object => {}
                Some(b']') if !object => {}
                _ if object => return Err(error(at, "expected ',' or '}'")),
                _ => return Err(error(at, "expected ',' or ']'")),
            }
            at += 1;
            depth -= 1;
            objects >>= 1;
            if depth == 0 {
                return Ok(at);
            }
        }
    }
}

/// A key with its colon: the position after the key's closing quote, that of the value, and
/// whether the key has escapes. The key's first character is at `at + 1`.
pub(super) fn key(bytes: &[u8], at: usize) -> Result<(usize, usize, bool), SyntaxError> {
    if bytes.get(at) != Some(&b'"') {
        return Err(error(at, "expected a key in quotes"));
    }
    let (end, escaped) = string(bytes, at + 1)?;
    let colon = spaces(bytes, end);
    if bytes.get(colon) != Some(&b':') {
        return Err(error(colon, "expected ':'"));
    }
    Ok((end, spaces(bytes, colon + 1), escaped))
}

/// Appends a value that was scanned before, without its spaces.
pub(super) fn compact(text: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let end = match byte {
            b'"' => string(text, at + 1).map_or(text.len(), |(end, _)| end),
            _ => at + 1,
        };
        if !matches!(byte, b' ' | b'\t' | b'\r') {
            out.extend_from_slice(text.get(at..end).unwrap_or_default());
        }
        at = end;
    }
}
