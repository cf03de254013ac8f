//! What has to be carried, and who says so.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use solver::{AppSpec, ImageSpec, Platform, Span};

use super::base::Present;
use super::resolve::{ContainerError, FailedImage};
use crate::discover::{Discovered, FoundImage};
use crate::extension::go_json;
use crate::images::{ImagesError, StoredImage};
use crate::oci::{CONTAINER_IMAGES, CONTAINER_IMAGES_COMPLETE};
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
    #[serde(default)]
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
            if !is_searched || found.contains(&one.image) {
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
/// do not.
pub fn carried_by(image: &StoredImage) -> Option<Vec<ContainerImage>> {
    let extension = image.extension.as_ref()?;
    let annotations = image.manifest.annotations().as_ref()?;
    let is_complete = annotations.get(CONTAINER_IMAGES_COMPLETE).is_some_and(|said| said == "true");
    // Sealer says nothing of completeness; what it lists it has looked for.
    let is_sealers = !extension.build_client.buildah_version.is_empty();
    match listed_by(image) {
        Some(list) if is_complete || is_sealers => Some(list),
        None if is_complete && !annotations.contains_key(CONTAINER_IMAGES) => Some(Vec::new()),
        _ => None,
    }
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
