//! What remote caches keep of a URL, so that another machine has to ask its server only whether that is still so.
//!
//! It is found by a hash of the URL. What is read is of strangers: whatever is not as it would have been written is a miss.

use cache::Table;
use cache::remote::NewRecord;
use serde::{Deserialize, Serialize};
use solver::Hasher;

use super::HttpRecord;
use crate::net::{file_name_of, plain_name};

/// Form of what travels.
const VERSION: u8 = 1;

/// A record of a URL as it travels.
#[derive(Serialize, Deserialize)]
struct Travelling {
    version: u8,
    record: HttpRecord,
}

/// The full key of a URL in caches; `None` for a URL that says who asks: what a server gives one user is no business of
/// others. The fragment is never sent, and in no key. A query is in it, hashed with all the rest.
pub(crate) fn travel_key(url: &str) -> Option<Vec<u8>> {
    let mut parsed = url::Url::parse(url).ok()?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return None;
    }
    parsed.set_fragment(None);
    let mut hasher = Hasher::new("url in caches");
    hasher.bytes(parsed.as_str().as_bytes());
    Some(Table::Http.key(&hasher.finish()))
}

/// A record as others may want it.
pub(crate) fn export(url: &str, record: &HttpRecord) -> Option<NewRecord> {
    let travelling = Travelling { version: VERSION, record: record.clone() };
    let value = postcard::to_stdvec(&travelling).expect("plain data with known lengths always encodes");
    Some(NewRecord { key: travel_key(url)?, value, blobs: Vec::new() })
}

/// What was found under the key of a URL.
pub(crate) fn import(url: &str, value: &[u8]) -> Option<HttpRecord> {
    let (Travelling { version, record }, rest) = postcard::take_from_bytes(value).ok()?;
    let is_plain = version == VERSION
        && rest.is_empty()
        && record.validator.as_ref().is_none_or(|validator| validator.is_plain())
        && plain_name(record.file_name.clone().into_bytes()).is_some()
        && file_name_of(url).is_none_or(|name| name == record.file_name);
    is_plain.then_some(record)
}

/// What the file of a record is called, for people who look into a cache.
pub(crate) fn name_of(value: &[u8]) -> Option<String> {
    let Travelling { record, .. } = postcard::from_bytes(value).ok()?;
    plain_name(record.file_name.into_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use solver::{BlobDigest, ContentDigest, Descriptor};

    use super::*;
    use crate::net::Validator;

    fn record() -> HttpRecord {
        HttpRecord {
            validator: Some(Validator::StrongEtag("\"a\"".to_owned())),
            content: ContentDigest::from_bytes([1; 32]),
            blob: Descriptor { digest: BlobDigest::from_bytes([2; 32]), size: 3 },
            file_name: "f".to_owned(),
        }
    }

    #[test]
    fn a_record_comes_back_under_its_url() {
        let exported = export("https://h/f?q=1#part", &record()).unwrap();
        assert_eq!(import("https://h/f?q=1", &exported.value), Some(record()));
        assert_eq!(Some(exported.key), travel_key("https://h/f?q=1"));
        assert_eq!(
            import("https://h/g", &exported.value),
            None,
            "a URL that says the file's name is believed"
        );
        // Version, a validator, which is an entity tag; content, blob and its size, name.
        let wanted = format!("01010003226122{}{}030166", "01".repeat(32), "02".repeat(32));
        assert_eq!(hex::encode(&exported.value), wanted);
    }

    #[test]
    fn keys_tell_urls_apart_and_users_have_none() {
        let keys: std::collections::BTreeSet<_> =
            ["https://h/f", "https://h/f?q=1", "https://h/f?q=2", "http://h/f"].map(travel_key).into();
        assert!(keys.len() == 4 && !keys.contains(&None));
        for url in ["https://me@h/f", "https://me:pw@h/f", "https://:pw@h/f", "no url"] {
            assert_eq!((travel_key(url), export(url, &record())), (None, None), "{url}");
        }
    }

    #[test]
    fn what_nobody_would_write_is_a_miss() {
        let url = "https://h/";
        let value = |change: &dyn Fn(&mut HttpRecord)| {
            let mut record = record();
            change(&mut record);
            export(url, &record).unwrap().value
        };
        assert!(import(url, &value(&|_| {})).is_some());
        let etag = |tag: &str| {
            let validator = Some(Validator::StrongEtag(tag.to_owned()));
            value(&move |record| record.validator = validator.clone())
        };
        let long = format!("\"{}\"", "a".repeat(5000));
        for tag in ["a", "\"a\r\nHost: x\"", "W/\"a\"", "\"", "\"a\"b\"", "\"\u{263a}\"", long.as_str()] {
            assert_eq!(import(url, &etag(tag)), None, "{tag}");
        }
        let date = Some(Validator::LastModified("yesterday".to_owned()));
        assert_eq!(import(url, &value(&move |record| record.validator = date.clone())), None);
        for name in ["", "..", "a/b", ".wh.a", "a\nb"] {
            assert_eq!(import(url, &value(&|record| record.file_name = name.to_owned())), None, "{name}");
        }
        let good = value(&|_| {});
        assert_eq!(import(url, &[&good[..], &[0]].concat()), None);
        assert_eq!(import(url, &[&[VERSION + 1], &good[1..]].concat()), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, at: prop::sample::Index, bit in 0..8u8) {
            let _ = import("https://h/", &bytes);
            let mut good = export("https://h/", &record()).unwrap().value;
            let at = at.index(good.len());
            good[at] ^= 1u8 << bit;
            let _ = import("https://h/", &good);
        }
    }
}
