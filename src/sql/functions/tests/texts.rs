//! Strings, regular expressions and conditions.

use super::{check, check_error, over_column, texts};

#[test]
fn split_index() {
    check(
        "
        SPLIT_INDEX('a,b,c', ',', 0) => a
        SPLIT_INDEX('a,b,c', ',', 2) => c
        SPLIT_INDEX('a,b,c', ',', 3) => NULL
        SPLIT_INDEX('a,b,c', ',', -1) => NULL
        SPLIT_INDEX('a,,c,', ',', 1) =>
        SPLIT_INDEX('a,,c,', ',', 3) =>
        SPLIT_INDEX('', ',', 0) => NULL
        SPLIT_INDEX('a--b---c', '--', 2) => -c
        SPLIT_INDEX('aébéc', 'é', 1) => b
        SPLIT_INDEX('a b', '', 1) => b
        SPLIT_INDEX('a,b', 44, 1) => b
        SPLIT_INDEX('a,b', 256, 0) => NULL
        SPLIT_INDEX('a,b', 0, 0) => NULL
        SPLIT_INDEX(NULL, ',', 0) => NULL
        SPLIT_INDEX('a', CAST(NULL AS VARCHAR), 0) => NULL
        ",
    );
    let url = "https://www.nexmark.com/a-rather-long-directory/b/item.htm?query=1";
    let column = texts(&[Some(url), None, Some("x"), Some("")]);
    let pieces = over_column(column, "SPLIT_INDEX(x, '/', 3)");
    assert_eq!(pieces, ["a-rather-long-directory", "NULL", "NULL", "NULL"]);
    let column = texts(&[Some("1,2"), Some("3")]);
    assert_eq!(over_column(column, "SPLIT_INDEX(x, 44, 1)"), ["2", "NULL"]);
    let column = texts(&[Some("a"), Some("b"), None]);
    assert_eq!(over_column(column, "SPLIT_INDEX('1a2b3', x, 1)"), ["2b3", "3", "NULL"]);
}

#[test]
fn regular_expressions() {
    check(
        r"
        REGEXP_EXTRACT('foothebar', 'foo(.*?)(bar)', 2) => bar
        REGEXP_EXTRACT('foothebar', 'foo(.*?)(bar)') => foothebar
        REGEXP_EXTRACT('foothebar', 'foo(.*?)(bar)', 3) => NULL
        REGEXP_EXTRACT('foothebar', 'x(.*)', 1) => NULL
        REGEXP_EXTRACT('ab', '(x)?ab', 1) => NULL
        REGEXP_EXTRACT('?a=1&channel_id=52', '(&|^)channel_id=([^&]*)', 2) => 52
        REGEXP_EXTRACT('٣3', '\d') => 3
        REGEXP_EXTRACT('a.b', '\Q.\E') => .
        REGEXP_EXTRACT('a]b', '[]]') => ]
        REGEXP_EXTRACT('x-y', '[\w-]+') => x-y
        REGEXP_EXTRACT('aXb', '\p{Upper}') => X
        REGEXP_EXTRACT('<b>', '\<(.)\>', 1) => b
        REGEXP_EXTRACT(NULL, 'a') => NULL
        REGEXP('hello', 'l+') => true
        REGEXP('hello', '^l') => false
        REGEXP('hello', '') => false
        REGEXP_REPLACE('foobar', 'oo|ar', '') => fb
        REGEXP_REPLACE('foobar', '(o)', '$1') => f$1$1bar
        REGEXP_COUNT('banana', 'an') => 2
        REGEXP_INSTR('aébc', 'b') => 3
        ",
    );
    check_error(
        r"
        REGEXP_EXTRACT('a', '(') => the regular expression '(' cannot be used: unclosed group
        REGEXP_EXTRACT('a', 'a(?=b)') => look-ahead
        REGEXP_EXTRACT('a', '(a)\1') => back-references
        REGEXP_EXTRACT('a', 'a*+') => possessive
        ",
    );
    let column = texts(&[Some("k=a value longer than twelve&x"), None, Some("none")]);
    let found = over_column(column, "REGEXP_EXTRACT(x, 'k=([^&]*)', 1)");
    assert_eq!(found, ["a value longer than twelve", "NULL", "NULL"]);
}

#[test]
fn conditions() {
    check(
        "
        IF(1 > 0, 'a', 'b') => a
        IF(NULL, 'a', 'b') => b
        IF(false, 1, 2.5) => 2.5
        IF(1 = 0, 1 / 0, 7) => 7
        GREATEST(1, 3, 2) => 3
        GREATEST(1, NULL, 2) => NULL
        LEAST('b', 'a') => a
        IFNULL(NULL, 5) => 5
        IS_ALPHA('abc') => true
        IS_ALPHA('ab1') => false
        IS_ALPHA('') => false
        IS_DIGIT('123') => true
        IS_DECIMAL('-1.5e3') => true
        IS_DECIMAL('nan') => false
        IS_DECIMAL(NULL) => false
        ",
    );
    let column = texts(&[Some("a"), None, Some("c")]);
    assert_eq!(over_column(column.clone(), "IF(x = 'a', x, 'other')"), ["a", "other", "other"]);
    assert_eq!(over_column(column, "GREATEST(x, 'b')"), ["b", "NULL", "c"]);
}
