//! RUN: a command with its environment and mounts.
//!
//! The command's text belongs to the shell: nothing in it is expanded here. A heredoc that is the whole command is the
//! script itself; one with a `#!` line is a program of its own.

use solver::{LocalSource, Mount, MountKind, Network, Owner, Sharing};

use super::copy::{on_off, value};
use super::origin::{Origin, origin};
use crate::ast::{Arguments, Flag, Heredoc, Statement};
use crate::diagnostic;
use crate::evaluate::{Evaluator, PROXY};
use crate::expand::Lookup;
use crate::paths;
use crate::stage::{CopyFrom, History, RunMount, RunWork, Stage, Step, Work};
use crate::suggest::nearest;
use crate::words::{self, JsonList};

/// What runs the shell form, as in sealer, which has no SHELL.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];
/// Where scripts with a `#!` line appear, as in BuildKit.
const SCRIPTS: &str = "/dev/pipes/";

/// Applies RUN.
pub(super) fn apply(evaluator: &mut Evaluator<'_>, statement: &Statement) {
    let mut work = RunWork::default();
    for flag in &statement.flags {
        match flag.name.as_str() {
            "mount" => {
                let found = mount(evaluator, flag);
                work.mounts.extend(found);
            }
            "network" => work.network = network(evaluator, flag),
            "security" => work.is_insecure = is_insecure(evaluator, flag),
            "device" => {
                let hint = "a command sees /dev/null, zero, full, random, urandom and tty";
                evaluator.report(diagnostic::not_supported_yet(flag.span, "RUN --device", hint));
            }
            _ => {}
        }
    }
    if !command(evaluator, statement, &mut work) {
        // Later steps may still copy from this stage.
        evaluator.stage().has_files = true;
        return;
    }
    let stage = evaluator.stage();
    work.env = environment(stage);
    stage.has_files = true;
    stage.history.push(History { text: statement.line.clone(), step: Some(stage.steps.len()) });
    let work = Work::Run(work.into());
    stage.steps.push(Step { line: statement.line.clone(), span: statement.span, work });
}

/// Everything set at this point: ENV, and ARG where ENV does not say otherwise. Proxies are no part of it.
fn environment(stage: &Stage) -> Vec<(String, String)> {
    let mut env = stage.env.known();
    for (name, lookup) in &stage.args {
        if let Lookup::Value(value) = lookup
            && stage.env.get(name).is_none()
            && !PROXY.iter().any(|proxy| proxy.eq_ignore_ascii_case(name))
        {
            env.push((name.clone(), value.clone()));
        }
    }
    env
}

/// Reads the command; whether there is one.
fn command(evaluator: &mut Evaluator<'_>, statement: &Statement, work: &mut RunWork) -> bool {
    let Arguments::Raw(word) = &statement.arguments else { return false };
    if word.text.trim().is_empty() {
        evaluator.report(diagnostic::missing_arguments(statement.span, statement.keyword));
        return false;
    }
    if word.text.starts_with('[') {
        match words::json_list(&word.text, 0) {
            JsonList::Strings(strings) => {
                work.args = strings.into_iter().map(|(string, _)| string).collect();
                if work.args.is_empty() {
                    evaluator.report(diagnostic::missing_arguments(statement.span, statement.keyword));
                }
                return !work.args.is_empty();
            }
            JsonList::NotOnlyStrings(_) => {
                evaluator.report(diagnostic::json_not_strings(word.span));
                return false;
            }
            // `[ -e /x ] && …` is a shell's.
            JsonList::Invalid(_) => {}
        }
    }
    match &statement.heredocs[..] {
        [heredoc] if heredoc.operator == word.span && heredoc.content.starts_with("#!") => {
            let name = heredoc.name.replace('/', "_");
            let target = format!("{SCRIPTS}{name}");
            work.args = vec![target.clone()];
            let kind = MountKind::Script { content: heredoc.content.clone().into_bytes() };
            work.mounts.push(RunMount { mount: Mount { target, kind }, from: None });
        }
        [heredoc] if heredoc.operator == word.span => shell(work, heredoc.content.clone()),
        heredocs => shell(work, with_bodies(&word.text, heredocs)),
    }
    true
}

fn shell(work: &mut RunWork, text: String) {
    work.args = SHELL.iter().map(|&part| part.to_owned()).chain([text]).collect();
}

/// The text a shell reads: the command, then the body of each heredoc with its delimiter.
fn with_bodies(command: &str, heredocs: &[Heredoc]) -> String {
    let mut text = command.to_owned();
    for heredoc in heredocs {
        text.push('\n');
        text.push_str(&heredoc.content);
        if !heredoc.content.is_empty() && !heredoc.content.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&heredoc.name);
    }
    text
}

fn network(evaluator: &mut Evaluator<'_>, flag: &Flag) -> Network {
    match value(evaluator, flag, "default, host or none").as_deref() {
        Some("none") => Network::None,
        None | Some("host" | "default") => Network::Host,
        Some(_) => {
            evaluator.report(diagnostic::flag_value(flag.span, "network", "default, host or none"));
            Network::Host
        }
    }
}

fn is_insecure(evaluator: &mut Evaluator<'_>, flag: &Flag) -> bool {
    match value(evaluator, flag, "sandbox or insecure").as_deref() {
        Some("insecure") => {
            if !evaluator.options.allows_insecure {
                evaluator.report_unsupported(diagnostic::run_insecure(flag.span));
            }
            true
        }
        None | Some("sandbox") => false,
        Some(_) => {
            evaluator.report(diagnostic::flag_value(flag.span, "security", "sandbox or insecure"));
            false
        }
    }
}

/// The options of `--mount`, as written, by name.
struct Options<'t> {
    given: Vec<(&'t str, Option<&'t str>)>,
}

impl<'t> Options<'t> {
    fn new(text: &'t str) -> Self {
        let given = text.split(',').map(|part| match part.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value)),
            None => (part.trim(), None),
        });
        Self { given: given.filter(|(name, _)| !name.is_empty()).collect() }
    }

    /// The last one given counts, in whatever case.
    fn take(&mut self, names: &[&str]) -> Option<Option<&'t str>> {
        let mut last = None;
        self.given.retain(|(name, value)| {
            let is_meant = names.iter().any(|known| known.eq_ignore_ascii_case(name));
            if is_meant {
                last = Some(*value);
            }
            !is_meant
        });
        last
    }

    fn text(&mut self, names: &[&str]) -> Option<String> {
        self.take(names).flatten().filter(|value| !value.is_empty()).map(str::to_owned)
    }
}

/// Reads one `--mount`.
fn mount(evaluator: &mut Evaluator<'_>, flag: &Flag) -> Option<RunMount> {
    let text = value(evaluator, flag, "type=TYPE,target=PATH,…");
    if text.is_none() && evaluator.stage().open {
        evaluator.is_from_open = true;
    }
    let text = text?;
    let mut options = Options::new(&text);
    let kind = options.text(&["type"]).map_or_else(|| "bind".to_owned(), |kind| kind.to_ascii_lowercase());
    let target = options.text(&["target", "dst", "destination"]);
    let mut reading = Reading { evaluator, flag, options, target };
    let mount = match kind.as_str() {
        "bind" => reading.bind(),
        "cache" => reading.cache(),
        "tmpfs" => reading.tmpfs(),
        "secret" => reading.secret(),
        "ssh" => reading.ssh(),
        other => {
            let known = nearest(other, TYPES.iter().copied());
            reading.evaluator.report(diagnostic::mount_type(flag.span, other, known));
            return None;
        }
    }?;
    if let Some((name, _)) = reading.options.given.first() {
        let diagnostic = diagnostic::mount_option(flag.span, &kind, name);
        reading.evaluator.report(diagnostic);
        return None;
    }
    Some(mount)
}

const TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];

/// A `--mount` being read.
struct Reading<'e, 's, 't> {
    evaluator: &'e mut Evaluator<'s>,
    flag: &'e Flag,
    options: Options<'t>,
    target: Option<String>,
}

impl Reading<'_, '_, '_> {
    fn bind(&mut self) -> Option<RunMount> {
        let target = self.place()?;
        let readonly = self.switch(&["ro", "readonly"])?;
        let writable = self.switch(&["rw", "readwrite"])?;
        let is_writable = writable.unwrap_or(readonly == Some(false));
        let (from, source) = self.source()?;
        let own = || CopyFrom::Local {
            context: LocalSource::OWN.to_owned(),
            pattern: paths::literal_pattern(&source),
        };
        let from = from.unwrap_or_else(own);
        let kind = MountKind::Bind { input: 0, source, is_writable };
        Some(RunMount { mount: Mount { target, kind }, from: Some(from) })
    }

    fn cache(&mut self) -> Option<RunMount> {
        // Commands share a cache by what is written, wherever they run.
        let (id, target) = (self.target()?, self.place()?);
        let id = self.options.text(&["id"]).unwrap_or(id);
        let sharing = match self.options.text(&["sharing"]).map(|text| text.to_ascii_lowercase()).as_deref() {
            None | Some("shared") => Sharing::Shared,
            Some("private") => Sharing::Private,
            Some("locked") => Sharing::Locked,
            Some(_) => return self.invalid("sharing", "shared, private or locked"),
        };
        let readonly = self.switch(&["ro", "readonly"])?;
        let writable = self.switch(&["rw", "readwrite"])?;
        let is_readonly = readonly.unwrap_or(writable == Some(false));
        let (from, source) = self.source()?;
        let source = from.is_some().then_some((0, source));
        let (mode, owner) = (self.mode(0o755)?, self.owner()?);
        let kind = MountKind::Cache { id, sharing, is_readonly, source, mode, owner };
        Some(RunMount { mount: Mount { target, kind }, from })
    }

    fn tmpfs(&mut self) -> Option<RunMount> {
        let target = self.place()?;
        let size_bytes = match self.options.text(&["size"]) {
            Some(text) => match bytes(&text) {
                Some(bytes) => Some(bytes),
                None => return self.invalid("size", "a size like 100M"),
            },
            None => None,
        };
        Some(RunMount { mount: Mount { target, kind: MountKind::Tmpfs { size_bytes } }, from: None })
    }

    fn secret(&mut self) -> Option<RunMount> {
        let id = self.options.text(&["id"]);
        let env = self.options.text(&["env"]);
        let Some(id) = id.or_else(|| Some(self.target.as_ref()?.rsplit('/').next()?.to_owned())) else {
            return self.invalid("id", "the name of a secret");
        };
        let target = match (&self.target, &env) {
            (Some(_), _) => self.target()?,
            // A variable alone needs no file.
            (None, Some(_)) => String::new(),
            (None, None) => format!("/run/secrets/{id}"),
        };
        let is_required = self.switch(&["required"])?.unwrap_or(false);
        let (mode, owner) = (self.mode(0o400)?, self.owner()?);
        let kind = MountKind::Secret { id, is_required, env, mode, owner };
        Some(RunMount { mount: Mount { target, kind }, from: None })
    }

    fn ssh(&mut self) -> Option<RunMount> {
        let id = self.options.text(&["id"]).unwrap_or_else(|| "default".to_owned());
        let target = match &self.target {
            Some(_) => self.target()?,
            None => String::new(),
        };
        let is_required = self.switch(&["required"])?.unwrap_or(false);
        // The socket is the host's own; its mode and owner are too.
        self.mode(0o600)?;
        self.owner()?;
        Some(RunMount { mount: Mount { target, kind: MountKind::Ssh { id, is_required } }, from: None })
    }

    /// The target as it is written, if it is relative: to the base's working directory, as in BuildKit, which is known later.
    fn place(&mut self) -> Option<String> {
        let target = self.target()?;
        let written = self.target.as_ref().filter(|written| !written.starts_with('/'));
        Some(written.cloned().unwrap_or(target))
    }

    /// An absolute path that is not the root itself.
    fn target(&mut self) -> Option<String> {
        let Some(path) = self.target.as_deref().map(paths::clean).filter(|path| path != ".") else {
            return self.invalid("target", "a path below `/`");
        };
        if let Some(name) = paths::unfit_name(&path) {
            self.evaluator.report(diagnostic::unfit_name(self.flag.span, name));
            return None;
        }
        Some(format!("/{path}"))
    }

    /// `from=` and `source=`; without `from` the build context is meant.
    fn source(&mut self) -> Option<(Option<CopyFrom>, String)> {
        let source = paths::clean(&self.options.text(&["source", "src"]).unwrap_or_default());
        let Some(name) = self.options.text(&["from"]) else { return Some((None, source)) };
        let pattern = source.clone();
        let from = match origin(self.evaluator, &name, self.flag.span)? {
            Origin::Stage(index) => CopyFrom::Stage { index, pattern },
            Origin::Image(image) => CopyFrom::Image { image, pattern },
            Origin::Context(context) => CopyFrom::Local { context, pattern: paths::literal_pattern(&source) },
        };
        Some((Some(from), source))
    }

    fn owner(&mut self) -> Option<Owner> {
        Some(Owner { uid: self.number(&["uid"])?, gid: self.number(&["gid"])? })
    }

    fn number(&mut self, names: &[&'static str]) -> Option<u32> {
        match self.options.text(names) {
            None => Some(0),
            Some(text) => text.parse().ok().or_else(|| self.invalid(names[0], "a number")),
        }
    }

    fn mode(&mut self, default: u32) -> Option<u32> {
        match self.options.text(&["mode"]) {
            None => Some(default),
            Some(text) => {
                let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o7777);
                mode.or_else(|| self.invalid("mode", "an octal mode up to 7777"))
            }
        }
    }

    /// A switch: its name alone is on. The outer `None` is a mistake, the inner one "not given".
    fn switch(&mut self, names: &[&'static str]) -> Option<Option<bool>> {
        match self.options.take(names) {
            None => Some(None),
            Some(given) => match on_off(given) {
                Some(on) => Some(Some(on)),
                None => self.invalid(names[0], "true or false"),
            },
        }
    }

    fn invalid<T>(&mut self, option: &str, expected: &str) -> Option<T> {
        self.evaluator.report(diagnostic::mount_value(self.flag.span, option, expected));
        None
    }
}

/// `1024`, `100k`, `1G`, `1GiB`: powers of 1024, as in BuildKit.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.to_ascii_lowercase();
    let shift = match unit.trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, expected) in
            [("10", Some(10)), ("2k", Some(2048)), ("1MiB", Some(1 << 20)), ("1x", None), ("", None)]
        {
            assert_eq!(bytes(text), expected, "{text}");
        }
        assert_eq!(bytes("99999999999999T"), None);
    }
}
