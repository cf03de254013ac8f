//! The files of a container image in the store of a registry (spec §3.6): docker distribution's file system layout.

use std::collections::BTreeMap;

use solver::{BlobDigest, Descriptor};

use super::resolve::ResolvedImage;

/// Where the store is in the image.
pub(super) const ROOT: &str = "registry/docker/registry/v2";

/// What a file of the store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// A blob: a layer, a config, a manifest or an index.
    Blob(Descriptor),
    /// `sha256:…`, a reference to a blob.
    Link(BlobDigest),
}

/// All files of one image.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ImageFiles {
    pub(super) files: BTreeMap<String, Content>,
    pub(super) empty_dirs: Vec<String>,
}

/// The files of an image. The host of its name is not in them: whoever pulls from the store names another one.
pub(super) fn files_of(image: &ResolvedImage) -> ImageFiles {
    let path = &image.reference.repository.path;
    let repository = format!("{ROOT}/repositories/{path}");
    let mut files = BTreeMap::new();
    let root = image.root.blob;
    for blob in [root, image.manifest.blob] {
        files.insert(blob_path(&blob.digest), Content::Blob(blob));
        files.insert(revision_link(path, &blob.digest), Content::Link(blob.digest));
    }
    for blob in &image.blobs {
        files.insert(blob_path(&blob.digest), Content::Blob(*blob));
        let path = format!("{repository}/_layers/sha256/{}/link", blob.digest.hex());
        files.insert(path, Content::Link(blob.digest));
    }
    if let Some(tag) = &image.reference.tag {
        files.insert(tag_link(path, tag), Content::Link(root.digest));
        let tag = format!("{repository}/_manifests/tags/{tag}");
        files.insert(format!("{tag}/index/sha256/{}/link", root.digest.hex()), Content::Link(root.digest));
    }
    ImageFiles { files, empty_dirs: vec![format!("{repository}/_uploads")] }
}

/// Where a blob stands.
fn blob_path(digest: &BlobDigest) -> String {
    let hex = digest.hex();
    format!("{ROOT}/blobs/sha256/{}/{hex}/data", &hex[..2])
}

/// The blob whose bytes a file of the store holds, if it is one.
pub(super) fn blob_at(path: &[u8]) -> Option<BlobDigest> {
    let path = std::str::from_utf8(path).ok()?.strip_prefix(ROOT)?.strip_prefix("/blobs/sha256/")?;
    let (_, rest) = path.split_once('/')?;
    format!("sha256:{}", rest.strip_suffix("/data")?).parse().ok()
}

/// The link that says that a repository has a manifest.
pub(super) fn revision_link(path: &str, digest: &BlobDigest) -> String {
    format!("{ROOT}/repositories/{path}/_manifests/revisions/sha256/{}/link", digest.hex())
}

/// The link that says what a tag leads to.
pub(super) fn tag_link(path: &str, tag: &str) -> String {
    format!("{ROOT}/repositories/{path}/_manifests/tags/{tag}/current/link")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_are_found_by_their_path() {
        let digest = BlobDigest::from_bytes([0xab; 32]);
        assert_eq!(blob_at(blob_path(&digest).as_bytes()), Some(digest));
        assert_eq!(blob_at(b"registry/docker/registry/v2/blobs/sha256/ab/abcd/data"), None);
        assert_eq!(blob_at(tag_link("a/b", "v1").as_bytes()), None);
    }
}
