//! `sealer inspect`

use std::path::Path;

use cache::Store;
use engine::{Images, ImagesError};
use serde::Serialize;

use crate::args::Inspect;
use crate::report::Failure;
use crate::ui;

/// Prints an image in the documented shape: JSON, four spaces.
pub(crate) fn run(args: &Inspect, root: &Path) -> Result<(), Failure> {
    let store = Store::open_existing(root)?.ok_or(ImagesError::NotFound { name: args.name.clone() })?;
    let images = Images::new(&store);
    let image = images.read(&images.find(&args.name)?)?;
    let mut out = Vec::new();
    let four_spaces = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, four_spaces);
    engine::inspect::inspect(&image).serialize(&mut serializer).map_err(|e| Failure::usage(e.to_string()))?;
    ui::data(&String::from_utf8_lossy(&out));
    Ok(())
}
