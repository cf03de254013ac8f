//! `sealer merge`

use std::path::Path;

use engine::merge::{self, MergeError};
use engine::{Images, LayerCompression, ManifestKind, TimePolicy};

use super::existing_store;
use super::save::complete;
use crate::args::{Global, Merge};
use crate::interrupt::Interrupt;
use crate::report::{Failure, Page, Reporter};
use crate::{settings, ui};

/// Most contradictions shown.
const SHOWN: usize = 20;

/// Makes one image of several.
pub(crate) fn run(args: &Merge, global: &Global, reporter: &Reporter, root: &Path) -> Result<(), Failure> {
    let names = settings::names(&args.target)?;
    let platform = settings::platform(&args.selection.platform)?;
    let times = settings::times(args.timestamp.as_deref())?;
    if times == TimePolicy::Keep {
        return Err(Failure::usage(
            "`--timestamp keep` is of no use here: layers are taken over as they are",
        ));
    }
    let interrupt = Interrupt::listen()?;
    let registry = settings::registry(&args.selection.registry, global, &interrupt.cancel)?;
    let store = existing_store(root, &args.images[0])?;
    let images = Images::new(&store);
    let mut given = Vec::new();
    for name in &args.images {
        let found = images.find(name)?;
        let tagged = images.for_platform(&found, &platform)?;
        if args.selection.platform.is_empty() && found.kind == ManifestKind::Index {
            let offered = images.instances(&found)?;
            let offered: Vec<String> =
                offered.into_iter().map(|(_, platform)| platform.to_string()).collect();
            let text = format!("`{name}` is for {}; its image for {platform} is merged", offered.join(", "));
            reporter.warn(Page::warning("platform", text, "`--platform` says which"));
        }
        let tagged = complete(&store, &registry, tagged, global.quiet, &interrupt)?;
        given.push((name.clone(), images.read(&tagged)?));
    }
    let work = merge::Merge {
        images: &given,
        launch: args.launch.as_deref(),
        times,
        compression: LayerCompression::default(),
        sealer_version: env!("CARGO_PKG_VERSION"),
        cancel: &interrupt.cancel,
    };
    let merged = work.run(&store).map_err(|error| match error.is_cancelled() {
        true => Failure::Cancelled { signal: interrupt.signal(), what: "cancelled; nothing was merged" },
        false => failure(&error),
    })?;
    let id = store.blobs().put(&merged.config)?.digest;
    let manifest = store.blobs().put(&merged.manifest)?;
    store.commit::<Failure>(|| Ok(images.tag(&names, &manifest, ManifestKind::Image, settings::now())?))?;
    if global.quiet {
        ui::data(&id.to_string());
    } else {
        ui::message(&format!("merged {} images to {} ({})", given.len(), names.join(", "), manifest.digest));
    }
    Ok(())
}

fn failure(error: &MergeError) -> Failure {
    let page = Page::of("merge", error);
    match error {
        MergeError::Conflicts(all) => {
            let mut page = page;
            for conflict in all.iter().take(SHOWN) {
                let [(one, this), (other, that)] = &conflict.sides;
                let text = format!("\n{}:\n  {one}: {this}\n  {other}: {that}", conflict.about);
                page.message.extend(
                    text.chars().map(|char| if char.is_control() && char != '\n' { '?' } else { char }),
                );
            }
            if all.len() > SHOWN {
                page.message.push_str(&format!("\nand {} more", all.len() - SHOWN));
            }
            page.hint(
                "build one of them again without what the other has; for `launch`, say `--launch APP,APP`",
            )
            .into()
        }
        MergeError::Platforms { .. } => page.hint("choose images for one platform with `--platform`").into(),
        _ => page.into(),
    }
}
