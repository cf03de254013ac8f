//! Steps by what they read: a content key leads to the definition key of a step that read the same, and so to its record.
//!
//! So a copy above a changed step is found although no build ever had that step below it. It costs some fifty bytes a step.

use cache::Table;
use cache::remote::NewRecord;
use serde::{Deserialize, Serialize};

use super::{StepRecord, Upstream};

/// First byte of such a value; no other value under a step's key begins with it.
const MARK: u8 = 255;

#[derive(Serialize, Deserialize)]
struct Same {
    mark: u8,
    key: [u8; 32],
}

/// A record that leads from a content key to the record of a step.
pub(crate) fn same(content: &[u8; 32], step: &StepRecord) -> Option<StepRecord> {
    let key = Table::Steps.key_in(&step.record.key)?.try_into().ok()?;
    let value = postcard::to_stdvec(&Same { mark: MARK, key }).expect("plain data always encodes");
    let record = NewRecord { key: Table::Steps.key(content), value, blobs: Vec::new() };
    Some(StepRecord { record, tree: None, ..step.clone() })
}

/// Where a value leads; `None` if it is something else.
pub(super) fn target(value: &[u8]) -> Option<[u8; 32]> {
    let (Same { mark, key }, rest) = postcard::take_from_bytes(value).ok()?;
    (mark == MARK && rest.is_empty()).then_some(key)
}

impl Upstream<'_> {
    /// The definition key of a step that read the same.
    pub(crate) fn same_as(&self, content: &[u8; 32]) -> Option<[u8; 32]> {
        self.values(&[Table::Steps.key(content)], |_, _, value| target(value)).pop().flatten()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_content_key_leads_to_a_step() {
        let record = NewRecord { key: Table::Steps.key(&[1; 32]), value: vec![3], blobs: Vec::new() };
        let step = StepRecord { record, tree: None, compression: None, is_in_image: true, is_new: false };
        let same = same(&[2; 32], &step).unwrap().record;
        assert_eq!((same.key, target(&same.value)), (Table::Steps.key(&[2; 32]), Some([1; 32])));
        assert_eq!(target(&step.record.value), None);
        assert_eq!(target(&[&same.value[..], &[0]].concat()), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            assert_eq!(target(&bytes).is_some(), bytes.len() == 33 && bytes[0] == MARK);
        }
    }
}
