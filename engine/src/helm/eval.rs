//! Runs templates: the tree is `gotmpl`'s, what it means is Go's `text/template` with Helm's options.
//!
//! `gotmpl` could run them itself, but its values cannot be changed, have no methods, and its functions cannot call
//! templates (`include`, `tpl`); so only its parser is used. Maps give nothing for a missing key (`missingkey=zero`).

use std::rc::Rc;

use gotmpl::parse::{BranchNode, CommandNode, Expr, ListNode, Node, Number, PipeNode, SmolStr, TemplateNode};

use super::fault::{Fault, Outcome};
use super::functions::{self, Call};
use super::objects;
use super::print::print;
use super::templates::{Run, Scope, Template};
use super::value::{Object, Value};
use crate::yaml::to_yaml;

/// Runs a template.
///
/// # Errors
/// Whatever stops it.
pub(super) fn execute(run: &Run, scope: &Scope<'_>, template: &Template, data: &Value) -> Outcome<String> {
    let file = Rc::clone(&template.file);
    let variables = vec![(SmolStr::new_static("$"), data.clone())];
    let mut machine = Machine { run, scope, file, out: String::new(), variables };
    machine.walk(&template.tree, data)?;
    Ok(machine.out)
}

/// How a list of nodes ended.
#[derive(Clone, Copy, PartialEq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// One template being run.
struct Machine<'r> {
    run: &'r Run,
    scope: &'r Scope<'r>,
    file: Rc<str>,
    out: String,
    variables: Vec<(SmolStr, Value)>,
}

impl Machine<'_> {
    fn write(&mut self, text: &str) -> Outcome<()> {
        self.run.work.bytes(text.len())?;
        self.out.push_str(text);
        Ok(())
    }

    fn walk(&mut self, list: &ListNode, dot: &Value) -> Outcome<Flow> {
        for node in &list.nodes {
            self.run.work.step()?;
            let flow = match node {
                Node::Text(text) => {
                    self.write(&text.text)?;
                    Flow::Next
                }
                Node::Action(action) => {
                    let value = self.pipeline(dot, &action.pipe)?;
                    if action.pipe.decl.is_empty() {
                        let shown = self.show(&value);
                        shown.map_err(|fault| fault.at(&self.file, action.pos.line))?;
                    }
                    Flow::Next
                }
                Node::List(list) => self.nested(|machine| machine.walk(list, dot))?,
                Node::If(branch) => self.nested(|machine| machine.walk_if(branch, dot))?,
                Node::With(branch) => self.nested(|machine| machine.walk_with(branch, dot))?,
                Node::Range(branch) => self.nested(|machine| machine.walk_range(branch, dot))?,
                Node::Template(node) => self.walk_template(node, dot)?,
                Node::Define(_) => Flow::Next,
                Node::Break(_) => Flow::Break,
                Node::Continue(_) => Flow::Continue,
            };
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    /// A level deeper; variables made there end there.
    fn nested<T>(&mut self, work: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        self.run.work.enter()?;
        let mark = self.variables.len();
        let result = work(self);
        self.variables.truncate(mark);
        self.run.work.leave();
        result
    }

    fn show(&mut self, value: &Value) -> Outcome<()> {
        match value {
            Value::Nil => self.write("<no value>"),
            Value::Text(text) => self.write(text),
            other => {
                let text = print(other, &self.run.work)?;
                self.write(&text)
            }
        }
    }

    fn walk_if(&mut self, branch: &BranchNode, dot: &Value) -> Outcome<Flow> {
        let mut branch = branch;
        loop {
            if self.pipeline(dot, &branch.pipe)?.is_true() {
                return self.walk(&branch.body, dot);
            }
            match &branch.else_body {
                None => return Ok(Flow::Next),
                Some(ListNode { nodes, .. }) if matches!(nodes.as_slice(), [Node::If(_)]) => {
                    // `else if`, however many, is no nesting.
                    let Some(Node::If(next)) = nodes.first() else { return Ok(Flow::Next) };
                    branch = next;
                }
                Some(list) => return self.walk(list, dot),
            }
        }
    }

    fn walk_with(&mut self, branch: &BranchNode, dot: &Value) -> Outcome<Flow> {
        let value = self.pipeline(dot, &branch.pipe)?;
        match &branch.else_body {
            _ if value.is_true() => self.walk(&branch.body, &value),
            Some(list) => self.walk(list, dot),
            None => Ok(Flow::Next),
        }
    }

    fn walk_range(&mut self, branch: &BranchNode, dot: &Value) -> Outcome<Flow> {
        let value = self.commands(dot, &branch.pipe)?;
        let items = self.items(value).map_err(|fault| fault.at(&self.file, branch.pipe.pos.line))?;
        if items.is_empty() {
            return match &branch.else_body {
                Some(list) => self.walk(list, dot),
                None => Ok(Flow::Next),
            };
        }
        let mark = self.variables.len();
        for (index, item) in items {
            self.run.work.step()?;
            let bound: &[&Value] = match branch.pipe.decl.len() {
                0 => &[],
                1 => &[&item],
                _ => &[&index, &item],
            };
            for (name, value) in branch.pipe.decl.iter().zip(bound) {
                if branch.pipe.is_assign {
                    self.assign(name, (*value).clone())?;
                } else {
                    self.variables.push((name.clone(), (*value).clone()));
                }
            }
            let flow = self.walk(&branch.body, &item)?;
            self.variables.truncate(mark);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    /// What `range` goes over, with the keys.
    fn items(&self, value: Value) -> Outcome<Vec<(Value, Value)>> {
        let count = match &value {
            Value::Int(number) => usize::try_from(*number).unwrap_or(0),
            other => other.len().unwrap_or(0),
        };
        self.run.work.bytes(count.saturating_mul(2 * size_of::<Value>()))?;
        let numbered = |items: &mut dyn Iterator<Item = Value>| {
            (0..).zip(items).map(|(index, item)| (Value::Int(index), item)).collect()
        };
        Ok(match &value {
            Value::Nil => Vec::new(),
            Value::Int(number) => {
                (0..*number).map(|number| (Value::Int(number), Value::Int(number))).collect()
            }
            Value::List(items) => numbered(&mut items.iter().cloned()),
            Value::Bytes(bytes) => numbered(&mut bytes.iter().map(|&byte| Value::Int(byte.into()))),
            Value::Map(map) => {
                map.entries().into_iter().map(|(key, item)| (Value::Text(key), item)).collect()
            }
            Value::Object(object) => match &**object {
                Object::Files(files) => files
                    .iter()
                    .map(|(name, bytes)| (Value::text(name), Value::Bytes(bytes.clone())))
                    .collect(),
                Object::ApiVersions(versions) => {
                    numbered(&mut versions.iter().map(|v| Value::text(v.as_str())))
                }
                _ => return Err(Fault::failed(format!("range can't iterate over a {}", value.type_name()))),
            },
            Value::Bool(_) | Value::Float(_) | Value::Text(_) => {
                return Err(Fault::failed(format!("range can't iterate over a {}", value.type_name())));
            }
        })
    }

    fn walk_template(&mut self, node: &TemplateNode, dot: &Value) -> Outcome<Flow> {
        let data = match &node.pipe {
            Some(pipe) => self.pipeline(dot, pipe)?,
            None => Value::Nil,
        };
        let text = self.scope.execute(self.run, &node.name, &data);
        let text = text.map_err(|fault| fault.at(&self.file, node.pos.line))?;
        self.write(&text)?;
        Ok(Flow::Next)
    }

    fn assign(&mut self, name: &SmolStr, value: Value) -> Outcome<()> {
        match self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            Some((_, slot)) => {
                *slot = value;
                Ok(())
            }
            None => Err(undefined(name)),
        }
    }

    fn pipeline(&mut self, dot: &Value, pipe: &PipeNode) -> Outcome<Value> {
        let value = self.commands(dot, pipe)?;
        if let [name] = pipe.decl.as_slice() {
            if pipe.is_assign {
                let assigned = self.assign(name, value.clone());
                assigned.map_err(|fault| fault.at(&self.file, pipe.pos.line))?;
            } else {
                self.variables.push((name.clone(), value.clone()));
            }
        }
        Ok(value)
    }

    fn commands(&mut self, dot: &Value, pipe: &PipeNode) -> Outcome<Value> {
        let mut value = None;
        for command in &pipe.commands {
            self.run.work.step()?;
            let next = self.command(dot, command, value.take());
            value = Some(next.map_err(|fault| fault.at(&self.file, command.pos.line))?);
        }
        Ok(value.unwrap_or_default())
    }

    fn command(&mut self, dot: &Value, command: &CommandNode, piped: Option<Value>) -> Outcome<Value> {
        let Some((first, rest)) = command.args.split_first() else { return Ok(Value::Nil) };
        match first {
            Expr::Identifier(_, name) => return self.call(dot, name, rest, piped),
            Expr::Field(_, fields) => {
                let args = self.arguments(dot, rest, piped)?;
                return self.fields(dot.clone(), fields, &args);
            }
            Expr::Variable(_, name, fields) if !fields.is_empty() => {
                let value = self.variable(name)?;
                let args = self.arguments(dot, rest, piped)?;
                return self.fields(value, fields, &args);
            }
            Expr::Chain(_, inner, fields) => {
                let value = self.expression(dot, inner)?;
                let args = self.arguments(dot, rest, piped)?;
                return self.fields(value, fields, &args);
            }
            _ => {}
        }
        if piped.is_some() || !rest.is_empty() {
            return Err(Fault::failed("can't give argument to non-function"));
        }
        match first {
            Expr::Nil(_) => Err(Fault::failed("nil is not a command")),
            other => self.expression(dot, other),
        }
    }

    fn arguments(&mut self, dot: &Value, rest: &[Expr], piped: Option<Value>) -> Outcome<Vec<Value>> {
        let mut args = Vec::with_capacity(rest.len() + usize::from(piped.is_some()));
        for expression in rest {
            args.push(self.expression(dot, expression)?);
        }
        args.extend(piped);
        Ok(args)
    }

    fn call(&mut self, dot: &Value, name: &str, rest: &[Expr], piped: Option<Value>) -> Outcome<Value> {
        if matches!(name, "and" | "or") {
            return self.short_circuit(dot, name == "and", rest, piped);
        }
        let args = self.arguments(dot, rest, piped)?;
        functions::call(&Call { run: self.run, scope: self.scope, name, args: &args, written: rest })
    }

    /// `and` and `or` evaluate no more arguments than they need.
    fn short_circuit(
        &mut self,
        dot: &Value,
        and: bool,
        rest: &[Expr],
        piped: Option<Value>,
    ) -> Outcome<Value> {
        if rest.is_empty() && piped.is_none() {
            return Err(Fault::failed("wrong number of args: want at least 1 got 0"));
        }
        let mut last = Value::Nil;
        for expression in rest {
            last = self.expression(dot, expression)?;
            if last.is_true() != and {
                return Ok(last);
            }
        }
        Ok(piped.unwrap_or(last))
    }

    fn expression(&mut self, dot: &Value, expression: &Expr) -> Outcome<Value> {
        Ok(match expression {
            Expr::Dot(_) => dot.clone(),
            Expr::Field(_, fields) => self.fields(dot.clone(), fields, &[])?,
            Expr::Variable(_, name, fields) => self.fields(self.variable(name)?, fields, &[])?,
            Expr::String(_, text) => Value::text(&**text),
            Expr::Number(_, Number::Int(number)) => Value::Int(*number),
            Expr::Number(_, Number::Float(number)) => Value::Float(*number),
            Expr::Number(_, Number::Uint(number)) => {
                return Err(Fault::failed(format!("{number} overflows int")));
            }
            Expr::Bool(_, value) => Value::Bool(*value),
            Expr::Nil(_) => Value::Nil,
            Expr::Pipe(_, pipe) => self.nested(|machine| machine.pipeline(dot, pipe))?,
            Expr::Identifier(_, name) => self.call(dot, name, &[], None)?,
            Expr::Chain(_, inner, fields) => {
                let value = self.expression(dot, inner)?;
                self.fields(value, fields, &[])?
            }
        })
    }

    fn variable(&self, name: &str) -> Outcome<Value> {
        let found = self.variables.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone()).ok_or_else(|| undefined(name))
    }

    /// A chain of fields; arguments go to its last link, which is a method then.
    fn fields(&self, value: Value, fields: &[SmolStr], args: &[Value]) -> Outcome<Value> {
        if matches!(value, Value::Nil) && !fields.is_empty() {
            // Nothing has every field; only what a map lacks has none.
            return Ok(Value::Nil);
        }
        let mut value = value;
        for (at, field) in fields.iter().enumerate() {
            let args = if at + 1 == fields.len() { args } else { &[] };
            value = match &value {
                Value::Map(map) if !args.is_empty() => objects::map_member(map, field, args)?,
                Value::Map(map) => match map.member(field) {
                    // Methods of values without arguments; of what is below them, only the first is told.
                    None if field == "AsMap" => value.clone(),
                    None if field == "YAML" && at > 0 && fields[at - 1] == "Values" => {
                        let text = to_yaml(&value.to_json(&self.run.work)?);
                        self.run.work.bytes(text.len())?;
                        Value::text(text)
                    }
                    found => found.unwrap_or_default(),
                },
                Value::Object(object) => objects::member(object, field, args, &self.run.work)?,
                Value::Nil => {
                    return Err(Fault::failed(format!("nil pointer evaluating interface {{}}.{field}")));
                }
                other => {
                    let reason = format!("can't evaluate field {field} in type {}", other.type_name());
                    return Err(Fault::failed(reason));
                }
            };
        }
        Ok(value)
    }
}

fn undefined(name: &str) -> Box<Fault> {
    Fault::failed(format!("undefined variable `{name}`"))
}
