//! `sealer inspect`

use std::path::{Path, PathBuf};

use cache::Store;
use engine::registry::look;
use engine::transport::{Input, peek};
use engine::{Images, ImagesError, Reference, StoredImage};
use solver::Platform;

use crate::args::{Global, Inspect};
use crate::interrupt::Interrupt;
use crate::report::{Failure, Page, Reporter};
use crate::{settings, ui};

/// Prints an image in the documented shape: JSON, four spaces; or through a Go template.
pub(crate) fn run(args: &Inspect, global: &Global, reporter: &Reporter, root: &Path) -> Result<(), Failure> {
    if args.kind.is_some() {
        reporter.warn(Page::warning(
            "no-effect",
            "`--type` has no effect: there are only images",
            "leave it out",
        ));
    }
    let platform = settings::platform(&args.selection.platform)?;
    let image = match args.remote {
        true => {
            let interrupt = Interrupt::listen()?;
            let registry = settings::registry(&args.selection.registry, global, &interrupt.cancel)?;
            let found = look(&registry, &Reference::parse(&args.name)?, &platform);
            found.map_err(|error| Failure::registry(error, interrupt.signal()))?
        }
        false => image(&args.name, &platform, reporter, root)?,
    };
    let shown = engine::inspect::inspect(&image);
    if let Some(template) = &args.format {
        let text =
            engine::inspect::format(&shown, template).map_err(|error| Failure::usage(error.to_string()))?;
        ui::raw_data(&text);
        return Ok(());
    }
    ui::json(&shown);
    Ok(())
}

/// An image of the store; or, if the store has none of that name, of an archive or a directory of that path.
fn image(name: &str, platform: &Platform, reporter: &Reporter, root: &Path) -> Result<StoredImage, Failure> {
    let not_found = match Store::open_existing(root)? {
        None => ImagesError::NotFound { name: name.to_owned(), tried: Vec::new() },
        Some(store) => {
            let images = Images::new(&store);
            match images.find(name) {
                Ok(found) => return Ok(images.read(&images.for_platform(&found, platform)?)?),
                Err(error @ ImagesError::NotFound { .. }) => error,
                Err(error) => return Err(error.into()),
            }
        }
    };
    let path = PathBuf::from(name);
    match fs_err::metadata(&path) {
        Ok(there) if there.is_file() || there.is_dir() => {}
        // What is behind is looked for in it, back and forth.
        Ok(_) => {
            return Err(Failure::usage(format!("`{name}` is neither a file nor a directory"))
                .hint(format!("`sealer load -i {name}` reads what comes out of a pipe")));
        }
        Err(_) => return Err(Failure::from(not_found).tried([format!("the file `{name}`")])),
    }
    let found = peek(&Input::Path(path)).map_err(|error| Failure::transport(error, 0))?;
    let count = found.len();
    let best = found.iter().position(|image| platform.runs(&image.platform())).unwrap_or(0);
    if count > 1 {
        reporter.warn(Page::warning(
            "several-images",
            format!("`{name}` holds {count} images, one is shown"),
            "load it to see all: `sealer load -i`",
        ));
    }
    found.into_iter().nth(best).ok_or_else(|| Failure::usage(format!("`{name}` holds no image")))
}
