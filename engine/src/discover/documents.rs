//! Images in parsed YAML, as Kubernetes means them: `image` of a container or of a volume, and what custom resources
//! have instead, a repository and a tag in fields of their own.

use std::collections::HashSet;

use super::lines::is_reference;
use crate::yaml::{Node, documents};

/// An image named by a field.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Named {
    /// Line of the field, from 1.
    pub(super) line: u64,
    pub(super) reference: String,
    /// Kind of the object.
    pub(super) kind: String,
    /// Path of the field in it.
    pub(super) field: String,
}

/// Where the schema of a custom resource begins, which names types and no images.
const SCHEMA: &str = "openAPIV3Schema";

/// Most bytes of what is found in one text. Each find has its whole path, so a text of nested keys is far less than its finds;
/// a hundred thousand images of ordinary manifests are half of it.
const FOUND_LIMIT: usize = 32 << 20;

/// What was found in a text.
#[derive(Debug, Default)]
struct Found {
    named: Vec<Named>,
    known: HashSet<Named>,
    /// Bytes found, those known already included: they are made as well.
    bytes: usize,
}

/// The images that the documents of a text name, and whether all of the text was read: it is YAML, and names no more than is
/// reasonable.
pub(super) fn named(text: &str) -> (Vec<Named>, bool) {
    let mut found = Found::default();
    let mut is_yaml = true;
    for (line, chunk) in chunks(text) {
        match documents(chunk) {
            Ok(documents) => {
                for document in &documents {
                    let mut walker =
                        Walker { kind: kind_of(document), path: Vec::new(), line, found: &mut found };
                    walker.node(document);
                }
            }
            // One document that is none says nothing about the others.
            Err(_) => is_yaml = false,
        }
    }
    let is_read = is_yaml && found.bytes <= FOUND_LIMIT;
    (found.named, is_read)
}

/// The parts between `---` lines, with the number of lines before each.
fn chunks(text: &str) -> Vec<(u64, &str)> {
    let mut chunks = Vec::new();
    let (mut start, mut first, mut at) = (0, 0, 0);
    for (number, line) in (0..).zip(text.split_inclusive('\n')) {
        let rest = line.strip_prefix("---");
        if number > 0 && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\n', '\r', '\t']))
        {
            chunks.push((first, &text[start..at]));
            (start, first) = (at, number);
        }
        at += line.len();
    }
    chunks.push((first, &text[start..]));
    chunks
}

fn kind_of(document: &Node) -> String {
    document.get("kind").and_then(Node::text).unwrap_or("no kind").to_owned()
}

/// One step of a path.
enum Step<'n> {
    Key(&'n str),
    Index(usize),
}

struct Walker<'n, 'f> {
    kind: String,
    path: Vec<Step<'n>>,
    /// Lines before the document.
    line: u64,
    found: &'f mut Found,
}

impl<'n> Walker<'n, '_> {
    fn node(&mut self, node: &'n Node) {
        let is_image = matches!(self.path.last(), Some(Step::Key("image")));
        let split = combined(node, if is_image { "name" } else { "" });
        if let Some((line, reference)) = &split {
            self.add(*line, reference, None);
        }
        for (name, value) in node.entries() {
            let Some(key) = name.scalar() else { continue };
            if key == SCHEMA {
                continue;
            }
            let is_image = key == "image";
            if let Some(text) = value.text() {
                // Other fields may be about pictures: a tag or a digest says that it is a container image.
                let is_named = is_image
                    || ((key.ends_with("image") || key.ends_with("Image")) && is_precise(text))
                    || (key == "reference" && self.is_volume());
                if is_named && split.is_none() && is_reference(text) {
                    self.add(name.line, text, Some(key));
                }
            }
            self.path.push(Step::Key(key));
            self.node(value);
            self.path.pop();
        }
        for (at, item) in node.items().iter().enumerate() {
            self.path.push(Step::Index(at));
            let kind = item.get("kind").and_then(Node::text);
            // A list holds objects of kinds of their own.
            let outer = kind
                .filter(|_| item.get("apiVersion").is_some())
                .map(|kind| std::mem::replace(&mut self.kind, kind.to_owned()));
            self.node(item);
            if let Some(outer) = outer {
                self.kind = outer;
            }
            self.path.pop();
        }
    }

    /// Whether it is at the `image` of a volume, which is mounted as a file system.
    fn is_volume(&self) -> bool {
        matches!(self.path.as_slice(), [.., Step::Key("volumes"), Step::Index(_), Step::Key("image")])
    }

    fn add(&mut self, line: usize, reference: &str, key: Option<&str>) {
        if self.found.bytes > FOUND_LIMIT {
            return;
        }
        let mut field = String::new();
        for step in &self.path {
            match step {
                Step::Key(key) if field.is_empty() => field.push_str(key),
                Step::Key(key) => field.push_str(&format!(".{key}")),
                Step::Index(at) => field.push_str(&format!("[{at}]")),
            }
        }
        if let Some(key) = key {
            field.push_str(if field.is_empty() { "" } else { "." });
            field.push_str(key);
        }
        let line = self.line + line as u64;
        let named = Named { line, reference: reference.to_owned(), kind: self.kind.clone(), field };
        self.found.bytes += size_of::<Named>() + named.reference.len() + named.kind.len() + named.field.len();
        if self.found.known.insert(named.clone()) {
            self.found.named.push(named);
        }
    }
}

/// Whether a reference says which image of a repository it means.
fn is_precise(reference: &str) -> bool {
    reference.contains('@') || reference.rsplit('/').next().is_some_and(|name| name.contains(':'))
}

/// `repository` (or `image`, or `other`) with `tag` or `digest`, and perhaps a `registry`, as one reference.
fn combined(map: &Node, other: &str) -> Option<(usize, String)> {
    let scalar = |key: &str| map.get_merged(key).and_then(Node::scalar).filter(|text| !text.is_empty());
    let name = ["repository", "image", other].into_iter().find_map(|key| {
        let node = map.get_merged(key)?;
        Some((node.line, node.text()?)).filter(|(_, text)| !text.is_empty())
    });
    let (line, name) = name?;
    let (tag, digest) = (scalar("tag"), scalar("digest").or_else(|| scalar("sha")));
    if is_precise(name) || (tag.is_none() && digest.is_none()) {
        return None;
    }
    let mut reference = scalar("registry").map_or_else(String::new, |registry| format!("{registry}/"));
    reference.push_str(name);
    if let Some(tag) = tag {
        reference.push_str(&format!(":{tag}"));
    }
    if let Some(digest) = digest {
        let algorithm = if digest.contains(':') { "" } else { "sha256:" };
        reference.push_str(&format!("@{algorithm}{digest}"));
    }
    is_reference(&reference).then_some((line, reference))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(u64, &str, &str, &str)]) {
        let (found, is_yaml) = named(text);
        let found: Vec<_> = found
            .iter()
            .map(|named| (named.line, named.reference.as_str(), named.kind.as_str(), named.field.as_str()))
            .collect();
        assert_eq!(found, expected, "{text}");
        assert!(is_yaml);
    }

    #[test]
    fn containers_of_any_kind_have_images() {
        check(
            "kind: Deployment\nspec:\n  template:\n    spec:\n      initContainers:\n      - image: 'a:1' # first\n      \
             containers:\n      - {name: b, image: b}\n",
            &[
                (6, "a:1", "Deployment", "spec.template.spec.initContainers[0].image"),
                (8, "b", "Deployment", "spec.template.spec.containers[0].image"),
            ],
        );
        check(
            "---\n# nothing\n---\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  spec:\n    ephemeralContainers:\n    - \
             image: >-\n        c:1\n",
            &[(10, "c:1", "Pod", "items[0].spec.ephemeralContainers[0].image")],
        );
    }

    #[test]
    fn volumes_may_be_images() {
        check(
            "kind: Pod\nspec:\n  volumes:\n  - name: a\n    image: {reference: 'q.io/models:1', pullPolicy: Always}\n  - name: b\n    \
             configMap: {reference: x}\n  other: {image: {reference: y}}\n",
            &[(5, "q.io/models:1", "Pod", "spec.volumes[0].image.reference")],
        );
    }

    #[test]
    fn custom_resources_have_repository_and_tag() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (text, reference) in [
            ("image: {repository: r/x, tag: 1.10}", Some("r/x:1.10".to_owned())),
            ("image: {registry: q.io, repository: x, tag: v1}", Some("q.io/x:v1".to_owned())),
            ("image: {name: x, tag: v1}", Some("x:v1".to_owned())),
            ("sidecar: {image: x, tag: v1}", Some("x:v1".to_owned())),
            (&format!("image: {{repository: x, digest: '{digest}'}}"), Some(format!("x@{digest}"))),
            ("image: {repository: x}", None),
            ("image: {repository: x, tag: ''}", None),
            ("image: {type: string}", None),
            ("thanosImage: q.io/thanos:v1", Some("q.io/thanos:v1".to_owned())),
            ("backgroundImage: assets/logo.png", None),
            ("openAPIV3Schema: {properties: {image: {default: x}, x: {image: y}}}", None),
        ] {
            let found = named(&format!("kind: X\n{text}\n")).0;
            assert_eq!(found.first().map(|named| named.reference.clone()), reference, "{text}");
            assert!(found.len() <= 1, "{found:?}");
        }
    }

    #[test]
    fn parts_of_an_image_may_be_merged() {
        check(
            "kind: X\na: {image: &x {repository: r/x, tag: 1}}\nb: {image: {<<: *x, tag: 2}}\n\
             c: {image: {<<: [{tag: 3}, *x]}}\n",
            &[
                (2, "r/x:1", "X", "a.image"),
                (2, "r/x:2", "X", "b.image"),
                (2, "r/x:1", "X", "b.image.<<"),
                (2, "r/x:3", "X", "c.image"),
                (2, "r/x:1", "X", "c.image.<<[1]"),
            ],
        );
    }

    #[test]
    fn finds_that_are_more_than_their_text_are_not_all_told() {
        let key = "k".repeat(1000);
        let deep = |images: usize| {
            let images: Vec<_> = (0..images).map(|n| format!("{{image: 'a:{n}'}}")).collect();
            format!("{}[{}]{}", format!("{{{key}: ").repeat(100), images.join(","), "}".repeat(100))
        };
        let (found, is_read) = named(&deep(10));
        assert_eq!((found.len(), is_read), (10, true));
        let (found, is_read) = named(&deep(1000));
        assert!(found.len() < 1000 && !is_read, "{}", found.len());
    }

    #[test]
    fn many_finds_take_as_long_as_their_text() {
        let text: String = (0..50_000).map(|n| format!("- image: a:{n}\n")).collect();
        assert_eq!(named(&text).0.len(), 50_000);
    }

    #[test]
    fn what_is_no_yaml_leaves_the_other_documents() {
        let (found, is_yaml) = named("kind: [\n---\nkind: Pod\nimage: x:1\n");
        assert!(!is_yaml);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].line, found[0].reference.as_str()), (4, "x:1"));
    }
}
