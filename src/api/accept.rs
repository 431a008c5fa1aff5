//! Which form of an answer a client wants: the `Accept` header.

use axum::http::{HeaderMap, StatusCode, header};

use super::error::{ApiError, ApiResult};
use crate::error::Error;

/// A form that an answer can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Csv,
    Ndjson,
    Text,
}

/// The forms of rows; the first is the default.
pub(super) const ROWS: [Form; 3] = [Form::Json, Form::Csv, Form::Ndjson];
/// The forms of a plan.
pub(super) const PLAN: [Form; 2] = [Form::Json, Form::Text];
/// The forms of everything else.
pub(super) const OBJECT: [Form; 1] = [Form::Json];

impl Form {
    /// The media type that answers of this form carry.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Form::Json => "application/json",
            Form::Csv => "text/csv; charset=utf-8",
            Form::Ndjson => "application/x-ndjson",
            Form::Text => "text/plain; charset=utf-8",
        }
    }

    fn essence(self) -> &'static str {
        self.media_type().split(';').next().unwrap_or_default()
    }

    fn matches(self, range: &str) -> bool {
        let essence = self.essence();
        let other_name = self == Form::Ndjson && range == "application/ndjson";
        match range.strip_suffix("/*") {
            Some("*") => true,
            Some(group) => essence.split('/').next() == Some(group),
            None => range == essence || other_name,
        }
    }
}

/// The best of `forms` by the client's `Accept` header; the first one if there is no header.
pub(super) fn choose(headers: &HeaderMap, forms: &[Form]) -> ApiResult<Form> {
    let mut ranges: Vec<(String, f32)> = Vec::new();
    for value in headers.get_all(header::ACCEPT) {
        let Ok(text) = value.to_str() else { continue };
        ranges.extend(text.split(',').filter_map(media_range));
    }
    let first = forms.first().copied().unwrap_or(Form::Json);
    if ranges.is_empty() && !headers.contains_key(header::ACCEPT) {
        return Ok(first);
    }
    // The sort is stable: among equals the client's order decides.
    ranges.sort_by(|a, b| b.1.total_cmp(&a.1));
    let wanted = ranges.iter().filter(|(_, quality)| *quality > 0.0);
    for (range, _) in wanted {
        if let Some(form) = forms.iter().find(|form| form.matches(range)) {
            return Ok(*form);
        }
    }
    let known: Vec<&str> = forms.iter().map(|form| form.essence()).collect();
    let error = Error::config("the answer has no form that the Accept header allows")
        .with_hint(format!("accept {}", known.join(", ")));
    Err(ApiError::new(StatusCode::NOT_ACCEPTABLE, error))
}

/// `text/csv;q=0.5` as its lower-case type and quality.
fn media_range(text: &str) -> Option<(String, f32)> {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().filter(|r| !r.is_empty())?.to_ascii_lowercase();
    let quality = parts.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")));
    Some((range, quality.map_or(1.0, |q| q.parse().unwrap_or(0.0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(accept: &str) -> Option<Form> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        choose(&headers, &ROWS).ok()
    }

    #[test]
    fn accept_headers() {
        assert_eq!(choose(&HeaderMap::new(), &ROWS).unwrap(), Form::Json);
        let cases = [
            ("*/*", Some(Form::Json)),
            ("application/json", Some(Form::Json)),
            ("text/csv", Some(Form::Csv)),
            ("TEXT/CSV; charset=utf-8", Some(Form::Csv)),
            ("text/*", Some(Form::Csv)),
            ("application/x-ndjson", Some(Form::Ndjson)),
            ("application/ndjson", Some(Form::Ndjson)),
            ("text/html, application/xhtml+xml, */*;q=0.8", Some(Form::Json)),
            ("application/json;q=0.1, text/csv;q=0.9", Some(Form::Csv)),
            ("application/json;q=0, text/csv", Some(Form::Csv)),
            ("text/html", None),
            ("application/xml;q=0.9", None),
            ("application/json;q=0", None),
        ];
        for (accept, form) in cases {
            assert_eq!(chosen(accept), form, "{accept}");
        }
    }
}
