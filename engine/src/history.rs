//! The steps an image was made of, with the layers they made (image-spec, config, `history`).

use serde::Serialize;
use serde_json::Value;

use crate::images::StoredImage;

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HistoryEntry {
    /// When, as RFC 3339; empty where the image does not say.
    pub created: String,
    /// What was done.
    pub created_by: String,
    /// Size of its layer as stored, in bytes; 0 for steps that make none.
    pub size: u64,
    /// Digest of its layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    /// What the builder added.
    pub comment: String,
}

/// All steps, oldest first. Layers that no step tells of stand by themselves at the end.
pub fn history(image: &StoredImage) -> Vec<HistoryEntry> {
    let mut layers = image.layers.iter();
    let steps = image.config.get("history").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut entries: Vec<HistoryEntry> = Vec::new();
    for step in steps {
        let text = |key: &str| step.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let is_empty = step.get("empty_layer").and_then(Value::as_bool).unwrap_or(false);
        let layer = if is_empty { None } else { layers.next() };
        entries.push(HistoryEntry {
            created: text("created"),
            created_by: text("created_by"),
            size: layer.map_or(0, |layer| layer.blob.size),
            layer: layer.map(|layer| layer.blob.digest.to_string()),
            comment: text("comment"),
        });
    }
    entries.extend(layers.map(|layer| HistoryEntry {
        created: String::new(),
        created_by: String::new(),
        size: layer.blob.size,
        layer: Some(layer.blob.digest.to_string()),
        comment: String::new(),
    }));
    entries
}
