//! How values become bytes: a format byte, then postcard. Anything else reads as a miss.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Format of all values; another byte is another format.
const FORMAT: u8 = 1;

/// A value as bytes.
pub(crate) fn encode(value: &impl Serialize) -> Vec<u8> {
    let bytes = vec![FORMAT];
    postcard::to_extend(value, bytes).expect("plain data with known lengths always encodes")
}

/// Bytes as a value; `None` for what another version wrote and for anything damaged.
pub(crate) fn decode<V: DeserializeOwned>(bytes: &[u8]) -> Option<V> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => match postcard::take_from_bytes(rest) {
            Ok((value, [])) => Some(value),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use solver::{Layer, Record};

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_decode_or_miss(bytes: Vec<u8>) {
            let _: Option<Record> = decode(&bytes);
            let _: Option<Layer> = decode(&bytes);
        }

        #[test]
        fn values_survive(value: Vec<(u64, String)>) {
            prop_assert_eq!(decode(&encode(&value)), Some(value));
        }
    }

    #[test]
    fn another_format_is_a_miss() {
        let mut bytes = encode(&7_u32);
        bytes[0] = FORMAT + 1;
        assert_eq!(decode::<u32>(&bytes), None);
    }

    #[test]
    fn bytes_left_over_are_another_type() {
        assert_eq!(decode::<u32>(&encode(&(7_u32, 8_u32))), None);
        assert_eq!(decode::<u32>(&encode(&())), None);
        assert_eq!(decode::<u32>(&[]), None);
    }
}
