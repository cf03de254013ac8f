//! The Kubefile frontend: text in, diagnostics and a solver definition out.
//!
//! The road is [`parse`] → [`model`] → (the caller resolves [`Model::bases`]) → [`lower`]. The frontend opens nothing:
//! no files, no sockets, no environment. Parsing never fails; every stage collects all it can say about the text.
//!
//! [`Check`] goes beside that road: what a person should know of a text that builds all the same.

pub mod ast;
mod check;
mod context;
mod diagnostic;
mod directive;
mod evaluate;
mod expand;
mod instruction;
mod lexer;
mod lint;
mod lower;
mod model;
mod parse;
mod paths;
mod stage;
mod suggest;
#[cfg(test)]
mod tests;
mod text;
mod words;

use std::collections::BTreeMap;

pub use check::{Check, Selection};
pub use context::{NamedContext, context_name};
pub use diagnostic::{Diagnostic, Label, Severity};
pub use directive::Checks;
pub use instruction::{FlagSyntax, INSTRUCTIONS, Instruction};
pub use lint::{LINTS, Lint};
pub use lower::{Lowered, lower};
pub use model::{BaseRequest, ImageKey, Model, model};
pub use parse::{Parsed, parse};
pub use suggest::nearest;

/// What the command line adds to the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// The platform built for.
    pub platform: solver::Platform,
    /// `--target`: the stage to build, by name or index; the last one by default.
    pub target: Option<String>,
    /// Whether commands may ask for `--security=insecure`.
    pub allows_insecure: bool,
    /// Whether commands run where there is no user but root.
    pub has_one_user: bool,
    /// `--build-context`, by the [`context_name`] of what they stand for.
    pub contexts: BTreeMap<String, NamedContext>,
}
