//! `sealer config`

use clap::ArgMatches;

use crate::args::{Config, Global};
use crate::config::{ConfigFile, KEYS, Origin, origin};
use crate::report::Failure;
use crate::{settings, ui};

/// Shows every setting, its value as it would be used, and where it comes from.
pub(crate) fn run(
    args: &Config,
    global: &Global,
    matches: &ArgMatches,
    file: Option<&ConfigFile>,
) -> Result<(), Failure> {
    let own = matches.subcommand_matches("config").unwrap_or(matches);
    // What a build would refuse is refused here.
    settings::compression(&args.tunables.compression)?;
    settings::size(&args.tunables.max_download)?;
    settings::times(args.tunables.timestamp.as_deref())?;
    let mut rows = Vec::new();
    for (key, _) in KEYS {
        let from = match origin(key, own, file) {
            Origin::Flag => format!("flag --{key}"),
            Origin::Environment(variable) => format!("environment {variable}"),
            Origin::File(path) => format!("file {}", path.display()),
            Origin::Default => "default".to_owned(),
        };
        rows.push((key, value(key, args, global)?, from));
    }
    if args.json {
        let object = |(key, value, from): &(&str, String, String)| serde_json::json!({ "setting": key, "value": value, "from": from });
        let all: Vec<_> = rows.iter().map(object).collect();
        ui::data(&format!("{:#}", serde_json::Value::from(all)));
        return Ok(());
    }
    let mut table = vec![["SETTING", "VALUE", "FROM"].map(str::to_owned).to_vec()];
    table.extend(rows.into_iter().map(|(key, value, from)| vec![key.to_owned(), value, from]));
    ui::table(&table);
    Ok(())
}

fn value(key: &str, args: &Config, global: &Global) -> Result<String, Failure> {
    let of = |value: &dyn std::fmt::Debug| format!("{value:?}").to_lowercase();
    let tunables = &args.tunables;
    Ok(match key {
        "root" => settings::store_root(global.root.as_deref())?.display().to_string(),
        "color" => of(&global.color),
        "error-format" => of(&global.error_format),
        "strict" => global.strict.to_string(),
        "progress" => of(&tunables.progress),
        "jobs" => settings::jobs(tunables.jobs).to_string(),
        "compression" => tunables.compression.clone(),
        "timestamp" => {
            tunables.timestamp.clone().filter(|text| !text.is_empty()).unwrap_or_else(|| "0".into())
        }
        "insecure-registry" => global.insecure_registry.join(","),
        "max-download" => tunables.max_download.clone(),
        other => unreachable!("`{other}` is in the table of settings and has no value"),
    })
}
