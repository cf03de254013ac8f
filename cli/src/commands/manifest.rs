//! `sealer manifest`: indexes of images, by hand.

use std::path::Path;

use cache::Store;
use engine::images::Composition;
use engine::{Images, ImagesError, ManifestKind, Tagged, full_name};
use solver::BlobDigest;

use super::existing_store;
use super::push::Pushing;
use crate::args::{
    EntryFlags, Global, Manifest, ManifestAdd, ManifestAnnotate, ManifestCommand, ManifestCreate,
    ManifestPush, ManifestRemove,
};
use crate::interrupt::Interrupt;
use crate::report::Failure;
use crate::{settings, ui};

/// Does one of the things that can be done with an index.
pub(crate) fn run(args: &Manifest, global: &Global, root: &Path) -> Result<(), Failure> {
    match &args.command {
        ManifestCommand::Create(args) => create(args, root),
        ManifestCommand::Add(args) => add(args, root),
        ManifestCommand::Remove(args) => remove(args, root),
        ManifestCommand::Annotate(args) => annotate(args, root),
        ManifestCommand::Inspect(args) => inspect(&args.name, root),
        ManifestCommand::Push(args) => push(args, global, root),
        ManifestCommand::Delete(args) => args.names.iter().try_for_each(|name| delete(name, root)),
    }
}

fn create(args: &ManifestCreate, root: &Path) -> Result<(), Failure> {
    let name = full_name(&args.name)?;
    let store = Store::open(root)?;
    let images = Images::new(&store);
    let added = found(&images, &args.images)?;
    let taken = |hint: &str| Failure::usage(format!("`{name}` is there already")).hint(hint);
    if images.find(&name).is_ok_and(|found| found.kind == ManifestKind::Image) {
        let hint = "it is a single image; give the index another name, or remove it with `sealer rmi`";
        return Err(taken(hint));
    }
    let made = images.compose(&name, settings::now(), |before| {
        if before.is_some() {
            return Err(taken(
                "`sealer manifest add` puts more images into it, `sealer manifest delete` removes it",
            ));
        }
        let mut composition = Composition::default();
        add_all(&images, &mut composition, &added, &EntryFlags::default())?;
        Ok(composition)
    })?;
    ui::data(&format!("successfully create manifest {name} with ID {}", made.digest.hex()));
    Ok(())
}

fn add(args: &ManifestAdd, root: &Path) -> Result<(), Failure> {
    let (target, sources) = match (&args.target, args.names.as_slice()) {
        (Some(target), sources) => (target, sources),
        (None, [target, sources @ ..]) if !sources.is_empty() => (target, sources),
        (None, _) => {
            return Err(Failure::usage("an index and an image are needed")
                .hint("sealer manifest add INDEX IMAGE…, or sealer manifest add -t INDEX IMAGE…"));
        }
    };
    let name = full_name(target)?;
    let store = Store::open(root)?;
    let images = Images::new(&store);
    if images.find(&name).is_ok() {
        index(&images, &name)?;
    }
    let added = found(&images, sources)?;
    let made = images.compose(&name, settings::now(), |before| {
        let mut composition = before.unwrap_or_default();
        add_all(&images, &mut composition, &added, &args.entry)?;
        Ok::<_, Failure>(composition)
    })?;
    ui::data(&format!("{name}: {}", made.digest));
    Ok(())
}

/// Images by name; all, or an error.
fn found(images: &Images<'_>, names: &[String]) -> Result<Vec<Tagged>, Failure> {
    let find = |name: &String| match images.find(name) {
        Ok(found) => Ok(found),
        Err(error @ ImagesError::NotFound { .. }) => {
            Err(Failure::from(error).hint(format!("if a registry has it: `sealer pull {name}`")))
        }
        Err(error) => Err(error.into()),
    };
    names.iter().map(find).collect()
}

/// Adds images; of an index all that are in it.
fn add_all(
    images: &Images<'_>,
    composition: &mut Composition,
    added: &[Tagged],
    flags: &EntryFlags,
) -> Result<(), Failure> {
    for tagged in added {
        for (instance, mut entry) in images.entries_of(tagged)? {
            describe(&mut entry, flags)?;
            composition.add(entry, &instance);
        }
    }
    Ok(())
}

/// Says of an entry what the flags say.
fn describe(entry: &mut engine::images::Entry, flags: &EntryFlags) -> Result<(), Failure> {
    entry.annotations.extend(settings::pairs("--annotation", &flags.annotation, "annotations")?);
    if !flags.say_platform() {
        return Ok(());
    }
    let platform = entry.platform.get_or_insert_default();
    if let Some(os) = &flags.os {
        platform.os.clone_from(os);
    }
    if let Some(architecture) = &flags.arch {
        platform.architecture.clone_from(architecture);
    }
    if flags.variant.is_some() {
        platform.variant.clone_from(&flags.variant);
    }
    if flags.os_version.is_some() {
        platform.os_version.clone_from(&flags.os_version);
    }
    if !flags.os_features.is_empty() {
        platform.os_features = Some(flags.os_features.clone());
    }
    Ok(())
}

/// The index of a name that must have one.
fn index(images: &Images<'_>, asked: &str) -> Result<(String, Tagged), Failure> {
    let found = images.find(asked)?;
    let name = found.name.clone().unwrap_or_else(|| found.manifest.digest.to_string());
    if found.kind == ManifestKind::Index {
        return Ok((name, found));
    }
    Err(Failure::usage(format!("`{name}` is a single image, not an index")).hint("`sealer inspect` shows it"))
}

fn change(
    root: &Path,
    asked: &str,
    change: impl FnOnce(&Images<'_>, &mut Composition) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let store = existing_store(root, asked)?;
    let images = Images::new(&store);
    let (name, _) = index(&images, asked)?;
    let made = images.compose(&name, settings::now(), |before| {
        let mut composition = before.ok_or_else(|| Failure::usage(format!("`{name}` is gone")))?;
        change(&images, &mut composition)?;
        Ok::<_, Failure>(composition)
    })?;
    ui::data(&format!("{name}: {}", made.digest));
    Ok(())
}

fn remove(args: &ManifestRemove, root: &Path) -> Result<(), Failure> {
    let digest = digest(&args.digest)?;
    change(root, &args.name, |_, composition| {
        if composition.remove(&digest) { Ok(()) } else { Err(not_in(&digest, &args.name)) }
    })
}

fn annotate(args: &ManifestAnnotate, root: &Path) -> Result<(), Failure> {
    change(root, &args.name, |images, composition| {
        let digest = match args.image.parse::<BlobDigest>() {
            Ok(digest) => digest,
            Err(_) => images.find(&args.image)?.manifest.digest,
        };
        let entry = composition.entry(&digest).ok_or_else(|| not_in(&digest, &args.name))?;
        if args.entry.say_platform() && entry.platform.is_none() {
            // What the flags leave open stands in the config, if it is that of an image.
            let image = Tagged::new(solver::Descriptor { digest, size: 0 }, ManifestKind::Image, 0);
            entry.platform = images.entry_of(&image).ok().and_then(|entry| entry.platform);
        }
        describe(entry, &args.entry)
    })
}

fn not_in(digest: &BlobDigest, name: &str) -> Failure {
    Failure::usage(format!("`{digest}` is not in `{name}`"))
        .hint(format!("`sealer manifest inspect {name}` lists what is"))
}

fn digest(text: &str) -> Result<BlobDigest, Failure> {
    text.parse().map_err(|_| Failure::usage(format!("`{text}` is not a SHA-256 digest")))
}

/// Shows an index; of a single image the one that it would be alone in: sealer makes a list of an image for another platform
/// (spec §8), and who looks for its platform finds it here.
fn inspect(asked: &str, root: &Path) -> Result<(), Failure> {
    let store = existing_store(root, asked)?;
    let images = Images::new(&store);
    let found = images.find(asked)?;
    let composition = match found.kind {
        ManifestKind::Index => images.composition(&found)?,
        ManifestKind::Image => {
            let mut alone = Composition::default();
            add_all(&images, &mut alone, &[found], &EntryFlags::default())?;
            alone
        }
    };
    ui::json(&composition.index);
    Ok(())
}

fn push(args: &ManifestPush, global: &Global, root: &Path) -> Result<(), Failure> {
    if args.format != "oci" {
        return Err(Failure::usage(format!("an index cannot be pushed as `{}`", args.format))
            .hint("Docker's form has no annotations, which make an image a Sealer Image; use oci"));
    }
    let certificates =
        args.cert_dir.as_deref().map(settings::certificates_of).transpose()?.unwrap_or_default();
    let interrupt = Interrupt::listen()?;
    let registry = settings::registry_with(&args.push.registry, global, &interrupt.cancel, certificates)?;
    let store = existing_store(root, &args.push.name)?;
    let images = Images::new(&store);
    let (name, found) = index(&images, &args.push.name)?;
    let (args, rm) = (&args.push, args.rm);
    Pushing { args, quiet: global.quiet, interrupt: &interrupt, registry: &registry, store: &store }
        .run(found)?;
    if rm {
        images.remove(&name, false)?;
    }
    Ok(())
}

fn delete(asked: &str, root: &Path) -> Result<(), Failure> {
    let store = existing_store(root, asked)?;
    let images = Images::new(&store);
    let (name, _) = index(&images, asked)?;
    images.remove(&name, false)?;
    ui::data(&format!("untagged: {name}"));
    Ok(())
}
