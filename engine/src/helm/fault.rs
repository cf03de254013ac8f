//! Why a template stops.

use std::rc::Rc;

/// What a function or an expression gives. The fault is boxed: evaluation recurses, and its frames should be small.
pub(super) type Outcome<T> = Result<T, Box<Fault>>;

/// A stop inside a template, on its way up to whoever knows what was rendered.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    pub(super) reason: String,
    /// Template and line of the innermost action.
    pub(super) at: Option<(Rc<str>, usize)>,
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// The chart's: Helm would stop too.
    Failed,
    /// Ours: Helm could go on.
    Lacking,
    /// It asked for more than is reasonable.
    Limit,
}

impl Fault {
    pub(super) fn failed(reason: impl Into<String>) -> Box<Self> {
        Box::new(Self { kind: FaultKind::Failed, reason: reason.into(), at: None })
    }

    pub(super) fn lacking(what: impl Into<String>) -> Box<Self> {
        Box::new(Self { kind: FaultKind::Lacking, reason: what.into(), at: None })
    }

    pub(super) fn limit(reason: impl Into<String>) -> Box<Self> {
        Box::new(Self { kind: FaultKind::Limit, reason: reason.into(), at: None })
    }

    /// The same, with the place where it happened if none is known yet.
    pub(super) fn at(mut self: Box<Self>, template: &Rc<str>, line: usize) -> Box<Self> {
        self.at.get_or_insert_with(|| (Rc::clone(template), line));
        self
    }
}
