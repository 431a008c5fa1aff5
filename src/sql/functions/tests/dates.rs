//! Dates and times.

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, TimestampMillisecondArray, TimestampSecondArray};

use super::{check, check_error, over_column, texts};

#[test]
fn date_format_follows_java() {
    check(
        "
        DATE_FORMAT(TIMESTAMP '2020-02-29 03:04:05.678', 'yyyy-MM-dd HH:mm:ss.SSS') => 2020-02-29 03:04:05.678
        DATE_FORMAT(TIMESTAMP '2020-02-29 03:04:05', 'HH:mm') => 03:04
        DATE_FORMAT(TIMESTAMP '1969-12-31 23:59:59.999', 'yyyy-MM-dd HH:mm:ss.SSS') => 1969-12-31 23:59:59.999
        DATE_FORMAT(TIMESTAMP '2020-02-09 15:04:05', 'd/M/yy h:m:s a') => 9/2/20 3:4:5 PM
        DATE_FORMAT(TIMESTAMP '2020-02-09 00:04:05', 'hh KK kk') => 12 00 24
        DATE_FORMAT(TIMESTAMP '2020-02-09 00:04:05', 'EEE EEEE MMM MMMM Q QQQ DDD') => Sun Sunday Feb February 1 Q1 040
        DATE_FORMAT(TIMESTAMP '2020-02-09 00:04:05', 'yyyy''T''''x''') => 2020T'x
        DATE_FORMAT('2020-2-9 1:2:3', 'yyyyMMdd HHmmss') => 20200209 010203
        DATE_FORMAT('2020-02-09', 'yyyy-MM-dd HH:mm') => 2020-02-09 00:00
        DATE_FORMAT('no date', 'yyyy') => NULL
        DATE_FORMAT(DATE '2020-02-09', 'dd.MM.yyyy') => 09.02.2020
        DATE_FORMAT(CAST(NULL AS TIMESTAMP), 'yyyy') => NULL
        DATE_FORMAT(TIMESTAMP '2020-02-09 00:04:05', CAST(NULL AS VARCHAR)) => NULL
        DATE_FORMAT(TIMESTAMP '2020-02-09 00:04:05', '') =>
        FROM_UNIXTIME(44) => 1970-01-01 00:00:44
        FROM_UNIXTIME(-1, 'yyyy-MM-dd HH:mm:ss') => 1969-12-31 23:59:59
        ",
    );
    check_error(
        "
        DATE_FORMAT('2020-01-01', 'YYYY-MM-dd') => counts weeks by locale
        DATE_FORMAT('2020-01-01', 'yyyy-MM-ddTHH') => unknown letter 'T'
        DATE_FORMAT('2020-01-01', 'yyyy ''x') => a quote is not closed
        DATE_FORMAT('2020-01-01', 'yyyy z') => time zone
        DATE_FORMAT('2020-01-01', 'ddd') => more than 2 times
        DATE_FORMAT(1, 'yyyy') => argument 1 of DATE_FORMAT must be TIMESTAMP, DATE or STRING
        DATE_FORMAT('2020-01-01') => takes 2 arguments, 1 given
        ",
    );
}

#[test]
fn date_format_over_a_column_that_hops() {
    let day = 86_400_000;
    let millis = [Some(0), Some(day), None, Some(0), Some(-1), Some(day + 1), Some(64 * day)];
    let column: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter(millis));
    let days = over_column(Arc::clone(&column), "DATE_FORMAT(x, 'yyyy-MM-dd')");
    let expected = [
        "1970-01-01",
        "1970-01-02",
        "NULL",
        "1970-01-01",
        "1969-12-31",
        "1970-01-02",
        "1970-03-06",
    ];
    assert_eq!(days, expected);
    let long = over_column(column, "DATE_FORMAT(x, 'yyyy-MM-dd HH:mm:ss.SSS')");
    assert_eq!(long[5], "1970-01-02 00:00:00.001");
    let seconds: ArrayRef = Arc::new(TimestampSecondArray::from(vec![-1, 0, i64::MIN, i64::MAX]));
    let texts = over_column(seconds, "DATE_FORMAT(x, 'HH:mm:ss.SSS')");
    assert_eq!(texts[..2], ["23:59:59.000", "00:00:00.000"]);
}

#[test]
fn text_becomes_moments() {
    check(
        "
        TO_TIMESTAMP('2020-01-02 03:04:05') => 2020-01-02T03:04:05
        TO_TIMESTAMP('2020-1-2 3:4:5.6789') => 2020-01-02T03:04:05.678
        TO_TIMESTAMP('2020-01-02') => 2020-01-02T00:00:00
        TO_TIMESTAMP('1969-12-31 23:59:59.5') => 1969-12-31T23:59:59.500
        TO_TIMESTAMP('2020-02-30 00:00:00') => 2020-02-29T00:00:00
        TO_TIMESTAMP('2020-13-01') => NULL
        TO_TIMESTAMP('2020-01-02 03:04') => NULL
        TO_TIMESTAMP('2020-01-02T03:04:05') => NULL
        TO_TIMESTAMP('') => NULL
        TO_TIMESTAMP('20200102030405', 'yyyyMMddHHmmss') => 2020-01-02T03:04:05
        TO_TIMESTAMP('20200102030405678', 'yyyyMMddHHmmssSSS') => 2020-01-02T03:04:05.678
        TO_TIMESTAMP('02/Jan/2020 03:04 PM', 'dd/MMM/yyyy hh:mm a') => 2020-01-02T15:04:00
        TO_TIMESTAMP('2020-01-02T03:04:05Z', 'yyyy-MM-dd''T''HH:mm:ss''Z''') => 2020-01-02T03:04:05
        TO_TIMESTAMP('2020-01-02', 'yyyy-MM-dd[ HH:mm]') => 2020-01-02T00:00:00
        TO_TIMESTAMP('2020-01-02 10:11', 'yyyy-MM-dd[ HH:mm]') => 2020-01-02T10:11:00
        TO_TIMESTAMP('2020-1-2', 'yyyy-MM-dd') => NULL
        TO_TIMESTAMP('2020-01-02 rest', 'yyyy-MM-dd') => NULL
        TO_TIMESTAMP_LTZ(100, 0) => 1970-01-01T00:01:40Z
        TO_TIMESTAMP_LTZ(-1, 3) => 1969-12-31T23:59:59.999Z
        TO_TIMESTAMP_LTZ('2020-01-02 03:04:05') => 2020-01-02T03:04:05Z
        TO_DATE('2020-01-02') => 2020-01-02
        TO_DATE('2020-1-2 10:00:00') => 2020-01-02
        TO_DATE('02.01.2020', 'dd.MM.yyyy') => 2020-01-02
        TO_DATE('2020-02-30') => NULL
        UNIX_TIMESTAMP('1970-01-01 00:01:40') => 100
        UNIX_TIMESTAMP('1970/01/02', 'yyyy/MM/dd') => 86400
        UNIX_TIMESTAMP('x') => -9223372036854775808
        CONVERT_TZ('1970-01-01 00:00:00', 'UTC', 'America/Los_Angeles') => 1969-12-31 16:00:00
        CONVERT_TZ('2020-07-01 12:00:00', 'Europe/Berlin', '+08:00') => 2020-07-01 18:00:00
        CONVERT_TZ('2020-01-01 12:00:00', 'GMT+1', 'GMT') => 2020-01-01 11:00:00
        ",
    );
    check_error(
        "
        TO_TIMESTAMP('2020', 'bad pattern') => cannot be used
        TO_TIMESTAMP_LTZ(1, 6) => the precision
        CONVERT_TZ('1970-01-01 00:00:00', 'Mars', 'UTC') => unknown time zone 'Mars'
        ",
    );
    let column = texts(&[Some("2020-01-02 03:04:05"), None, Some("?")]);
    assert_eq!(over_column(column, "TO_TIMESTAMP(x)"), ["2020-01-02T03:04:05", "NULL", "NULL"]);
}

#[test]
fn fields_of_moments() {
    check(
        "
        HOUR(TIMESTAMP '2020-02-29 13:04:05') => 13
        MINUTE(TIMESTAMP '1969-12-31 23:58:57') => 58
        SECOND(TIMESTAMP '1969-12-31 23:58:57.5') => 57
        HOUR(TIME '13:04:05') => 13
        YEAR(DATE '0001-01-01') => 1
        YEAR(TIMESTAMP '1969-12-31 23:58:57.5') => 1969
        QUARTER(DATE '2020-12-31') => 4
        MONTH(DATE '2020-03-01') => 3
        WEEK(DATE '2021-01-03') => 53
        WEEK(DATE '2021-01-04') => 1
        DAYOFYEAR(DATE '2020-12-31') => 366
        DAYOFMONTH(DATE '1994-09-27') => 27
        DAYOFWEEK(DATE '1994-09-27') => 3
        DAYOFWEEK(DATE '1994-09-25') => 1
        YEAR(CAST(NULL AS DATE)) => NULL
        HOUR('2020-02-29 13:04:05') => 13
        ",
    );
    let column: ArrayRef = Arc::new(Date32Array::from(vec![Some(-1), None, Some(0)]));
    assert_eq!(over_column(column, "DAYOFWEEK(x)"), ["4", "NULL", "5"]);
}

#[test]
fn arithmetic_of_moments() {
    check(
        "
        TIMESTAMPDIFF('DAY', TIMESTAMP '2003-01-02 10:00:00', TIMESTAMP '2003-01-03 10:00:00') => 1
        TIMESTAMPDIFF('HOUR', TIMESTAMP '2003-01-02 10:00:00', TIMESTAMP '2003-01-02 08:30:00') => -1
        TIMESTAMPDIFF('MONTH', TIMESTAMP '2020-01-31 00:00:00', TIMESTAMP '2020-02-29 00:00:00') => 1
        TIMESTAMPDIFF('MONTH', TIMESTAMP '2020-01-15 12:00:00', TIMESTAMP '2020-02-15 11:00:00') => 0
        TIMESTAMPDIFF('YEAR', DATE '2000-02-29', DATE '2020-02-28') => 19
        TIMESTAMPDIFF('SECOND', TIMESTAMP '1970-01-01 00:00:00', CAST(NULL AS TIMESTAMP)) => NULL
        TIMESTAMPDIFF('WEEK', DATE '2020-01-01', DATE '2020-01-15') => 2
        TIMESTAMPADD('WEEK', 1, DATE '2003-01-02') => 2003-01-09
        TIMESTAMPADD('MONTH', 1, DATE '2020-01-31') => 2020-02-29
        TIMESTAMPADD('YEAR', -1, DATE '2020-02-29') => 2019-02-28
        TIMESTAMPADD('HOUR', 25, DATE '2020-02-28') => 2020-02-29T01:00:00
        TIMESTAMPADD('MINUTE', -1, TO_TIMESTAMP('1970-01-01 00:00:00')) => 1969-12-31T23:59:00
        flink_floor_ts('HOUR', TO_TIMESTAMP('1969-12-31 23:59:59.999')) => 1969-12-31T23:00:00
        flink_ceil_ts('HOUR', TO_TIMESTAMP('1969-12-31 23:59:59.999')) => 1970-01-01T00:00:00
        flink_ceil_ts('HOUR', TO_TIMESTAMP('1969-12-31 23:00:00')) => 1969-12-31T23:00:00
        flink_floor_ts('MONTH', TO_TIMESTAMP('2020-02-29 23:00:00')) => 2020-02-01T00:00:00
        flink_ceil_ts('YEAR', TO_TIMESTAMP('2020-02-29 23:00:00')) => 2021-01-01T00:00:00
        flink_floor_ts('QUARTER', DATE '2020-06-30') => 2020-04-01
        flink_floor_ts('WEEK', DATE '2020-01-01') => 2019-12-29
        ",
    );
    check_error(
        "
        TIMESTAMPADD('EON', 1, DATE '2003-01-02') => unknown time unit 'EON'
        TIMESTAMPDIFF('SECOND', DATE '1900-01-01', DATE '2003-01-02') => out of range
        ",
    );
}
