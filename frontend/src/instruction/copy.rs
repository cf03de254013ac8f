//! COPY and ADD.

mod access;

use solver::{Chmod, Chown, GitSource, Inline, LocalSource, Span, Unpack};

use super::origin::{Origin, origin};
use crate::ast::{Flag, Heredoc, Quoting, Statement, Word};
use crate::diagnostic::{self, Label};
use crate::evaluate::{self, Evaluator, Scope};
use crate::paths;
use crate::stage::{CopyFrom, CopyWork, History, Step, Work};

/// Applies COPY and ADD.
pub(super) fn apply(evaluator: &mut Evaluator<'_>, statement: &Statement) {
    let words = evaluate::words(statement);
    let Some((destination, sources)) = words.split_last().filter(|(_, sources)| !sources.is_empty()) else {
        evaluator.report(diagnostic::invalid_copy(statement.span, statement.keyword, &statement.line));
        return;
    };
    let from = flag(statement, "from").map(|flag| copied_from(evaluator, flag));
    let work = options(evaluator, statement);
    let written = evaluator.expand(destination, Scope::Stage);
    let target =
        written.and_then(|path| directory_or_file(evaluator, statement, destination, path, sources.len()));
    let several_or_directory = target.as_deref().is_some_and(|path| path.ends_with('/'));
    let parents = work.as_ref().is_some_and(|work| work.parents);
    let context = Context { from: from.as_ref(), several_or_directory, parents };
    let sources: Vec<Option<CopyFrom>> =
        sources.iter().map(|word| source(evaluator, statement, word, context)).collect();
    let (Some(work), Some(destination), Some(mut sources)) =
        (work, target, sources.into_iter().collect::<Option<Vec<_>>>())
    else {
        // Faulty or not known yet: later steps may still copy from this stage.
        evaluator.stage().has_files = true;
        return;
    };
    if let Some(flag) = flag(statement, "checksum") {
        match &mut sources[..] {
            [CopyFrom::Remote { checksum: pinned, .. }] => *pinned = checksum(evaluator, flag),
            [CopyFrom::Git(git)] => git.checksum = commit(evaluator, flag),
            _ => evaluator.report(diagnostic::checksum_needs_one_remote(flag.span)),
        }
    }
    if let [CopyFrom::Remote { url, file_name, .. }] = &mut sources[..]
        && paths::url_file_name(url).is_none()
    {
        *file_name = destination.rsplit('/').next().map(str::to_owned);
    }
    keep_git_dir(evaluator, statement, &mut sources);
    let stage = evaluator.stage();
    stage.has_files = true;
    stage.history.push(History { text: statement.line.clone(), step: Some(stage.steps.len()) });
    let work = Work::Copy(CopyWork { sources, destination, ..work }.into());
    stage.steps.push(Step { line: statement.line.clone(), span: statement.span, work });
}

/// What a source is read in.
#[derive(Clone, Copy)]
struct Context<'a> {
    /// `--from`: what it names, or nothing if that is unknown.
    from: Option<&'a Option<Origin>>,
    /// Whether file names come from the sources.
    several_or_directory: bool,
    /// `--parents`.
    parents: bool,
}

fn flag<'a>(statement: &'a Statement, name: &str) -> Option<&'a Flag> {
    statement.flags.iter().find(|flag| flag.name == name)
}

/// Checks a destination; `.` and `..` at its end are directories, and are marked so.
fn directory_or_file(
    evaluator: &mut Evaluator<'_>,
    statement: &Statement,
    word: &Word,
    mut path: String,
    sources: usize,
) -> Option<String> {
    if path.is_empty() {
        evaluator.report(diagnostic::empty_path(word, "the destination"));
        return None;
    }
    if let Some(name) = paths::unfit_name(&path) {
        evaluator.report(diagnostic::unfit_name(word.span, name));
        return None;
    }
    if matches!(path.rsplit('/').next(), Some("." | "..")) {
        path.push('/');
    }
    if sources > 1 && !path.ends_with('/') {
        evaluator.report(diagnostic::destination_not_directory(word.span, statement.keyword));
        return None;
    }
    Some(path)
}

fn source(
    evaluator: &mut Evaluator<'_>,
    statement: &Statement,
    word: &Word,
    context: Context<'_>,
) -> Option<CopyFrom> {
    if let Some(heredoc) = heredoc(statement, word) {
        if heredoc.name.contains('/') || matches!(heredoc.name.as_str(), "." | "..") {
            evaluator.report(diagnostic::heredoc_name(word.span, &heredoc.name));
            return None;
        }
        if let Some(name) = paths::unfit_name(&heredoc.name) {
            evaluator.report(diagnostic::unfit_name(word.span, name));
            return None;
        }
        let content = match heredoc.expand {
            true => heredoc_text(evaluator, heredoc)?,
            false => heredoc.content.clone(),
        };
        return Some(CopyFrom::Inline(Inline { name: heredoc.name.clone(), content: content.into_bytes() }));
    }
    let text = evaluator.expand(word, Scope::Stage)?;
    if text.is_empty() {
        evaluator.report(diagnostic::empty_path(word, "a source"));
        return None;
    }
    if let Some(from) = context.from {
        let pattern = paths::source_pattern(&text, context.parents);
        return from.clone().map(|from| match from {
            Origin::Stage(index) => CopyFrom::Stage { index, pattern },
            Origin::Image(image) => CopyFrom::Image { image, pattern },
            Origin::Context(context) => CopyFrom::Local { context, pattern },
        });
    }
    if GitSource::is_meant(&text) {
        return git(evaluator, statement, word, &text);
    }
    if !paths::is_remote(&text) {
        let own = LocalSource::OWN.to_owned();
        return Some(CopyFrom::Local {
            context: own,
            pattern: paths::source_pattern(&text, context.parents),
        });
    }
    let fault = if statement.keyword == "COPY" {
        diagnostic::copy_remote(word.span)
    } else if !paths::url_has_host(&text) {
        diagnostic::remote_without_host(word.span, &text)
    } else if context.several_or_directory && paths::url_file_name(&text).is_none() {
        diagnostic::remote_without_file(word.span, &paths::shown_url(&text))
    } else {
        return Some(CopyFrom::Remote { url: text, checksum: None, file_name: None });
    };
    evaluator.report(fault);
    None
}

/// The heredoc a word opens; operators stand in the order of the text.
fn heredoc<'a>(statement: &'a Statement, word: &Word) -> Option<&'a Heredoc> {
    let found = statement.heredocs.binary_search_by_key(&word.span.start, |heredoc| heredoc.operator.start);
    Some(&statement.heredocs[found.ok()?])
}

/// The text of a heredoc. What is wrong with its variables is often that none are meant.
fn heredoc_text(evaluator: &mut Evaluator<'_>, heredoc: &Heredoc) -> Option<String> {
    let before = evaluator.diagnostics.len();
    let text = heredoc.content.clone();
    // As if no tabs were missing; what is found is put right below.
    let span = Span::new(heredoc.span.start, heredoc.span.start + text.len());
    let expanded = evaluator.expand(&Word { text, span, quoting: Quoting::Literal }, Scope::Stage);
    let found = &mut evaluator.diagnostics[before..];
    found.iter_mut().for_each(|found| diagnostic::or_quote_delimiter(found, &heredoc.name));
    if !heredoc.tabs.is_empty() {
        with_tabs(heredoc, found.iter_mut().flat_map(|found| &mut found.labels));
    }
    expanded
}

/// Moves places in a text to where they stand in the source, which has the tabs.
fn with_tabs<'l>(heredoc: &Heredoc, labels: impl Iterator<Item = &'l mut Label>) {
    let (mut start, mut tabs) = (heredoc.span.start, 0);
    let lines = heredoc.content.split_inclusive('\n').zip(&heredoc.tabs).map(|(line, cut)| {
        tabs += cut;
        start += line.len();
        (start, tabs)
    });
    let lines: Vec<(usize, usize)> = lines.collect();
    for label in labels {
        let line = lines.partition_point(|(end, _)| *end <= label.span.start);
        let tabs = lines.get(line).or(lines.last()).map_or(0, |(_, tabs)| *tabs);
        label.span = Span::new(label.span.start + tabs, label.span.end + tabs);
    }
}

/// A git repository, which only ADD fetches.
fn git(evaluator: &mut Evaluator<'_>, statement: &Statement, word: &Word, text: &str) -> Option<CopyFrom> {
    let fault = match GitSource::parse(text) {
        _ if statement.keyword == "COPY" => diagnostic::copy_remote(word.span),
        Ok(source) => return Some(CopyFrom::Git(source)),
        Err(error) => diagnostic::git_url(word.span, &error),
    };
    evaluator.report(fault);
    None
}

/// `--keep-git-dir` belongs to whole repositories.
fn keep_git_dir(evaluator: &mut Evaluator<'_>, statement: &Statement, sources: &mut [CopyFrom]) {
    let Some(flag) = flag(statement, "keep-git-dir") else { return };
    if switch(evaluator, flag) != Some(true) {
        return;
    }
    let mut is_used = false;
    for source in sources {
        let CopyFrom::Git(git) = source else { continue };
        if git.subdir != "." {
            evaluator.report(diagnostic::git_dir_of_part(flag.span, &git.subdir));
        }
        git.keep_git_dir = true;
        is_used = true;
    }
    if !is_used {
        evaluator.report(diagnostic::git_dir_without_git(flag.span));
    }
}

/// `--from`: a stage above, by name or index, an image or a named context.
fn copied_from(evaluator: &mut Evaluator<'_>, flag: &Flag) -> Option<Origin> {
    let name = value(evaluator, flag, "a stage, an image or a build context");
    if name.is_none() && evaluator.stage().open {
        evaluator.is_from_open = true;
    }
    origin(evaluator, &name?, flag.span)
}

/// The flags that say how files are copied.
fn options(evaluator: &mut Evaluator<'_>, statement: &Statement) -> Option<CopyWork> {
    let unpack = if statement.keyword == "ADD" { Unpack::Local } else { Unpack::Nothing };
    let mut work = CopyWork { unpack, ..CopyWork::default() };
    let mut complete = true;
    for flag in &statement.flags {
        let done = match flag.name.as_str() {
            "chown" => owner(evaluator, flag).map(|owner| work.chown = Some(owner)),
            "chmod" => mode(evaluator, flag).map(|mode| work.chmod = Some(mode)),
            "exclude" => value(evaluator, flag, "a pattern").map(|pattern| work.exclude.push(pattern)),
            "parents" => switch(evaluator, flag).map(|on| work.parents = on),
            "link" => switch(evaluator, flag).map(|on| work.link = on),
            "unpack" => switch(evaluator, flag).map(|on| {
                work.unpack = if on { Unpack::Everything } else { Unpack::Nothing };
            }),
            _ => Some(()),
        };
        complete &= done.is_some();
    }
    if let (Some(flag), Some(chown), true) = (flag(statement, "chown"), &work.chown, work.link)
        && chown.numbers().is_none()
    {
        evaluator.report(diagnostic::chown_by_name_with_link(flag.span));
        return None;
    }
    complete.then_some(work)
}

pub(super) fn value(evaluator: &mut Evaluator<'_>, flag: &Flag, expected: &str) -> Option<String> {
    let text = match &flag.value {
        Some(word) => evaluator.expand(word, Scope::Stage)?,
        None => String::new(),
    };
    if text.is_empty() {
        evaluator.report(diagnostic::flag_value(flag.span, &flag.name, expected));
        return None;
    }
    Some(text)
}

fn switch(evaluator: &mut Evaluator<'_>, flag: &Flag) -> Option<bool> {
    let on = on_off(flag.value.as_ref().map(|word| word.text.as_str()));
    if on.is_none() {
        evaluator.report(diagnostic::flag_value(flag.span, &flag.name, "true or false"));
    }
    on
}

/// The value of a switch; its name alone is on.
pub(super) fn on_off(value: Option<&str>) -> Option<bool> {
    match value.map(str::to_lowercase).as_deref() {
        None | Some("true" | "1") => Some(true),
        Some("false" | "0") => Some(false),
        Some(_) => None,
    }
}

fn owner(evaluator: &mut Evaluator<'_>, flag: &Flag) -> Option<Chown> {
    const EXPECTED: &str = "USER[:GROUP], each a name or a number";
    let text = value(evaluator, flag, EXPECTED)?;
    let owner = access::owner(&text);
    if owner.is_none() {
        evaluator.report(diagnostic::flag_value(flag.span, "chown", EXPECTED));
    }
    owner
}

fn mode(evaluator: &mut Evaluator<'_>, flag: &Flag) -> Option<Chmod> {
    const EXPECTED: &str = "an octal mode up to 7777, or changes such as `u=rwX,go-w`";
    let text = value(evaluator, flag, EXPECTED)?;
    let mode = access::mode(&text);
    if mode.is_none() {
        evaluator.report(diagnostic::flag_value(flag.span, "chmod", EXPECTED));
    }
    mode
}

/// `--checksum=sha256:HEX`, as lower-case hexadecimal digits.
pub(super) fn checksum(evaluator: &mut Evaluator<'_>, flag: &Flag) -> Option<String> {
    let text = value(evaluator, flag, "sha256:HEX")?;
    let hex = text.strip_prefix("sha256:").map(str::to_lowercase);
    let valid = hex.filter(|hex| hex.len() == 64 && hex.chars().all(|c| c.is_ascii_hexdigit()));
    if valid.is_none() {
        let expected = "sha256: and 64 hexadecimal digits";
        evaluator.report(diagnostic::flag_value(flag.span, &flag.name, expected));
    }
    valid
}

/// `--checksum=COMMIT`, in lower case.
fn commit(evaluator: &mut Evaluator<'_>, flag: &Flag) -> Option<String> {
    let expected = "all digits of a commit's id";
    let text = value(evaluator, flag, expected)?;
    let commit = GitSource::commit_id(&text);
    if commit.is_none() {
        evaluator.report(diagnostic::flag_value(flag.span, &flag.name, expected));
    }
    commit
}
