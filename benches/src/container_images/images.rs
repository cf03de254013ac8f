//! Container images made from a seed: layers are tar archives of noise in gzip, so that nobody compresses them again.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::Random;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// The tag of every image.
pub const TAG: &str = "v1";

/// A config or a layer, which is a file named by its digits.
#[derive(Debug, Clone)]
pub struct Blob {
    /// As the specification writes it.
    pub digest: String,
    /// Length in bytes.
    pub size: u64,
}

/// A layer, and the digest of its tar.
#[derive(Debug, Clone)]
pub struct Layer {
    blob: Blob,
    diff_id: String,
}

/// A manifest or an index.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Which of the two.
    pub media_type: &'static str,
    /// As the specification writes it.
    pub digest: String,
    /// The JSON.
    pub bytes: Vec<u8>,
}

/// An image as its registry has it.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its name in the registry, without host and tag.
    pub repository: String,
    /// This platform's first; the tag leads to the last.
    pub manifests: Vec<Manifest>,
    /// What this platform needs: the config, the base layer, the image's own.
    pub blobs: Vec<Blob>,
}

impl Image {
    /// How it is named in a registry.
    pub fn name(&self, address: &str) -> String {
        format!("{address}/{}:{TAG}", self.repository)
    }

    /// What no other image has: the config, and a layer.
    pub fn own(&self) -> Vec<&Blob> {
        vec![&self.blobs[0], &self.blobs[2]]
    }
}

/// Makes images, their blobs as files of a directory.
#[derive(Debug)]
pub struct Maker {
    /// Where blobs go.
    pub blobs: PathBuf,
    /// Length of a layer's file.
    pub layer_size: usize,
    /// Where the noise comes from.
    pub random: Random,
}

impl Maker {
    /// A layer with one file.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn layer(&mut self) -> io::Result<Layer> {
        let words = (0..self.layer_size.div_ceil(8)).flat_map(|_| self.random.next_u64().to_le_bytes());
        let noise: Vec<u8> = words.collect();
        let mut header = tar::Header::new_ustar();
        header.set_size(noise.len() as u64);
        header.set_mode(0o644);
        let mut tar = tar::Builder::new(Vec::new());
        tar.append_data(&mut header, "noise", noise.as_slice())?;
        let tar = tar.into_inner()?;
        let mut packed = GzEncoder::new(Vec::new(), Compression::none());
        packed.write_all(&tar)?;
        Ok(Layer { blob: keep(&self.blobs, &packed.finish()?)?, diff_id: digest_of(&tar) })
    }

    /// An image of a base and a layer of its own; for two platforms, that differ in their configs, or this machine's.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn image(&mut self, number: usize, base: &Layer, is_index: bool) -> io::Result<Image> {
        let layers = [base.clone(), self.layer()?];
        let (here, other) =
            if cfg!(target_arch = "aarch64") { ("arm64", "amd64") } else { ("amd64", "arm64") };
        let (config, own) = self.instance(here, &layers)?;
        let blobs = [config].into_iter().chain(layers.iter().map(|layer| layer.blob.clone())).collect();
        let mut manifests = vec![own];
        if is_index {
            manifests.push(self.instance(other, &layers)?.1);
            let entry = |(manifest, architecture): (&Manifest, &str)| {
                json!({"mediaType": MANIFEST, "digest": manifest.digest, "size": manifest.bytes.len(),
                    "platform": {"os": "linux", "architecture": architecture}})
            };
            let entries: Vec<Value> = manifests.iter().zip([here, other]).map(entry).collect();
            let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
            manifests.push(manifest(INDEX, &index));
        }
        Ok(Image { repository: format!("bench/image{number:02}"), manifests, blobs })
    }

    /// Config and manifest for a platform.
    fn instance(&self, architecture: &str, layers: &[Layer]) -> io::Result<(Blob, Manifest)> {
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        let config = json!({"os": "linux", "architecture": architecture, "config": {},
            "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        let config = keep(&self.blobs, config.to_string().as_bytes())?;
        let described = |media_type: &str, blob: &Blob| json!({"mediaType": media_type, "digest": blob.digest, "size": blob.size});
        let all: Vec<Value> = layers.iter().map(|layer| described(LAYER, &layer.blob)).collect();
        let text = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": described(CONFIG, &config),
            "layers": all});
        Ok((config, manifest(MANIFEST, &text)))
    }
}

fn manifest(media_type: &'static str, text: &Value) -> Manifest {
    let bytes = text.to_string().into_bytes();
    Manifest { media_type, digest: digest_of(&bytes), bytes }
}

fn keep(dir: &Path, bytes: &[u8]) -> io::Result<Blob> {
    let digest = digest_of(bytes);
    fs_err::write(dir.join(digest.trim_start_matches("sha256:")), bytes)?;
    Ok(Blob { digest, size: bytes.len() as u64 })
}

fn digest_of(bytes: &[u8]) -> String {
    shown(&Sha256::digest(bytes))
}

/// A digest as the specification writes it.
pub fn shown(hash: &[u8]) -> String {
    hash.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}
