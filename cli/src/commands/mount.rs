//! `sealer mount` and `sealer umount`

use std::path::Path;

use cache::Store;
use engine::Images;
use engine::mounts::{self, MountError, Mounted};

use super::existing_store;
use super::save::complete;
use crate::args::{Global, Mount, Umount};
use crate::interrupt::Interrupt;
use crate::report::{Failure, Page, Reporter};
use crate::{settings, ui};

/// Mounts an image, or lists what is mounted.
pub(crate) fn mount(args: &Mount, global: &Global, reporter: &Reporter, root: &Path) -> Result<(), Failure> {
    let Some(name) = &args.name else { return list(args.json, root) };
    let platform = settings::platform(&args.selection.platform)?;
    let interrupt = Interrupt::listen()?;
    let registry = settings::registry(&args.selection.registry, global, &interrupt.cancel)?;
    let store = existing_store(root, name)?;
    let images = Images::new(&store);
    let tagged = images.for_platform(&images.find(name)?, &platform)?;
    let tagged = complete(&store, &registry, tagged, global.quiet, &interrupt)?;
    let image = images.read(&tagged)?;
    let (mounted, was_there) = mounts::mount(&store, &image, &interrupt.cancel)
        .map_err(|error| failure(error, interrupt.signal()))?;
    if was_there {
        let text = format!("`{name}` is mounted already");
        reporter.warn(Page::warning("mounted", text, format!("`sealer umount {name}` unmounts it")));
    }
    let path = mounted.path.display();
    if global.quiet {
        ui::data(&path.to_string());
    } else if args.json {
        ui::data(&json(&mounted).to_string());
    } else {
        ui::data(&format!("mount sealer image {name} to {path} successful"));
    }
    Ok(())
}

fn json(mounted: &Mounted) -> serde_json::Value {
    serde_json::json!({ "id": mounted.id, "path": mounted.path })
}

fn list(as_json: bool, root: &Path) -> Result<(), Failure> {
    let mounted = mounts::mounted(root).map_err(|error| failure(error, 0))?;
    if as_json {
        ui::data(&format!("{:#}", mounted.iter().map(json).collect::<serde_json::Value>()));
        return Ok(());
    }
    let mut table = vec![vec!["IMAGE ID".to_owned(), "MOUNT PATH".to_owned()]];
    let row = |one: Mounted| vec![one.id.chars().take(12).collect(), one.path.display().to_string()];
    table.extend(mounted.into_iter().map(row));
    ui::table(&table);
    Ok(())
}

/// Unmounts images.
pub(crate) fn umount(args: &Umount, root: &Path) -> Result<(), Failure> {
    let mounted = mounts::mounted(root).map_err(|error| failure(error, 0))?;
    let chosen = if args.all { mounted } else { named(&args.names, &mounted, root)? };
    for one in &chosen {
        mounts::unmount(root, one).map_err(|error| failure(error, 0))?;
        ui::data(&format!("umount {} successful", one.id.chars().take(12).collect::<String>()));
    }
    Ok(())
}

/// What names and ids mean among what is mounted; images that were removed since are found by their ids.
fn named(names: &[String], mounted: &[Mounted], root: &Path) -> Result<Vec<Mounted>, Failure> {
    let mut chosen: Vec<Mounted> = Vec::new();
    for name in names {
        let digits = name.strip_prefix("sha256:").unwrap_or(name);
        let by_id: Vec<&Mounted> =
            mounted.iter().filter(|one| digits.len() >= 3 && one.id.starts_with(digits)).collect();
        let found = match by_id.as_slice() {
            [only] => Some((*only).clone()),
            [] => by_name(name, mounted, root)?,
            _ => {
                return Err(
                    Failure::usage(format!("`{name}` could be several images")).hint("give more digits")
                );
            }
        };
        let not_mounted =
            || Failure::usage(format!("`{name}` is not mounted")).hint("`sealer mount` lists what is");
        let found = found.ok_or_else(not_mounted)?;
        if chosen.iter().all(|other| other.id != found.id) {
            chosen.push(found);
        }
    }
    Ok(chosen)
}

fn by_name(name: &str, mounted: &[Mounted], root: &Path) -> Result<Option<Mounted>, Failure> {
    let Some(store) = Store::open_existing(root)? else { return Ok(None) };
    let images = Images::new(&store);
    let found = images.find(name)?;
    let mut ids = vec![images.summary(&found)?.id.hex()];
    if found.kind == engine::ManifestKind::Index {
        for (instance, _) in images.instances(&found)? {
            ids.push(images.summary(&instance)?.id.hex());
        }
    }
    Ok(mounted.iter().find(|one| ids.contains(&one.id)).cloned())
}

fn failure(error: MountError, signal: u8) -> Failure {
    match error {
        MountError::Transport(error) => Failure::transport(error, signal),
        MountError::NotRoot => Page::of("mount", &error)
            .hint("run it as root or in `unshare -rm`; `sealer build --output type=rootfs,dest=DIR` needs neither")
            .into(),
        MountError::Kernel { what: "unmounted", .. } => {
            Page::of("mount", &error).hint("leave the directory, and end what has files of it open").into()
        }
        other => Page::of("mount", &other).into(),
    }
}
