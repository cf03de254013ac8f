//! Bases that are not the same tomorrow, or not the same for every platform.

use std::collections::HashSet;

use super::Subject;
use crate::diagnostic::{self, Diagnostic};
use crate::evaluate;
use crate::model::ImageKey;
use crate::stage::StageBase;

/// `base-latest`
pub(super) fn latest(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    // A mistyped stage is no image that lacks a tag.
    let is_stage = |found: &&Diagnostic| found.code == "base-like-stage";
    let stages: HashSet<usize> =
        subject.evaluation.diagnostics.iter().filter(is_stage).map(Diagnostic::start).collect();
    for (stage, statement) in subject.stages() {
        let (StageBase::Image(ImageKey { reference: image, .. }), Some(word)) =
            (&stage.base, evaluate::words(statement).first())
        else {
            continue;
        };
        if stages.contains(&word.span.start) {
            continue;
        }
        match tag(image) {
            Some("latest") => found.push(diagnostic::base_latest(word.span, image, true)),
            None if !is_fixed(image) => found.push(diagnostic::base_latest(word.span, image, false)),
            _ => {}
        }
    }
    found
}

/// The tag of a reference without digest.
fn tag(image: &str) -> Option<&str> {
    let name = image.rsplit('/').next().filter(|_| !image.contains('@'))?;
    name.split_once(':').map(|(_, tag)| tag)
}

/// Whether it has a digest, or is the id of an image of the store.
fn is_fixed(image: &str) -> bool {
    let is_id = image.len() >= ID_LENGTH && image.chars().all(|c| c.is_ascii_hexdigit());
    image.contains('@') || is_id
}

/// What `sealer images` shows of an id.
const ID_LENGTH: usize = 12;

/// `constant-platform`
pub(super) fn constant_platform(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let flags = subject.stages().filter_map(|(stage, statement)| {
        let flag = statement.flags.iter().find(|flag| flag.name == "platform")?;
        let is_constant = flag.value.as_ref().is_some_and(|value| !value.text.contains('$'));
        (is_constant && matches!(stage.base, StageBase::Image(_))).then_some(flag)
    });
    flags.map(|flag| diagnostic::constant_platform(flag.span)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_no_tags_and_digests_and_ids_are_fixed() {
        assert_eq!(tag("host:5000/team/base"), None);
        assert_eq!(tag("host:5000/team/base:latest"), Some("latest"));
        assert_eq!(tag("base:latest@sha256:00"), None);
        assert!(is_fixed("base@sha256:00") && is_fixed("0123456789ab") && !is_fixed("beef"));
    }
}
