//! The `sealer` command: arguments in, exit code out.

mod args;
mod commands;
mod config;
mod files;
mod interrupt;
mod observe;
mod progress;
mod report;
mod rootless;
mod settings;
mod ui;

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, CommandFactory, FromArgMatches};

use crate::args::{Args, Command};
use crate::config::ConfigFile;
use crate::report::{Failure, Page, Reporter};

fn main() -> ! {
    let code = start();
    // Nothing is left to be done. What `exit` would still do is to take tables of RocksDB apart, entry by entry.
    signal_hook::low_level::exit(code.into())
}

fn start() -> u8 {
    let mut words: Vec<_> = std::env::args_os().collect();
    // Helpers of a sandbox are this program again; they have nothing to do with arguments and settings.
    if let [_, role, which] = words.as_slice()
        && role == engine::sandbox::ROLE
    {
        return engine::sandbox::run_helper(&which.to_string_lossy());
    }
    if words.get(1).is_some_and(|role| role == engine::sandbox::rootless::ROLE) {
        match engine::sandbox::rootless::arrive(&words[2..]) {
            Some(args) => words.splice(1.., args).for_each(drop),
            None => return 1,
        }
    }
    let mut understood = understand(&words);
    // `alpha X` is `X`, with flags before it or not: the word stays for scripts that have it.
    while let Err(Misunderstood::Usage(error)) = &understood
        && error.get(ContextKind::InvalidSubcommand) == Some(&ContextValue::String("alpha".to_owned()))
        && let Some(place) = words.iter().position(|word| word == "alpha")
    {
        words.remove(place);
        understood = understand(&words);
    }
    match understood {
        Ok((args, matches, file)) => {
            let reporter = Reporter::new(&args);
            let result = run(&args, &matches, file.as_ref(), &reporter);
            reporter.end(result)
        }
        Err(Misunderstood::Usage(error)) => report::usage(&error, settings::error_format_of(&words)),
        Err(Misunderstood::Config(failure, args)) => Reporter::new(&args).end(Err(failure)),
    }
}

/// Why there is nothing to run.
enum Misunderstood {
    Usage(clap::Error),
    Config(Failure, Box<Args>),
}

/// Flags, environment and the file with settings, in this order of strength.
fn understand(words: &[OsString]) -> Result<(Args, ArgMatches, Option<ConfigFile>), Misunderstood> {
    let matches = parse(words, &|command| command).map_err(Misunderstood::Usage)?;
    let args = Args::from_arg_matches(&matches).map_err(Misunderstood::Usage)?;
    // sealer's scripts name a JSON file that has no meaning here.
    let given = args.global.config.as_deref().filter(|path| !is_json(path));
    let file = match ConfigFile::find(given) {
        Ok(None) => return Ok((args, matches, None)),
        Ok(Some(file)) => file,
        Err(failure) => return Err(Misunderstood::Config(failure, Box::new(args))),
    };
    let read = parse(words, &|command| file.apply(command));
    match read.and_then(|matches| Ok((Args::from_arg_matches(&matches)?, matches))) {
        Ok((args, matches)) => Ok((args, matches, Some(file))),
        Err(error) => Err(Misunderstood::Config(file.blame(&error), Box::new(args))),
    }
}

/// What clap makes of the words. Whatever is wrong is told by the whole command line, which knows every command.
fn parse(
    words: &[OsString],
    with: &dyn Fn(clap::Command) -> clap::Command,
) -> Result<ArgMatches, clap::Error> {
    let with = |command| with(without_empty_variables(command));
    let likely = args::likely(words).map(|command| with(command).try_get_matches_from(words));
    match likely {
        Some(Err(error)) if error.kind() == ErrorKind::DisplayVersion => Err(error),
        Some(Ok(matches)) => Ok(matches),
        Some(Err(_)) | None => {
            let command = Args::command().color(settings::color_of(words));
            let all = with(command).try_get_matches_from(words);
            all.map_err(|error| with_plain_usage(error, words))
        }
    }
}

/// A variable that is set to nothing says nothing: scripts set them so.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |arg: &clap::Arg| arg.get_env().is_some_and(settings::is_empty_variable);
    let command =
        command.mut_args(|arg| if is_empty(&arg) { arg.env(clap::builder::Resettable::Reset) } else { arg });
    command.mut_subcommands(without_empty_variables)
}

/// The usage as help has it: in its errors clap shows what comes from the environment as if it had to be typed.
fn with_plain_usage(mut error: clap::Error, words: &[OsString]) -> clap::Error {
    if error.get(ContextKind::Usage).is_some() {
        let mut root = Args::command();
        root.build();
        let mut command = &mut root;
        for word in words.iter().filter_map(|word| word.to_str()) {
            if command.find_subcommand(word).is_some() {
                command = command.find_subcommand_mut(word).expect("it was found just now");
            }
        }
        error.insert(ContextKind::Usage, ContextValue::StyledStr(command.render_usage()));
    }
    error
}

fn is_json(path: &std::path::Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json")
}

fn run(
    args: &Args,
    matches: &ArgMatches,
    file: Option<&ConfigFile>,
    reporter: &Reporter,
) -> Result<(), Failure> {
    flags_without_effect(args).into_iter().for_each(|page| reporter.warn(page));
    let root = || settings::store_root(args.global.root.as_deref());
    match &args.command {
        Command::Build(build) => commands::build::run(build, &args.global, reporter, &root()?),
        Command::Graph(graph) => commands::graph::run(graph, &args.global, reporter, &root()?),
        Command::Images(images) => commands::images::run(images, args.global.quiet, reporter, &root()?),
        Command::Inspect(inspect) => commands::inspect::run(inspect, &args.global, reporter, &root()?),
        Command::History(history) => commands::history::run(history, &root()?),
        Command::Tag(tag) => commands::tag::run(tag, &root()?),
        Command::Rmi(rmi) => commands::rmi::run(rmi, args.global.quiet, &root()?),
        Command::Save(save) => commands::save::run(save, &args.global, reporter, &root()?),
        Command::Load(load) => commands::load::run(load, args.global.quiet, reporter, &root()?),
        Command::Diff(diff) => commands::diff::run(diff, &args.global, &root()?),
        Command::Merge(merge) => commands::merge::run(merge, &args.global, reporter, &root()?),
        Command::Mount(mount) => commands::mount::mount(mount, &args.global, reporter, &root()?),
        Command::Umount(umount) => commands::mount::umount(umount, &root()?),
        Command::Pull(pull) => commands::pull::run(pull, &args.global, reporter, &root()?),
        Command::Push(push) => commands::push::run(push, &args.global, &root()?),
        Command::Login(login) => commands::login::login(login, &args.global, reporter),
        Command::Logout(logout) => commands::login::logout(logout),
        Command::Manifest(manifest) => commands::manifest::run(manifest, &args.global, &root()?),
        Command::Search(search) => commands::search::run(search, &args.global),
        Command::Cache(cache) => commands::cache::run(cache, &args.global, reporter, &root()?),
        Command::Config(config) => commands::config::run(config, &args.global, matches, file),
        Command::Completion(completion) => commands::completion::run(completion),
        Command::Man(man) => commands::man::run(man),
        Command::Version(version) => commands::version::run(version),
    }
}

/// Says of each flag that is accepted for sealer's scripts that it does nothing here.
fn flags_without_effect(args: &Args) -> Vec<Page> {
    let global = &args.global;
    let tmp_dir = match &args.command {
        Command::Save(save) => save.tmp_dir.is_some(),
        Command::Load(load) => load.tmp_dir.is_some(),
        _ => false,
    };
    let given = [
        ("--config", global.config.as_deref().is_some_and(is_json), "settings are in a config.toml"),
        ("--debug", global.debug, "errors always carry what there is to know"),
        ("--hide-time", global.hide_time, "messages carry no time"),
        ("--hide-path", global.hide_path, "messages carry no source path"),
        (
            "--log-to-file",
            global.log_to_file == Some(true),
            "no log file is written; redirect standard error",
        ),
        ("--remote-logger-url", global.remote_logger_url.is_some(), "there is no remote logger"),
        ("--task-name", global.task_name.is_some(), "there is no remote logger"),
        ("--tmp-dir", tmp_dir, "nothing is copied on the way"),
    ];
    let page = |(flag, _, why): (&str, bool, &str)| {
        Page::warning("no-effect", format!("`{flag}` has no effect: {why}"), "leave it out")
    };
    given.into_iter().filter(|(_, given, _)| *given).map(page).collect()
}
