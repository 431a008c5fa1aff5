//! Where the fields and records of CSV end.
//!
//! A quote opens a quoted field only as the first character of a field; inside, two quotes are one
//! and line feeds are text. Bytes only: no columns, no types.

use memchr::{memchr, memchr2, memrchr};

use super::CsvOptions;
use crate::formats::RecordCutter;

/// A field of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RawField {
    /// Its text, without quotes.
    pub start: usize,
    pub end: usize,
    pub quoted: bool,
    /// Whether the text has doubled quotes or escapes, which [`Splitter::unescape`] resolves.
    pub escaped: bool,
    /// Where the next field or record begins.
    pub next: usize,
    /// Whether the record ends with this field.
    pub last: bool,
    /// Whether it ends with a line feed, not because there are no more bytes.
    pub line_feed: bool,
}

/// Why a field has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SplitError {
    /// A quote is not closed before the bytes end.
    Unclosed,
    /// There is text between a closing quote and the next delimiter; the field's rest is at `.0`.
    AfterQuote(usize),
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Splits records by the characters of the options.
#[derive(Clone, Debug)]
pub(super) struct Splitter {
    delimiter: u8,
    quote: Option<u8>,
    escape: Option<u8>,
    comments: bool,
}

impl Splitter {
    pub fn new(options: &CsvOptions) -> Self {
        Splitter {
            delimiter: options.delimiter,
            quote: options.quote,
            escape: options.escape,
            comments: options.allow_comments,
        }
    }

    /// The position of the first delimiter, line feed or escape from `at` on.
    #[inline]
    fn plain_end(&self, bytes: &[u8], mut at: usize) -> usize {
        let escape = self.escape.unwrap_or(b'\n');
        let find = |word: u64, byte: u8| {
            let other = word ^ (ONES * u64::from(byte));
            other.wrapping_sub(ONES) & !other & HIGHS
        };
        while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_le_bytes(*word);
            let found = find(word, self.delimiter) | find(word, b'\n') | find(word, escape);
            if found != 0 {
                return at + found.trailing_zeros() as usize / 8;
            }
            at += 8;
        }
        let rest = bytes.get(at..).unwrap_or_default();
        let ends = |b: &u8| *b == self.delimiter || *b == b'\n' || *b == escape;
        at + rest.iter().position(ends).unwrap_or(rest.len())
    }

    /// The field that begins at `at`.
    #[inline]
    pub fn field(&self, bytes: &[u8], at: usize) -> Result<RawField, SplitError> {
        if self.quote.is_some() && bytes.get(at).copied() == self.quote {
            return self.quoted_field(bytes, at + 1);
        }
        Ok(self.unquoted_field(bytes, at, at))
    }

    /// An unquoted field that begins at `start`, of which the text before `at` is known.
    pub fn unquoted_field(&self, bytes: &[u8], start: usize, mut at: usize) -> RawField {
        let mut escaped = false;
        loop {
            at = self.plain_end(bytes, at);
            match bytes.get(at) {
                Some(&b'\n') | None => break,
                Some(&b) if b == self.delimiter => {
                    let next = at + 1;
                    let (end, quoted, last) = (at, false, false);
                    return RawField { start, end, quoted, escaped, next, last, line_feed: false };
                }
                Some(_) => {
                    escaped = true;
                    at = (at + 2).min(bytes.len());
                }
            }
        }
        let carriage_return = at > start && bytes.get(at - 1) == Some(&b'\r');
        let end = at - usize::from(carriage_return);
        let next = (at + 1).min(bytes.len());
        let line_feed = next > at;
        RawField { start, end, quoted: false, escaped, next, last: true, line_feed }
    }

    fn quoted_field(&self, bytes: &[u8], start: usize) -> Result<RawField, SplitError> {
        let (end, escaped) = self.closing_quote(bytes, start).ok_or(SplitError::Unclosed)?;
        let field = |next, last, line_feed| {
            Ok(RawField { start, end, quoted: true, escaped, next, last, line_feed })
        };
        let after = end + 1;
        match (bytes.get(after), bytes.get(after + 1)) {
            (None, _) => field(after, true, false),
            (Some(b'\n'), _) => field(after + 1, true, true),
            (Some(b'\r'), None) => field(after + 1, true, false),
            (Some(b'\r'), Some(b'\n')) => field(after + 2, true, true),
            (Some(&b), _) if b == self.delimiter => field(after + 1, false, false),
            (Some(_), _) => Err(SplitError::AfterQuote(after)),
        }
    }

    /// The quote that closes the quoted text from `at` on, and whether it has escapes.
    fn closing_quote(&self, bytes: &[u8], mut at: usize) -> Option<(usize, bool)> {
        let quote = self.quote?;
        let mut escaped = false;
        loop {
            let rest = bytes.get(at..)?;
            at += match self.escape {
                Some(escape) => memchr2(quote, escape, rest)?,
                None => memchr(quote, rest)?,
            };
            let doubled = bytes.get(at) == Some(&quote) && bytes.get(at + 1) != Some(&quote);
            if doubled {
                return Some((at, escaped));
            }
            // Two quotes, or an escape and what it escapes.
            escaped = true;
            at += 2;
        }
    }

    /// Appends the text of a field with its escapes resolved.
    pub fn unescape(&self, text: &[u8], quoted: bool, out: &mut Vec<u8>) {
        let mut at = 0;
        while let Some(&byte) = text.get(at) {
            let skip = Some(byte) == self.escape || (quoted && Some(byte) == self.quote);
            let taken = if skip { text.get(at + 1).copied().unwrap_or(byte) } else { byte };
            out.push(taken);
            at += 1 + usize::from(skip);
        }
    }

    /// Whether the record at `at` is a comment.
    pub fn is_comment(&self, bytes: &[u8], at: usize) -> bool {
        self.comments && bytes.get(at) == Some(&b'#')
    }
}

/// Cuts at the ends of records; bytes always begin at a record border, so that nothing but the
/// splitter is remembered.
pub(super) struct CsvCutter {
    splitter: Splitter,
}

impl CsvCutter {
    pub fn new(splitter: Splitter) -> Self {
        CsvCutter { splitter }
    }

    /// The last record end in the quote-free stretch `from..to` of `bytes`.
    fn line_end(bytes: &[u8], from: usize, to: usize) -> Option<usize> {
        memrchr(b'\n', bytes.get(from..to)?).map(|at| from + at + 1)
    }
}

impl RecordCutter for CsvCutter {
    fn is_by_line(&self) -> bool {
        self.splitter.quote.is_none() && self.splitter.escape.is_none()
    }

    fn cut(&mut self, bytes: &[u8]) -> Option<usize> {
        let splitter = &self.splitter;
        let whole_lines = memrchr(b'\n', bytes).map(|at| at + 1);
        let quotes = splitter.quote.filter(|&q| memchr(q, bytes).is_some());
        if splitter.escape.is_some() || (splitter.comments && quotes.is_some()) {
            return cut_by_fields(splitter, bytes);
        }
        let Some(quote) = quotes else { return whole_lines };
        // Jump from quoted field to quoted field; between them every line feed ends a record.
        let (mut at, mut end) = (0, None);
        let mut plain_from = 0;
        while let Some(found) = bytes.get(at..).and_then(|rest| memchr(quote, rest)) {
            let open = at + found;
            let before = open.checked_sub(1).and_then(|b| bytes.get(b));
            if before.is_some_and(|&b| b != b'\n' && b != splitter.delimiter) {
                at = open + 1;
                continue;
            }
            end = Self::line_end(bytes, plain_from, open).or(end);
            let Some((close, _)) = splitter.closing_quote(bytes, open + 1) else { return end };
            at = close + 1;
            plain_from = at;
        }
        Self::line_end(bytes, plain_from, bytes.len()).or(end)
    }
}

/// Cuts by walking all fields: for the options under which nothing can be skipped.
fn cut_by_fields(splitter: &Splitter, bytes: &[u8]) -> Option<usize> {
    let (mut at, mut end) = (0, None);
    while at < bytes.len() {
        if splitter.is_comment(bytes, at) {
            at += memchr(b'\n', bytes.get(at..)?)? + 1;
            end = Some(at);
            continue;
        }
        // A field that ends with the bytes may go on in those to come.
        loop {
            let field = match splitter.field(bytes, at) {
                Ok(field) => field,
                Err(SplitError::Unclosed) => return end,
                Err(SplitError::AfterQuote(rest)) => splitter.unquoted_field(bytes, rest, rest),
            };
            at = field.next;
            if field.line_feed {
                end = Some(at);
            }
            if field.last || at >= bytes.len() {
                break;
            }
        }
    }
    end
}
