//! `sealer push`

use std::path::Path;

use cache::Store;
use engine::registry::{Pushed, Reference, push};
use engine::{Images, ManifestKind, Registry, Tagged};

use super::existing_store;
use crate::args::{Global, Push};
use crate::interrupt::Interrupt;
use crate::progress::Copying;
use crate::report::Failure;
use crate::{settings, ui};

/// Sends an image of the store to a registry.
pub(crate) fn run(args: &Push, global: &Global, root: &Path) -> Result<(), Failure> {
    let all = settings::boolean("--all", &args.all)?;
    let interrupt = Interrupt::listen()?;
    let registry = settings::registry(&args.registry, global, &interrupt.cancel)?;
    let store = existing_store(root, &args.name)?;
    let images = Images::new(&store);
    let found = images.find(&args.name)?;
    let tagged = if all { found } else { of_host(&images, &found)? };
    let to = destination(args.destination.as_deref(), &tagged, &args.name)?;
    let pushed = send(&store, &registry, &tagged, &to, global.quiet, &interrupt)?;
    if global.quiet {
        ui::data(&tagged.manifest.digest.to_string());
    } else {
        tell(&tagged, &to, pushed);
    }
    Ok(())
}

/// This machine's image of an index, under the name of the index.
pub(super) fn of_host(images: &Images<'_>, found: &Tagged) -> Result<Tagged, Failure> {
    let mut one = images.for_platform(found, &settings::host_platform())?;
    one.name.clone_from(&found.name);
    Ok(one)
}

/// Where an image goes: where it was told to, else where its name says.
pub(super) fn destination(given: Option<&str>, tagged: &Tagged, asked: &str) -> Result<Reference, Failure> {
    let nowhere = || {
        Failure::usage(format!("`{asked}` has no name that says which registry it belongs to"))
            .hint("say where to: `sealer push IMAGE HOST/REPOSITORY:TAG`, or `sealer tag` it so")
    };
    if let Some(given) = given {
        return Ok(Reference::parse(given)?);
    }
    let name = tagged.name.as_deref().filter(|name| !name.starts_with("localhost/")).ok_or_else(nowhere)?;
    Ok(Reference::parse(name)?)
}

/// Pushes, and remembers that the registry has it.
pub(crate) fn send(
    store: &Store,
    registry: &Registry,
    tagged: &Tagged,
    to: &Reference,
    quiet: bool,
    interrupt: &Interrupt,
) -> Result<Pushed, Failure> {
    let copying = Copying::start(quiet, "sent");
    let pushed = push(store, registry, tagged, to, &|bytes| copying.more(bytes));
    copying.end();
    let pushed = pushed.map_err(|error| Failure::registry(error, interrupt.signal()))?;
    if let Some(name) = tagged.name.as_ref().filter(|name| **name == to.full_name()) {
        // What is in a registry now can be taken from there by its neighbours.
        let line = Tagged { origin: Some(tagged.manifest.digest), ..tagged.clone() };
        Images::new(store).put(std::slice::from_ref(name), line)?;
    }
    Ok(pushed)
}

/// Says what came of a push.
pub(crate) fn tell(tagged: &Tagged, to: &Reference, pushed: Pushed) {
    let Pushed { uploaded, mounted, present } = pushed;
    let digest = tagged.manifest.digest;
    let what = if tagged.kind == ManifestKind::Index { "index" } else { "image" };
    ui::message(&format!(
        "successfully pushed docker://{to} with digest {digest} ({what}: {uploaded} blobs sent, {mounted} mounted, {present} were there)"
    ));
}
