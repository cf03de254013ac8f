//! An index as the members of an OCI directory: it stays as it is, byte for byte, with everything in it. Only where images are
//! compressed anew, or were in Docker's words, their entries lead to what they have become.

use std::collections::{HashMap, HashSet};

use cache::Store;
use oci_spec::image::{Descriptor as OciDescriptor, MediaType as OciMediaType};
use serde_json::{Value, json};
use solver::{BlobDigest, Descriptor};

use super::{Member, Save, Source, TransportError, oci_blobs, packable};
use crate::gc;
use crate::images::{ImagesError, ManifestKind, Tagged};
use crate::oci::{self, JSON_LIMIT};
use crate::transport::layout::{self, BLOBS, INDEX, LAYOUT, LAYOUT_TEXT};
use crate::transport::load::json_of;

/// Everything that an index leads to, and an `index.json` that leads to it.
pub(super) fn members(
    store: &Store,
    tagged: &Tagged,
    names: &[String],
    save: &Save<'_>,
) -> Result<Vec<Member>, TransportError> {
    let mut pack =
        Pack { store, tagged, save, members: Vec::new(), seen: HashSet::new(), done: HashMap::new() };
    let index = oci::descriptor(OciMediaType::ImageIndex, &pack.index(&tagged.manifest.digest)?);
    let top = layout::index(vec![layout::named(index, names.first())]);
    let mut members = vec![
        Member::bytes(LAYOUT, LAYOUT_TEXT),
        Member::bytes(INDEX, top),
        Member::dir("blobs"),
        Member::dir(BLOBS),
    ];
    members.append(&mut pack.members);
    Ok(members)
}

struct Pack<'a> {
    store: &'a Store,
    tagged: &'a Tagged,
    save: &'a Save<'a>,
    members: Vec<Member>,
    /// Paths of the members.
    seen: HashSet<String>,
    /// What indexes have become.
    done: HashMap<BlobDigest, Descriptor>,
}

impl Pack<'_> {
    fn put(&mut self, member: Member) {
        if self.seen.insert(member.path.clone()) {
            self.members.push(member);
        }
    }

    /// Takes an index in. What it has become.
    fn index(&mut self, digest: &BlobDigest) -> Result<Descriptor, TransportError> {
        if let Some(done) = self.done.get(digest) {
            return Ok(*done);
        }
        let part = digest.to_string();
        let bytes = self.store.blobs().read(digest, JSON_LIMIT)?;
        let old = json_of(&part, &bytes)?;
        let mut new = old.clone();
        for entry in new["manifests"].as_array_mut().into_iter().flatten() {
            let read = serde_json::from_value::<OciDescriptor>(entry.clone());
            let read =
                read.map_err(|error| TransportError::Json { part: part.clone(), reason: error.to_string() })?;
            self.entry(&part, &read, entry)?;
        }
        if new["mediaType"] == json!(ManifestKind::Index.docker_media_type()) {
            new["mediaType"] = json!(ManifestKind::Index.media_type());
        }
        let bytes = if new == old { bytes } else { oci::canonical(&new) };
        let index = oci::described(&bytes);
        self.put(Member::bytes(&layout::blob_path(&index.digest), bytes));
        self.done.insert(*digest, index);
        Ok(index)
    }

    /// Takes in what an entry of an index leads to, and has the entry lead to what that has become.
    fn entry(&mut self, part: &str, read: &OciDescriptor, entry: &mut Value) -> Result<(), TransportError> {
        let blob = layout::ours(part, read)?;
        let kind = ManifestKind::of(read.media_type());
        let new = match kind {
            Some(ManifestKind::Index) => self.index(&blob.digest)?,
            kind => self.image(read, blob, kind.is_some())?,
        };
        if new != blob {
            entry["digest"] = json!(new.digest.to_string());
            entry["size"] = json!(new.size);
            if let Some(kind) = kind {
                entry["mediaType"] = json!(kind.media_type());
            }
        }
        Ok(())
    }

    /// Takes an image in; what is none stays as it is.
    fn image(
        &mut self,
        read: &OciDescriptor,
        blob: Descriptor,
        is_manifest: bool,
    ) -> Result<Descriptor, TransportError> {
        let mut instance = Tagged::new(blob, ManifestKind::Image, self.tagged.stored_at);
        instance.is_docker = is_manifest && *read.media_type() != OciMediaType::ImageManifest;
        match packable(self.store, &instance, &[], self.save) {
            Ok(packable) => {
                oci_blobs(&packable).into_iter().for_each(|member| self.put(member));
                Ok(oci::described(&packable.manifest))
            }
            Err(TransportError::Images(ImagesError::Json { .. })) => {
                for (blob, _) in gc::closure(self.store, &instance)? {
                    let (path, size) = (layout::blob_path(&blob.digest), blob.size);
                    self.put(Member { path, size, source: Source::Blob(blob.digest) });
                }
                Ok(blob)
            }
            Err(error) => Err(error),
        }
    }
}
