//! Giving and taking names: `index.json` is re-read, changed and replaced under its lock.

use cache::IndexLock;
use solver::{BlobDigest, Descriptor};

use super::{Images, ImagesError, ManifestKind, Tagged, find_in, index};
use crate::name;
use crate::registry::Repository;

/// What became of a name or an id that was to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Names taken away.
    pub untagged: Vec<String>,
    /// The image, if nothing names it any more.
    pub id: Option<BlobDigest>,
}

impl Images<'_> {
    /// Gives a manifest names; images that had them lose them. A name that is right already changes nothing.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub fn tag(
        &self,
        names: &[String],
        manifest: &Descriptor,
        kind: ManifestKind,
        now: i64,
    ) -> Result<(), ImagesError> {
        self.put(names, Tagged::new(*manifest, kind, now))
    }

    /// The same, with all that is known of the image.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub fn put(&self, names: &[String], mut new: Tagged) -> Result<(), ImagesError> {
        let is_same = |line: &Tagged| {
            line.manifest == new.manifest
                && line.remotes == new.remotes
                && (new.origin.is_none() || line.origin == new.origin)
        };
        let is_right = |all: &[Tagged], name: &String| {
            all.iter().any(|line| line.name.as_ref() == Some(name) && is_same(line))
        };
        let all = self.list()?;
        if names.iter().all(|name| is_right(&all, name)) && (!names.is_empty() || all.iter().any(is_same)) {
            return Ok(());
        }
        (new.name, new.former_names) = (None, Vec::new());
        new.summary = Some(self.summary(&new)?);
        let _lock = IndexLock::acquire(self.store.root())?;
        let mut all = self.list()?;
        for tagged in &mut all {
            if tagged.manifest == new.manifest
                && tagged.name.as_ref().is_some_and(|name| names.contains(name))
            {
                tagged.remotes.clone_from(&new.remotes);
                tagged.origin = new.origin.or(tagged.origin);
                continue;
            }
            if let Some(name) = tagged.name.take_if(|name| names.contains(name)) {
                tagged.former_names.retain(|former| *former != name);
                tagged.former_names.push(name);
            }
            // What is whole under one name is whole under all.
            if tagged.manifest == new.manifest && new.remotes.is_empty() {
                tagged.remotes.clear();
            }
        }
        if names.is_empty() {
            all.push(new);
        } else {
            for name in names {
                if !all.iter().any(|line| line.name.as_ref() == Some(name)) {
                    all.push(Tagged { name: Some(name.clone()), ..new.clone() });
                }
            }
        }
        index::write(self.store, &without_needless(all))
    }

    /// Takes a name away, or with an id all names of the image. Its bytes stay until the cache is pruned.
    ///
    /// # Errors
    /// When nothing is meant, when an id has several names and `force` is not given, or the index cannot be written.
    pub fn remove(&self, asked: &str, force: bool) -> Result<Removed, ImagesError> {
        let _lock = IndexLock::acquire(self.store.root())?;
        let mut all = self.list()?;
        let found = find_in(self, &all, asked)?;
        let id = self.id_of(&found.tagged);
        let digest = found.tagged.manifest.digest;
        if !found.by_name && !is_in_repository(&all, &digest, asked) {
            return Err(ImagesError::NotFound { name: asked.to_owned(), tried: name::candidates(asked) });
        }
        if found.by_name {
            all.retain(|tagged| tagged.name != found.tagged.name);
            let untagged = found.tagged.name.into_iter().collect();
            let is_left = all.iter().any(|tagged| tagged.manifest.digest == digest);
            index::write(self.store, &all)?;
            return Ok(Removed { untagged, id: (!is_left).then_some(id) });
        }
        let (of_image, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|tagged| tagged.manifest.digest == digest);
        let untagged: Vec<String> = of_image.into_iter().filter_map(|tagged| tagged.name).collect();
        if untagged.len() > 1 && !force {
            return Err(ImagesError::SeveralNames { asked: asked.to_owned(), names: untagged });
        }
        index::write(self.store, &others)?;
        Ok(Removed { untagged, id: Some(id) })
    }

    /// Removes every image without a name.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub fn remove_dangling(&self) -> Result<Vec<BlobDigest>, ImagesError> {
        let _lock = IndexLock::acquire(self.store.root())?;
        let (named, dangling): (Vec<_>, Vec<_>) =
            self.list()?.into_iter().partition(|tagged| tagged.name.is_some());
        if dangling.is_empty() {
            return Ok(Vec::new());
        }
        let ids = dangling.iter().map(|tagged| self.id_of(tagged)).collect();
        index::write(self.store, &named)?;
        Ok(ids)
    }

    /// What an image that is removed is called, also where it cannot be read any more.
    fn id_of(&self, tagged: &Tagged) -> BlobDigest {
        self.summary(tagged).map_or(tagged.manifest.digest, |summary| summary.id)
    }
}

impl Images<'_> {
    /// Removes the lines that `is_gone` is true of. How many.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub(crate) fn remove_where(&self, is_gone: impl Fn(&Tagged) -> bool) -> Result<usize, ImagesError> {
        let _lock = IndexLock::acquire(self.store.root())?;
        let all = self.list()?;
        let count = all.len();
        let kept: Vec<Tagged> = all.into_iter().filter(|tagged| !is_gone(tagged)).collect();
        if kept.len() < count {
            index::write(self.store, &kept)?;
        }
        Ok(count - kept.len())
    }
}

/// Whether an image has a name in the repository that stands before a digest. Content is the same wherever it is from, and is
/// read by such a name too; but names of others are not taken away with it.
fn is_in_repository(all: &[Tagged], digest: &BlobDigest, asked: &str) -> bool {
    let Some((plain, _)) = asked.split_once('@') else { return true };
    let meant = [name::full_name(plain), name::docker_name(plain)];
    let meant: Vec<Repository> =
        meant.into_iter().flatten().filter_map(|full| Repository::of(&full)).collect();
    let names = all.iter().filter(|tagged| tagged.manifest.digest == *digest);
    let mut repositories = names.filter_map(|tagged| Repository::of(tagged.name.as_deref()?));
    repositories.any(|repository| meant.contains(&repository))
}

/// Lines without a name are kept only for images that have none at all, and once.
fn without_needless(all: Vec<Tagged>) -> Vec<Tagged> {
    let mut kept: Vec<Tagged> = Vec::with_capacity(all.len());
    for (place, tagged) in all.iter().enumerate() {
        let same = |other: &Tagged| other.manifest.digest == tagged.manifest.digest;
        let is_needless = tagged.name.is_none()
            && (all.iter().any(|other| other.name.is_some() && same(other))
                || all[place + 1..].iter().any(same));
        if !is_needless {
            kept.push(tagged.clone());
        }
    }
    kept
}
