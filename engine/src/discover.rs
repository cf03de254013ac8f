//! Container images named in an image's files, by sealer's line rule (spec §3.5).
//!
//! Until images are carried, a find stops the build in mode `all`. What a delta names is remembered with it, so a
//! build that changes nothing scans nothing.

use std::collections::BTreeSet;
use std::io::Read;

use cache::{Store, Table};
use serde::{Deserialize, Serialize};
use solver::TreeDigest;

use crate::contents::{ContentError, Contents};
use crate::delta::OpenDir;
use crate::error::{BuildError, FoundImage};
use crate::state::{Found, State};
use crate::tree::{Entry, Meta, Node, TreeError, Trees, components};

/// Largest file scanned, in bytes; what is larger is no manifest.
const FILE_LIMIT: u64 = 64 << 20;

/// What one delta names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scan {
    /// Path, content, line, reference.
    found: Vec<(Vec<u8>, solver::ContentDigest, u64, String)>,
    /// Whether there is a chart, whose rendered images this rule cannot see.
    has_chart: bool,
}

/// Everything the files of a state name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovered {
    /// The finds, by path and line.
    pub images: Vec<FoundImage>,
    /// Whether there are charts that were not rendered.
    pub has_charts: bool,
}

/// Scans the deltas of a state, and keeps what is still visible in it.
///
/// # Errors
/// When a file cannot be read.
pub fn discover(
    state: &State,
    store: &Store,
    trees: &Trees<'_>,
    contents: &Contents<'_>,
) -> Result<Discovered, BuildError> {
    let mut discovered = Discovered::default();
    let keys: Vec<&[u8]> = state.deltas.iter().map(|delta| delta.as_bytes().as_slice()).collect();
    let known: Vec<Option<Scan>> = store.get_many(Table::Scans, &keys);
    for (delta, known) in state.deltas.iter().zip(known) {
        let scan = match known {
            Some(scan) => scan,
            None => {
                let scan = scan(delta, trees, contents)?;
                store.put(Table::Scans, delta.as_bytes(), &scan);
                scan
            }
        };
        discovered.has_charts |= scan.has_chart;
        for (path, content, line, reference) in scan.found {
            let visible = match state.look_up(trees, &path)? {
                Found::Other(Entry { node: Node::File { content: now, .. }, .. }) => now == content,
                _ => false,
            };
            if visible {
                let path = String::from_utf8_lossy(&path).into_owned();
                discovered.images.push(FoundImage { path, line: line as usize, reference });
            }
        }
    }
    discovered.images.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    discovered.images.dedup();
    Ok(discovered)
}

fn scan(delta: &TreeDigest, trees: &Trees<'_>, contents: &Contents<'_>) -> Result<Scan, BuildError> {
    let mut scan = Scan::default();
    let mut files = Vec::new();
    let mut only = OpenDir::root();
    trees.walk::<TreeError>(delta, &mut |path, entry| {
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
        let lower = path.to_ascii_lowercase();
        scan.has_chart |= is_scanned(path) && (name == b"Chart.yaml" || lower.ends_with(b".tgz"));
        if let Node::File { content, size } = entry.node
            && is_scanned(path)
            && size <= FILE_LIMIT
            && (path == b"manifests/imageList"
                || [&b".yaml"[..], b".yml", b".tmpl"].iter().any(|end| lower.ends_with(end)))
        {
            let names: Vec<&[u8]> = components(path).collect();
            let mut dir = &mut only;
            for parent in &names[..names.len() - 1] {
                dir = dir.dir(trees, parent, &Meta::with_mode(0o755))?;
            }
            dir.put(trees, name, entry.clone())?;
            files.push((path.to_vec(), content));
        }
        Ok(())
    })?;
    // A tree of these files alone, so that nothing else is brought out of a layer.
    contents.provide(trees, &only.finish(trees))?;
    for (path, content) in files {
        let mut text = Vec::new();
        if let Ok(file) = contents.open(&content) {
            file.take(FILE_LIMIT).read_to_end(&mut text).map_err(ContentError::from)?;
        }
        let text = String::from_utf8_lossy(&text);
        let finds = if path == b"manifests/imageList" { listed(&text) } else { by_line(&text) };
        scan.found.extend(
            finds.into_iter().map(|(line, reference)| (path.clone(), content, line as u64, reference)),
        );
    }
    Ok(scan)
}

fn is_scanned(path: &[u8]) -> bool {
    [&b"manifests/"[..], b"charts/", b"application/apps/"].iter().any(|dir| path.starts_with(dir))
}

/// One reference a line; `#` and blank lines do not count.
fn listed(text: &str) -> Vec<(usize, String)> {
    let lines =
        text.lines().enumerate().map(|(number, line)| (number + 1, line.trim().trim_matches(['\'', '"'])));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.filter(|(_, line)| is_reference(line)).map(|(number, line)| (number, line.to_owned())).collect()
}

/// The line rule: without quotes, commas and spaces, what stands left of the first colon ends in `image`.
fn by_line(text: &str) -> Vec<(usize, String)> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let bare: String = line.chars().filter(|c| !matches!(c, '"' | ',' | ' ' | '\r')).collect();
        let Some((left, right)) = bare.split_once(':') else { continue };
        let right = right.trim_matches(['\'', '"', '\t', ' ']);
        if left.trim_end().ends_with("image")
            && !left.contains('#')
            && is_reference(right)
            && seen.insert(right.to_owned())
        {
            found.push((number + 1, right.to_owned()));
        }
    }
    found
}

/// Whether distribution's reference grammar accepts a text.
fn is_reference(text: &str) -> bool {
    let (name, digest) = text.split_once('@').map_or((text, None), |(name, digest)| (name, Some(digest)));
    let digest_is_right = digest.is_none_or(|digest| digest.parse::<solver::BlobDigest>().is_ok());
    digest_is_right && !name.is_empty() && crate::name::full_name(name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_rule_is_sealers() {
        for (line, reference) in [
            ("image: nginx", Some("nginx")),
            ("  - image: \"quay.io/a/b:v1\"", Some("quay.io/a/b:v1")),
            ("init-image: 'a:1',", Some("a:1")),
            ("fooimage: x", Some("x")),
            ("fooImage: x", None),
            ("images: x", None),
            ("imageTag: x", None),
            ("# image: x", None),
            ("image: {{ .Values.image }}", None),
            ("image:", None),
            ("image: >-", None),
            ("image: nginx # comment", None),
            ("image: Upper/Case", None),
        ] {
            let found = by_line(line).into_iter().next().map(|(_, reference)| reference);
            assert_eq!(found.as_deref(), reference, "{line}");
        }
    }

    #[test]
    fn lists_have_comments_quotes_and_blanks() {
        assert_eq!(listed("# x\n\n \"nginx:1\" \nbad ref\n"), [(3, "nginx:1".to_owned())]);
    }
}
