//! A plan as JSON: an interface, described in `docs/design/observing.md`.

use serde_json::{Value, json};

use super::view::{Node, State, View};
use crate::observe::lane;

/// The version of the object; it is one more when a reader has to know.
const FORMAT_VERSION: u32 = 1;

/// The object as text.
pub(super) fn json(view: &View) -> String {
    let vertex = |node: &Node| {
        let inputs: Vec<&str> = node.inputs.iter().map(|input| view.nodes[*input].id.as_str()).collect();
        json!({
            "id": node.id,
            "name": node.name,
            "kind": node.kind,
            "lane": node.lane.map(lane),
            "plan": Some(node.state.word()).filter(|word| !word.is_empty()),
            "cached": node.state == State::Cached,
            "lines": node.lines,
            "inputs": inputs,
        })
    };
    let (steps, cached) = view.counts();
    let vertices: Vec<Value> = view.nodes.iter().map(vertex).collect();
    let object = json!({
        "version": FORMAT_VERSION, "file": view.file, "steps": steps, "cached": cached, "vertices": vertices,
    });
    format!("{object:#}\n")
}
