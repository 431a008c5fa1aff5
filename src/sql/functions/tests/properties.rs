//! Properties against independent implementations.

use arrow::array::{ArrayRef, TimestampMillisecondArray};
use chrono::{DateTime, Datelike, Timelike};
use proptest::prelude::*;
use std::sync::Arc;

use super::super::calendar::{Date, add_months, date_of, day_of_year, days_of, iso_week};
use super::super::pattern::Pattern;
use super::super::pattern_parse::{Mode, parse, parse_default};
use super::super::regex_java::compiled;
use super::{over_column, texts};

fn strings() -> impl Strategy<Value = Vec<Option<String>>> {
    prop::collection::vec(prop::option::of("[ab,;é ]{0,30}"), 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_calendar_is_chronos(days in -90_000_000_i64..90_000_000) {
        let date = date_of(days);
        prop_assert_eq!(days_of(date), days);
        if let Some(expected) = DateTime::from_timestamp(days * 86_400, 0) {
            prop_assert_eq!(date.year, i64::from(expected.year()));
            prop_assert_eq!(date.month, i64::from(expected.month()));
            prop_assert_eq!(date.day, i64::from(expected.day()));
            prop_assert_eq!(day_of_year(days), i64::from(expected.ordinal()));
            prop_assert_eq!(iso_week(days), i64::from(expected.iso_week().week()));
        }
    }

    #[test]
    fn months_stay_in_their_month(days in -800_000_i64..800_000, months in -5_000_i64..5_000) {
        let (from, to) = (date_of(days), date_of(add_months(days, months)));
        let number = |date: Date| date.year * 12 + date.month;
        prop_assert_eq!(number(to) - number(from), months);
        prop_assert!(to.day <= from.day);
    }

    #[test]
    fn formatting_is_chronos(millis in -60_000_000_000_000_i64..250_000_000_000_000) {
        let moment = DateTime::from_timestamp_millis(millis).expect("in range");
        for (java, strftime) in [
            ("yyyy-MM-dd HH:mm:ss.SSS", "%Y-%m-%d %H:%M:%S%.3f"),
            ("HH:mm", "%H:%M"),
            ("EEE, dd MMM yyyy", "%a, %d %b %Y"),
            ("EEEE MMMM D hh a", "%A %B %-j %I %p"),
        ] {
            let pattern = Pattern::compile(java).expect("a pattern");
            let mut text = String::new();
            pattern.format(millis, 1_000, &mut text);
            prop_assert_eq!(text, moment.format(strftime).to_string());
        }
        let mut text = String::new();
        let full = Pattern::compile("yyyy-MM-dd HH:mm:ss.SSS").expect("a pattern");
        full.format(millis, 1_000, &mut text);
        prop_assert_eq!(parse_default(&text).map(|p| p.millis()), Some(millis));
        prop_assert_eq!(parse(&full, &text, Mode::Exact).map(|p| p.millis()), Some(millis));
    }

    #[test]
    fn spans_share_only_equal_texts(
        start in -10_000_000_i64..10_000_000,
        steps in prop::collection::vec(-200_000_i64..200_000, 1..40),
    ) {
        let mut millis = start;
        let values: Vec<i64> = steps.iter().map(|step| { millis += step; millis }).collect();
        let column: ArrayRef = Arc::new(TimestampMillisecondArray::from(values.clone()));
        let texts = over_column(column, "DATE_FORMAT(x, 'HH:mm')");
        for (value, text) in values.iter().zip(texts) {
            let moment = DateTime::from_timestamp_millis(*value).expect("in range");
            prop_assert_eq!(text, format!("{:02}:{:02}", moment.hour(), moment.minute()));
        }
    }

    #[test]
    fn splitting_is_rusts(rows in strings(), at in 0..6_usize, long in any::<bool>()) {
        let delimiter = if long { ",;" } else { "," };
        let column = texts(&rows.iter().map(Option::as_deref).collect::<Vec<_>>());
        let pieces = over_column(column, &format!("SPLIT_INDEX(x, '{delimiter}', {at})"));
        for (row, piece) in rows.iter().zip(pieces) {
            let text = row.as_deref().filter(|text| !text.is_empty());
            let expected = text.and_then(|text| text.split(delimiter).nth(at));
            prop_assert_eq!(piece, expected.unwrap_or("NULL"));
        }
    }

    #[test]
    fn extraction_is_the_regex_crates(rows in strings(), group in 0..4_usize) {
        let java = "([ab]+),(é?)";
        let column = texts(&rows.iter().map(Option::as_deref).collect::<Vec<_>>());
        let found = over_column(column, &format!("REGEXP_EXTRACT(x, '{java}', {group})"));
        let regex = regex::Regex::new(java).expect("an expression");
        for (row, found) in rows.iter().zip(found) {
            let captures = row.as_deref().and_then(|text| regex.captures(text));
            let expected = captures.and_then(|c| c.get(group)).map_or("NULL", |m| m.as_str());
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn no_expression_and_no_pattern_panics(text in ".{0,20}") {
        let _ = compiled(&text);
        if let Ok(pattern) = Pattern::compile(&text) {
            let mut out = String::new();
            pattern.format(-1, 1_000, &mut out);
            let _ = parse(&pattern, &text, Mode::Exact);
            let _ = parse(&pattern, &out, Mode::Lenient);
        }
        let _ = parse_default(&text);
    }
}
