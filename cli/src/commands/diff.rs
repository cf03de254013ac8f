//! `sealer diff`

use std::path::Path;

use cache::Store;
use engine::diff::{Change, Difference, ImageDiff, diff};
use engine::registry::LayerSource;
use engine::{Cancel, Images, Registry, State, StoredImage};
use solver::Platform;

use super::existing_store;
use crate::args::{Diff, Global};
use crate::commands::images::bytes;
use crate::interrupt::Interrupt;
use crate::report::Failure;
use crate::{settings, ui};

/// Prints what differs between two images.
pub(crate) fn run(args: &Diff, global: &Global, root: &Path) -> Result<(), Failure> {
    let platform = settings::platform(&args.selection.platform)?;
    let interrupt = Interrupt::listen()?;
    let registry = settings::registry(&args.selection.registry, global, &interrupt.cancel)?;
    let store = existing_store(root, &args.first)?;
    let trees = engine::tree::Trees::new(&store);
    let (platform, cancel) = (&platform, &interrupt.cancel);
    let side = Side { store: &store, registry: &registry, trees: &trees, platform, cancel };
    let fail = |error| Failure::registry(error, interrupt.signal());
    let first = side.read(&args.first)?.known().map_err(fail)?;
    let second = side.read(&args.second)?.known().map_err(fail)?;
    let found = diff(&trees, (&first.0, &first.1), (&second.0, &second.1))
        .map_err(|error| Failure::usage(error.to_string()))?;
    // What was read of layers is known the next time.
    engine::keep_finished(&store)?;
    if args.json {
        let json = serde_json::to_string_pretty(&found).map_err(|error| Failure::usage(error.to_string()))?;
        ui::data(&json);
    } else {
        lines(&found).iter().for_each(|line| ui::data(line));
    }
    Ok(())
}

/// Where images to compare are read.
struct Side<'a> {
    store: &'a Store,
    registry: &'a Registry,
    trees: &'a engine::tree::Trees<'a>,
    platform: &'a Platform,
    cancel: &'a Cancel,
}

/// An image whose layers were not looked into yet.
struct Unread<'a> {
    side: &'a Side<'a>,
    image: StoredImage,
    source: LayerSource<'a>,
}

impl Side<'_> {
    fn read(&self, name: &str) -> Result<Unread<'_>, Failure> {
        let images = Images::new(self.store);
        let tagged = images.for_platform(&images.find(name)?, self.platform)?;
        let source = LayerSource::of(self.store, self.registry, &tagged);
        Ok(Unread { side: self, image: images.read(&tagged)?, source })
    }
}

impl Unread<'_> {
    fn known(self) -> Result<(StoredImage, State), engine::RegistryError> {
        let Side { store, trees, .. } = self.side;
        self.source.fetch(&self.image.layers, Some(trees), &|_, _| {})?;
        let state = engine::source::image::state_only(&self.image, store, trees, self.side.cancel)?;
        Ok((self.image, state))
    }
}

/// The differences as people read them.
fn lines(found: &ImageDiff) -> Vec<String> {
    let mut lines = Vec::new();
    let mut section = |title: &str, all: &[Difference], prefix: &str| {
        if !all.is_empty() {
            lines.push(format!("{title}:"));
            lines.extend(all.iter().map(|one| line(one, prefix)));
        }
    };
    section("files", &found.files, "/");
    section("applications", &found.apps, "");
    section("labels", &found.labels, "");
    if let Some((before, after)) = &found.launch {
        let shown = |launch| serde_json::to_string(launch).unwrap_or_default();
        lines.push("launch:".to_owned());
        lines.push(format!("  - {}", shown(before)));
        lines.push(format!("  + {}", shown(after)));
    }
    let share = &found.layers;
    lines.push(format!(
        "layers: {} shared ({}), {} of the first alone ({}), {} of the second alone ({})",
        share.shared,
        bytes(share.shared_bytes),
        share.only_first,
        bytes(share.only_first_bytes),
        share.only_second,
        bytes(share.only_second_bytes),
    ));
    lines
}

fn line(one: &Difference, prefix: &str) -> String {
    let letter = match one.change {
        Change::Added => 'A',
        Change::Removed => 'D',
        Change::Changed => 'C',
    };
    // Names of files can be anything; what moves the cursor does not reach the terminal.
    let name: String = one.name.chars().map(|char| if char.is_control() { '?' } else { char }).collect();
    let detail = Some(&one.detail).filter(|detail| !detail.is_empty() && one.change == Change::Changed);
    let detail = detail.map_or(String::new(), |detail| {
        format!(" ({})", detail.replace(|char: char| char.is_control(), "?"))
    });
    format!("  {letter} {prefix}{name}{detail}")
}
