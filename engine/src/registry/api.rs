//! The small requests: manifests and configs (distribution-spec, endpoints).

use bytes::Bytes;
use oci_spec::image::MediaType as OciMediaType;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use sha2::{Digest, Sha256};
use solver::{BlobDigest, Descriptor};

use super::Registry;
use super::credentials::Credential;
use super::error::RegistryError;
use super::host::{Access, BodyParts, Call, block_on};
use super::mirrors::Place;
use super::reference::{Reference, Repository};
use crate::images::ManifestKind;
use crate::net::{FetchError, PROGRESS_BYTES, content_range};
use crate::oci::JSON_LIMIT;

/// What is understood, best first.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// A manifest or an index, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawManifest {
    /// As the registry has it.
    pub bytes: Vec<u8>,
    /// Digest and size.
    pub blob: Descriptor,
    /// Image or index.
    pub kind: ManifestKind,
    /// Its own media type, OCI's or Docker's.
    pub media_type: OciMediaType,
}

impl RawManifest {
    /// Understands what a manifest is.
    ///
    /// # Errors
    /// When it is neither an image nor an index.
    pub fn new(name: &str, bytes: Vec<u8>, stated: Option<&str>) -> Result<Self, RegistryError> {
        let wrong = |reason: &str| RegistryError::Json {
            what: "the manifest",
            name: name.to_owned(),
            reason: reason.to_owned(),
        };
        let json: Value = serde_json::from_slice(&bytes).map_err(|error| wrong(&error.to_string()))?;
        let stated = json["mediaType"].as_str().or(stated).unwrap_or_default();
        let stated = stated.split(';').next().unwrap_or_default().trim();
        let kind =
            match (json["manifests"].is_array(), json["layers"].is_array() && json["config"].is_object()) {
                (true, false) => ManifestKind::Index,
                (false, true) => ManifestKind::Image,
                _ if json["schemaVersion"] == 1 => {
                    return Err(wrong("it is of schema 1, which registries gave up in 2017"));
                }
                _ => return Err(wrong("it is neither an image's nor an index")),
            };
        let media_type = OciMediaType::from(stated);
        let media_type =
            if ManifestKind::of(&media_type) == Some(kind) { media_type } else { kind.media_type() };
        let digest = BlobDigest::from_bytes(Sha256::digest(&bytes).into());
        let blob = Descriptor { digest, size: bytes.len() as u64 };
        Ok(Self { bytes, blob, kind, media_type })
    }
}

impl Registry {
    /// The digest that a tag leads to now, by a mirror or the registry; `None` where it does not say.
    ///
    /// # Errors
    /// When the registry does not answer, or has no such image.
    pub fn digest_of(&self, reference: &Reference) -> Result<Option<BlobDigest>, RegistryError> {
        self.read(&reference.repository, &mut |place| self.digest_at(place, reference))
    }

    /// The digest that a tag leads to at one place.
    ///
    /// # Errors
    /// As [`Registry::digest_of`].
    pub(super) fn digest_at(
        &self,
        place: &Place,
        reference: &Reference,
    ) -> Result<Option<BlobDigest>, RegistryError> {
        let repository = &place.repository;
        let access = Access::pull(repository);
        let url = format!("/v2/{}/manifests/{}", repository.path, reference.asked());
        let call =
            Call { accept: ACCEPT, ..Call::new(Method::HEAD, &url, &access, "a question about a manifest") };
        let host = self.host_of(place);
        block_on(&self.fetcher, &repository.host, async {
            let response = host.send(self, &call).await?;
            match response.status() {
                status if status.is_success() => {
                    let digest = response.headers().get("docker-content-digest");
                    Ok(digest.and_then(|digest| digest.to_str().ok()?.parse().ok()))
                }
                StatusCode::NOT_FOUND => Err(RegistryError::NotFound { reference: reference.to_string() }),
                _ => Err(host.refused(self, &call, response).await),
            }
        })
    }

    /// A manifest or an index, from a mirror or the registry.
    ///
    /// # Errors
    /// When there is none, or it is not what its digest says.
    pub fn manifest(&self, reference: &Reference) -> Result<RawManifest, RegistryError> {
        self.read(&reference.repository, &mut |place| self.manifest_at(place, reference))
    }

    /// A manifest or an index of one place.
    ///
    /// # Errors
    /// As [`Registry::manifest`].
    pub(super) fn manifest_at(
        &self,
        place: &Place,
        reference: &Reference,
    ) -> Result<RawManifest, RegistryError> {
        let repository = &place.repository;
        let access = Access::pull(repository);
        let url = format!("/v2/{}/manifests/{}", repository.path, reference.asked());
        let call =
            Call { accept: ACCEPT, ..Call::new(Method::GET, &url, &access, "a request for a manifest") };
        let host = self.host_of(place);
        let absent = || RegistryError::NotFound { reference: reference.to_string() };
        let (headers, bytes) = block_on(&self.fetcher, &repository.host, host.whole(self, &call, &absent))?;
        let text = |name: &str| headers.get(name)?.to_str().ok();
        let (stated, promised) = (text("content-type"), text("docker-content-digest"));
        self.fetcher.count_bytes(bytes.len());
        let manifest = RawManifest::new(&reference.to_string(), bytes, stated)?;
        let promised = promised.and_then(|digest| digest.parse().ok());
        match reference.digest.or(promised) {
            Some(wanted) if wanted != manifest.blob.digest => Err(RegistryError::Digest {
                what: format!("{repository}@{wanted}"),
                found: manifest.blob.digest,
            }),
            _ => Ok(manifest),
        }
    }

    /// Stores a manifest under a tag or its digest.
    ///
    /// # Errors
    /// When the registry refuses it.
    pub(super) fn put_manifest(
        &self,
        reference: &Reference,
        manifest: &RawManifest,
    ) -> Result<(), RegistryError> {
        let repository = &reference.repository;
        let access = Access::push(repository);
        let url = format!("/v2/{}/manifests/{}", repository.path, reference.asked());
        let bytes = Bytes::from(manifest.bytes.clone());
        let body = || BodyParts {
            body: bytes.clone().into(),
            length: bytes.len() as u64,
            content_type: manifest.media_type.to_string(),
        };
        let call =
            Call { body: Some(&body), ..Call::new(Method::PUT, &url, &access, "a push of a manifest") };
        let host = self.host(&repository.host);
        block_on(&self.fetcher, &repository.host, async {
            let response = host.send(self, &call).await?;
            if response.status().is_success() {
                Ok(())
            } else {
                Err(host.refused(self, &call, response).await)
            }
        })
    }

    /// A blob that is JSON, whole and checked.
    ///
    /// # Errors
    /// When it is not there, too large, or not what its digest says.
    pub(super) fn small_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
    ) -> Result<Vec<u8>, RegistryError> {
        if blob.size > JSON_LIMIT {
            let url = format!("{repository}@{}", blob.digest);
            return Err(FetchError::TooLarge { url, limit: JSON_LIMIT }.into());
        }
        self.read(repository, &mut |place| {
            let mut bytes = Vec::new();
            self.fetch_blob(place, blob, &mut |chunk| {
                bytes.extend_from_slice(chunk);
                Ok(())
            })?;
            let found = BlobDigest::from_bytes(Sha256::digest(&bytes).into());
            if found != blob.digest {
                let what = format!("{}@{}", place.repository, blob.digest);
                return Err(RegistryError::Digest { what, found });
            }
            Ok(bytes)
        })
    }

    /// Streams a blob of one place into a sink, each byte once and in order, whatever drops on the way. Its digest is for
    /// the sink to check; its size is checked here. What two places send is never mixed: one of them may lie.
    ///
    /// # Errors
    /// When it is not there, or has another size, or what the sink returns.
    pub(super) fn fetch_blob(
        &self,
        place: &Place,
        blob: &Descriptor,
        sink: &mut dyn FnMut(&Bytes) -> std::io::Result<()>,
    ) -> Result<(), RegistryError> {
        let repository = &place.repository;
        let access = Access::pull(repository);
        let url = format!("/v2/{}/blobs/{}", repository.path, blob.digest);
        let host = self.host_of(place);
        host.block_on_blob(self, blob.size, async |way| {
            let settings = self.fetcher.settings();
            let (mut taken, mut furthest, mut failures) = (0, 0, 0);
            let mut has_ranges = true;
            loop {
                let call = Call {
                    range_from: if has_ranges { taken } else { 0 },
                    way,
                    ..Call::new(Method::GET, &url, &access, "a request for a blob")
                };
                let response = host.send(self, &call).await?;
                let skipped = match response.status() {
                    // A server that does not know ranges sends everything again.
                    StatusCode::OK => 0,
                    // It says where it begins, and not everybody begins where they were asked to.
                    StatusCode::PARTIAL_CONTENT => match content_range(response.headers()) {
                        Some((first, _)) if first <= taken => first,
                        _ => taken,
                    },
                    StatusCode::RANGE_NOT_SATISFIABLE if has_ranges && taken > 0 => {
                        has_ranges = false;
                        continue;
                    }
                    StatusCode::NOT_FOUND => {
                        let (digest, repository) = (blob.digest, repository.to_string());
                        return Err(RegistryError::BlobUnknown { digest, repository });
                    }
                    _ => return Err(host.refused(self, &call, response).await),
                };
                let mut body = Body { blob, at: skipped, taken: &mut taken, sink: &mut *sink };
                let error = match self.receive(response, &mut body).await {
                    Ok(()) if taken == blob.size => return Ok(()),
                    Ok(()) => RegistryError::Size { digest: blob.digest, expected: blob.size, found: taken },
                    Err(error) => error,
                };
                let is_passing = match &error {
                    RegistryError::Net(error) => error.is_passing(),
                    RegistryError::Size { found, .. } => *found < blob.size,
                    _ => false,
                };
                if taken >= furthest + PROGRESS_BYTES {
                    (furthest, failures) = (taken, 0);
                }
                failures += 1;
                if !is_passing || failures >= host.tries(settings) {
                    return Err(error);
                }
                tokio::time::sleep(crate::net::backoff(settings.base_delay, failures)).await;
            }
        })
    }

    async fn receive(
        &self,
        mut response: reqwest::Response,
        body: &mut Body<'_>,
    ) -> Result<(), RegistryError> {
        let url = crate::net::redacted(response.url().as_str());
        while let Some(chunk) = response.chunk().await.transpose() {
            let chunk = chunk.map_err(|error| FetchError::from_reqwest(url.clone(), error))?;
            // A fast server may never let the future pause, and only in a pause is the flag seen elsewhere.
            if self.fetcher.cancel().is_cancelled() {
                return Err(FetchError::Cancelled { url }.into());
            }
            self.fetcher.count_bytes(chunk.len());
            body.take(&chunk)?;
        }
        Ok(())
    }

    /// Whether the registry lets somebody in.
    ///
    /// # Errors
    /// When it does not, or does not answer.
    pub fn greet_as(&self, host: &str, who: Credential) -> Result<(), RegistryError> {
        let everything = Repository { host: host.to_owned(), path: String::new() };
        self.credentials.assume(&everything, who);
        let access = Access::pull(&everything);
        let call = Call::new(Method::GET, "/v2/", &access, "a greeting");
        let server = self.host(host);
        block_on(&self.fetcher, host, async {
            let response = server.send(self, &call).await?;
            if response.status().is_success() {
                Ok(())
            } else {
                Err(server.refused(self, &call, response).await)
            }
        })
    }
}

/// A blob on its way in.
struct Body<'a> {
    blob: &'a Descriptor,
    /// Where in the blob the next chunk belongs.
    at: u64,
    /// What the sink has.
    taken: &'a mut u64,
    sink: &'a mut dyn FnMut(&Bytes) -> std::io::Result<()>,
}

impl Body<'_> {
    fn take(&mut self, chunk: &Bytes) -> Result<(), RegistryError> {
        let known =
            usize::try_from(*self.taken - self.at).map_or(chunk.len(), |known| known.min(chunk.len()));
        self.at += chunk.len() as u64;
        if self.at > self.blob.size {
            let (digest, expected) = (self.blob.digest, self.blob.size);
            return Err(RegistryError::Size { digest, expected, found: self.at });
        }
        let new = chunk.slice(known..);
        if new.is_empty() {
            return Ok(());
        }
        (self.sink)(&new)?;
        *self.taken += new.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_what_they_hold() {
        let kind = |json: &str, stated| {
            RawManifest::new("x", json.into(), stated).map(|m| (m.kind, m.media_type.to_string()))
        };
        let docker = "application/vnd.docker.distribution.manifest.v2+json";
        let image = r#"{"config":{},"layers":[]}"#;
        assert_eq!(kind(image, Some(docker)).unwrap(), (ManifestKind::Image, docker.to_owned()));
        assert_eq!(kind(image, None).unwrap().1, "application/vnd.oci.image.manifest.v1+json");
        assert_eq!(
            kind(image, Some("application/vnd.oci.image.index.v1+json")).unwrap().0,
            ManifestKind::Image
        );
        assert_eq!(kind(r#"{"manifests":[]}"#, None).unwrap().0, ManifestKind::Index);
        assert!(kind(r#"{"schemaVersion":1}"#, None).unwrap_err().to_string().contains("schema 1"));
        assert!(kind("[]", None).is_err() && kind("<html>", None).is_err());
    }
}
