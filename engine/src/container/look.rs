//! What an image wants: the finds of its files, beside what its base has.

use std::collections::BTreeSet;

use cache::Table;
use solver::{Event, ImageSpec, TreeDigest};

use super::base::Present;
use super::wanted::{Wanted, carried_by};
use crate::build::BuiltImage;
use crate::discover::{Asked, Discovered, Scan, Searcher, Unit, changed_places, discover, key_of};
use crate::error::{BuildError, StepError};
use crate::session::Session;
use crate::state::State;

/// What is looked through.
struct Look {
    state: State,
    /// The only places, if not all.
    only: Option<BTreeSet<Unit>>,
}

impl Session<'_> {
    /// Looks for container images in the files of an image, and warns of what could not be looked into. Where the base says
    /// what it carries, places that this build does not change are not looked at, and none of its layers is fetched for
    /// them. `skip` names applications that are not looked at, `ignored` says which references do not count.
    ///
    /// # Errors
    /// When a file cannot be read, or a layer of the base cannot be had.
    pub fn wanted(
        &self,
        built: &BuiltImage,
        spec: &ImageSpec,
        skip: &BTreeSet<String>,
        ignored: &dyn Fn(&str) -> bool,
    ) -> Result<Wanted, BuildError> {
        let mut wanted = Wanted::of(spec);
        let base = built.base.and_then(|digest| self.bases.get(&digest));
        let carried = base.as_ref().and_then(|base| carried_by(&base.image));
        let applications: BTreeSet<String> = base
            .iter()
            .filter_map(|base| base.image.extension.as_ref())
            .flat_map(|extension| extension.applications.iter().map(|application| application.name.clone()))
            // COPY may have made one too.
            .chain(carried.iter().flatten().filter_map(|image| image.app_name.clone()))
            .collect();
        self.scannable(&built.deltas)?;
        // Only beside a list does it matter which places this build changes.
        let beside = match carried {
            Some(carried) => {
                changed_places(&built.deltas, self.store, &self.searcher())?.map(|changed| (carried, changed))
            }
            None => None,
        };
        let Some((carried, changed)) = beside else {
            let state = self.state_of(built)?;
            let found = self.look(spec, skip, &Look { state, only: None })?;
            wanted.add_found(&found, ignored)?;
            if let Some(base) = built.base {
                let state = self.base_state(&base)?;
                wanted.take_present(Present::in_state(&self.trees, &state)?);
            }
            return Ok(wanted);
        };
        let is_of_base = |unit: &Unit| match unit {
            // What is in one of its files does not depend on another's.
            Unit::Manifests => false,
            Unit::Charts => true,
            Unit::Application(_) => unit.application().is_some_and(|name| applications.contains(&name)),
        };
        let state = if changed.iter().any(is_of_base) {
            self.state_of(built)?
        } else {
            State::of(built.deltas.clone())
        };
        let searched: BTreeSet<String> = changed.iter().filter_map(Unit::application).collect();
        let found = self.look(spec, skip, &Look { state, only: Some(changed) })?;
        wanted.add_found(&found, ignored)?;
        wanted.take_from_base(&carried, &|name| searched.contains(name));
        Ok(wanted)
    }

    /// Makes sure that what deltas have of the places is known, or can be looked at.
    fn scannable(&self, deltas: &[TreeDigest]) -> Result<(), BuildError> {
        if self.bases.upstream().is_none() {
            return Ok(());
        }
        let searcher = self.searcher();
        let is_unknown = |delta: &TreeDigest| match self.store.get(Table::Scans, &key_of(delta)) {
            Some(Scan::Delta(parts)) => !parts.iter().all(|part| part.is_searched()),
            _ => searcher.taken(delta).is_none(),
        };
        let unknown: Vec<TreeDigest> = deltas.iter().copied().filter(is_unknown).collect();
        let failed = |source| {
            BuildError::Steps(vec![StepError { name: "search".to_owned(), spans: Vec::new(), source }])
        };
        self.readable(&unknown).map_err(failed)
    }

    fn searcher(&self) -> Searcher<'_> {
        let helm = self.options.helm.as_deref();
        let upstream = self.bases.upstream();
        Searcher { trees: &self.trees, contents: &self.contents, helm, values: None, upstream }
    }

    /// The final state of an image.
    fn state_of(&self, built: &BuiltImage) -> Result<State, BuildError> {
        let mut state = match built.base {
            Some(base) => self.base_state(&base)?,
            None => State::default(),
        };
        state.deltas.extend(&built.deltas);
        Ok(state)
    }

    fn look(&self, spec: &ImageSpec, skip: &BTreeSet<String>, look: &Look) -> Result<Discovered, BuildError> {
        let asked = Asked { values: self.chart_values(spec, skip)?, skip, only: look.only.clone() };
        let found = discover(&look.state, &asked, self.store, &self.searcher(), &self.pool)?;
        self.warn_of_unused_values(spec, &found, skip);
        for (text, hint) in found.warnings() {
            self.events.event(Event::Warning { text, hint, span: None });
        }
        Ok(found)
    }
}
