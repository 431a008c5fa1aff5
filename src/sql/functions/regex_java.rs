//! Java's regular expressions in the syntax of the `regex` crate.
//!
//! Same matches where both have the construct. What the crate cannot do in linear time
//! (look-around, back-references, possessive quantifiers) is refused. One difference stays:
//! `$` does not match before a final line end.

use std::iter::Peekable;
use std::rc::Rc;
use std::str::Chars;

use datafusion::common::{DataFusionError, Result};
use regex::{Regex, RegexBuilder};

use super::cache::Compiled;

/// Bytes that the compiled form of one expression may take.
const REGEX_BYTES_MAX: usize = 8 << 20;

thread_local! {
    static EXPRESSIONS: Compiled<Regex> = const { Compiled::new() };
}

/// The compiled form of a Java regular expression; one per thread, so that searches do not meet.
pub(super) fn compiled(java: &str) -> Result<Rc<Regex>> {
    EXPRESSIONS.with(|expressions| expressions.get(java, compile))
}

fn compile(java: &str) -> Result<Regex> {
    let refused = |why: String| {
        DataFusionError::Plan(format!("the regular expression '{java}' cannot be used: {why}"))
    };
    let translated = translate(java).map_err(|why| refused(why.to_string()))?;
    let built = RegexBuilder::new(&translated).size_limit(REGEX_BYTES_MAX).build();
    built.map_err(|error| {
        // The crate's message draws the expression over several lines; the last says what is wrong.
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default();
        refused(last.strip_prefix("error: ").unwrap_or(last).to_string())
    })
}

type Translated<T> = Result<T, &'static str>;

fn translate(java: &str) -> Translated<String> {
    let mut state = Translator {
        out: String::new(),
        dot_all: has_dot_all(java),
        chars: java.chars().peekable(),
    };
    let mut quantified = false;
    while let Some(c) = state.chars.next() {
        let was_quantified = std::mem::replace(&mut quantified, false);
        match c {
            '\\' => state.escape(false)?,
            '[' => state.class()?,
            '(' => state.group()?,
            '.' if !state.dot_all => state.out.push_str(r"[^\n\r\x{85}\x{2028}\x{2029}]"),
            '+' if was_quantified => return Err("possessive quantifiers are not supported"),
            '*' | '+' => {
                quantified = true;
                state.out.push(c);
            }
            '?' => {
                // After a quantifier it makes that one lazy, and nothing may follow.
                quantified = !was_quantified;
                state.out.push(c);
            }
            '{' => {
                state.out.push(c);
                state.repeat();
                quantified = true;
            }
            other => state.out.push(other),
        }
    }
    Ok(state.out)
}

/// Whether `(?s)` appears, which lets a dot match line ends.
fn has_dot_all(java: &str) -> bool {
    java.match_indices("(?").any(|(at, opening)| {
        let flags = java.get(at + opening.len()..).unwrap_or_default();
        flags.chars().take_while(char::is_ascii_alphabetic).any(|flag| flag == 's')
    })
}

struct Translator<'a> {
    out: String,
    dot_all: bool,
    chars: Peekable<Chars<'a>>,
}

impl Translator<'_> {
    /// What follows `(`.
    fn group(&mut self) -> Translated<()> {
        self.out.push('(');
        let mut ahead = self.chars.clone();
        if ahead.next() != Some('?') {
            return Ok(());
        }
        match (ahead.next(), ahead.next()) {
            (Some('=' | '!'), _) | (Some('<'), Some('=' | '!')) => {
                Err("look-ahead and look-behind are not supported")
            }
            (Some('>'), _) => Err("atomic groups are not supported"),
            _ => {
                // The `?` belongs to the group, it is not a quantifier.
                self.chars.next();
                self.out.push('?');
                Ok(())
            }
        }
    }

    /// The rest of `{n,m}`.
    fn repeat(&mut self) {
        for c in self.chars.by_ref() {
            self.out.push(c);
            if c == '}' {
                return;
            }
        }
    }

    /// What follows a backslash, inside or outside of a class. Java's classes are ASCII.
    fn escape(&mut self, in_class: bool) -> Translated<()> {
        let Some(c) = self.chars.next() else {
            return Err("it ends with a backslash");
        };
        match c {
            'd' => self.out.push_str("[0-9]"),
            'D' => self.out.push_str("[^0-9]"),
            'w' => self.out.push_str("[a-zA-Z0-9_]"),
            'W' => self.out.push_str("[^a-zA-Z0-9_]"),
            's' => self.out.push_str(r"[ \t\n\x0B\f\r]"),
            'S' => self.out.push_str(r"[^ \t\n\x0B\f\r]"),
            'h' => self
                .out
                .push_str(r"[ \t\x{A0}\x{1680}\x{180e}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}]"),
            'b' if !in_class => self.out.push_str(r"(?-u:\b)"),
            'B' if !in_class => self.out.push_str(r"(?-u:\B)"),
            'Z' if !in_class => self.out.push_str(r"\z"),
            'R' if !in_class => {
                self.out.push_str(r"(?:\r\n|[\n\x0B\f\r\x{85}\x{2028}\x{2029}])");
            }
            'A' | 'z' if !in_class => self.plain(c),
            'G' if !in_class => return Err("\\G is not supported"),
            'k' | '1'..='9' if !in_class => return Err("back-references are not supported"),
            'n' | 't' | 'r' | 'f' | 'a' | 'x' => self.plain(c),
            'e' => self.out.push_str(r"\x1B"),
            'u' => self.unicode()?,
            'p' | 'P' => self.property(c),
            'Q' => self.quote(),
            'E' => {}
            c if c.is_ascii_alphanumeric() => return Err("it has an unknown escape"),
            other => self.out.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
        Ok(())
    }

    fn plain(&mut self, c: char) {
        self.out.push('\\');
        self.out.push(c);
    }

    /// The four digits of `\uXXXX`.
    fn unicode(&mut self) -> Translated<()> {
        let digits: String = self.chars.by_ref().take(4).collect();
        if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err("\\u needs four hexadecimal digits");
        }
        self.out.push_str(&format!("\\x{{{digits}}}"));
        Ok(())
    }

    /// `\p{Name}`: Java's POSIX names, and Unicode's.
    fn property(&mut self, letter: char) {
        let mut name = String::new();
        if self.chars.peek() == Some(&'{') {
            self.chars.next();
            name.extend(self.chars.by_ref().take_while(|c| *c != '}'));
        } else {
            name.extend(self.chars.next());
        }
        let posix = [
            "Lower", "Upper", "ASCII", "Alpha", "Digit", "Alnum", "Punct", "Graph", "Print",
            "Blank", "Cntrl", "XDigit", "Space",
        ];
        if posix.contains(&name.as_str()) {
            let not = if letter == 'P' { "^" } else { "" };
            self.out.push_str(&format!("[[:{not}{}:]]", name.to_ascii_lowercase()));
        } else {
            let unicode = name.strip_prefix("Is").unwrap_or(&name);
            self.out.push_str(&format!("\\{letter}{{{unicode}}}"));
        }
    }

    /// Text up to `\E`, taken as it is.
    fn quote(&mut self) {
        let mut text = String::new();
        while let Some(c) = self.chars.next() {
            if c == '\\' && self.chars.peek() == Some(&'E') {
                self.chars.next();
                break;
            }
            text.push(c);
        }
        self.out.push_str(&regex::escape(&text));
    }

    /// What follows `[`, to its end.
    fn class(&mut self) -> Translated<()> {
        self.out.push('[');
        let mut depth = 1;
        let mut start = true;
        while let Some(c) = self.chars.next() {
            let at_start = std::mem::replace(&mut start, false);
            match c {
                '\\' => self.escape(true)?,
                '[' => {
                    depth += 1;
                    start = true;
                    self.out.push('[');
                }
                '^' if at_start => {
                    start = true;
                    self.out.push('^');
                }
                ']' if at_start => self.out.push_str(r"\]"),
                ']' => {
                    depth -= 1;
                    self.out.push(']');
                    if depth == 0 {
                        return Ok(());
                    }
                }
                // Twice in a row they would be operators of the crate's.
                '~' => self.out.push_str(r"\~"),
                '-' if self.chars.peek() == Some(&'-') => self.out.push_str(r"\-"),
                other => self.out.push(other),
            }
        }
        Err("a character class is not closed")
    }
}
