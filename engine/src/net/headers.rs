//! What an HTTP answer's header fields mean for a download. Pure functions; no clock, no network.

use std::time::{Duration, SystemTime};

use reqwest::header::{
    CONTENT_DISPOSITION, CONTENT_RANGE, DATE, ETAG, HeaderMap, HeaderName, LAST_MODIFIED, RETRY_AFTER,
};
use serde::{Deserialize, Serialize};

use super::url_name::{percent_decoded, plain_name};

/// RFC 9110 §8.8.2.2: a younger modification time could be that of two contents.
const SETTLED: Duration = Duration::from_secs(60);

/// Longest validator taken from elsewhere than an answer, in bytes; servers bound their header fields to about as much.
const MAX_BYTES: usize = 4096;

/// What a server promises about a content: the same value later means the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Validator {
    /// A strong entity tag with its quotes (RFC 9110 §8.8.3).
    StrongEtag(String),
    /// The text of a `Last-Modified` that was at least a minute old when it was sent.
    LastModified(String),
}

impl Validator {
    /// The value as `If-Range` wants it.
    pub(super) fn as_str(&self) -> &str {
        match self {
            Validator::StrongEtag(value) | Validator::LastModified(value) => value,
        }
    }

    /// Whether an answer could have given it, for validators that came from elsewhere.
    pub(crate) fn is_plain(&self) -> bool {
        let is_header =
            |text: &str| text.len() <= MAX_BYTES && text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        match self {
            Validator::StrongEtag(tag) => is_header(tag) && is_strong(tag),
            Validator::LastModified(date) => is_header(date) && httpdate::parse_http_date(date).is_ok(),
        }
    }
}

/// The validator of an answer, if it has one that pins its bytes.
pub(super) fn validator(headers: &HeaderMap) -> Option<Validator> {
    strong_etag(headers).map(Validator::StrongEtag).or_else(|| {
        let modified = text(headers, &LAST_MODIFIED)?;
        let age = date(headers, &DATE)?.duration_since(httpdate::parse_http_date(modified).ok()?).ok()?;
        (age >= SETTLED).then(|| Validator::LastModified(modified.to_owned()))
    })
}

/// Says whether a partial answer may be of other content than the one `wanted` describes. It need not say what it is of.
pub(super) fn contradicts(headers: &HeaderMap, wanted: &Validator) -> bool {
    match wanted {
        Validator::StrongEtag(wanted) => {
            headers.contains_key(ETAG) && strong_etag(headers).as_ref() != Some(wanted)
        }
        Validator::LastModified(wanted) => text(headers, &LAST_MODIFIED).is_some_and(|value| value != wanted),
    }
}

fn strong_etag(headers: &HeaderMap) -> Option<String> {
    text(headers, &ETAG).filter(|etag| is_strong(etag)).map(str::to_owned)
}

fn is_strong(etag: &str) -> bool {
    let inner = etag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.is_some_and(|inner| !inner.contains('"'))
}

/// How long a busy server asks to be left alone.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = text(headers, &RETRY_AFTER)?;
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    // The server's own clock, where it tells it, is the one its date is meant by.
    let now = date(headers, &DATE).unwrap_or(now);
    Some(httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default())
}

/// The first byte of a partial answer and the length of the whole: `bytes 5-9/10` is 5 of 10. Only ranges to the end count.
pub(crate) fn content_range(headers: &HeaderMap) -> Option<(u64, u64)> {
    let (range, total) = text(headers, &CONTENT_RANGE)?.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, total): (u64, u64, u64) =
        (first.parse().ok()?, last.parse().ok()?, total.parse().ok()?);
    (first <= last && last.checked_add(1) == Some(total)).then_some((first, total))
}

/// The name in `Content-Disposition` (RFC 6266), `filename*` before `filename`, if a file can have it.
pub(super) fn file_name(headers: &HeaderMap) -> Option<String> {
    // Not `text`: names in raw UTF-8 are common.
    let value = std::str::from_utf8(headers.get(CONTENT_DISPOSITION)?.as_bytes()).ok()?;
    let parameters = parameters(value);
    let of = |wanted: &str| parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
    let extended = of("filename*").and_then(|(_, value)| extended_name(value));
    extended.or_else(|| of("filename").and_then(|(_, value)| plain_name(value.clone().into_bytes())))
}

/// RFC 8187: `UTF-8'en'%e2%82%ac`.
fn extended_name(value: &str) -> Option<String> {
    let (charset, rest) = value.split_once('\'')?;
    let (_language, name) = rest.split_once('\'')?;
    let decoded = percent_decoded(name.as_bytes());
    match charset.to_ascii_lowercase().as_str() {
        "utf-8" => plain_name(decoded),
        "iso-8859-1" => plain_name(decoded.into_iter().map(char::from).collect::<String>().into_bytes()),
        _ => None,
    }
}

/// `attachment; a=b; c="d;\"e"` is a=b, c=d;"e.
fn parameters(value: &str) -> Vec<(&str, String)> {
    let mut parameters = Vec::new();
    let mut rest = value.split_once(';').map_or("", |(_, rest)| rest);
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let (token, after) = after.split_once(';').unwrap_or((after, ""));
                (token.trim().to_owned(), after)
            }
        };
        parameters.push((name.trim_matches([' ', '\t', ';']), value));
        rest = after;
    }
    parameters
}

/// The text up to the closing quote, and what follows it.
pub(crate) fn unquoted(quoted: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = quoted.chars();
    while let Some(char) = chars.next() {
        match char {
            '"' => break,
            '\\' => value.extend(chars.next()),
            _ => value.push(char),
        }
    }
    (value, chars.as_str())
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(text(headers, name)?).ok()
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).unwrap();
        fields.iter().map(|(name, text)| (name.clone(), value(text))).collect()
    }

    #[test]
    fn only_strong_validators_pin() {
        let check = |etag: Option<&str>, modified: Option<&str>, wanted: Option<Validator>| {
            let mut fields = vec![(DATE, "Tue, 15 Nov 1994 08:13:00 GMT")];
            fields.extend(etag.map(|etag| (ETAG, etag)));
            fields.extend(modified.map(|modified| (LAST_MODIFIED, modified)));
            assert_eq!(validator(&headers(&fields)), wanted, "{etag:?} {modified:?}");
        };
        let (old, young) = ("Tue, 15 Nov 1994 08:12:00 GMT", "Tue, 15 Nov 1994 08:12:01 GMT");
        let pinned_by_date = Some(Validator::LastModified(old.to_owned()));
        check(Some("\"a\""), Some(old), Some(Validator::StrongEtag("\"a\"".to_owned())));
        check(Some("W/\"a\""), Some(old), pinned_by_date.clone());
        check(Some("W/\"a\""), Some(young), None);
        check(Some("a"), None, None);
        check(Some("\""), None, None);
        check(None, Some(old), pinned_by_date);
        check(None, Some("Tue, 15 Nov 1994 08:14:00 GMT"), None);
        check(None, Some("yesterday"), None);
        assert_eq!(validator(&headers(&[(LAST_MODIFIED, old)])), None, "no Date");
    }

    #[test]
    fn ranges_must_reach_the_end() {
        let range = |text| content_range(&headers(&[(CONTENT_RANGE, text)]));
        assert_eq!(range("bytes 5-9/10"), Some((5, 10)));
        for text in ["bytes 5-8/10", "bytes 5-9/*", "bytes */10", "bytes 9-5/6", "items 5-9/10", ""] {
            assert_eq!(range(text), None, "{text}");
        }
        assert_eq!(range("bytes 0-18446744073709551615/0"), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Tue, 15 Nov 1994 08:12:00 GMT").unwrap();
        let wait = |text| retry_after(&headers(&[(RETRY_AFTER, text)]), now).map(|wait| wait.as_secs());
        assert_eq!(wait("7"), Some(7));
        assert_eq!(wait("Tue, 15 Nov 1994 08:12:31 GMT"), Some(31));
        assert_eq!(wait("Tue, 15 Nov 1994 08:11:00 GMT"), Some(0));
        assert_eq!(wait("soon"), None);
    }

    #[test]
    fn disposition_names_a_plain_file_or_nothing() {
        for (value, name) in [
            ("attachment; filename=a.tgz", Some("a.tgz")),
            ("attachment; filename=\"a b;c.tgz\"; x=y", Some("a b;c.tgz")),
            ("attachment; filename=\"a\\\"b\"", Some("a\"b")),
            ("attachment;filename=plain;FileName*=utf-8'en'%e2%98%ba.txt", Some("\u{263a}.txt")),
            ("attachment; filename*=UTF-8''a%2Fb; filename=ok", Some("ok")),
            ("attachment; filename*=iso-8859-1''%e9", Some("\u{e9}")),
            ("attachment; filename*=koi8-r''a; filename=b", Some("b")),
            ("inline; filename=\u{263a}", Some("\u{263a}")),
            ("attachment; filename=\"../a\"", None),
            ("attachment; filename=\"..\"", None),
            ("attachment; filename=\".wh.a\"", None),
            ("attachment; filename=\"\"", None),
            ("attachment; filename=\"open", Some("open")),
            ("attachment", None),
        ] {
            assert_eq!(file_name(&headers(&[(CONTENT_DISPOSITION, value)])).as_deref(), name, "{value}");
        }
    }
}
