//! FROM: starts a stage (spec §1.4).

use std::collections::BTreeMap;

use solver::{Base, Launch, Platform};

use super::origin::{named, taken_as_image};
use crate::ast::{Statement, Word};
use crate::context::NamedContext;
use crate::diagnostic;
use crate::evaluate::{self, Evaluator, Scope};
use crate::model::ImageKey;
use crate::stage::{App, Apps, Env, Stage, StageBase};

/// Applies FROM.
pub(super) fn apply(evaluator: &mut Evaluator<'_>, statement: &Statement) {
    let words = evaluate::words(statement);
    let name = match words {
        [_] => None,
        [_, keyword, name] if keyword.text.eq_ignore_ascii_case("as") => stage_name(evaluator, name),
        _ => {
            evaluator.report(diagnostic::from_arguments(statement.span));
            None
        }
    };
    let platform = platform(evaluator, statement);
    let base = match words.first() {
        Some(word) => stage_base(evaluator, word, platform.as_ref()),
        None => None,
    };
    let index = evaluator.stages.len();
    let mut stage = match base {
        Some(StageBase::Stage(below)) => on_stage(evaluator, below),
        Some(StageBase::Image(image)) => Stage { platform, ..on_image(evaluator, image) },
        Some(StageBase::Scratch) => Stage { platform, ..on_scratch() },
        None => on_unknown(),
    };
    stage.named = name.is_some();
    stage.name = name.unwrap_or_else(|| index.to_string());
    stage.span = statement.span;
    stage.line = statement.line.clone();
    if stage.named {
        evaluator.stage_names.entry(stage.name.to_lowercase()).or_insert(index);
    }
    evaluator.stages.push(stage);
}

fn stage_name(evaluator: &mut Evaluator<'_>, word: &Word) -> Option<String> {
    let valid = word.text.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if !valid {
        evaluator.report(diagnostic::invalid_stage_name(word.span, &word.text));
        return None;
    }
    if let Some(&first) = evaluator.stage_names.get(&word.text.to_lowercase()) {
        let first = evaluator.stages[first].span;
        evaluator.report(diagnostic::duplicate_stage(word.span, first, &word.text));
    }
    Some(word.text.clone())
}

/// `--platform`; sealer also takes a list in brackets and quotes, and uses its first item.
fn platform(evaluator: &mut Evaluator<'_>, statement: &Statement) -> Option<Platform> {
    let flag = statement.flags.iter().find(|flag| flag.name == "platform")?;
    let Some(value) = &flag.value else {
        evaluator.report(diagnostic::flag_value(flag.span, "platform", "OS/ARCH[/VARIANT]"));
        return None;
    };
    let text = evaluator.expand(value, Scope::Global)?;
    let first = text.split(',').next().unwrap_or_default();
    let first = first.trim_matches(|c: char| matches!(c, '[' | ']' | '"' | '\'') || c.is_whitespace());
    let platform = parse_platform(first);
    if platform.is_none() {
        evaluator.report(diagnostic::invalid_platform(value.span, first));
    }
    platform
}

/// Reads `OS/ARCH[/VARIANT]`; an architecture alone is of Linux.
pub(crate) fn parse_platform(text: &str) -> Option<Platform> {
    let parts: Vec<&str> = text.split('/').collect();
    let valid = |part: &&str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
    };
    if !parts.iter().all(valid) {
        return None;
    }
    let (os, architecture, variant) = match parts[..] {
        [architecture] if architecture != "linux" => ("linux", architecture, None),
        [os, architecture] => (os, architecture, None),
        [os, architecture, variant] => (os, architecture, Some(variant)),
        _ => return None,
    };
    Some(Platform::new(os, architecture, variant))
}

fn stage_base(evaluator: &mut Evaluator<'_>, word: &Word, platform: Option<&Platform>) -> Option<StageBase> {
    let reference = evaluator.expand(word, Scope::Global)?;
    let reference = reference.trim();
    if reference.is_empty() {
        evaluator.report(diagnostic::empty_base(word.span));
        return None;
    }
    if reference == "scratch" {
        return Some(StageBase::Scratch);
    }
    let platform = platform.map(Platform::to_string);
    match named(evaluator, reference) {
        Some(NamedContext::Image(reference)) => {
            return Some(StageBase::Image(ImageKey { reference, platform }));
        }
        Some(NamedContext::Files) => {
            evaluator.report(diagnostic::from_context_of_files(word.span, reference));
            return None;
        }
        None => {}
    }
    if let Some(&below) = evaluator.stage_names.get(&reference.to_lowercase()) {
        return Some(StageBase::Stage(below));
    }
    let above = evaluator.stages.len();
    taken_as_image(evaluator, reference, word.span, above);
    Some(StageBase::Image(ImageKey { reference: reference.to_owned(), platform }))
}

/// What is below is not known: stay silent about what it may have.
pub(crate) fn on_unknown() -> Stage {
    Stage { open: true, has_files: true, ..on_scratch() }
}

fn on_scratch() -> Stage {
    let mut env = Env::default();
    env.set("PATH", Some(SCRATCH_PATH.to_owned()));
    Stage {
        name: String::new(),
        named: false,
        span: solver::Span::default(),
        line: String::new(),
        base: StageBase::Scratch,
        platform: None,
        image: Base::default(),
        open: false,
        apps_open: false,
        has_files: false,
        steps: Vec::new(),
        history: Vec::new(),
        copies_from: Vec::new(),
        images_from: Vec::new(),
        args: BTreeMap::new(),
        env,
        extension_env: BTreeMap::new(),
        labels: BTreeMap::new(),
        author: None,
        apps: Apps::default(),
        launch: Launch::default(),
    }
}

/// What buildah sets for images from scratch.
const SCRATCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Takes over everything but steps, history and launch.
fn on_stage(evaluator: &Evaluator<'_>, below: usize) -> Stage {
    let parent = &evaluator.stages[below];
    Stage {
        base: StageBase::Stage(below),
        steps: Vec::new(),
        history: Vec::new(),
        copies_from: Vec::new(),
        images_from: Vec::new(),
        launch: Launch::default(),
        ..parent.clone()
    }
}

fn on_image(evaluator: &Evaluator<'_>, image: ImageKey) -> Stage {
    let found = evaluator.bases.and_then(|bases| bases.get(&image));
    let base = StageBase::Image(image);
    let open = Stage { base, has_files: true, open: true, env: Env::default(), ..on_scratch() };
    let Some(image) = found else { return open };
    let mut stage = Stage {
        open: false,
        labels: image.labels.clone(),
        author: image.author.clone(),
        image: image.clone(),
        ..open
    };
    for (name, value) in &image.env {
        stage.env.set(name, Some(value.clone()));
    }
    for application in &image.applications {
        stage.apps.put(App::Inherited(application.clone()));
    }
    stage
}
