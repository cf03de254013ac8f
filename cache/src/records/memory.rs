//! Records in memory: the twin that keeps the trait honest, and the store of tests.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use super::{Batch, Records};
use crate::CacheError;

/// Records that end with the process.
#[derive(Debug, Default)]
pub struct MemoryRecords {
    values: RwLock<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Records for MemoryRecords {
    fn get_many(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, CacheError> {
        let values = self.values.read().unwrap_or_else(PoisonError::into_inner);
        Ok(keys.iter().map(|key| values.get(key).cloned()).collect())
    }

    fn commit(&self, batch: Batch) -> Result<(), CacheError> {
        self.values.write().unwrap_or_else(PoisonError::into_inner).extend(batch);
        Ok(())
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), CacheError> {
        let values = self.values.read().unwrap_or_else(PoisonError::into_inner);
        let from = values.range(prefix.to_vec()..);
        from.take_while(|(key, _)| key.starts_with(prefix)).for_each(|(key, value)| visit(key, value));
        Ok(())
    }

    fn forget(&self, keys: &[Vec<u8>]) -> Result<(), CacheError> {
        let mut values = self.values.write().unwrap_or_else(PoisonError::into_inner);
        keys.iter().for_each(|key| drop(values.remove(key)));
        Ok(())
    }
}
