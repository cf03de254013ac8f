//! A registry of container images that tests make up, as many as they like, and which tells what it was asked.
//!
//! Layers are bytes of any kind: who carries an image does not look into it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::server::{Request, Response, Server, Stored};

/// Whose words a manifest has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Oci,
    Docker,
}

impl Format {
    fn manifest(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.manifest.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.v2+json",
        }
    }

    fn index(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.index.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        }
    }

    fn config(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.config.v1+json",
            Self::Docker => "application/vnd.docker.container.image.v1+json",
        }
    }

    fn layer(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Docker => "application/vnd.docker.image.rootfs.diff.tar.gzip",
        }
    }
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Bytes that nothing else has.
pub(crate) fn layer(seed: &str, length: usize) -> Vec<u8> {
    seed.bytes()
        .chain(*b" of ")
        .cycle()
        .zip(0_u32..)
        .map(|(byte, at)| byte ^ (at >> 8) as u8)
        .take(length)
        .collect()
}

/// An image, or an index of some.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    media_type: &'static str,
    manifest: Vec<u8>,
    /// Config and layers.
    blobs: Vec<Vec<u8>>,
    instances: Vec<Image>,
}

impl Image {
    /// A small one of Docker's for amd64, with a layer of its own.
    pub(crate) fn new(seed: &str) -> Self {
        Self::of(Format::Docker, "amd64", &[layer(seed, 300)])
    }

    /// One with these layers.
    pub(crate) fn of(format: Format, architecture: &str, layers: &[Vec<u8>]) -> Self {
        let diff_ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
        let config = json!({
            "architecture": architecture, "os": "linux", "config": {}, "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = config.to_string().into_bytes();
        let described = |media_type: &str, bytes: &[u8]| json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() });
        let manifest = json!({
            "schemaVersion": 2, "mediaType": format.manifest(), "config": described(format.config(), &config),
            "layers": layers.iter().map(|layer| described(format.layer(), layer)).collect::<Vec<_>>(),
        });
        let blobs = std::iter::once(config).chain(layers.iter().cloned()).collect();
        let manifest = manifest.to_string().into_bytes();
        Self { media_type: format.manifest(), manifest, blobs, instances: Vec::new() }
    }

    /// An index of images by their architectures.
    pub(crate) fn index(format: Format, instances: &[(&str, Image)]) -> Self {
        let entry = |(architecture, image): &(&str, Image)| {
            json!({
                "mediaType": image.media_type, "digest": image.digest(), "size": image.manifest.len(),
                "platform": { "architecture": architecture, "os": "linux" },
            })
        };
        let manifests: Vec<Value> = instances.iter().map(entry).collect();
        let index = json!({ "schemaVersion": 2, "mediaType": format.index(), "manifests": manifests });
        let instances = instances.iter().map(|(_, image)| image.clone()).collect();
        let manifest = index.to_string().into_bytes();
        Self { media_type: format.index(), manifest, blobs: Vec::new(), instances }
    }

    /// Of its manifest.
    pub(crate) fn digest(&self) -> String {
        digest(&self.manifest)
    }

    /// Digests of config and layers, in this order.
    pub(crate) fn blobs(&self) -> Vec<String> {
        self.blobs.iter().map(|blob| digest(blob)).collect()
    }

    /// The bytes of one of them.
    pub(crate) fn blob(&self, wanted: &str) -> Vec<u8> {
        self.blobs.iter().find(|blob| digest(blob) == wanted).unwrap().clone()
    }
}

/// A registry.
pub(crate) struct ImageRegistry {
    server: Server,
    told: AtomicUsize,
}

impl ImageRegistry {
    pub(crate) fn start() -> Self {
        let server = Server::start();
        server.route("/v2/", |_| Response::ok("{}"));
        Self { server, told: AtomicUsize::new(0) }
    }

    /// A name in it.
    pub(crate) fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.server.address())
    }

    /// Has a tag lead to an image, which is there by its digest too, with everything it needs.
    pub(crate) fn put(&self, repository: &str, tag: &str, image: &Image) {
        self.put_manifest(repository, tag, image);
        self.put_by_digest(repository, image);
    }

    /// As [`Self::put`], and gives the image's name.
    pub(crate) fn with(&self, repository: &str, tag: &str, image: &Image) -> String {
        self.put(repository, tag, image);
        self.name(&format!("{repository}:{tag}"))
    }

    fn put_by_digest(&self, repository: &str, image: &Image) {
        self.put_manifest(repository, &image.digest(), image);
        for blob in &image.blobs {
            let stored = Stored::new(blob.as_slice());
            self.answer(repository, &digest(blob), move |request, _| stored.answer(request));
        }
        image.instances.iter().for_each(|image| self.put_by_digest(repository, image));
    }

    fn put_manifest(&self, repository: &str, reference: &str, image: &Image) {
        let (bytes, media_type, digest) = (image.manifest.clone(), image.media_type, image.digest());
        self.server.route(&format!("/v2/{repository}/manifests/{reference}"), move |_| {
            Response::ok(bytes.clone())
                .header("Content-Type", media_type)
                .header("Docker-Content-Digest", &digest)
        });
    }

    /// Answers for a blob as the test likes; the number counts the times it was asked for, from 1.
    pub(crate) fn answer(
        &self,
        repository: &str,
        blob: &str,
        answer: impl Fn(&Request, usize) -> Response + Send + Sync + 'static,
    ) {
        let path = format!("/v2/{repository}/blobs/{blob}");
        self.server.route(&path, move |request| answer(request, request.attempt));
    }

    /// Asks for a name and a password that nobody has.
    pub(crate) fn deny(&self, repository: &str, tag: &str) -> String {
        self.server.route(&format!("/v2/{repository}/manifests/{tag}"), |_| {
            Response::status(401).header("WWW-Authenticate", "Basic realm=\"x\"")
        });
        self.name(&format!("{repository}:{tag}"))
    }

    /// How often a blob was asked for.
    pub(crate) fn hits(&self, repository: &str, blob: &str) -> usize {
        self.server.hits(&format!("/v2/{repository}/blobs/{blob}"))
    }

    /// What was asked since this was last called.
    pub(crate) fn asked(&self) -> Asked {
        let requests = self.server.requests();
        let told = self.told.swap(requests.len(), Ordering::AcqRel);
        let mut asked = Asked::default();
        for Request { method, path, .. } in &requests[told..] {
            let path = path.strip_prefix("/v2/").unwrap_or_default();
            if let Some((repository, reference)) = path.split_once("/manifests/") {
                if reference.starts_with("sha256:") {
                    asked.by_digest.push(format!("{repository}@{reference}"));
                } else if method == "HEAD" {
                    asked.heads.push(format!("{repository}:{reference}"));
                } else {
                    asked.tags.push(format!("{repository}:{reference}"));
                }
            } else if let Some((_, digest)) = path.split_once("/blobs/") {
                asked.blobs.push(digest.to_owned());
            }
        }
        for list in [&mut asked.heads, &mut asked.tags, &mut asked.by_digest, &mut asked.blobs] {
            list.sort();
        }
        asked
    }
}

/// Requests by what they are for, each list sorted; one that came twice stands there twice.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// `HEAD` of `REPOSITORY:TAG`.
    pub(crate) heads: Vec<String>,
    /// `GET` of it.
    pub(crate) tags: Vec<String>,
    /// `REPOSITORY@DIGEST` of manifests and indexes.
    pub(crate) by_digest: Vec<String>,
    /// Digests.
    pub(crate) blobs: Vec<String>,
}

/// The blobs of images, each once, as [`Asked`] lists them.
pub(crate) fn blobs_of(images: &[&Image]) -> Vec<String> {
    let all: BTreeSet<String> = images.iter().flat_map(|image| image.blobs()).collect();
    all.into_iter().collect()
}
