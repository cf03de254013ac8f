//! `sealer history`

use std::path::Path;

use engine::Images;

use super::existing_store;
use super::images::bytes;
use crate::args::History;
use crate::report::Failure;
use crate::{settings, ui};

/// Characters of a step's text that are shown.
const SHORT_TEXT: usize = 60;

/// Shows the steps of an image, newest first, with the size of the layer each made.
pub(crate) fn run(args: &History, root: &Path) -> Result<(), Failure> {
    let platform = settings::platform(&args.platform)?;
    let store = existing_store(root, &args.name)?;
    let images = Images::new(&store);
    let tagged = images.for_platform(&images.find(&args.name)?, &platform)?;
    let image = images.read(&tagged)?;
    let mut steps = engine::history::history(&image);
    steps.reverse();
    if args.listing.json {
        let steps = serde_json::to_value(&steps).map_err(|error| Failure::usage(error.to_string()))?;
        ui::data(&format!("{steps:#}"));
        return Ok(());
    }
    let mut rows = Vec::new();
    if !args.listing.noheading {
        rows.push(["CREATED", "CREATED BY", "SIZE", "COMMENT"].map(str::to_owned).to_vec());
    }
    for step in steps {
        let mut text = step.created_by;
        if !args.listing.no_trunc && text.chars().count() > SHORT_TEXT {
            text = text.chars().take(SHORT_TEXT - 1).chain(['…']).collect();
        }
        rows.push(vec![step.created, text, bytes(step.size), step.comment]);
    }
    ui::table(&rows);
    Ok(())
}
