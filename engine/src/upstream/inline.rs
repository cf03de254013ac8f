//! `type=inline`: the cache that an image carries of its own steps.

use cache::Table;
use cache::remote::{self, MacKey};
use thiserror::Error;

use super::trees::bare;
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

/// The annotation with the records of an image's own layers; `None` where there are none. It has no dates in it, so the same build
/// gives the same text.
///
/// # Errors
/// When it would be too long.
pub fn inline(
    records: &[StepRecord],
    compression: LayerCompression,
    key: Option<&MacKey>,
) -> Result<Option<String>, InlineError> {
    let mut records = StepRecord::choose(records, Mode::Min, compression).records;
    // Records of URLs do not belong in an image: they hold what some server calls its files.
    records.retain(|record| Table::Steps.key_in(&record.key).is_some());
    // An image has no place for blobs that are not layers.
    let records: Vec<_> = records.iter().filter_map(bare).collect();
    if records.is_empty() {
        return Ok(None);
    }
    let text = InImage::text(&remote::pack(&records, 0, key));
    if text.len() > LIMIT { Err(InlineError { size: text.len() }) } else { Ok(Some(text)) }
}
