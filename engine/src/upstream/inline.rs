//! `type=inline`: what an image carries of its own making.

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

/// The annotation with the records of an image's own layers; `None` where there are none. The same build gives the same
/// text: no day stands in it.
///
/// # Errors
/// When it would be too long.
pub fn inline(
    records: &[StepRecord],
    compression: LayerCompression,
    key: Option<&MacKey>,
) -> Result<Option<String>, InlineError> {
    let mut records = StepRecord::choose(records, Mode::Min, compression).records;
    // What servers call their files is none of an image's business, and another server may say something else.
    records.retain(|record| Table::Steps.key_in(&record.key).is_some());
    // Nor is there a place for other blobs than layers.
    let records: Vec<_> = records.iter().filter_map(bare).collect();
    if records.is_empty() {
        return Ok(None);
    }
    let text = InImage::text(&remote::pack(&records, 0, key));
    if text.len() > LIMIT { Err(InlineError { size: text.len() }) } else { Ok(Some(text)) }
}
