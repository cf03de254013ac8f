//! The whole outcome of the last build of an image: it answers a build in which nothing changed with one look-up.
//!
//! Everything in it is also in records of its own. It counts only for the same target key, and if it is lost or belongs to another
//! build, the records are looked up instead.

use cache::Table;
use serde::{Deserialize, Serialize};
use solver::{CacheKey, Descriptor, Hasher, Layer, Record};

use crate::layer::LAYER_FORMAT;
use crate::session::{Pins, Session};

/// What a build came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Outcome {
    key: [u8; 32],
    /// The repository whose last build it was.
    pub(crate) repository: String,
    /// One for each image, in the order of the targets.
    pub(crate) images: Vec<ImageOutcome>,
    /// What its `http` sources downloaded.
    pub(crate) bodies: Vec<Descriptor>,
}

/// What one image came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ImageOutcome {
    /// One for each step of the image, oldest first.
    pub(crate) records: Vec<Record>,
    /// Layers above the base, without their frames.
    pub(crate) layers: Vec<Layer>,
    /// For each step: whether it is the first of its layer.
    pub(crate) own_layer: Vec<bool>,
}

impl Outcome {
    /// The layers of all images.
    pub(crate) fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.images.iter().flat_map(|image| &image.layers)
    }
}

impl Session<'_> {
    /// The outcome of the image's last build, if it was of the same target and its layers are all there.
    pub(crate) fn last_outcome(&self, keys: &[CacheKey]) -> Option<Outcome> {
        let key = self.outcome_key(keys)?;
        let outcome: Outcome = self.store.get(Table::Outcomes, &self.outcome_slot())?;
        let is_whole = outcome.key == key
            && outcome.images.len() == self.chains.len()
            && outcome
                .images
                .iter()
                .zip(&self.chains)
                .all(|(image, chain)| image.records.len() == chain.steps.len())
            && outcome.layers().all(|layer| self.store.blobs().contains(&layer.blob));
        is_whole.then_some(outcome)
    }

    /// Leaves the outcome for the next build of the image.
    pub(crate) fn keep_outcome(&self, keys: &[CacheKey], pins: &Pins, mut images: Vec<ImageOutcome>) {
        let Some(key) = self.outcome_key(keys) else { return };
        images.iter_mut().flat_map(|image| &mut image.layers).for_each(|layer| layer.frames = Vec::new());
        let (repository, bodies) = (self.options.repository.clone(), pins.bodies());
        let outcome = Outcome { key, repository, images, bodies };
        self.store.put(Table::Outcomes, &self.outcome_slot(), &outcome);
    }

    /// The targets, and how layers are made of them.
    fn outcome_key(&self, keys: &[CacheKey]) -> Option<[u8; 32]> {
        self.graph.target()?;
        let mut hasher = Hasher::new("outcome of targets");
        hasher.number(LAYER_FORMAT);
        for target in self.graph.targets() {
            hasher.number(target.is_some().into());
            target.iter().for_each(|target| hasher.bytes(keys[target.position()].as_bytes()));
        }
        self.options.times.feed(&mut hasher);
        self.options.compression.feed(&mut hasher);
        // Images that come after the steps leave them fewer layers.
        hasher.number(self.options.carries_images.into());
        Some(hasher.finish())
    }

    /// One place for each repository, so that builds without end leave one outcome.
    pub(crate) fn outcome_slot(&self) -> [u8; 32] {
        let mut hasher = Hasher::new("outcome");
        hasher.bytes(self.options.repository.as_bytes());
        hasher.finish()
    }
}
