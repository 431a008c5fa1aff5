//! Strings as other strings and bytes: character sets, base 64, hexadecimal, URLs.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryViewBuilder};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::ScalarUDF;

use super::define::{Call, Function, Param, Returns, literal_text};
use super::regex_java::compiled;

/// The functions of this file.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let bytes = &[Param::TextOrBytes];
    let coded = &[Param::TextOrBytes, Param::Unit];
    let encoded = Returns::FromLiterals(|_, literals| {
        Ok(if is_of_bytes(literals) { DataType::Utf8View } else { DataType::BinaryView })
    });
    let decoded = Returns::FromLiterals(|_, literals| {
        Ok(if is_of_bytes(literals) { DataType::BinaryView } else { DataType::Utf8View })
    });
    vec![
        Function::new("encode", coded, encoded, encode).check(check_coding).udf(),
        Function::new("decode", coded, decoded, decode).check(check_coding).udf(),
        Function::text("to_base64", bytes, |c| bytes_rows(c, |b| Some(to_base64(b)))).udf(),
        Function::text("from_base64", bytes, |c| bytes_rows(c, |b| from_base64(b).map(lossy)))
            .udf(),
        Function::text("hex", &[Param::Any], hex).udf(),
        Function::new("unhex", &[Param::Text], Returns::Type(DataType::BinaryView), unhex).udf(),
        Function::text("bin", &[Param::Int], |c| {
            let value = c.int(0)?;
            c.text_rows(|i| Ok(value.get(i).map(|value| format!("{value:b}"))))
        })
        .udf(),
        Function::text("url_encode", &[Param::Text], |c| bytes_rows(c, |b| Some(url_encode(b))))
            .udf(),
        Function::text("url_decode", &[Param::Text], |c| bytes_rows(c, url_decode)).udf(),
        Function::text("parse_url", &[Param::Text, Param::Text, Param::Text], parse_url)
            .optional_after(2)
            .udf(),
    ]
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// The bytes of row `i` of a STRING or BYTES column.
pub(super) fn bytes_at(array: &ArrayRef, i: usize) -> Option<&[u8]> {
    if array.is_null(i) {
        return None;
    }
    match array.as_binary_view_opt() {
        Some(bytes) => Some(bytes.value(i)),
        None => array.as_string_view_opt().map(|text| text.value(i).as_bytes()),
    }
}

fn bytes_rows(call: &Call<'_>, row: impl Fn(&[u8]) -> Option<String>) -> Result<ArrayRef> {
    let array = call.array(0)?;
    call.text_rows(|i| Ok(bytes_at(&array, i).and_then(&row)))
}

/// The character sets of Flink's ENCODE and DECODE.
#[derive(Clone, Copy)]
enum Charset {
    Ascii,
    Latin1,
    Utf8,
    /// With a byte order mark; big-endian without one.
    Utf16,
    Utf16Be,
    Utf16Le,
}

impl Charset {
    fn parse(name: &str) -> Result<Self> {
        Ok(match name.to_ascii_uppercase().as_str() {
            "US-ASCII" | "ASCII" => Charset::Ascii,
            "ISO-8859-1" | "LATIN1" => Charset::Latin1,
            "UTF-8" | "UTF8" => Charset::Utf8,
            "UTF-16" => Charset::Utf16,
            "UTF-16BE" => Charset::Utf16Be,
            "UTF-16LE" => Charset::Utf16Le,
            _ => {
                return plan_err!(
                    "unknown character set '{name}'; use US-ASCII, ISO-8859-1, UTF-8, UTF-16BE, \
                     UTF-16LE or UTF-16, or for bytes as text hex, base64 or base64pad"
                );
            }
        })
    }

    /// Characters that the set lacks become `?`.
    fn encode(self, text: &str) -> Vec<u8> {
        let single = |most: u32| {
            let byte = |c: char| u8::try_from(u32::from(c)).ok().filter(|b| u32::from(*b) <= most);
            text.chars().map(|c| byte(c).unwrap_or(b'?')).collect()
        };
        match self {
            Charset::Ascii => single(0x7F),
            Charset::Latin1 => single(0xFF),
            Charset::Utf8 => text.as_bytes().to_vec(),
            Charset::Utf16 => {
                [0xFE, 0xFF].into_iter().chain(Charset::Utf16Be.encode(text)).collect()
            }
            Charset::Utf16Be => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            Charset::Utf16Le => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        }
    }

    fn decode(self, bytes: &[u8]) -> String {
        let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
            let units: Vec<u16> = bytes
                .chunks(2)
                .map(|two| unit([*two.first().unwrap_or(&0), *two.get(1).unwrap_or(&0)]))
                .collect();
            String::from_utf16_lossy(&units)
        };
        match (self, bytes) {
            (Charset::Ascii, _) => bytes
                .iter()
                .map(|b| if b.is_ascii() { char::from(*b) } else { '\u{FFFD}' })
                .collect(),
            (Charset::Latin1, _) => bytes.iter().map(|b| char::from(*b)).collect(),
            (Charset::Utf8, _) => String::from_utf8_lossy(bytes).into_owned(),
            (Charset::Utf16, [0xFF, 0xFE, rest @ ..]) => wide(rest, u16::from_le_bytes),
            (Charset::Utf16, [0xFE, 0xFF, rest @ ..]) => wide(rest, u16::from_be_bytes),
            (Charset::Utf16 | Charset::Utf16Be, _) => wide(bytes, u16::from_be_bytes),
            (Charset::Utf16Le, _) => wide(bytes, u16::from_le_bytes),
        }
    }
}

/// What ENCODE and DECODE know: Flink's character sets, and encodings of bytes as text.
#[derive(Clone, Copy)]
enum Coding {
    Charset(Charset),
    Hex,
    /// Without padding.
    Base64,
    Base64Padded,
}

impl Coding {
    fn parse(name: &str) -> Result<Self> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "hex" => Coding::Hex,
            "base64" => Coding::Base64,
            "base64pad" => Coding::Base64Padded,
            _ => Coding::Charset(Charset::parse(name)?),
        })
    }

    fn encode(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Coding::Charset(charset) => charset.encode(&String::from_utf8_lossy(bytes)),
            Coding::Hex => hex_text(bytes, false).into_bytes(),
            Coding::Base64 => to_base64(bytes).trim_end_matches('=').as_bytes().to_vec(),
            Coding::Base64Padded => to_base64(bytes).into_bytes(),
        }
    }

    fn decode(self, bytes: &[u8]) -> Result<Vec<u8>> {
        let decoded = match self {
            Coding::Charset(charset) => return Ok(charset.decode(bytes).into_bytes()),
            Coding::Hex => std::str::from_utf8(bytes)
                .ok()
                .filter(|text| text.len() % 2 == 0)
                .and_then(bytes_of_hex),
            Coding::Base64 | Coding::Base64Padded => from_base64(bytes),
        };
        match decoded {
            Some(decoded) => Ok(decoded),
            None => exec_err!("'{}' cannot be decoded", String::from_utf8_lossy(bytes)),
        }
    }
}

fn check_coding(args: &[Option<&ScalarValue>]) -> Result<()> {
    literal_text(args, 1).map_or(Ok(()), |name| Coding::parse(name).map(|_| ()))
}

/// Whether a literal names an encoding of bytes as text, rather than a character set.
fn is_of_bytes(literals: &[Option<&ScalarValue>]) -> bool {
    let coding = literal_text(literals, 1).map(Coding::parse);
    matches!(coding, Some(Ok(Coding::Hex | Coding::Base64 | Coding::Base64Padded)))
}

/// A character set makes BYTES of a STRING, an encoding makes a STRING of BYTES.
fn encode(call: &Call<'_>) -> Result<ArrayRef> {
    coded(call, |coding, bytes| Ok(coding.encode(bytes)))
}

fn decode(call: &Call<'_>) -> Result<ArrayRef> {
    coded(call, Coding::decode)
}

fn coded(call: &Call<'_>, code: impl Fn(Coding, &[u8]) -> Result<Vec<u8>>) -> Result<ArrayRef> {
    let (bytes, name) = (call.array(0)?, call.text(1)?);
    let row = |i| match bytes_at(&bytes, i).zip(name.get(i)) {
        Some((bytes, name)) => code(Coding::parse(name)?, bytes).map(Some),
        None => Ok(None),
    };
    if *call.returns == DataType::Utf8View {
        return call.text_rows(|i| Ok(row(i)?.map(lossy)));
    }
    let mut out = BinaryViewBuilder::with_capacity(call.rows);
    for i in 0..call.rows {
        out.append_option(row(i)?);
    }
    Ok(Arc::new(out.finish()))
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn to_base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let word = (0..3).fold(0, |word, i| word << 8 | usize::from(*three.get(i).unwrap_or(&0)));
        for i in 0..4 {
            let digit = BASE64.get(word >> (18 - 6 * i) & 63).copied().unwrap_or_default();
            out.push(if i <= three.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    let digits = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let mut out = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for four in digits.chunks(4) {
        let mut word = 0;
        for digit in four {
            word = word << 6 | BASE64.iter().position(|known| known == digit)?;
        }
        word <<= 6 * (4 - four.len());
        let bytes = four.len().checked_sub(1).filter(|bytes| *bytes > 0)?;
        out.extend((0..bytes).map(|i| (word >> (16 - 8 * i)) as u8));
    }
    Some(out)
}

/// Bytes in hexadecimal, `upper` case or not.
pub(super) fn hex_text(bytes: &[u8], upper: bool) -> String {
    let digits: &[u8; 16] = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    let digit = |nibble: u8| digits.get(usize::from(nibble)).map_or('0', |d| char::from(*d));
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// An integer in hexadecimal, or the bytes of a text.
fn hex(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.array(0)?;
    if array.data_type().is_integer() {
        let values = arrow::compute::cast(&array, &DataType::Int64)?;
        let values = values.as_primitive::<arrow::datatypes::Int64Type>();
        return call
            .text_rows(|i| Ok(values.is_valid(i).then(|| format!("{:X}", values.value(i)))));
    }
    let bytes = match array.data_type() {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => DataType::BinaryView,
        _ => DataType::Utf8View,
    };
    let bytes = arrow::compute::cast(&array, &bytes)?;
    call.text_rows(|i| Ok(bytes_at(&bytes, i).map(|bytes| hex_text(bytes, true))))
}

/// NULL for what is no hexadecimal; an odd first digit stands alone.
fn unhex(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.text(0)?;
    let mut out = BinaryViewBuilder::with_capacity(call.rows);
    for i in 0..call.rows {
        out.append_option(text.get(i).and_then(|text| {
            let odd = if text.len() % 2 == 1 { "0" } else { "" };
            bytes_of_hex(&format!("{odd}{text}"))
        }));
    }
    Ok(Arc::new(out.finish()))
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.map(|pair| u8::try_from(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?).ok()).collect()
}

/// `application/x-www-form-urlencoded`, as Java's `URLEncoder`.
fn url_encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            _ => {
                out.push('%');
                out.push_str(&hex_text(&[byte], true));
            }
        }
    }
    out
}

fn url_decode(bytes: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let (pair, after) = rest.split_at_checked(2)?;
                out.extend(bytes_of_hex(std::str::from_utf8(pair).ok()?)?);
                rest = after;
            }
            other => out.push(*other),
        }
    }
    Some(lossy(out))
}

fn parse_url(call: &Call<'_>) -> Result<ArrayRef> {
    let (url, part) = (call.text(0)?, call.text(1)?);
    let key = call.text_or(2, "")?;
    call.text_rows(|i| {
        let (Some(url), Some(part), Some(key)) = (url.get(i), part.get(i), key.get(i)) else {
            return Ok(None);
        };
        let Some(found) = Url::parse(url).and_then(|url| url.part(part)) else {
            return Ok(None);
        };
        if !call.has(2) {
            return Ok(Some(found));
        }
        if part != "QUERY" {
            return Ok(None);
        }
        let expression = compiled(&format!("(&|^){}=([^&]*)", ::regex::escape(key)))?;
        let value = expression.captures(&found).and_then(|c| c.get(2));
        Ok(value.map(|value| value.as_str().to_string()))
    })
}

/// The parts of a URL as Java's `URL` names them.
struct Url<'u> {
    protocol: &'u str,
    authority: &'u str,
    path: &'u str,
    query: Option<&'u str>,
    fragment: Option<&'u str>,
}

impl<'u> Url<'u> {
    fn parse(url: &'u str) -> Option<Self> {
        let (protocol, rest) = url.trim().split_once(':')?;
        let letters = |c: char| c.is_ascii_alphanumeric() || "+.-".contains(c);
        if !protocol.starts_with(|c: char| c.is_ascii_alphabetic())
            || !protocol.chars().all(letters)
        {
            return None;
        }
        let (rest, fragment) = cut(rest, '#');
        let (rest, query) = cut(rest, '?');
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            None => ("", rest),
        };
        Some(Url { protocol, authority, path, query, fragment })
    }

    fn part(&self, part: &str) -> Option<String> {
        let (user, place) = match self.authority.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, self.authority),
        };
        let found = match part {
            "PROTOCOL" => Some(self.protocol),
            "AUTHORITY" => Some(self.authority),
            "USERINFO" => user,
            // A colon inside of brackets belongs to the address.
            "HOST" => Some(
                match place
                    .rfind(':')
                    .filter(|at| !place.get(*at..).unwrap_or_default().contains(']'))
                {
                    Some(at) => place.get(..at).unwrap_or(place),
                    None => place,
                },
            ),
            "PATH" => Some(self.path),
            "QUERY" => self.query,
            "REF" => self.fragment,
            "FILE" => {
                let query = self.query.map(|query| format!("?{query}")).unwrap_or_default();
                return Some(format!("{}{query}", self.path));
            }
            _ => None,
        };
        found.map(str::to_string)
    }
}

fn cut(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, after)| (before, Some(after)))
}
