//! `type=inline`: the cache that an image carries of its own steps.

use cache::Table;
use cache::remote::{self, MacKey, NewRecord};
use thiserror::Error;

use super::trees::{bare, unsearched};
use super::{Mode, StepRecord};
use crate::frames::LayerCompression;
use crate::remote::InImage;

/// Longest annotation, in bytes: registries stop at manifests of 4 MiB, and every reader of the image reads this one.
const LIMIT: usize = 1 << 20;

/// Why an image gets no cache.
#[derive(Debug, Error)]
#[error("the records of its layers take {size} bytes, more than the {LIMIT} that an image may have of them")]
pub struct InlineError {
    size: usize,
}

/// How an image is built that gets a cache of its own steps.
#[derive(Debug, Clone, Copy)]
pub struct Inlined<'a> {
    /// How its layers are compressed.
    pub compression: LayerCompression,
    /// Whether all of it was searched for container images. If not, what an earlier build found is left out: the image is the same
    /// whatever the store knows.
    pub is_searched: bool,
    /// Who signs.
    pub key: Option<&'a MacKey>,
}

/// The annotation with the records of an image's own layers; `None` where there are none. It has no dates in it, so the same build
/// gives the same text.
///
/// # Errors
/// When it would be too long.
pub fn inline(records: &[StepRecord], image: &Inlined<'_>) -> Result<Option<String>, InlineError> {
    let Inlined { compression, is_searched, key } = *image;
    let mut records = StepRecord::choose(records, Mode::Min, compression).records;
    // Records of URLs do not belong in an image: they hold what some server calls its files.
    records.retain(|record| Table::Steps.key_in(&record.key).is_some());
    // An image has no place for blobs that are not layers.
    let own = |record: &NewRecord| if is_searched { bare(record) } else { unsearched(record) };
    let records: Vec<_> = records.iter().filter_map(own).collect();
    if records.is_empty() {
        return Ok(None);
    }
    let text = InImage::text(&remote::pack(&records, 0, key));
    if text.len() > LIMIT { Err(InlineError { size: text.len() }) } else { Ok(Some(text)) }
}
