//! The checked text before its bases are known, and which bases it needs.

use std::collections::BTreeMap;

use solver::{Base, Span};

use crate::ast::File;
use crate::diagnostic::Diagnostic;
use crate::evaluate::{Evaluation, evaluate};
use crate::stage::StageBase;
use crate::{Options, Parsed};

/// A checked Kubefile whose base images are still to be resolved.
#[derive(Debug, Clone)]
pub struct Model {
    pub(crate) file: File,
    pub(crate) evaluation: Evaluation,
}

/// An image as a text asks for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageKey {
    /// The image as written, after expansion; never `scratch` or the name of a stage.
    pub reference: String,
    /// `--platform`; the platform built for where it is not given.
    pub platform: Option<String>,
}

/// An image that lowering needs: a base, or one that files are copied from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseRequest {
    /// The image.
    pub image: ImageKey,
    /// The FROM, or the `--from`.
    pub span: Span,
    /// Whether a stage starts from it; else files are copied.
    pub is_base: bool,
}

/// Checks all that the text alone decides.
pub fn model(parsed: &Parsed, options: &Options) -> (Model, Vec<Diagnostic>) {
    let evaluation = evaluate(&parsed.file, options, None);
    let diagnostics = parsed.file.checks.apply(evaluation.diagnostics.clone());
    (Model { file: parsed.file.clone(), evaluation }, diagnostics)
}

impl Model {
    /// The images that the stages to build start from or copy from, in the order of the text.
    pub fn bases(&self) -> Vec<BaseRequest> {
        requests(&self.evaluation)
    }

    /// The images that are named only once `bases` are known, by variables that a base could have set.
    pub fn further_bases(&self, options: &Options, bases: &BTreeMap<ImageKey, Base>) -> Vec<BaseRequest> {
        if !self.evaluation.is_from_open {
            return Vec::new();
        }
        let mut further = requests(&evaluate(&self.file, options, Some(bases)));
        further.retain(|request| !bases.contains_key(&request.image));
        further
    }
}

/// The images that the stages to build need.
pub(crate) fn requests(evaluation: &Evaluation) -> Vec<BaseRequest> {
    let mut requests = Vec::new();
    let stages = evaluation.stages.iter().zip(&evaluation.reachable);
    for (stage, _) in stages.filter(|(_, is_reachable)| **is_reachable) {
        if let StageBase::Image(image) = &stage.base {
            requests.push(BaseRequest { image: image.clone(), span: stage.span, is_base: true });
        }
        let copied = stage.images_from.iter().cloned();
        requests.extend(copied.map(|(image, span)| BaseRequest { image, span, is_base: false }));
    }
    requests
}
