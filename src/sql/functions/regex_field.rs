//! One field of a delimited text, the expression that most logs are read with; no automaton.
//!
//! `(&|^)name=([^&]*)` asks for the text between a literal and the next delimiter, where the
//! literal starts the text or follows a delimiter. Expressions of exactly this shape are found here
//! by searching the literal; the answers are those of the regular expression.

use memchr::memmem::Finder;

/// The delimiters of the shape: characters that stand for themselves in an expression.
const DELIMITERS: &[u8] = b"&;,/:#@ %=";

/// An expression `(D|^)LITERAL([^D]*)`.
pub(super) struct Field<'e> {
    delimiter: u8,
    literal: Finder<'e>,
}

impl<'e> Field<'e> {
    /// The field that an expression asks for, if it has the shape.
    pub(super) fn parse(expression: &'e str) -> Option<Self> {
        let rest = expression.strip_prefix('(')?;
        let delimiter = *rest.as_bytes().first().filter(|c| DELIMITERS.contains(c))?;
        let literal = rest.get(1..)?.strip_prefix("|^)")?;
        let end = format!("([^{}]*)", char::from(delimiter));
        let literal = literal.strip_suffix(end.as_str())?;
        // A literal without the delimiter cannot overlap another place where it may start.
        let plain =
            |c: u8| c != delimiter && (c.is_ascii_alphanumeric() || b"_-=:/%,;&#@".contains(&c));
        let usable = !literal.is_empty() && literal.bytes().all(plain);
        usable.then(|| Field { delimiter, literal: Finder::new(literal) })
    }

    /// Group 0, 1 or 2 of the first match.
    #[inline]
    pub(super) fn find<'t>(&self, text: &'t str, group: usize) -> Option<&'t str> {
        let bytes = text.as_bytes();
        let follows = |at: &usize| match at.checked_sub(1) {
            None => true,
            Some(before) => bytes.get(before) == Some(&self.delimiter),
        };
        let at = self.literal.find_iter(bytes).find(follows)?;
        let start = at + self.literal.needle().len();
        let length = memchr::memchr(self.delimiter, bytes.get(start..)?);
        let end = length.map_or(text.len(), |length| start + length);
        match group {
            0 => text.get(at.saturating_sub(1)..end),
            1 => text.get(at.saturating_sub(1)..at),
            2 => text.get(start..end),
            _ => None,
        }
    }
}
