//! Lists of container images: what is carried beside what is found, what is not, and as whom some of it is fetched.

use std::path::{Path, PathBuf};

use engine::container::{Archives, Ignored, ImageList, ListError, Listed, WithAuth};
use engine::{ImagesError, NamedBy, Reference, Registry, Wanted};

use crate::args::Build;
use crate::interrupt::Interrupt;
use crate::report::{Failure, Page};

/// Largest list read, in bytes.
const LIMIT: u64 = 16 << 20;

/// The lists of a build. What they are called is what errors call them.
#[derive(Debug, Default)]
pub(crate) struct ImageLists {
    images: Vec<(String, Listed)>,
    pub(crate) ignored: Ignored,
    with_auth: Vec<(String, WithAuth)>,
}

impl ImageLists {
    /// Reads the lists given.
    pub(crate) fn new(args: &Build, carries_images: bool) -> Result<Self, Failure> {
        let given: [(&str, &Option<PathBuf>); 3] = [
            ("--image-list", &args.image_list),
            ("--ignored-image-list", &args.ignored_image_list),
            ("--image-list-with-auth", &args.image_list_with_auth),
        ];
        let given = given.iter().filter(|(_, given)| given.is_some()).map(|(flag, _)| *flag);
        let archive = args.image_archive.first().map(|_| "--image-archive");
        let unsearched = args.no_discover.first().map(|_| "--no-discover");
        if let Some(flag) = given.chain(archive).chain(unsearched).next().filter(|_| !carries_images) {
            return Err(Failure::usage(format!("`{flag}` says nothing to a build without container images"))
                .hint("leave it out, or `--build-mode lite`"));
        }
        let mut lists = Self::default();
        if let Some((name, text)) = read(args.image_list.as_deref())? {
            let images = ImageList::parse(&name, &text).map_err(wrong)?;
            lists.images = images.into_iter().map(|listed| (name.clone(), listed)).collect();
        }
        if let Some((name, text)) = read(args.ignored_image_list.as_deref())? {
            lists.ignored = Ignored::parse(&name, &text).map_err(wrong)?;
        }
        if let Some((name, text)) = read(args.image_list_with_auth.as_deref())? {
            let images = WithAuth::parse(&name, &text).map_err(wrong)?;
            lists.with_auth = images.into_iter().map(|listed| (name.clone(), listed)).collect();
        }
        Ok(lists)
    }

    /// Lets a registry know whom to be for the images of the list that says so.
    pub(crate) fn introduce(&self, registry: &Registry) -> Result<(), ImagesError> {
        for (_, listed) in &self.with_auth {
            registry.assume(&Reference::parse(&listed.reference)?, listed.credential.clone());
        }
        Ok(())
    }

    /// Adds what the lists name.
    pub(crate) fn add_to(&self, wanted: &mut Wanted) -> Result<(), ImagesError> {
        let by = |file: &String, line| NamedBy::List { file: file.clone(), line };
        for (file, listed) in &self.images {
            let ignored = |name: &str| self.ignored.matches(name);
            wanted.add_named(&listed.reference, by(file, listed.line), &ignored)?;
        }
        for (file, listed) in &self.with_auth {
            let reference = Reference::parse(&listed.reference)?;
            wanted.add_raw(reference, &listed.written, by(file, listed.line));
        }
        Ok(())
    }
}

/// The archives with container images. Names and manifests are looked at, no more.
pub(crate) fn archives(args: &Build, interrupt: &Interrupt) -> Result<Archives, Failure> {
    let opened = Archives::open(&args.image_archive, &interrupt.cancel);
    opened.map_err(|error| Failure::transport(error, interrupt.signal()))
}

/// Name and text of a list.
fn read(path: Option<&Path>) -> Result<Option<(String, String)>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let name = path.display().to_string();
    let fail = |error: std::io::Error| Failure::usage(format!("a list of images cannot be read: {error}"));
    if fs_err::metadata(path).map_err(fail)?.len() > LIMIT {
        return Err(Failure::usage(format!("`{name}` is larger than {LIMIT} bytes")));
    }
    let bytes = fs_err::read(path).map_err(fail)?;
    let text = String::from_utf8(bytes).map_err(|_| Failure::usage(format!("`{name}` is not UTF-8 text")))?;
    Ok(Some((name, text)))
}

fn wrong(error: ListError) -> Failure {
    let hint = match &error {
        ListError::Reference { .. } => {
            "a line is one reference, such as quay.io/team/web:1.2; `#` begins a comment"
        }
        ListError::Pattern { .. } => "a line is one reference, or one with `*`, `**`, `?` and `[a-z]` in it",
        ListError::Shape { .. } | ListError::Key { .. } | ListError::Nobody { .. } => {
            "it is a list of `registry`, `username`, `password` and `images`"
        }
        ListError::Registry { .. } => "write the host as it stands in the images' names",
        ListError::Conflict { .. } => "one repository is fetched as one user: put its images into one entry",
    };
    Page::of("image-list", &error).hint(hint).into()
}
