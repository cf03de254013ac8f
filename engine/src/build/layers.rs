//! Which layers an image has: one for each step, or one for each group of steps.

use cache::Table;
use rayon::prelude::*;
use solver::{HardLinks, Layer, TreeDigest};

use super::Work;
use crate::chain::Chain;
use crate::error::BuildError;
use crate::group::{LAYER_LIMIT, MOST_LAYERS, group_key, groups, merged};
use crate::outcome::ImageOutcome;
use crate::session::Session;

/// Layers that the steps leave for the container images that come after them.
const IMAGE_LAYERS: usize = 16;
/// Layers on a base that has as many as we make: one for steps, one for container images.
const ON_FULL_BASE: usize = 2;

impl Session<'_> {
    /// By position: whether a step has a layer of its own in an image.
    pub(crate) fn single_layers(&self, budgets: &[usize]) -> Vec<bool> {
        let mut makes_layer = vec![false; self.graph.len()];
        for (chain, budget) in self.chains.iter().zip(budgets) {
            let is_single = chain.steps.len() <= *budget;
            chain.steps.iter().for_each(|step| makes_layer[step.position()] |= is_single);
        }
        makes_layer
    }

    /// How many layers the steps of each image may have.
    pub(crate) fn layer_budgets(&self) -> Result<Vec<usize>, BuildError> {
        let budget = |(chain, &count): (&Chain, &usize)| {
            // What stands on a full base takes as little as it can, and leaves room for those that stand on it.
            let few = MOST_LAYERS.saturating_sub(count).min(ON_FULL_BASE);
            let all = LAYER_LIMIT.saturating_sub(count).max(few);
            let kept = if self.options.carries_images { IMAGE_LAYERS.min(all / 2) } else { 0 };
            let budget = Some(all - kept).filter(|budget| *budget > 0 || chain.steps.is_empty());
            budget.ok_or(BuildError::TooManyLayers { count })
        };
        self.chains.iter().zip(&self.layers_below).map(budget).collect()
    }

    /// The layers of an image, and for each step whether it is the first of its layer.
    pub(super) fn layers_of(
        &self,
        work: &Work<'_, '_>,
        chain: &Chain,
        budget: usize,
    ) -> Result<ImageOutcome, BuildError> {
        let members: Vec<_> = chain.steps.iter().map(|&step| self.member(step, work.delta(step))).collect();
        let groups = groups(&self.trees, &members, budget)?;
        let make = |group: &Vec<usize>| -> Result<Layer, BuildError> {
            let key = group_key(&members, group);
            // Merging a group reads every directory in it, so a known result is worth a look-up.
            if group.len() > 1
                && let Some(delta) = self.store.get(Table::Groups, &key)
                && let Some(layer) = self.usable_layer(&delta, HardLinks::none())
            {
                return Ok(layer);
            }
            let deltas: Vec<TreeDigest> = group.iter().map(|member| members[*member].delta).collect();
            if group.len() > 1 {
                self.readable(&deltas)
                    .map_err(|error| self.failure(vec![self.step_error(chain.steps[group[0]], error)]))?;
            }
            let delta = merged(&self.trees, &deltas)?;
            if group.len() > 1 {
                self.store.put(Table::Groups, &key, &delta);
            }
            let links = match group[..] {
                [only] => work.result(chain.steps[only]).links(),
                // Merged layers have none.
                _ => HardLinks::none(),
            };
            let layer = self.layer(delta, links, &|_| {});
            layer.map_err(|error| self.failure(vec![self.step_error(chain.steps[group[0]], error.into())]))
        };
        let layers = self.pool.install(|| groups.par_iter().map(make).collect::<Result<Vec<_>, _>>())?;
        let mut own_layer = vec![false; members.len()];
        groups.iter().for_each(|group| own_layer[group[0]] = true);
        let records = chain.steps.iter().map(|&step| work.result(step).clone()).collect();
        Ok(ImageOutcome { records, layers, own_layer })
    }
}
