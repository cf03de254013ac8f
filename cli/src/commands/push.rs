//! `sealer push`

use std::path::Path;

use cache::Store;
use engine::registry::{Pushed, Reference, push};
use engine::{Images, ManifestKind, Registry, Tagged};

use super::existing_store;
use crate::args::{Global, Push};
use crate::interrupt::Interrupt;
use crate::progress::{Copying, counted};
use crate::report::{Failure, Page};
use crate::{settings, ui};

/// Sends an image of the store to a registry.
pub(crate) fn run(args: &Push, global: &Global, root: &Path) -> Result<(), Failure> {
    let interrupt = Interrupt::listen()?;
    let registry = settings::registry(&args.registry, global, &interrupt.cancel)?;
    let store = existing_store(root, &args.name)?;
    let found = Images::new(&store).find(&args.name)?;
    Pushing { args, quiet: global.quiet, interrupt: &interrupt, registry: &registry, store: &store }
        .run(found)
}

/// What is sent, and with what.
pub(super) struct Pushing<'a> {
    pub(super) args: &'a Push,
    pub(super) quiet: bool,
    pub(super) interrupt: &'a Interrupt,
    pub(super) registry: &'a Registry,
    pub(super) store: &'a Store,
}

impl Pushing<'_> {
    /// Sends an image, or this machine's of an index, and says what came of it.
    pub(super) fn run(&self, found: Tagged) -> Result<(), Failure> {
        let all = settings::boolean("--all", &self.args.all)?;
        let tagged = if all { found } else { of_host(&Images::new(self.store), &found)? };
        let to = destination(self.args.destination.as_deref(), &tagged, &self.args.name)?;
        let pushed = send(self.store, self.registry, &tagged, &to, self.quiet, self.interrupt)?;
        if self.quiet {
            ui::data(&tagged.manifest.digest.to_string());
        } else {
            ui::message(&told(&tagged, &to, pushed));
        }
        Ok(())
    }
}

/// This machine's image of an index, under the name of the index.
fn of_host(images: &Images<'_>, found: &Tagged) -> Result<Tagged, Failure> {
    let one = images.for_platform(found, &settings::host_platform());
    let mut one = one.map_err(|error| {
        Failure::from(Page::of("image", &error)).hint("without `--all=false` all are pushed")
    })?;
    one.name.clone_from(&found.name);
    Ok(one)
}

/// Where an image goes: where it was told to, else where its name says.
fn destination(given: Option<&str>, tagged: &Tagged, asked: &str) -> Result<Reference, Failure> {
    let nowhere = || {
        Failure::usage(format!("`{asked}` has no name that says which registry it belongs to"))
            .hint("say where to: `sealer push IMAGE HOST/REPOSITORY:TAG`, or `sealer tag` it so")
    };
    let name = match given {
        Some(given) => given,
        None => tagged.name.as_deref().filter(|name| !name.starts_with("localhost/")).ok_or_else(nowhere)?,
    };
    let to = Reference::parse(name)?;
    match (to.digest, &to.tag) {
        (Some(_), Some(_)) => Err(Failure::usage(format!("`{name}` has a tag and a digest"))
            .hint("leave the digest out: the tag will lead to it")),
        (Some(digest), None) if digest != tagged.manifest.digest => {
            let what = format!("`{asked}` has the digest `{}`, not that of `{name}`", tagged.manifest.digest);
            Err(Failure::usage(what).hint("say where to with a tag: `sealer push IMAGE HOST/REPOSITORY:TAG`"))
        }
        _ => Ok(to),
    }
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

/// What came of a push.
pub(crate) fn told(tagged: &Tagged, to: &Reference, pushed: Pushed) -> String {
    let Pushed { uploaded, mounted, present } = pushed;
    let digest = tagged.manifest.digest;
    let what = if tagged.kind == ManifestKind::Index { "index" } else { "image" };
    format!(
        "successfully pushed docker://{to} with digest {digest} ({what}: {} sent, {mounted} mounted, {present} were there)",
        counted(uploaded, "blob")
    )
}
