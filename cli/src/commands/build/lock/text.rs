//! The text of a lock file: TOML, one table an entry, sorted. What is read is checked as words of strangers are.

use std::ops::Range;

use engine::lock::image_key;
use engine::{HttpPin, Lock};
use serde::Deserialize;
use solver::{BlobDigest, GitSource, Span};
use toml::Spanned;

use crate::settings;

/// The version written; a newer one is refused.
const VERSION: u64 = 1;
/// What helps against most.
pub(super) const ANEW: &str =
    "take it from version control again, or remove it and let `--lock` write it anew";
/// Why nobody should edit it, and how it changes.
const HEADER: &str = "\
# What the names in this Kubefile led to, written by `sealer build --lock`. It belongs into version control.
# `sealer build --update` asks for all of it anew, `--update=NAME` for one image or URL.
";

/// What is wrong with a text, and where.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) reason: String,
    pub(super) span: Option<Span>,
    pub(super) hint: &'static str,
}

impl Wrong {
    fn new(reason: impl Into<String>, range: Range<usize>) -> Self {
        let span = Some(Span { start: range.start, end: range.end });
        Self { reason: reason.into(), span, hint: ANEW }
    }

    fn of(error: &toml::de::Error) -> Self {
        let wrong = Self::new(error.message(), error.span().unwrap_or_default());
        Self { span: wrong.span.filter(|_| error.span().is_some()), ..wrong }
    }

    /// The same at the first line of its place, which may be the whole file.
    fn on_one_line(mut self, text: &str) -> Self {
        if let Some(span) = &mut self.span {
            let line =
                text.get(span.start..span.end).and_then(|text| text.lines().next()).unwrap_or_default();
            span.end = span.start + line.len();
        }
        self
    }
}

/// What every version has.
#[derive(Deserialize)]
struct Versioned {
    version: Spanned<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "version")]
    _version: u64,
    #[serde(default)]
    base: Vec<Spanned<Base>>,
    #[serde(default)]
    http: Vec<Spanned<Http>>,
    #[serde(default)]
    git: Vec<Spanned<Git>>,
    #[serde(default)]
    image: Vec<Spanned<Image>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Base {
    name: String,
    platform: String,
    digest: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Http {
    url: String,
    sha256: String,
    file_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Git {
    url: String,
    reference: Option<String>,
    commit: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    name: String,
    digest: String,
}

/// Reads a lock file.
pub(super) fn parse(text: &str) -> Result<Lock, Wrong> {
    read(text).map_err(|wrong| wrong.on_one_line(text))
}

fn read(text: &str) -> Result<Lock, Wrong> {
    let versioned: Versioned = toml::from_str(text).map_err(|error| Wrong::of(&error))?;
    let version = *versioned.version.get_ref();
    if version != VERSION {
        let reason = if version > VERSION {
            format!(
                "it is of version {version}, which a newer sealer wrote; this one reads version {VERSION}"
            )
        } else {
            format!("there is no version {version}")
        };
        let hint = "use a newer sealer, or remove the file and let `--lock` write it anew";
        return Err(Wrong { hint, ..Wrong::new(reason, versioned.version.span()) });
    }
    let file: File = toml::from_str(text).map_err(|error| Wrong::of(&error))?;
    let mut lock = Lock::default();
    for entry in file.base {
        let (range, Base { name, platform, digest }) = (entry.span(), entry.into_inner());
        let is_platform = settings::platform(std::slice::from_ref(&platform))
            .is_ok_and(|meant| meant.to_string() == platform);
        if !is_platform {
            return Err(Wrong::new(format!("`{platform}` is not a platform"), range));
        }
        let digest = digest_of(&digest, &range)?;
        let known = lock.bases.insert((image_name(name, &range)?, platform), digest);
        once(known.as_ref(), "base", range)?;
    }
    for entry in file.http {
        let (range, Http { url, sha256, file_name }) = (entry.span(), entry.into_inner());
        let digest = digest_of(&format!("sha256:{sha256}"), &range)?;
        let pin = HttpPin::new(digest, file_name)
            .ok_or_else(|| Wrong::new("`file-name` is not the name of a file", range.clone()))?;
        once(lock.http.insert(url, pin).as_ref(), "URL", range)?;
    }
    for entry in file.git {
        let (range, Git { url, reference, commit }) = (entry.span(), entry.into_inner());
        if GitSource::commit_id(&commit).as_ref() != Some(&commit) {
            return Err(Wrong::new(format!("`{commit}` is not the id of a commit"), range));
        }
        once(lock.git.insert((url, reference), commit).as_ref(), "reference", range)?;
    }
    for entry in file.image {
        let (range, Image { name, digest }) = (entry.span(), entry.into_inner());
        let digest = digest_of(&digest, &range)?;
        once(lock.images.insert(image_name(name, &range)?, digest).as_ref(), "image", range)?;
    }
    Ok(lock)
}

fn digest_of(text: &str, range: &Range<usize>) -> Result<BlobDigest, Wrong> {
    text.parse().map_err(|_| Wrong::new(format!("`{text}` is not a SHA-256 digest"), range.clone()))
}

/// A name that is not the one names lead to would never be found.
fn image_name(name: String, range: &Range<usize>) -> Result<String, Wrong> {
    match image_key(&name) {
        Some(full) if full == name => Ok(name),
        Some(full) => Err(Wrong::new(format!("`{name}` is to be written as `{full}`"), range.clone())),
        None => Err(Wrong::new(format!("`{name}` is no name that can be locked"), range.clone())),
    }
}

fn once<T>(known: Option<&T>, what: &str, range: Range<usize>) -> Result<(), Wrong> {
    match known {
        None => Ok(()),
        Some(_) => Err(Wrong::new(format!("this {what} is in it twice"), range)),
    }
}

/// Writes a lock file: the same text for the same content.
pub(super) fn write(lock: &Lock) -> String {
    let mut text = format!("{HEADER}version = {VERSION}\n");
    let mut table = |kind: &str, fields: &[(&str, &str)]| {
        text.push_str(&format!("\n[[{kind}]]\n"));
        for (key, value) in fields {
            text.push_str(&format!("{key} = {}\n", quoted(value)));
        }
    };
    for ((name, platform), digest) in &lock.bases {
        let digest = digest.to_string();
        table("base", &[("name", name), ("platform", platform), ("digest", &digest)]);
    }
    for (url, pin) in &lock.http {
        let sha256 = pin.sha256.hex();
        let mut fields = vec![("url", url.as_str()), ("sha256", &sha256)];
        fields.extend(pin.file_name.as_deref().map(|name| ("file-name", name)));
        table("http", &fields);
    }
    for ((url, reference), commit) in &lock.git {
        let mut fields = vec![("url", url.as_str())];
        fields.extend(reference.as_deref().map(|reference| ("reference", reference)));
        fields.push(("commit", commit));
        table("git", &fields);
    }
    for (name, digest) in &lock.images {
        table("image", &[("name", name), ("digest", &digest.to_string())]);
    }
    text
}

/// A basic string of TOML.
fn quoted(value: &str) -> String {
    let mut text = String::from('"');
    for char in value.chars() {
        match char {
            '"' | '\\' => text.extend(['\\', char]),
            char if char.is_control() => text.push_str(&format!("\\u{:04X}", u32::from(char))),
            char => text.push(char),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Lock {
        let digest = |byte| BlobDigest::from_bytes([byte; 32]);
        let mut lock = Lock::default();
        for platform in ["linux/arm64", "linux/amd64"] {
            lock.bases.insert(("docker.io/library/a:1".into(), platform.into()), digest(1));
        }
        lock.http.insert("https://h/b?…0123456789ab".into(), HttpPin::new(digest(2), None).unwrap());
        let odd = Some("a \"q\\ \u{263a}".to_owned());
        lock.http.insert("https://h/".into(), HttpPin::new(digest(3), odd).unwrap());
        lock.git.insert(("https://h/r.git".into(), None), "a".repeat(40));
        lock.git.insert(("https://h/r.git".into(), Some("v\u{7f}1".into())), "b".repeat(64));
        lock.images.insert("quay.io/c:2".into(), digest(4));
        lock
    }

    #[test]
    fn what_is_written_is_read_again() {
        for lock in [sample(), Lock::default()] {
            assert_eq!(parse(&write(&lock)).unwrap(), lock);
        }
    }

    #[test]
    fn the_text_is_sorted_and_says_what_it_is() {
        let mut lock = sample();
        (lock.git, lock.images) = Default::default();
        let wanted = format!(
            "{HEADER}version = 1\n\n[[base]]\nname = \"docker.io/library/a:1\"\nplatform = \"linux/amd64\"\n\
             digest = \"sha256:{one}\"\n\n[[base]]\nname = \"docker.io/library/a:1\"\nplatform = \"linux/arm64\"\n\
             digest = \"sha256:{one}\"\n\n[[http]]\nurl = \"https://h/\"\nsha256 = \"{three}\"\n\
             file-name = \"a \\\"q\\\\ \u{263a}\"\n\n[[http]]\nurl = \"https://h/b?…0123456789ab\"\nsha256 = \"{two}\"\n",
            one = "01".repeat(32),
            two = "02".repeat(32),
            three = "03".repeat(32)
        );
        assert_eq!(write(&lock), wanted);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let good = write(&sample());
        let digest = "01".repeat(32);
        for (from, to, reason, line) in [
            ("version = 1", "version = 2", "a newer sealer wrote", 3),
            ("version = 1", "version = 0", "there is no version 0", 3),
            ("version = 1", "", "missing field `version`", 1),
            ("version = 1", "version = 1\nmore = 1", "unknown field `more`", 4),
            ("platform = \"linux/amd64\"", "platform = \"linux\"", "`linux` is not a platform", 5),
            ("platform = \"linux/amd64\"", "arch = \"linux\"", "unknown field `arch`", 7),
            ("platform = \"linux/amd64\"", "platform = \"linux/arm64\"", "in it twice", 10),
            (&digest[..], "0102", "`sha256:0102` is not a SHA-256 digest", 5),
            ("docker.io/library/a:1", "a:1", "to be written as `docker.io/library/a:1`", 5),
            ("docker.io/library/a:1", "localhost/a:1", "no name that can be locked", 5),
            ("file-name = \"a ", "file-name = \"../", "not the name of a file", 15),
            ("commit = \"a", "commit = \"g", "is not the id of a commit", 24),
            ("[[git]]", "[[git", "", 24),
        ] {
            let text = good.replacen(from, to, 1);
            let wrong = parse(&text).unwrap_err();
            assert!(wrong.reason.contains(reason), "{reason}: {}", wrong.reason);
            let span = wrong.span.unwrap();
            assert_eq!(text[..span.start].matches('\n').count() + 1, line, "{reason}: {}", wrong.reason);
            assert!(!text[span.start..span.end].contains('\n'), "{reason}");
        }
        assert!(parse("\u{feff}\0").is_err() && parse("version = 1\nversion = 1").is_err());
    }
}
