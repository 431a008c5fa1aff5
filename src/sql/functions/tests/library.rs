//! The rest of the library: strings, codes, JSON, numbers, collections.

use super::{check, check_error, over_column, texts};

#[test]
fn strings() {
    check(
        "
        CONCAT('a', 'b', 'c') => abc
        CONCAT('a', CAST(NULL AS VARCHAR)) => NULL
        CONCAT('a', 1) => a1
        CONCAT_WS('-', 'a', CAST(NULL AS VARCHAR), 'c') => a-c
        SUBSTRING('hello', 2) => ello
        SUBSTRING('hello', -3, 2) => ll
        SUBSTRING('hello', 0, 2) => he
        SUBSTRING('hello', -9, 2) =>
        SUBSTRING('hello', 2, -1) => NULL
        SUBSTRING('hello', 9) =>
        SUBSTRING('hello' FROM -3 FOR 2) => ll
        SUBSTR('héllo', 2, 2) => él
        LEFT('héllo', 2) => hé
        LEFT('abc', -1) =>
        RIGHT('héllo', 4) => éllo
        RIGHT('abc', 9) => abc
        LPAD('hi', 4, '??') => ??hi
        LPAD('hi', 1, '??') => h
        LPAD('hi', -1, '?') => NULL
        RPAD('hi', 5, 'xy') => hixyx
        RPAD('hi', 5, '') => NULL
        INSTR('hello', 'l') => 3
        LOCATE('l', 'hello') => 3
        LOCATE('l', 'hello', 4) => 4
        LOCATE('x', 'hello') => 0
        LOCATE('l', 'hello', 0) => 0
        POSITION('l' IN 'hello') => 3
        CHR(97) => a
        CHR(353) => a
        CHR(-1) =>
        ASCII('abc') => 97
        CHAR_LENGTH('héllo') => 5
        CHARACTER_LENGTH('') => 0
        UPPER('aé') => AÉ
        TRIM('  a ') => a
        TRIM(BOTH 'x' FROM 'xax') => a
        LTRIM('  a') => a
        BTRIM('xax', 'x') => a
        REVERSE('abc') => cba
        REPEAT('ab', 3) => ababab
        REPEAT('ab', -1) =>
        REPLACE('hello', 'l', 'r') => herro
        OVERLAY('xxxxxtest' PLACING 'xxxx' FROM 6) => xxxxxxxxx
        INITCAP('hello wORLD') => Hello World
        STARTSWITH('abc', 'ab') => true
        ENDSWITH('abc', '') => true
        ",
    );
    let column = texts(&[Some("a"), None, Some("")]);
    assert_eq!(over_column(column.clone(), "CONCAT(x, '-', x)"), ["a-a", "NULL", "-"]);
    assert_eq!(over_column(column, "SUBSTRING(x FROM 1 FOR 1)"), ["a", "NULL", ""]);
}

#[test]
fn codes() {
    check(
        "
        TO_BASE64('hello') => aGVsbG8=
        TO_BASE64('') =>
        TO_BASE64('ab') => YWI=
        TO_BASE64('a') => YQ==
        FROM_BASE64('aGVsbG8=') => hello
        FROM_BASE64('YQ') => a
        FROM_BASE64('a') => NULL
        FROM_BASE64('*') => NULL
        MD5('abc') => 900150983cd24fb0d6963f7d28e17f72
        SHA1('abc') => a9993e364706816aba3e25717850c26c9cd0d89d
        SHA1('') => da39a3ee5e6b4b0d3255bfef95601890afd80709
        LEFT(SHA1(REPEAT('ab', 28)), 8) => f4f8f2cb
        RIGHT(SHA256('abc'), 16) => b410ff61f20015ad
        SHA2('abc', 224) => 23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7
        SHA256(CAST(NULL AS VARCHAR)) => NULL
        HEX(255) => FF
        HEX(-1) => FFFFFFFFFFFFFFFF
        HEX('hello') => 68656C6C6F
        DECODE(UNHEX('68656C6C6F'), 'UTF-8') => hello
        BIN(4) => 100
        HEX(ENCODE('é', 'UTF-16BE')) => 00E9
        HEX(ENCODE('é', 'US-ASCII')) => 3F
        DECODE(ENCODE('é', 'UTF-16LE'), 'UTF-16LE') => é
        ENCODE(UNHEX('00FF'), 'hex') => 00ff
        ENCODE(UNHEX('00FFFF00'), 'base64') => AP//AA
        ENCODE('a', 'base64pad') => YQ==
        HEX(DECODE('00ff', 'hex')) => 00FF
        HEX(DECODE('AP//AA', 'base64')) => 00FFFF00
        URL_ENCODE('a b/é') => a+b%2F%C3%A9
        URL_DECODE('a+b%2F%C3%A9') => a b/é
        URL_DECODE('%x') => NULL
        PARSE_URL('http://u:p@facebook.com:80/path/p1.php?query=1&k=2#frag', 'HOST') => facebook.com
        PARSE_URL('http://facebook.com/path/p1.php?query=1', 'QUERY') => query=1
        PARSE_URL('http://facebook.com/path/p1.php?query=1&k=2', 'QUERY', 'k') => 2
        PARSE_URL('http://facebook.com/path/p1.php?query=1&k=2', 'FILE') => /path/p1.php?query=1&k=2
        PARSE_URL('http://u:p@facebook.com:80/path', 'AUTHORITY') => u:p@facebook.com:80
        PARSE_URL('http://u:p@facebook.com:80/path', 'USERINFO') => u:p
        PARSE_URL('http://facebook.com/path#x', 'REF') => x
        PARSE_URL('no url', 'HOST') => NULL
        ",
    );
    check_error("ENCODE('a', 'EBCDIC') => unknown character set 'EBCDIC'");
}

#[test]
fn json() {
    check(
        r#"
        JSON_VALUE('{"a": {"b": [1, "x", null]}}', '$.a.b[1]') => x
        JSON_VALUE('{"a": {"b": [1, "x", null]}}', '$.a.b[0]') => 1
        JSON_VALUE('{"a": {"b": [1, "x", null]}}', '$.a.b[2]') => NULL
        JSON_VALUE('{"a": {"b": [1, "x", null]}}', '$.a') => NULL
        JSON_VALUE('{"a b": true}', '$[''a b'']') => true
        JSON_VALUE('{"a": 1', '$.a') => NULL
        JSON_QUERY('{"z": {"b": [1, 2], "a": 1}}', 'lax $.z') => {"b":[1,2],"a":1}
        JSON_QUERY('{"z": 1}', '$.z') => NULL
        JSON_EXISTS('{"a": null}', '$.a') => true
        JSON_EXISTS('{"a": [1]}', '$.a[*]') => true
        JSON_EXISTS('{"a": 1}', '$.b') => false
        JSON_EXISTS('broken', '$.b') => false
        JSON_EXISTS(NULL, '$.b') => NULL
        "#,
    );
    check_error("JSON_VALUE('{}', 'a.b') => the JSON path 'a.b' cannot be used");
}

#[test]
fn numbers() {
    check(
        "
        MOD(29, 3) => 2
        MOD(-29, 3) => -2
        MOD(NULL, 3) => NULL
        LOG(1) => 0.0
        LOG(2, 8) => 3.0
        LOG2(8) => 3.0
        LOG10(100) => 2.0
        LN(1) => 0.0
        EXP(0) => 1.0
        POWER(2, 3) => 8.0
        ABS(-5) => 5
        SIGN(-5) => -1
        SIGN(CAST(-2.50 AS DECIMAL(5, 2))) => -1.00
        SIGN(0.0) => 0.0
        TRUNCATE(42.345, 2) => 42.34
        TRUNCATE(CAST(-42.345 AS DOUBLE), 2) => -42.34
        TRUNCATE(CAST(0.29 AS DOUBLE), 2) => 0.29
        TRUNCATE(CAST(42.345 AS DECIMAL(8, 3)), 1) => 42.300
        TRUNCATE(1299, -2) => 1200
        CEIL(CAST(1.2 AS DECIMAL(5, 1))) => 2
        FLOOR(CAST(-1.2 AS DECIMAL(5, 1))) => -2
        CEILING(CAST(1.2 AS DOUBLE)) => 2.0
        FLOOR(7) => 7
        TYPEOF(FLOOR(CAST(7 AS INT))) => INT
        ROUND(CAST(2.345 AS DECIMAL(8, 3)), 2) => 2.35
        SQRT(4) => 2.0
        E() => 2.718281828459045
        PI() => 3.141592653589793
        ",
    );
    check_error("MOD('a', 3) => MOD takes two numbers\nMOD(1, 0) => Divide by zero");
    check_error("RAND() => a replay must give the same\nUUID() => a replay must give the same");
}

#[test]
fn collections() {
    check(
        "
        CARDINALITY(make_array(1, 2, 3)) => 3
        CARDINALITY(STR_TO_MAP('a=1,b=2')) => 2
        ELEMENT(make_array(7)) => 7
        STR_TO_MAP('k1=v1,k2=v2,k1=v3')['k1'] => v3
        STR_TO_MAP('k1:v1;k2:v2', ';', ':')['k2'] => v2
        STR_TO_MAP('k1:v1;k2:v2', ';', ':')['x'] => NULL
        STR_TO_MAP('')['x'] => NULL
        TYPEOF(make_array('a')) => ARRAY<STRING>
        TYPEOF(CAST(1 AS DECIMAL(5, 2))) => DECIMAL(5, 2)
        EXTRACT(HOUR FROM TIMESTAMP '2020-01-05 10:11:12') => 10
        EXTRACT(DOW FROM DATE '2020-01-05') => 1
        TYPEOF(EXTRACT(YEAR FROM DATE '2020-01-05')) => BIGINT
        ",
    );
    let column = texts(&[Some("a=1,b=2"), None, Some("b=3"), Some("c=4")]);
    assert_eq!(over_column(column, "STR_TO_MAP(x)['b']"), ["2", "NULL", "3", "NULL"]);
    let column = texts(&[Some("a"), None, Some("b")]);
    assert_eq!(over_column(column, "STR_TO_MAP('a=1,b=2')[x]"), ["1", "NULL", "2"]);
    check_error("ELEMENT(make_array(7, 8)) => ARRAY of 2 items");
}
