//! What has to be carried, and who says so.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use solver::{AppSpec, ImageSpec, Platform, Span};

use super::base::Present;
use super::resolve::{ContainerError, FailedImage};
use crate::discover::{Discovered, FoundImage};
use crate::extension::{go_json, null_as_default};
use crate::images::{ImagesError, StoredImage};
use crate::oci::{CONTAINER_IMAGES, CONTAINER_IMAGES_COMPLETE, STEP_COMMENT};
use crate::registry::Reference;

/// A container image that an image carries, as its annotation lists it (spec §2.3).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContainerImage {
    /// The reference, normalised as distribution does; no tag is added.
    pub image: String,
    /// The application that names it.
    #[serde(rename = "appName", default, skip_serializing_if = "Option::is_none")]
    pub app_name: Option<String>,
    /// The platform it is carried for.
    #[serde(default, deserialize_with = "null_as_default")]
    pub platform: ListedPlatform,
}

/// A platform as the annotation has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct ListedPlatform {
    /// `amd64`, …
    #[serde(skip_serializing_if = "String::is_empty")]
    pub architecture: String,
    /// `linux`
    #[serde(skip_serializing_if = "String::is_empty")]
    pub os: String,
    /// `v7`, …
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl From<&Platform> for ListedPlatform {
    fn from(platform: &Platform) -> Self {
        Self {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone().unwrap_or_default(),
        }
    }
}

/// Who names a container image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedBy {
    /// A file of the image.
    Found(FoundImage),
    /// A list given beside the text.
    List {
        /// Its name.
        file: String,
        /// Line in it.
        line: u64,
    },
}

impl NamedBy {
    /// The application it is of.
    pub fn application(&self) -> Option<&str> {
        match self {
            Self::Found(found) => found.application.as_deref(),
            Self::List { .. } => None,
        }
    }
}

impl fmt::Display for NamedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(found) => {
                if let Some(application) = &found.application {
                    write!(f, "application {application}, ")?;
                }
                found.fmt(f)
            }
            Self::List { file, line } => write!(f, "{file}:{line}"),
        }
    }
}

/// The container images of one image.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// By full name with tag or digest: what is to be fetched.
    pub(super) images: BTreeMap<String, WantedImage>,
    /// What the annotation will list.
    pub(super) list: Vec<ContainerImage>,
    /// Where the text declares its applications.
    applications: BTreeMap<String, Span>,
    platform: ListedPlatform,
    /// What is in the base's registry, where it had to be looked at.
    pub(super) present: Present,
    /// What the base says it carries, by full name.
    of_base: HashSet<String>,
    /// Names of the base that lead somewhere, by path and tag: the host is no part of them in the store of a registry.
    tags_of_base: HashMap<(String, String), String>,
}

/// One of them.
#[derive(Debug, Clone)]
pub(super) struct WantedImage {
    pub(super) reference: Reference,
    pub(super) named_by: Vec<NamedBy>,
}

impl Wanted {
    /// Nothing yet, of an image.
    pub fn of(spec: &ImageSpec) -> Self {
        let declared = |app: &AppSpec| match app {
            AppSpec::Declared { name, span, .. } => Some((name.clone(), *span)),
            AppSpec::Inherited(_) => None,
        };
        let applications = spec.apps.iter().filter_map(declared).collect();
        Self { applications, platform: (&spec.platform).into(), ..Self::default() }
    }

    /// Adds an image that somebody names; `shown` is how the annotation spells it.
    fn add(&mut self, reference: Reference, shown: String, named_by: NamedBy) {
        let app_name = named_by.application().map(str::to_owned);
        self.list.push(ContainerImage { image: shown, app_name, platform: self.platform.clone() });
        let name = reference.to_string();
        if self.of_base.contains(&name) || self.present.has_image(&reference) {
            return;
        }
        let wanted =
            self.images.entry(name).or_insert_with(|| WantedImage { reference, named_by: Vec::new() });
        wanted.named_by.push(named_by);
    }

    /// Adds what was found in an image's files, but for what is ignored.
    ///
    /// # Errors
    /// When a find is no name.
    pub fn add_found(
        &mut self,
        found: &Discovered,
        ignored: &dyn Fn(&str) -> bool,
    ) -> Result<(), ImagesError> {
        let mut finds = found.images.iter();
        finds.try_for_each(|one| self.add_named(&one.reference, NamedBy::Found(one.clone()), ignored))
    }

    /// Adds an image by its name, unless it is ignored.
    ///
    /// # Errors
    /// When it is no name.
    pub fn add_named(
        &mut self,
        name: &str,
        named_by: NamedBy,
        ignored: &dyn Fn(&str) -> bool,
    ) -> Result<(), ImagesError> {
        let normalised = Reference::normalised(name)?;
        if !ignored(&normalised) {
            self.add(Reference::parse(name)?, normalised, named_by);
        }
        Ok(())
    }

    /// Adds an image that the annotation lists as it was written.
    pub fn add_raw(&mut self, reference: Reference, raw: &str, named_by: NamedBy) {
        self.add(reference, raw.to_owned(), named_by);
    }

    /// Leaves out what the base carries, and lists it: its files are there, whatever this build does.
    pub fn take_from_base(&mut self, carried: &[ContainerImage], searched_again: &dyn Fn(&str) -> bool) {
        let found: HashSet<String> = self.list.iter().map(|one| one.image.clone()).collect();
        for one in carried {
            let is_searched = one.app_name.as_deref().is_some_and(searched_again);
            if !is_searched {
                self.list.push(one.clone());
            }
            let Ok(reference) = Reference::parse(&one.image) else { continue };
            let name = reference.to_string();
            self.images.remove(&name);
            // What a list with credentials names stands there as written, and its host nowhere.
            let has_host = Reference::normalised(&one.image).is_ok_and(|full| full == one.image);
            if has_host && (!is_searched || found.contains(&one.image)) {
                self.tags_of_base.extend(tag(&reference).map(|tag| (tag, name.clone())));
            }
            self.of_base.insert(name);
        }
    }

    /// Images that take the place of one of the base's, and of which.
    pub(super) fn replaced(&self) -> impl Iterator<Item = (&str, &str)> {
        self.images.iter().filter_map(|(name, image)| {
            let of_base = self.tags_of_base.get(&tag(&image.reference)?)?;
            Some((name.as_str(), of_base.as_str()))
        })
    }

    /// Leaves out what is in the registry of a base that says nothing of it.
    pub(super) fn take_present(&mut self, present: Present) {
        self.images.retain(|_, image| !present.has_image(&image.reference));
        self.present = present;
    }

    /// A container image that cannot be had.
    pub(super) fn failed(&self, name: String, source: ContainerError) -> FailedImage {
        let named_by = self.images.get(&name).map(|image| image.named_by.clone()).unwrap_or_default();
        let mut spans: Vec<Span> =
            named_by.iter().filter_map(|by| self.applications.get(by.application()?).copied()).collect();
        spans.sort_by_key(|span| span.start);
        spans.dedup();
        FailedImage { name, named_by, spans, source }
    }

    /// Whether there is nothing to fetch.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }
}

/// The tag of an image, as the store of a registry knows it.
fn tag(reference: &Reference) -> Option<(String, String)> {
    Some((reference.repository.path.clone(), reference.tag.clone()?))
}

/// What an image lists.
pub(crate) fn listed_by(image: &StoredImage) -> Option<Vec<ContainerImage>> {
    let list = image.manifest.annotations().as_ref()?.get(CONTAINER_IMAGES)?;
    serde_json::from_str(list).ok()
}

/// What an image carries, as far as it says so and says all: images of other builders, and those of mode `lite`,
/// do not. What somebody else put on top of one that does has taken over what it says, and was not searched.
pub fn carried_by(image: &StoredImage) -> Option<Vec<ContainerImage>> {
    let extension = image.extension.as_ref()?;
    let annotations = image.manifest.annotations().as_ref()?;
    if !extension.build_client.buildah_version.is_empty() {
        // Sealer does not say whether it looked, but then its last step is a commit without a command (spec §2.6).
        return listed_by(image).filter(|_| last_step(image, "created_by") == Some("/bin/sh"));
    }
    let is_complete = annotations.get(CONTAINER_IMAGES_COMPLETE).is_some_and(|said| said == "true")
        && last_step(image, "comment") == Some(STEP_COMMENT);
    match listed_by(image) {
        Some(list) if is_complete => Some(list),
        None if is_complete && !annotations.contains_key(CONTAINER_IMAGES) => Some(Vec::new()),
        _ => None,
    }
}

/// What the history says of its last step.
fn last_step<'i>(image: &'i StoredImage, field: &str) -> Option<&'i str> {
    image.config.get("history")?.as_array()?.last()?.get(field)?.as_str()
}

/// Says in the annotations of an image what it carries, and whether that is all.
pub(crate) fn annotate(
    mut list: Vec<ContainerImage>,
    is_complete: bool,
    annotations: &mut HashMap<String, String>,
) {
    list.sort();
    list.dedup();
    annotations.remove(CONTAINER_IMAGES);
    if !list.is_empty() {
        annotations.insert(CONTAINER_IMAGES.to_owned(), go_json(&list));
    }
    annotations.remove(CONTAINER_IMAGES_COMPLETE);
    if is_complete {
        annotations.insert(CONTAINER_IMAGES_COMPLETE.to_owned(), "true".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oci::{EXTENSION, canonical, described};

    #[test]
    fn lists_without_platforms_are_read() {
        for text in [r#"[{"image":"a","platform":null}]"#, r#"[{"image":"a"}]"#] {
            let list: Vec<ContainerImage> = serde_json::from_str(text).unwrap();
            assert_eq!(list[0].platform, ListedPlatform::default(), "{text}");
        }
    }

    #[test]
    fn a_list_is_all_there_is_where_the_last_who_built_looked() {
        let list = r#"[{"image":"docker.io/library/a","platform":{"architecture":"amd64","os":"linux"}}]"#;
        let carried = |buildah: &str, last: (&str, &str), list: Option<&str>| {
            let (created_by, comment) = last;
            let config = canonical(&json!({
                "architecture": "amd64",
                "os": "linux",
                "history": [
                    { "created_by": "/bin/sh", "comment": "sealer", "empty_layer": true },
                    { "created_by": created_by, "comment": comment, "empty_layer": true },
                ],
                "rootfs": { "type": "layers", "diff_ids": [] },
            }));
            let extension =
                format!(r#"{{"buildClient":{{"sealerVersion":"v","buildahVersion":"{buildah}"}}}}"#);
            // Said by a base of ours, and inherited.
            let mut annotations = json!({ EXTENSION: extension, CONTAINER_IMAGES_COMPLETE: "true" });
            if let Some(list) = list {
                annotations[CONTAINER_IMAGES] = json!(list);
            }
            let manifest = json!({
                "schemaVersion": 2,
                "config": {
                    "mediaType": "application/vnd.oci.image.config.v1+json",
                    "digest": described(&config).digest.to_string(),
                    "size": config.len(),
                },
                "layers": [],
                "annotations": annotations,
            });
            let manifest = serde_json::from_value(manifest).unwrap();
            let digest = described(&config).digest;
            carried_by(&StoredImage::new(None, digest, manifest, &config).unwrap()).map(|list| list.len())
        };
        let (all, lite) = (("/bin/sh", "FROM x"), ("/bin/sh -c #(nop) LABEL a=b", "FROM x"));
        assert_eq!(carried("1.27.1", all, Some(list)), Some(1));
        assert_eq!(carried("1.27.1", lite, Some(list)), None);
        assert_eq!(carried("1.27.1", lite, None), None);
        assert_eq!(carried("", ("LABEL a=b", "sealer"), Some(list)), Some(1));
        assert_eq!(carried("", ("LABEL a=b", "sealer"), None), Some(0));
        // Buildah keeps the annotations of its base.
        assert_eq!(carried("", lite, Some(list)), None);
        assert_eq!(carried("", lite, None), None);
    }
}
