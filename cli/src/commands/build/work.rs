//! The two turns of a build: its files, then the container images that they name.

use std::collections::BTreeSet;

use cache::Store;
use engine::container::Archives;
use engine::upstream::Upstream;
use engine::{Bases, BuildError, BuildOptions, Built, Carrying, Contexts, Export, PullPolicy, Session};
use solver::{Activity, Definition, Event, EventSink, ImageSpec, during};

use crate::settings::ImageLists;

/// What is built, and with what.
pub(super) struct Work<'a> {
    pub(super) store: &'a Store,
    pub(super) definition: &'a Definition,
    pub(super) specs: &'a [ImageSpec],
    /// Applications whose files are not looked through for container images.
    pub(super) not_searched: &'a BTreeSet<String>,
    pub(super) options: &'a BuildOptions,
    /// For its container images.
    pub(super) image_options: &'a BuildOptions,
    pub(super) bases: &'a Bases<'a>,
    pub(super) contexts: &'a Contexts<'a>,
    pub(super) events: &'a dyn EventSink,
    pub(super) policy: PullPolicy,
    pub(super) lists: &'a ImageLists,
    pub(super) archives: &'a Archives,
    pub(super) upstream: &'a Upstream<'a>,
    pub(super) export: &'a Export,
    /// The options of both turns when no cache is believed any more.
    pub(super) uncached: (&'a BuildOptions, &'a BuildOptions),
}

impl Work<'_> {
    /// Builds; again if what was the reason that it failed counts as absent then: a damaged blob, or a layer that a cache does
    /// not give out. Each time there are more of them, so it ends. No cache is asked any more after one has lied.
    pub(super) fn build(&self, carries_images: bool) -> Result<Built, BuildError> {
        let blobs = self.store.blobs();
        let (mut damaged, mut lost) = (blobs.damaged(), 0);
        loop {
            match self.attempt(carries_images) {
                Err(_) if self.upstream.is_distrusted() => {
                    self.warn(
                        "a remote cache said something that is not so; everything was built without it",
                        "`--cache-sign-key` believes only who has the key",
                    );
                    let (options, image_options) = self.uncached;
                    return Work { options, image_options, ..*self }.attempt(carries_images);
                }
                Err(_) if self.upstream.lost() > lost => {
                    self.warn(
                        "a remote cache does not give out what it names; what needs that was made here",
                        "`--cache-to` puts it there again",
                    );
                    lost = self.upstream.lost();
                }
                Err(_) if blobs.damaged() > damaged => {
                    self.warn(
                        "a blob of the store is damaged; what needs it was made again",
                        "`sealer cache verify` looks for more",
                    );
                    damaged = blobs.damaged();
                }
                built => return built,
            }
        }
    }

    fn warn(&self, text: &str, hint: &str) {
        self.events.event(Event::Warning { text: text.to_owned(), hint: hint.to_owned(), span: None });
    }

    /// Pin, plan, run; and in mode `all` the look for container images. Then the layers that have to be here.
    fn attempt(&self, carries_images: bool) -> Result<Built, BuildError> {
        let Self { store, definition, options, bases, contexts, events, .. } = *self;
        let session = Session::new(store, definition, options, bases, contexts, events)?;
        let pins = session.pin()?;
        let plan = session.plan(&pins)?;
        let mut built = session.run(&pins, &plan)?;
        if carries_images {
            during(events, Activity::ContainerImages, || self.carry(&session, &mut built))?;
        }
        session.add_records(&mut built);
        // The process ends soon, all at once; taking a hundred thousand directories apart one by one takes longer.
        std::mem::forget(session);
        engine::gather(store, &built, self.export, bases, events)?;
        Ok(built)
    }
}

impl Work<'_> {
    /// The second turn: the container images that the files name.
    fn carry(&self, session: &Session<'_>, built: &mut Built) -> Result<(), BuildError> {
        let mut all = Vec::new();
        for (image, spec) in built.images.iter().zip(self.specs) {
            let ignored = |name: &str| self.lists.ignored.matches(name);
            let search = || session.wanted(image, spec, self.not_searched, &ignored);
            let mut wanted = during(self.events, Activity::Search, search)?;
            self.lists.add_to(&mut wanted)?;
            all.push((spec.platform.clone(), wanted));
        }
        let Self { store, image_options: options, bases, contexts, events, policy, archives, .. } = *self;
        engine::carry(&Carrying { store, options, bases, contexts, events, policy, archives }, all, built)
    }
}
