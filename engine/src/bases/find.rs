//! Where a name leads: to an image of the store, to what a lock file pins, or to what a registry says.

use solver::{BlobDigest, Platform};

use super::{BaseImage, Bases, PullPolicy};
use crate::images::{Images, ImagesError, ManifestKind, StoredImage, Tagged};
use crate::registry::{self, Reference, RegistryError};

/// What the store has of a base.
#[derive(Debug, Default)]
struct Here {
    /// The image with its line, and the line that the name leads to.
    found: Option<(StoredImage, Tagged, Tagged)>,
    /// Why what is here is no use: it is for another platform, or damaged.
    unfit: Option<ImagesError>,
}

impl Bases<'_> {
    /// A base by the digest that its name once led to. If the store does not have it, the registry is asked for the digest, never
    /// for the name.
    pub(super) fn find_root(
        &self,
        key: &str,
        platform: &Platform,
        root: BlobDigest,
        now: i64,
    ) -> Result<BaseImage, RegistryError> {
        let base = match self.stored(key, platform, root)? {
            Some(base) => base,
            None => {
                let reference = Reference { digest: Some(root), ..Reference::parse(key)? };
                let mut found = registry::resolve(self.store, self.registry, &reference, platform, now)?;
                // The name itself may lead elsewhere by now, and each platform's image needs a name to be kept.
                let name = format!("{}@{}", reference.repository, found.line.manifest.digest);
                (found.line.name, found.image.name) = (Some(name.clone()), Some(name));
                BaseImage::new(found.image, found.line, root, true)
            }
        };
        Ok(BaseImage { locked_as: Some(key.to_owned()), ..base })
    }

    /// The image of a platform that a manifest or an index leads to, under whatever name the store has it.
    fn stored(
        &self,
        key: &str,
        platform: &Platform,
        root: BlobDigest,
    ) -> Result<Option<BaseImage>, RegistryError> {
        let images = Images::new(self.store);
        let mut lines = images.list()?;
        lines.retain(|line| line.manifest.digest == root || line.origin == Some(root));
        lines.sort_by_key(|line| line.name.as_deref() != Some(key));
        for line in lines {
            // An image that cannot be read, or is for another platform, may be in another line again.
            let Ok(mut instance) = images.for_platform(&line, platform) else { continue };
            let Ok(image) = images.read(&instance) else { continue };
            let is_only = line.kind == ManifestKind::Image && line.manifest.digest == root;
            if is_only || self.is_for(&image, platform) {
                instance.name.clone_from(&line.name);
                let image = StoredImage { name: line.name, ..image };
                return Ok(Some(BaseImage::new(image, instance, root, false)));
            }
        }
        Ok(None)
    }

    /// Whether an image of the store is the one for a platform. An image for an older processor may be, where the registry has none
    /// for this one; but only the registry knows that.
    fn is_for(&self, image: &StoredImage, platform: &Platform) -> bool {
        let of = image.platform();
        of == *platform || (self.registry.fetcher().is_offline() && platform.runs(&of))
    }

    /// The image for a platform in the index that a name led to: the name has only one of its images, the others are here without.
    fn sibling(
        &self,
        name: &str,
        line: &Tagged,
        platform: &Platform,
    ) -> Result<Option<(StoredImage, Tagged)>, RegistryError> {
        let Some(root) = line.origin.filter(|root| *root != line.manifest.digest) else { return Ok(None) };
        let found = self.stored(name, platform, root)?.filter(|base| self.is_for(&base.image, platform));
        Ok(found.map(|base| (base.image, base.line)))
    }

    pub(super) fn find(
        &self,
        name: &str,
        platform: &Platform,
        policy: PullPolicy,
        now: i64,
        warn: &dyn Fn(String),
    ) -> Result<BaseImage, RegistryError> {
        let policy = match policy {
            PullPolicy::IfNewer if self.registry.fetcher().is_offline() => PullPolicy::Missing,
            policy => policy,
        };
        let Here { found: here, unfit } = self.here(name, platform, policy)?;
        let is_local = match &here {
            Some((.., line)) => line.name.as_ref().is_none_or(|name| name.starts_with("localhost/")),
            None => name.starts_with("localhost/"),
        };
        match (here, policy) {
            (Some((image, mut instance, line)), _)
                if is_local || !self.is_asked(name, &line, policy, warn) =>
            {
                let root = line.origin.unwrap_or(line.manifest.digest);
                instance.name = line.name;
                let image = StoredImage { name: instance.name.clone(), ..image };
                Ok(BaseImage::new(image, instance, root, false))
            }
            (None, _) if is_local => {
                let tried = vec![name.to_owned()];
                let not_found = || ImagesError::NotFound { name: name.to_owned(), tried };
                Err(unfit.unwrap_or_else(not_found).into())
            }
            _ => {
                let reference = Reference::parse(name)?;
                let found = registry::resolve(self.store, self.registry, &reference, platform, now);
                let found = found.map_err(|error| match unfit {
                    Some(_) if error.is_cancelled() => error,
                    Some(here @ ImagesError::Platform { .. }) => {
                        RegistryError::OtherPlatform { here: Box::new(here), source: Box::new(error) }
                    }
                    Some(damaged) => damaged.into(),
                    None => error,
                })?;
                let root = found.line.origin.unwrap_or(found.line.manifest.digest);
                Ok(BaseImage::new(found.image, found.line, root, true))
            }
        }
    }

    /// What the store has under a name. What is no use, but may be had from a registry, is no error.
    fn here(&self, name: &str, platform: &Platform, policy: PullPolicy) -> Result<Here, RegistryError> {
        let unfit = |error| Ok(Here { found: None, unfit: Some(error) });
        let images = Images::new(self.store);
        let line = match images.find(name) {
            Ok(line) => line,
            Err(ImagesError::NotFound { .. }) if policy != PullPolicy::Never => return Ok(Here::default()),
            Err(error) => return Err(error.into()),
        };
        let read = images.for_platform(&line, platform);
        let (image, instance) = match read.and_then(|instance| Ok((images.read(&instance)?, instance))) {
            Ok(read) => read,
            Err(error) if policy == PullPolicy::Never => return Err(error.into()),
            Err(error @ ImagesError::Platform { .. }) => return unfit(error),
            // An image that was made here is in no registry, or another is.
            Err(error) if line.origin.is_some() && error.is_damage() && is_called(&line, name) => {
                return unfit(error);
            }
            Err(error) => return Err(error.into()),
        };
        let is_for = self.is_for(&image, platform);
        let sibling = if is_for { None } else { self.sibling(name, &line, platform)? };
        let found = match sibling {
            Some((image, instance)) => (image, instance, line),
            None if is_for || policy == PullPolicy::Never => (image, instance, line),
            None => {
                let offered = vec![image.platform().to_string()];
                let name = line.name.unwrap_or_else(|| name.to_owned());
                return unfit(ImagesError::Platform { name, wanted: platform.clone(), offered });
            }
        };
        Ok(Here { found: Some(found), unfit: None })
    }

    /// Whether the registry has to be asked for the image, not only where its name leads.
    fn is_asked(&self, name: &str, line: &Tagged, policy: PullPolicy, warn: &dyn Fn(String)) -> bool {
        let Ok(reference) = Reference::parse(name) else { return false };
        if reference.digest.is_some() || matches!(policy, PullPolicy::Missing | PullPolicy::Never) {
            return false;
        }
        match self.registry.digest_of(&reference) {
            Ok(Some(digest)) => digest != line.manifest.digest && line.origin != Some(digest),
            Ok(None) => true,
            // An image that was made here and never pushed.
            Err(error) if policy == PullPolicy::IfNewer && !error.is_cancelled() => {
                if !error.is_absent() {
                    warn(format!("whether `{name}` is the newest is not known: {error}"));
                }
                false
            }
            // Asking for the image gives the same error, and shows it.
            Err(_) => true,
        }
    }
}

/// Whether a line is found by its name, and not by its digest.
fn is_called(line: &Tagged, asked: &str) -> bool {
    Reference::parse(asked).is_ok_and(|asked| line.name == Some(asked.full_name()))
}
