//! `sealer rmi`

use std::path::Path;

use cache::Store;
use engine::Images;

use super::existing_store;
use crate::args::Rmi;
use crate::report::Failure;
use crate::ui;

/// Removes names, and images that nothing names any more. What can be removed is, whatever else cannot.
pub(crate) fn run(args: &Rmi, quiet: bool, root: &Path) -> Result<(), Failure> {
    let mut removed = 0;
    let mut pages = Vec::new();
    if args.prune {
        let Some(store) = Store::open_existing(root)? else { return Ok(()) };
        let ids = Images::new(&store).remove_dangling()?;
        removed = ids.len();
        ids.iter().for_each(|id| ui::data(&id.to_string()));
    }
    for name in &args.names {
        let store = existing_store(root, name)?;
        match Images::new(&store).remove(name, args.force) {
            Ok(done) => {
                if !quiet {
                    done.untagged.iter().for_each(|name| ui::data(&format!("untagged: {name}")));
                }
                removed += usize::from(done.id.is_some());
                done.id.iter().for_each(|id| ui::data(&id.to_string()));
            }
            Err(error) => match Failure::from(error) {
                Failure::Pages(more) => pages.extend(more),
                other => return Err(other),
            },
        }
    }
    if removed > 0 && !quiet {
        ui::message(
            "layers of removed images stay, where builds may use them again; `sealer cache prune` deletes what nothing needs",
        );
    }
    if pages.is_empty() { Ok(()) } else { Err(Failure::Pages(pages)) }
}
