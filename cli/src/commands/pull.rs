//! `sealer pull`

use std::path::Path;

use cache::Store;
use engine::registry::{Reference, pull_layers, resolve};
use engine::{Bases, PullPolicy};

use crate::args::{Global, Pull};
use crate::interrupt::Interrupt;
use crate::progress::Copying;
use crate::report::{Failure, Page, Reporter};
use crate::{settings, ui};

/// Brings an image of a registry into the store, whole.
pub(crate) fn run(args: &Pull, global: &Global, reporter: &Reporter, root: &Path) -> Result<(), Failure> {
    let platform = settings::platform(&args.selection.platform)?;
    let policy = settings::pull_policy(&args.policy)?;
    let interrupt = Interrupt::listen()?;
    let registry = settings::registry(&args.selection.registry, global, &interrupt.cancel)?;
    let store = Store::open(root)?;
    let fail = |error| Failure::registry(error, interrupt.signal());
    let now = settings::now();
    let image = if policy == PullPolicy::Always {
        let reference = Reference::parse(&args.name)?;
        let resolved = resolve(&store, &registry, &reference, &platform, now).map_err(fail)?;
        let copying = Copying::start(global.quiet, "fetched");
        let pulled = pull_layers(&store, &registry, resolved, None, &|_, bytes| copying.more(bytes));
        copying.end();
        pulled.map_err(fail)?.image
    } else {
        let bases = Bases::new(&store, &registry);
        let warn =
            |text| reporter.warn(Page::warning("registry", text, "`--policy always` makes this an error"));
        let found = bases.resolve(&args.name, &platform, policy, now, &warn).map_err(fail)?;
        let copying = Copying::start(global.quiet, "fetched");
        let whole = bases.keep(&found, &|_, bytes| copying.more(bytes));
        copying.end();
        whole.map_err(fail)?;
        found.image.clone()
    };
    if !platform.runs(&image.platform()) {
        let text = format!("`{}` is for {}, not for {platform}", args.name, image.platform());
        reporter.warn(Page::warning("platform", text, "choose another with `--platform`"));
    }
    store.warnings().into_iter().for_each(|text| reporter.warn(Page::of_store(text)));
    let id = image.config_blob.digest;
    if global.quiet {
        ui::data(&id.to_string());
    } else {
        ui::data(&format!("successful pull {} with the image ID: {}", args.name, id.hex()));
    }
    Ok(())
}
