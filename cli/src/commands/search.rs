//! `sealer search`

use engine::RegistryError;
use engine::registry::{Reference, Repository};

use crate::args::{Global, Search};
use crate::interrupt::Interrupt;
use crate::report::{Failure, Page};
use crate::{settings, ui};

/// Where short names are looked for (spec §5.1).
const DEFAULT: &str = "docker.io/sealerio";
/// What helps where a registry knows no such name: elsewhere it is this command.
const HINT: &str = "names are HOST/REPOSITORY, without a tag, as images of it are pushed";

/// Lists the tags of images in their registries.
pub(crate) fn run(args: &Search, global: &Global) -> Result<(), Failure> {
    let interrupt = Interrupt::listen()?;
    let registry = settings::registry(&args.registry, global, &interrupt.cancel)?;
    let mut rows: Vec<(String, String)> = Vec::new();
    for name in &args.names {
        let repository = repository(name)?;
        let tags = registry.tags(&repository).map_err(|error| match error.plain() {
            RegistryError::NotFound { .. } => Page::of("registry", &error).hint(HINT).into(),
            _ => Failure::registry(error, interrupt.signal()),
        })?;
        rows.extend(tags.into_iter().map(|tag| (repository.to_string(), tag)));
    }
    if args.json {
        let all = rows.iter().map(|(name, tag)| serde_json::json!({ "name": name, "version": tag }));
        ui::data(&format!("{:#}", all.collect::<serde_json::Value>()));
        return Ok(());
    }
    let mut table = vec![vec!["IMAGE NAME".to_owned(), "VERSION".to_owned()]];
    table.extend(rows.into_iter().map(|(name, tag)| vec![name, tag]));
    ui::table(&table);
    Ok(())
}

fn repository(name: &str) -> Result<Repository, Failure> {
    let full = if name.contains('/') { name.to_owned() } else { format!("{DEFAULT}/{name}") };
    Ok(Reference::parse(&full)?.repository)
}
