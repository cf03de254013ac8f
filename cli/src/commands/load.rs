//! `sealer load`

use std::path::Path;

use cache::Store;
use engine::transport::{self, Input, load};

use crate::args::Load;
use crate::interrupt::Interrupt;
use crate::progress::Copying;
use crate::report::{Failure, Page, Reporter};
use crate::{settings, ui};

/// Reads images into the store.
pub(crate) fn run(args: &Load, quiet: bool, reporter: &Reporter, root: &Path) -> Result<(), Failure> {
    let names = settings::names(&args.tag)?;
    let input = match &args.input {
        Some(path) if path != Path::new("-") => Input::Path(path.clone()),
        _ if ui::stdin_is_terminal() => {
            return Err(Failure::usage("there is nothing to load: standard input is a terminal")
                .hint("name an archive or a directory with `-i PATH`, or redirect standard input"));
        }
        _ => Input::Stdin,
    };
    let interrupt = Interrupt::listen()?;
    let store = Store::open(root)?;
    let copying = Copying::start(quiet, "copied");
    let options = transport::Load {
        names: &names,
        now: settings::now(),
        cancel: &interrupt.cancel,
        progress: &|bytes| copying.more(bytes),
    };
    let loaded = load(&store, &input, &options);
    copying.end();
    let loaded = loaded.map_err(|error| Failure::transport(error, interrupt.signal()))?;
    for image in &loaded {
        let digest = image.manifest.digest.to_string();
        if quiet {
            ui::data(&digest);
        } else if image.names.is_empty() {
            ui::data(&format!("Loaded image: {digest}"));
            reporter.warn(Page::warning(
                "no-name",
                format!("the image `{digest}` has no name"),
                format!("give it one: `sealer tag {digest} NAME`"),
            ));
        } else {
            image.names.iter().for_each(|name| ui::data(&format!("Loaded image: {name}")));
        }
    }
    store.warnings().into_iter().for_each(|text| reporter.warn(Page::of_store(text)));
    Ok(())
}
