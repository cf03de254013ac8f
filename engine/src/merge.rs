//! Several application images made one: the union of files and applications, with every contradiction named.
//!
//! Layers are taken over as they are, each once. Where that does not give the union (one image deletes what another
//! has, or there would be too many) the whole is one new layer.

use std::collections::{BTreeMap, BTreeSet};

use cache::Store;
use oci_spec::image::{ImageManifestBuilder, MediaType as OciMediaType};
use serde_json::{Value, json};
use solver::{HardLinks, Layer, Platform, TreeDigest};
use thiserror::Error;

use crate::cancel::Cancel;
use crate::container::{annotate, carried_by, listed_by};
use crate::contents::Contents;
use crate::diff::{entry_detail, is_same_app, merged};
use crate::extension::{BuildClient, Extension, SCHEMA_VERSION, StoredApplication, StoredLaunch, go_json};
use crate::frames::{FrameError, LayerCompression, LayerWriter};
use crate::group::LAYER_LIMIT;
use crate::image::{Assembled, rfc3339};
use crate::images::StoredImage;
use crate::layer::TimePolicy;
use crate::oci::{self, EXTENSION, STEP_COMMENT};
use crate::source::image::{self, ImageError};
use crate::state::State;
use crate::tree::{Directory, Entry, Node, TreeError, Trees, push_name};

/// Keys of a config that belong to one image or are made anew.
const OWN_KEYS: [&str; 2] = ["Env", "Labels"];
/// A label that only says who built an image.
const VERSION_LABEL: &str = "io.sealer.version";

/// Two images that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// What it is about: `file /etc/x`, `application mysql`, `label k`.
    pub about: String,
    /// What the images say, in their order: name and statement.
    pub sides: [(String, String); 2],
}

/// Images that cannot be merged.
#[derive(Debug, Error)]
pub enum MergeError {
    /// They contradict each other.
    #[error("the images contradict each other in {} {}", .0.len(), if .0.len() == 1 { "place" } else { "places" })]
    Conflicts(Vec<Conflict>),
    /// They are for different platforms.
    #[error("`{first}` and `{second}` are for different platforms: {platforms}")]
    Platforms {
        /// An image.
        first: String,
        /// Another image.
        second: String,
        /// What the two are for.
        platforms: String,
    },
    /// An application to be launched is in none of them.
    #[error("application {name} does not exist in the images")]
    UnknownApp {
        /// Its name.
        name: String,
    },
    /// A layer cannot be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The one new layer cannot be written.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A directory object.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

impl MergeError {
    /// Whether this only says that the user stopped it.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Image(ImageError::Cancelled) | Self::Frame(FrameError::Cancelled))
    }
}

/// How images are merged.
#[derive(Debug)]
pub struct Merge<'a> {
    /// The images, under the names people know them by. Their layers are in the store.
    pub images: &'a [(String, StoredImage)],
    /// Applications to launch, in order; `None` concatenates what the images launch.
    pub launch: Option<&'a [String]>,
    /// Times of the result.
    pub times: TimePolicy,
    /// Compression of a new layer.
    pub compression: LayerCompression,
    /// This program's version.
    pub sealer_version: &'a str,
    /// Stops it.
    pub cancel: &'a Cancel,
}

impl Merge<'_> {
    /// Makes the one image. A new layer, if one is needed, waits for the store's commit.
    ///
    /// # Errors
    /// [`MergeError::Conflicts`] with everything the images contradict each other in.
    pub fn run(&self, store: &Store) -> Result<Assembled, MergeError> {
        let mut conflicts = Vec::new();
        let platform = self.platform()?;
        let trees = Trees::new(store);
        let contents = Contents::new(store, self.times == TimePolicy::Keep);
        let mut roots = Vec::new();
        let mut deltas = Vec::new();
        for (name, stored) in self.images {
            let state = image::state(stored, store, &trees, &contents, self.cancel)?;
            roots.push((name.as_str(), merged(&trees, &state)?));
            deltas.extend(stored.layers.iter().cloned().zip(state.deltas));
        }
        let union = union(&trees, &roots, &mut conflicts)?;
        let extension = self.extension(&mut conflicts)?;
        let config = self.config(&platform, &mut conflicts);
        if !conflicts.is_empty() {
            return Err(MergeError::Conflicts(conflicts));
        }
        let mut seen = BTreeSet::new();
        deltas.retain(|(layer, _)| seen.insert(layer.diff_id));
        let together = State::of(deltas.iter().map(|(_, delta)| *delta).collect());
        let layers: Vec<Layer> = if deltas.len() <= LAYER_LIMIT && merged(&trees, &together)? == union {
            deltas.into_iter().map(|(layer, _)| layer).collect()
        } else {
            let links = HardLinks::default();
            let writer = LayerWriter {
                links: &links,
                store,
                trees: &trees,
                contents: &contents,
                times: self.times,
                compression: self.compression,
                reuse: true,
                cancel: self.cancel,
            };
            vec![writer.write(&union, &|_| {})?]
        };
        Ok(self.assembled(config, &layers, &extension))
    }

    fn platform(&self) -> Result<Platform, MergeError> {
        let (first, one) = &self.images[0];
        let platform = one.platform();
        match self.images.iter().find(|(_, other)| other.platform() != platform) {
            None => Ok(platform),
            Some((second, other)) => Err(MergeError::Platforms {
                first: first.clone(),
                second: second.clone(),
                platforms: format!("{platform} and {}", other.platform()),
            }),
        }
    }

    fn extension(&self, conflicts: &mut Vec<Conflict>) -> Result<Extension, MergeError> {
        let mut all = Extension {
            build_client: BuildClient {
                sealer_version: self.sealer_version.to_owned(),
                ..BuildClient::default()
            },
            schema_version: SCHEMA_VERSION.to_owned(),
            ..Extension::default()
        };
        let mut owners: BTreeMap<String, &str> = BTreeMap::new();
        let mut env_owners: BTreeMap<String, &str> = BTreeMap::new();
        let mut launchers: Vec<(&str, bool)> = Vec::new();
        for (name, image) in self.images {
            let Some(extension) = &image.extension else { continue };
            // With a cluster image among them the result is one.
            if all.image_type.is_empty() || extension.image_type == "kube-installer" {
                all.image_type.clone_from(&extension.image_type);
            }
            for app in extension.applications() {
                let app = StoredApplication::from(&app);
                match all.applications.iter().find(|known| known.name == app.name) {
                    None => {
                        owners.insert(app.name.clone(), name);
                        all.applications.push(app);
                    }
                    Some(known) if is_same_app(known, &app) => {}
                    Some(known) => conflicts.push(Conflict {
                        about: format!("application {}", app.name),
                        sides: [
                            (owners[&app.name].to_owned(), go_json(known)),
                            (name.clone(), go_json(&app)),
                        ],
                    }),
                }
            }
            for (key, value) in &extension.env {
                unite(&mut all.env, &mut env_owners, "ENV", (name, key, value), conflicts);
            }
            all.launch.cmds.extend(extension.launch.cmds.iter().cloned());
            // An application of several images is one, and is launched once.
            let known = all.launch.app_names.clone();
            let new = extension.launch.app_names.iter().filter(|name| !known.contains(name));
            all.launch.app_names.extend(new.cloned());
            launchers.extend((!extension.launch.cmds.is_empty()).then_some((name.as_str(), true)));
            launchers.extend((!extension.launch.app_names.is_empty()).then_some((name.as_str(), false)));
        }
        if let Some(names) = self.launch {
            if let Some(name) =
                names.iter().find(|name| all.applications.iter().all(|app| app.name != **name))
            {
                return Err(MergeError::UnknownApp { name: name.clone() });
            }
            all.launch = StoredLaunch { app_names: names.to_vec(), ..StoredLaunch::default() };
        } else {
            let of = |wants: bool| launchers.iter().find(|(_, runs)| *runs == wants);
            // Commands hide the applications that another image launches (spec §4.2).
            if let (Some((runs, _)), Some((launches, _))) = (of(true), of(false)) {
                conflicts.push(Conflict {
                    about: "launch".to_owned(),
                    sides: [
                        ((*runs).to_owned(), "runs commands, and then no application is launched".to_owned()),
                        ((*launches).to_owned(), "launches applications".to_owned()),
                    ],
                });
            }
        }
        Ok(all)
    }

    /// The config but for layers and history.
    fn config(&self, platform: &Platform, conflicts: &mut Vec<Conflict>) -> Value {
        let mut fields: BTreeMap<String, (Value, &str)> = BTreeMap::new();
        let (mut labels, mut label_owners) = (BTreeMap::new(), BTreeMap::new());
        let (mut env, mut env_owners, mut env_order) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for (name, image) in self.images {
            for (key, value) in image.labels().iter().filter(|(key, _)| *key != VERSION_LABEL) {
                unite(&mut labels, &mut label_owners, "label", (name, key, value), conflicts);
            }
            for (key, value) in image.as_base("").env {
                env_order.extend((!env.contains_key(&key)).then(|| key.clone()));
                unite(&mut env, &mut env_owners, "ENV", (name, &key, &value), conflicts);
            }
            let own = image.config.get("config").and_then(Value::as_object).into_iter().flatten();
            for (key, value) in
                own.filter(|(key, value)| !OWN_KEYS.contains(&key.as_str()) && !value.is_null())
            {
                match fields.get(key) {
                    None => _ = fields.insert(key.clone(), (value.clone(), name)),
                    Some((known, _)) if known == value => {}
                    Some((known, owner)) => conflicts.push(Conflict {
                        about: format!("config {key}"),
                        sides: [((*owner).to_owned(), known.to_string()), (name.clone(), value.to_string())],
                    }),
                }
            }
        }
        labels.insert(VERSION_LABEL.to_owned(), self.sealer_version.to_owned());
        let mut config: Value = fields.into_iter().map(|(key, (value, _))| (key, value)).collect();
        config["Env"] = env_order.iter().map(|key| json!(format!("{key}={}", env[key]))).collect();
        config["Labels"] = json!(labels);
        let mut whole = json!({
            "architecture": platform.architecture,
            "os": platform.os,
            "config": config,
            "created": rfc3339(self.times.fixed()),
        });
        if let Some(variant) = &platform.variant {
            whole["variant"] = json!(variant);
        }
        // Work of several people is no contradiction.
        let authors = self.images.iter().filter_map(|(_, image)| image.config.get("author")?.as_str());
        let mut seen = BTreeSet::new();
        let authors: Vec<&str> =
            authors.filter(|author| !author.is_empty() && seen.insert(*author)).collect();
        if !authors.is_empty() {
            whole["author"] = json!(authors.join(", "));
        }
        whole
    }

    fn assembled(&self, mut config: Value, layers: &[Layer], extension: &Extension) -> Assembled {
        let created = rfc3339(self.times.fixed());
        let names: Vec<&str> = self.images.iter().map(|(name, _)| name.as_str()).collect();
        let step = |layer: &Layer| {
            let of = self
                .images
                .iter()
                .find(|(_, image)| image.layers.iter().any(|own| own.diff_id == layer.diff_id));
            let what = of.map_or_else(|| names.join(" "), |(name, _)| name.clone());
            json!({ "comment": STEP_COMMENT, "created": created, "created_by": format!("merge {what}") })
        };
        config["history"] = layers.iter().map(step).collect();
        let diff_ids: Vec<String> = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
        config["rootfs"] = json!({ "type": "layers", "diff_ids": diff_ids });
        let config = oci::canonical(&config);
        let layers =
            layers.iter().map(|layer| oci::descriptor(oci::layer_media_type(layer.media_type), &layer.blob));
        let manifest = ImageManifestBuilder::default()
            .schema_version(2_u32)
            .media_type(OciMediaType::ImageManifest)
            .config(oci::descriptor(OciMediaType::ImageConfig, &oci::described(&config)))
            .layers(layers.collect::<Vec<_>>())
            .annotations(self.annotations(extension))
            .build()
            .expect("all required fields are set");
        Assembled { manifest: oci::canonical(&manifest), config }
    }

    fn annotations(&self, extension: &Extension) -> std::collections::HashMap<String, String> {
        let mut annotations = [(EXTENSION.to_owned(), go_json(extension))].into();
        let list = self.images.iter().flat_map(|(_, image)| listed_by(image).unwrap_or_default()).collect();
        // All is listed only where all of each is.
        let is_complete = self.images.iter().all(|(_, image)| carried_by(image).is_some());
        annotate(list, is_complete, &mut annotations);
        annotations
    }
}

/// Puts a value in, or notes that somebody else has another one.
fn unite<'a>(
    all: &mut BTreeMap<String, String>,
    owners: &mut BTreeMap<String, &'a str>,
    what: &str,
    (name, key, value): (&'a str, &str, &str),
    conflicts: &mut Vec<Conflict>,
) {
    match all.get(key) {
        None => {
            all.insert(key.to_owned(), value.to_owned());
            owners.insert(key.to_owned(), name);
        }
        Some(known) if known == value => {}
        Some(known) => {
            let sides = [(owners[key].to_owned(), known.clone()), (name.to_owned(), value.to_owned())];
            let conflict = Conflict { about: format!("{what} {key}"), sides };
            // What the text declares stands in the config too.
            conflicts.extend((!conflicts.contains(&conflict)).then_some(conflict));
        }
    }
}

/// The union of some trees, each with the name of its image.
fn union(
    trees: &Trees<'_>,
    roots: &[(&str, TreeDigest)],
    conflicts: &mut Vec<Conflict>,
) -> Result<TreeDigest, TreeError> {
    union_dir(trees, roots, &mut Vec::new(), conflicts)
}

fn union_dir(
    trees: &Trees<'_>,
    of: &[(&str, TreeDigest)],
    path: &mut Vec<u8>,
    conflicts: &mut Vec<Conflict>,
) -> Result<TreeDigest, TreeError> {
    if of.iter().all(|(_, tree)| *tree == of[0].1) {
        return Ok(of[0].1);
    }
    let mut by_name: BTreeMap<Vec<u8>, Vec<(&str, Entry)>> = BTreeMap::new();
    for (owner, tree) in of {
        for (name, entry) in trees.load(tree)?.entries.iter() {
            by_name.entry(name.to_vec()).or_default().push((owner, entry.clone()));
        }
    }
    let mut directory = Directory::default();
    for (name, entries) in by_name {
        let length = path.len();
        push_name(path, &name);
        let (owner, first) = &entries[0];
        for (other, entry) in &entries[1..] {
            let detail = entry_detail(first, entry);
            if !detail.is_empty() {
                let shown = String::from_utf8_lossy(path).into_owned();
                conflicts.push(Conflict {
                    about: format!("file /{shown} ({detail})"),
                    sides: [((*owner).to_owned(), described(first)), ((*other).to_owned(), described(entry))],
                });
            }
        }
        let mut entry = first.clone();
        if let Node::Dir(_) = first.node {
            let dirs = entries.iter().filter_map(|(owner, entry)| match entry.node {
                Node::Dir(tree) => Some((*owner, tree)),
                _ => None,
            });
            entry.node = Node::Dir(union_dir(trees, &dirs.collect::<Vec<_>>(), path, conflicts)?);
        }
        directory.entries.insert(name, entry);
        path.truncate(length);
    }
    Ok(trees.add(directory))
}

fn described(entry: &Entry) -> String {
    let what = match &entry.node {
        Node::File { content, size } => format!("a file of {size} bytes, {}", &content.hex()[..12]),
        Node::Symlink(target) => format!("a link to {}", String::from_utf8_lossy(target)),
        other => format!("a {}", crate::diff::kind(other)),
    };
    format!("{what}, {:04o} {}:{}", entry.meta.mode, entry.meta.uid, entry.meta.gid)
}
