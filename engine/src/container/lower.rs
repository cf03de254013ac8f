//! Container images as a definition: which files are whose, and the vertices that make them.

use std::collections::HashMap;

use solver::{ContainerImageOp, Definition, Metadata, Op, StoreContent, StoreFile, VertexDigest};

use super::base::Present;
use super::layout::{Content, files_of};
use super::resolve::{ContainerError, ResolvedImage};

/// Between the name of an image and the first digits of a blob, in the name of a step.
pub(super) const BLOB: &str = ": blob ";

/// Lowers the container images of one image, sorted by name: a file that several have is the first one's, and one that is
/// present is no one's.
///
/// # Errors
/// Every two that want different files at one path.
pub(super) fn lower(
    images: &[ResolvedImage],
    present: &Present,
) -> Result<Definition, Vec<(String, ContainerError)>> {
    let mut taken: HashMap<String, (Content, &ResolvedImage)> = HashMap::new();
    let (mut definition, mut below) = (Definition::default(), None);
    let mut collisions = Vec::new();
    for image in images {
        let all = files_of(image);
        let mut own = Vec::new();
        for (path, content) in all.files {
            if present.has(&path) {
                continue;
            }
            match taken.get(&path) {
                None => {
                    taken.insert(path.clone(), (content, image));
                    own.push((path, content));
                }
                Some((known, _)) if *known == content => {}
                Some((_, other)) => {
                    collisions.push(collision(image, other));
                    break;
                }
            }
        }
        if own.is_empty() {
            continue;
        }
        let step = add(&mut definition, image, own, all.empty_dirs);
        let hidden = Metadata { hidden: true, ..Metadata::default() };
        below = Some(definition.add(Op::State, [step].into_iter().chain(below).collect(), hidden));
    }
    if let Some(target) = below {
        definition.set_target(target);
    }
    if collisions.is_empty() { Ok(definition) } else { Err(collisions) }
}

fn add(
    definition: &mut Definition,
    image: &ResolvedImage,
    own: Vec<(String, Content)>,
    empty_dirs: Vec<String>,
) -> VertexDigest {
    let name = image.reference.to_string();
    let mut inputs = Vec::new();
    let mut file = |(path, content): (String, Content)| {
        let content = match content {
            Content::Link(digest) => StoreContent::Link(digest),
            Content::Blob(blob) => {
                let shown = format!("{name}{BLOB}{}", &blob.digest.hex()[..12]);
                let is_small = [image.root.blob, image.manifest.blob].contains(&blob);
                let metadata = Metadata { name: shown, hidden: is_small, ..Metadata::default() };
                inputs.push(definition.add(Op::Blob(blob), Vec::new(), metadata));
                StoreContent::Input(inputs.len() - 1)
            }
        };
        StoreFile { path, content }
    };
    let files = own.into_iter().map(&mut file).collect();
    let op = ContainerImageOp { name: place(image), files, empty_dirs };
    let metadata = Metadata { name: format!("container image {name}"), ..Metadata::default() };
    definition.add(Op::ContainerImage(op), inputs, metadata)
}

/// Where an image is in the store: the domain of its name is not part of it.
fn place(image: &ResolvedImage) -> String {
    let path = &image.reference.repository.path;
    match &image.reference.tag {
        Some(tag) => format!("{path}:{tag}"),
        None => format!("{path}@{}", image.root.blob.digest),
    }
}

fn collision(image: &ResolvedImage, other: &ResolvedImage) -> (String, ContainerError) {
    let name = image.reference.to_string();
    let error = ContainerError::Collision {
        name: name.clone(),
        other: other.reference.to_string(),
        path: place(image),
    };
    (name, error)
}
