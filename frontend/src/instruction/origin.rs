//! `--from`: the build context, the stage or the image that files come from.

use solver::Span;

use crate::ast::Statement;
use crate::context::{NamedContext, context_name};
use crate::diagnostic;
use crate::evaluate::{self, Evaluator};
use crate::model::ImageKey;
use crate::suggest::nearest;

/// Where `--from` leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A stage above, which has files.
    Stage(usize),
    /// An image.
    Image(ImageKey),
    /// A named context of files, as [`solver::LocalSource`] names it.
    Context(String),
}

/// Finds what a name of `--from` means, and notes that the current stage needs it.
pub(super) fn origin(evaluator: &mut Evaluator<'_>, name: &str, span: Span) -> Option<Origin> {
    let current = evaluator.stages.len() - 1;
    if let Some(context) = named(evaluator, name) {
        return Some(match context {
            NamedContext::Files => Origin::Context(solver::LocalSource::named(&context_name(name))),
            NamedContext::Image(reference) => image(evaluator, reference, span),
        });
    }
    let found = evaluator.find_stage(name);
    if let Some(stage) = found.filter(|&stage| stage < current) {
        evaluator.stage().copies_from.push(stage);
        if !evaluator.stages[stage].has_files {
            evaluator.report(diagnostic::copy_from_empty(span, name));
            return None;
        }
        return Some(Origin::Stage(stage));
    }
    // No image could be meant.
    if found.is_some() || name.chars().all(|c| c.is_ascii_digit()) {
        evaluator.report(diagnostic::copy_from_not_above(span, name));
        return None;
    }
    if name == "scratch" {
        evaluator.report(diagnostic::copy_from_scratch(span));
        return None;
    }
    taken_as_image(evaluator, name, span, current);
    Some(image(evaluator, name.to_owned(), span))
}

/// Warns of an image that has the name of a stage below, or nearly that of one of the `above` stages above.
pub(super) fn taken_as_image(evaluator: &mut Evaluator<'_>, name: &str, span: Span, above: usize) {
    let below = stage_below(evaluator, name, span);
    let above = evaluator.stages[..above].iter().filter(|stage| stage.named);
    let diagnostic = match below {
        Some(below) => Some(diagnostic::stage_is_below(span, below, name)),
        None => nearest(name, above.map(|stage| stage.name.as_str()))
            .map(|similar| diagnostic::stage_reference_case(span, similar, name)),
    };
    evaluator.diagnostics.extend(diagnostic);
}

/// The FROM of the stage below that has a name.
fn stage_below(evaluator: &mut Evaluator<'_>, name: &str, span: Span) -> Option<Span> {
    let file = evaluator.file;
    let named = evaluator.last_named.get_or_insert_with(|| {
        let froms = file.statements.iter().filter(|statement| statement.keyword == "FROM");
        let name = |from: &Statement| Some((evaluate::words(from).get(2)?.text.to_lowercase(), from.span));
        froms.filter_map(name).collect()
    });
    named.get(&name.to_lowercase()).copied().filter(|from| from.start > span.start)
}

/// What the command line puts in the place of a stage or an image, if anything.
pub(super) fn named(evaluator: &mut Evaluator<'_>, name: &str) -> Option<NamedContext> {
    let name = context_name(name);
    let context = evaluator.options.contexts.get(&name)?.clone();
    evaluator.used_contexts.insert(name);
    Some(context)
}

fn image(evaluator: &mut Evaluator<'_>, reference: String, span: Span) -> Origin {
    let key = ImageKey { reference, platform: None };
    evaluator.stage().images_from.push((key.clone(), span));
    Origin::Image(key)
}
