//! A plan in graphviz's language.

use std::fmt::Write;

use super::view::{Node, STATE, State, View};
use crate::progress::printable;

/// The graph as text.
pub(super) fn dot(view: &View) -> String {
    let mut text = format!(
        "digraph {} {{\n  rankdir=LR;\n  node [shape=box, style=\"rounded,filled\", fillcolor=white, fontname=\"sans-serif\", fontsize=11];\n",
        quoted(&view.file)
    );
    for (number, node) in view.nodes.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  n{number} [{}];", attributes(node));
    }
    for (number, node) in view.nodes.iter().enumerate() {
        for input in &node.inputs {
            let _ = writeln!(text, "  n{input} -> n{number};");
        }
    }
    text.push_str("}\n");
    text
}

fn attributes(node: &Node) -> String {
    if node.kind == STATE {
        return "shape=point, label=\"\"".to_owned();
    }
    let look = match node.state {
        State::Cached => ", fillcolor=\"#d9f2e3\", color=\"#1f8a70\"",
        State::Runs => ", fillcolor=\"#dce8f9\", color=\"#3b73c4\"",
        State::Read => ", style=\"filled\"",
        State::Unneeded => ", style=\"rounded,dashed\", color=\"#8a94a0\", fontcolor=\"#667080\"",
        State::Nothing => ", penwidth=2",
    };
    let (name, facts) = (printable(&node.name), node.facts());
    let label = if facts.is_empty() { name.clone() } else { format!("{name}\n{facts}") };
    format!("id={}, label={}, tooltip={}{look}", quoted(&node.id), quoted(&label), quoted(&name))
}

/// A string that graphviz shows as it is: it knows escapes in labels, and HTML's names of letters.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '&' => quoted.push_str("&amp;"),
            letter if letter.is_control() => quoted.push(' '),
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_means_anything_to_graphviz() {
        assert_eq!(quoted("a\"];b\\N&lt;\t\u{1b}\nc"), "\"a\\\"];b\\\\N&amp;lt;  \\nc\"");
    }
}
