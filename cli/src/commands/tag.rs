//! `sealer tag`

use std::path::Path;

use engine::Images;

use super::existing_store;
use crate::args::Tag;
use crate::report::Failure;
use crate::settings;

/// Gives an image names; images that had them lose them.
pub(crate) fn run(args: &Tag, root: &Path) -> Result<(), Failure> {
    let names = settings::names(&args.new)?;
    let store = existing_store(root, &args.name)?;
    let images = Images::new(&store);
    let found = images.find(&args.name)?;
    let line = engine::Tagged { stored_at: settings::now(), origin: None, ..found };
    images.put(&names, line)?;
    Ok(())
}
