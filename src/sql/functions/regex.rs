//! REGEXP, REGEXP_EXTRACT, REGEXP_REPLACE and their kin, with Java's expressions.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringViewBuilder};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ScalarUDF;
use regex::{NoExpand, Regex};

use super::define::{Call, Function, IntArg, Param, Returns, TextArg, literal_text};
use super::regex_java::compiled;

/// The functions of this file.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let two = &[Param::Text, Param::Text];
    let three = &[Param::Text, Param::Text, Param::Text];
    let int = || Returns::Type(DataType::Int32);
    vec![
        Function::new("regexp", two, Returns::Type(DataType::Boolean), regexp)
            .alias("rlike")
            .check(check_expression)
            .udf(),
        Function::text("regexp_extract", &[Param::Text, Param::Text, Param::Int], regexp_extract)
            .optional_after(2)
            .check(check_expression)
            .udf(),
        Function::text("regexp_replace", three, regexp_replace).check(check_expression).udf(),
        Function::text("regexp_substr", two, regexp_extract).check(check_expression).udf(),
        Function::new("regexp_count", two, int(), regexp_count).check(check_expression).udf(),
        Function::new("regexp_instr", two, int(), regexp_instr).check(check_expression).udf(),
    ]
}

fn check_expression(args: &[Option<&ScalarValue>]) -> Result<()> {
    literal_text(args, 1).map_or(Ok(()), |text| compiled(text).map(|_| ()))
}

fn regexp(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, expression) = (call.text(0)?, call.text(1)?);
    call.bool_rows(|i| {
        let (Some(text), Some(expression)) = (text.get(i), expression.get(i)) else {
            return Ok(None);
        };
        // The empty expression matches nothing in Flink.
        Ok(Some(!expression.is_empty() && compiled(expression)?.is_match(text)))
    })
}

fn regexp_extract(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, expression, group) = (call.text(0)?, call.text(1)?, call.int_or(2, 0)?);
    if let (
        TextArg::Column(texts),
        TextArg::Constant(Some(expression)),
        IntArg::Constant(Some(group)),
    ) = (text, expression, group)
    {
        let regex = compiled(expression)?;
        let mut extract = Extract::new(&regex, group);
        let mut out = StringViewBuilder::with_capacity(texts.len());
        for text in texts {
            match text.and_then(|text| extract.first(text)) {
                Some(found) => out.append_value(found),
                None => out.append_null(),
            }
        }
        return Ok(Arc::new(out.finish()));
    }
    call.text_rows(|i| {
        let (Some(text), Some(expression), Some(group)) =
            (text.get(i), expression.get(i), group.get(i))
        else {
            return Ok(None);
        };
        let regex = compiled(expression)?;
        Ok(Extract::new(&regex, group).first(text))
    })
}

/// Takes one group out of the first match.
struct Extract<'r> {
    regex: &'r Regex,
    group: Option<usize>,
    places: regex::CaptureLocations,
}

impl<'r> Extract<'r> {
    /// Group 0 is the whole match; a group that the expression lacks is always NULL.
    fn new(regex: &'r Regex, group: i64) -> Self {
        let group = usize::try_from(group).ok().filter(|group| *group < regex.captures_len());
        Extract { regex, group, places: regex.capture_locations() }
    }

    #[inline]
    fn first<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        let group = self.group?;
        if group == 0 {
            return self.regex.find(text).map(|found| found.as_str());
        }
        self.regex.captures_read(&mut self.places, text)?;
        let (start, end) = self.places.get(group)?;
        text.get(start..end)
    }
}

fn regexp_replace(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, expression, replacement) = (call.text(0)?, call.text(1)?, call.text(2)?);
    call.text_rows(|i| {
        let (Some(text), Some(expression), Some(replacement)) =
            (text.get(i), expression.get(i), replacement.get(i))
        else {
            return Ok(None);
        };
        // Flink quotes the replacement: `$1` in it is text.
        Ok(Some(compiled(expression)?.replace_all(text, NoExpand(replacement))))
    })
}

fn regexp_count(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, expression) = (call.text(0)?, call.text(1)?);
    call.int32_rows(|i| {
        let (Some(text), Some(expression)) = (text.get(i), expression.get(i)) else {
            return Ok(None);
        };
        Ok(i32::try_from(compiled(expression)?.find_iter(text).count()).ok())
    })
}

fn regexp_instr(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, expression) = (call.text(0)?, call.text(1)?);
    call.int32_rows(|i| {
        let (Some(text), Some(expression)) = (text.get(i), expression.get(i)) else {
            return Ok(None);
        };
        let Some(found) = compiled(expression)?.find(text) else {
            return Ok(Some(0));
        };
        let before = text.get(..found.start()).unwrap_or_default().chars().count();
        Ok(i32::try_from(before + 1).ok())
    })
}
