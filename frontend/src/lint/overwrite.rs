//! Files that end where others are. Only what is sure is said: of a source that may be a directory, nothing.

use std::collections::{HashMap, HashSet};

use solver::{LocalSource, Span, Unpack};

use super::Subject;
use crate::check::Selection;
use crate::diagnostic::{self, Diagnostic};
use crate::paths;
use crate::stage::{App, CopyFrom, CopyWork, Stage, Work};

/// `base-app-replaced`
pub(super) fn base_app(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (stage, from) in subject.stages() {
        let inherited: HashSet<&str> = stage.image.applications.iter().map(|app| app.name.as_str()).collect();
        for app in &stage.apps.list {
            // What a stage below declared was said of that stage.
            if let App::Declared(app) = app
                && app.span.start > from.span.start
                && inherited.contains(app.name.as_str())
            {
                found.push(diagnostic::base_app_replaced(app.span, from.span, &app.name));
            }
        }
    }
    found
}

/// `copy-into-app`
pub(super) fn into_app(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for stage in &subject.evaluation.stages {
        for step in &stage.steps {
            let (Work::Copy(copy), Some((_, word))) = (&step.work, subject.copied(step)) else { continue };
            let destination = paths::clean(&copy.destination);
            let Some(rest) = destination.strip_prefix("application/apps/") else { continue };
            let name = rest.split('/').next().unwrap_or_default();
            // Without files of its own, an application can only get them so.
            if let Some(App::Declared(app)) = stage.apps.get(name)
                && app.sources > 0
            {
                found.push(diagnostic::copy_into_app(word.span, app.span, name));
            }
        }
    }
    found
}

/// `overwritten-file`
pub(super) fn file(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    subject.evaluation.stages.iter().for_each(|stage| in_stage(subject, stage, &mut found));
    found
}

fn in_stage(subject: &Subject<'_>, stage: &Stage, found: &mut Vec<Diagnostic>) {
    let mut runs = subject.file.statements.iter().filter(|statement| statement.keyword == "RUN").peekable();
    let mut seen: HashMap<String, Span> = HashMap::new();
    for step in &stage.steps {
        // A command may have used the file, or moved it away.
        while runs.next_if(|run| run.span.start < step.span.start).is_some() {
            seen.clear();
        }
        let (Work::Copy(copy), Some((sources, _))) = (&step.work, subject.copied(step)) else { continue };
        for (source, word) in sources {
            let Some(path) = destination(subject, copy, source) else { continue };
            if let Some(first) = seen.insert(path.clone(), word.span) {
                found.push(diagnostic::overwritten_file(word.span, first, &path));
            }
        }
    }
}

/// Where a source goes that is one file for sure.
fn destination(subject: &Subject<'_>, copy: &CopyWork, source: &CopyFrom) -> Option<String> {
    let name = match source {
        CopyFrom::Inline(inline) => inline.name.as_str(),
        CopyFrom::Remote { url, .. } => paths::url_file_name(url)?,
        // What ADD finds to be an archive becomes many files.
        CopyFrom::Local { context, pattern }
            if context == LocalSource::OWN && copy.unpack == Unpack::Nothing && !copy.parents =>
        {
            let selection = subject.selections.get(pattern);
            selection.filter(|selection| **selection == Selection::File)?;
            pattern.rsplit('/').next()?
        }
        _ => return None,
    };
    if copy.destination.ends_with('/') {
        return Some(paths::clean(&format!("{}{name}", copy.destination)));
    }
    // A directory may stand there, and then the file goes below it.
    let path = paths::clean(&copy.destination);
    let last = path.rsplit('/').next().unwrap_or_default();
    (last == name || paths::has_file_ending(last)).then_some(path)
}
