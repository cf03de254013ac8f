//! Named templates, and what one rendering shares between them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use gotmpl::parse::{ListNode, Parser, SmolStr};
use regex::Regex;

use super::comments::rewritten;
use super::eval;
use super::fault::{Fault, Outcome};
use super::value::{Map, Value};
use super::work::Work;

/// Most `else if` in one text: the parser recurses for each of them.
const ELSE_LIMIT: usize = 500;

/// What a rendering shares from template to template.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) work: Work,
    /// Compiled expressions, with what a byte of text costs.
    pub(super) regexes: RefCell<HashMap<Rc<str>, (Regex, usize)>>,
    /// Maps that were written into, which may hold themselves by now.
    touched: RefCell<Vec<Weak<Map>>>,
}

impl Run {
    pub(super) fn new() -> Self {
        Self { work: Work::new(), regexes: RefCell::default(), touched: RefCell::default() }
    }

    /// Notes that a map was written into.
    pub(super) fn touch(&self, map: &Rc<Map>) -> Outcome<()> {
        self.work.bytes(size_of::<Weak<Map>>())?;
        self.touched.borrow_mut().push(Rc::downgrade(map));
        Ok(())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // A map that holds itself would never be freed.
        self.touched.take().iter().filter_map(Weak::upgrade).for_each(|map| map.clear());
    }
}

/// A named template.
#[derive(Debug)]
pub(super) struct Template {
    /// The file it stands in, for messages.
    pub(super) file: Rc<str>,
    pub(super) tree: ListNode,
}

/// Named templates.
#[derive(Debug, Default)]
pub(super) struct Templates(HashMap<SmolStr, Rc<Template>>);

impl Templates {
    /// Parses a text; it becomes the template `file`, and what it defines is added.
    ///
    /// # Errors
    /// When it is no template.
    pub(super) fn parse(&mut self, file: &Rc<str>, text: &str) -> Outcome<()> {
        let fail = |error: gotmpl::TemplateError| match error {
            gotmpl::TemplateError::Parse { line, message, .. }
            | gotmpl::TemplateError::Lex { line, message, .. } => Fault::failed(message).at(file, line),
            other => Fault::failed(other.to_string()),
        };
        let chains = text.match_indices("else").filter(|(at, _)| {
            let next = text[at + 4..].trim_start();
            next.starts_with("if") || next.starts_with("with")
        });
        if chains.count() > ELSE_LIMIT {
            return Err(Fault::limit(format!("more than {ELSE_LIMIT} `else if` in one file")).at(file, 1));
        }
        let text = rewritten(text);
        let (tree, defines) = Parser::new(&text, "{{", "}}").map_err(fail)?.parse().map_err(fail)?;
        for define in defines {
            self.add(define.name, file, define.body);
        }
        self.add(SmolStr::from(&**file), file, tree);
        Ok(())
    }

    /// The last definition counts, but one that is blank replaces none that is not.
    fn add(&mut self, name: SmolStr, file: &Rc<str>, tree: ListNode) {
        let is_blank = tree.is_empty_tree();
        if is_blank && self.0.get(&name).is_some_and(|old| !old.tree.is_empty_tree()) {
            return;
        }
        self.0.insert(name, Rc::new(Template { file: Rc::clone(file), tree }));
    }
}

/// The templates a template sees: those of a text given to `tpl` lie over the chart's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'s> {
    pub(super) own: &'s Templates,
    pub(super) outer: Option<&'s Scope<'s>>,
}

impl Scope<'_> {
    fn find(&self, name: &str) -> Option<Rc<Template>> {
        let mut scope = Some(self);
        while let Some(here) = scope {
            if let Some(template) = here.own.0.get(name) {
                return Some(Rc::clone(template));
            }
            scope = here.outer;
        }
        None
    }

    /// Runs a template by its name.
    ///
    /// # Errors
    /// Whatever stops it.
    pub(super) fn execute(&self, run: &Run, name: &str, data: &Value) -> Outcome<String> {
        let template = self.find(name).ok_or_else(|| Fault::failed(format!("no template `{name}`")))?;
        run.work.enter()?;
        let out = eval::execute(run, self, &template, data);
        run.work.leave();
        out
    }
}
