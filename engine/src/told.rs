//! Layers that are being fetched, shown as steps of the build.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use solver::{BlobDigest, Event, EventSink, Layer, StepOutcome, VertexDigest};

/// Turns bytes of layers into events.
pub(crate) struct Told<'a> {
    events: &'a dyn EventSink,
    done: Mutex<HashMap<BlobDigest, u64>>,
}

impl<'a> Told<'a> {
    /// Nothing has come yet.
    pub(crate) fn new(events: &'a dyn EventSink) -> Self {
        Self { events, done: Mutex::default() }
    }

    /// Reports that more bytes of a layer came.
    pub(crate) fn more(&self, layer: &Layer, bytes: u64) {
        let digest = layer.blob.digest;
        // Nothing else of the build has this digest: it is of bytes, not of a step.
        let vertex = VertexDigest::from_bytes(*digest.as_bytes());
        let name = || format!("layer {} of the base", &digest.hex()[..12]);
        let done_bytes = {
            let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
            let done = done.entry(digest).or_insert(0);
            if *done == 0 {
                self.events.event(Event::Started { vertex, name: name() });
            }
            *done += bytes;
            *done
        };
        self.events.event(Event::Progress { vertex, done_bytes, total_bytes: Some(layer.blob.size) });
        if done_bytes == layer.blob.size {
            self.events.event(Event::Finished { vertex, name: name(), outcome: StepOutcome::Done });
        }
    }
}
