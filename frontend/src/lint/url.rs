//! What is fetched without anything that says what it must be.

use solver::{SourceKind, Span};

use super::Subject;
use crate::diagnostic::{self, Diagnostic};
use crate::stage::{CopyFrom, Step, Work};

/// `unpinned-url`
pub(super) fn unpinned(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let https = |url: &Unpinned| url.is_https;
    unpinned_urls(subject).filter(https).map(|url| diagnostic::unpinned_url(url.span, url.alone)).collect()
}

/// `plain-http`
pub(super) fn plain_http(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let plain = |url: &Unpinned| !url.is_https;
    unpinned_urls(subject).filter(plain).map(|url| diagnostic::plain_http(url.span, url.alone)).collect()
}

/// A URL without checksum.
struct Unpinned {
    span: Span,
    is_https: bool,
    /// Whether it is the one URL of its instruction, so that a checksum can be given.
    alone: bool,
}

fn unpinned_urls<'a>(subject: &Subject<'a>) -> impl Iterator<Item = Unpinned> {
    let subject = *subject;
    let steps = subject.evaluation.stages.iter().flat_map(|stage| &stage.steps);
    steps.flat_map(move |step| of_step(&subject, step))
}

fn of_step(subject: &Subject<'_>, step: &Step) -> Vec<Unpinned> {
    let urls: Vec<(&str, Span, bool)> = match &step.work {
        Work::App { sources, .. } => {
            let remote = sources.iter().filter(|source| source.kind == SourceKind::Remote);
            remote.map(|source| (source.place.as_str(), source.span, source.checksum.is_some())).collect()
        }
        _ => {
            let Some((sources, _)) = subject.copied(step) else { return Vec::new() };
            let remote = sources.into_iter().filter_map(|(source, word)| match source {
                CopyFrom::Remote { url, checksum, .. } => Some((url.as_str(), word.span, checksum.is_some())),
                _ => None,
            });
            remote.collect()
        }
    };
    let alone = urls.len() == 1;
    let unpinned = urls.into_iter().filter(|(.., pinned)| !pinned);
    unpinned.map(|(url, span, _)| Unpinned { span, is_https: url.starts_with("https://"), alone }).collect()
}
