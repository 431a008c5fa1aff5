//! Words that the parser library takes for keywords of other dialects, and that Flink does not
//! reserve: here they are names like any other.
//!
//! Changes tokens before they are parsed, never their text. Called by the statement parser.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Whitespace};

/// Words that are names wherever they stand.
const FREE: [Keyword; 19] = [
    Keyword::ANALYZE,
    Keyword::ASOF,
    Keyword::BEFORE,
    Keyword::CLUSTER,
    Keyword::CONNECT,
    Keyword::DISTRIBUTE,
    Keyword::GLOBAL,
    Keyword::MATCH_CONDITION,
    Keyword::OUTPUT,
    Keyword::PIVOT,
    Keyword::PREWHERE,
    Keyword::RETURNING,
    Keyword::SAMPLE,
    Keyword::SETTINGS,
    Keyword::SORT,
    Keyword::START,
    Keyword::STRAIGHT_JOIN,
    Keyword::TOP,
    Keyword::UNPIVOT,
];

/// `tokens` with those words as names; `SEMI` and `ANTI` but before `JOIN`, `FORMAT` but before
/// `JSON`, `VIEW` but behind what makes it one.
pub(super) fn free(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let significant: Vec<usize> =
        (0..tokens.len()).filter(|&at| !matches!(tokens[at].token, Token::Whitespace(_))).collect();
    let keyword = |tokens: &[TokenWithSpan], place: Option<&usize>| match place
        .and_then(|&at| tokens.get(at))
        .map(|token| &token.token)
    {
        Some(Token::Word(word)) => Some(word.keyword),
        _ => None,
    };
    for (place, &at) in significant.iter().enumerate() {
        let next = keyword(&tokens, significant.get(place + 1));
        let last = keyword(&tokens, place.checked_sub(1).and_then(|p| significant.get(p)));
        let Some(TokenWithSpan { token: Token::Word(word), .. }) = tokens.get_mut(at) else {
            continue;
        };
        let is_free = match word.keyword {
            Keyword::SEMI | Keyword::ANTI => next != Some(Keyword::JOIN),
            Keyword::FORMAT => next != Some(Keyword::JSON),
            Keyword::VIEW => !matches!(
                last,
                Some(
                    Keyword::CREATE
                        | Keyword::MATERIALIZED
                        | Keyword::TEMPORARY
                        | Keyword::REPLACE
                        | Keyword::LATERAL
                )
            ),
            other => FREE.contains(&other),
        };
        if is_free {
            word.keyword = Keyword::NoKeyword;
        }
    }
    tokens
}

/// Whether `token` is a comment or space.
pub(super) fn is_blank(token: &Token) -> bool {
    matches!(
        token,
        Token::Whitespace(
            Whitespace::Space
                | Whitespace::Newline
                | Whitespace::Tab
                | Whitespace::SingleLineComment { .. }
                | Whitespace::MultiLineComment(_)
        )
    )
}
