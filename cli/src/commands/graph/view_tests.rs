//! Views and drawings of small plans.

use solver::{AppOp, Definition, FileOp, Metadata, MissReason, Unpack, VertexDigest, plan};

use super::super::{dot::dot, json::json, svg::svg};
use super::*;

/// A stage of applications, and copies on top of all of them.
struct Stage {
    definition: Definition,
    state: Option<VertexDigest>,
}

impl Stage {
    fn new() -> Self {
        Self { definition: Definition::new(SourceFile::default()), state: None }
    }

    fn step(&mut self, op: Op, inputs: Vec<VertexDigest>, name: &str) {
        let named = Metadata { name: name.to_owned(), ..Metadata::default() };
        let step = self.definition.add(op, inputs, named);
        let inputs = [step].into_iter().chain(self.state).collect();
        let hidden = Metadata { hidden: true, ..Metadata::default() };
        self.state = Some(self.definition.add(Op::State, inputs, hidden));
        self.definition.set_target(self.state.unwrap());
    }

    fn app(&mut self, name: &str) {
        let op = Op::App(AppOp { name: name.to_owned(), sources: Vec::new() });
        self.step(op, Vec::new(), &format!("APP {name}"));
    }

    fn copy(&mut self, to: &str) {
        let op = FileOp {
            below: true,
            sources: Vec::new(),
            destination: to.to_owned(),
            chown: None,
            chmod: None,
            exclude: Vec::new(),
            parents: false,
            unpack: Unpack::Nothing,
        };
        self.step(Op::File(op.into()), self.state.into_iter().collect(), &format!("COPY {to}"));
    }

    fn view(&self) -> View {
        let graph = Graph::new(&self.definition).unwrap();
        let plan = plan(&graph, |wave| wave.iter().map(|_| Err(MissReason::NoRecord)).collect());
        View::new(&self.definition.source, &graph, &plan)
    }
}

/// Each node with the names of its inputs.
fn told(view: &View) -> Vec<String> {
    let name = |node: &Node| if node.kind == STATE { "·".to_owned() } else { node.name.clone() };
    let inputs = |node: &Node| {
        node.inputs.iter().map(|input| name(&view.nodes[*input])).collect::<Vec<_>>().join(", ")
    };
    view.nodes.iter().map(|node| format!("{} <- {}", name(node), inputs(node))).collect()
}

#[test]
fn states_are_gone_through_and_a_copy_stands_for_what_it_lies_on() {
    let mut stage = Stage::new();
    ["a", "b"].iter().for_each(|name| stage.app(name));
    stage.copy("/x");
    stage.app("c");
    let shown = ["APP a <- ", "APP b <- ", "COPY /x <- APP a, APP b", "APP c <- ", "image <- COPY /x, APP c"];
    assert_eq!(told(&stage.view()), shown);
}

#[test]
fn where_many_meet_many_there_is_a_point() {
    let mut stage = Stage::new();
    ["a", "b", "c"].iter().for_each(|name| stage.app(name));
    let all = stage.state;
    for to in ["/x", "/y", "/z"] {
        stage.state = all;
        stage.copy(to);
    }
    let last = stage.state;
    stage.state = all;
    stage.copy("/w");
    // A step that reads all of them.
    let op = Op::App(AppOp { name: "end".to_owned(), sources: Vec::new() });
    let end = Metadata { name: "end".to_owned(), ..Metadata::default() };
    let target = stage.definition.add(op, last.into_iter().chain(stage.state).collect(), end);
    stage.definition.set_target(target);
    let told = told(&stage.view());
    assert!(told.contains(&"· <- APP a, APP b, APP c".to_owned()), "{told:?}");
    assert!(told.contains(&"COPY /w <- ·".to_owned()), "{told:?}");
}

#[test]
fn a_name_means_nothing_to_any_format() {
    let mut stage = Stage::new();
    let hostile = "</svg><script>alert(1)</script>\"; n0 -> n9 [label=\"\\N\u{0}\u{ffff}&amp;";
    stage.app(hostile);
    let view = stage.view();
    let (svg, dot) = (svg(&view), dot(&view));
    assert!(!svg.contains("<script") && svg.matches("</svg>").count() == 1, "{svg}");
    assert!(!svg.contains(['\u{0}', '\u{ffff}']));
    assert!(dot.contains("\\\"; n0 -> n9 [label=\\\"\\\\N") && dot.contains("&amp;amp;"), "{dot}");
    let object: serde_json::Value = serde_json::from_str(&json(&view)).unwrap();
    assert_eq!(object["vertices"][0]["name"], format!("APP {hostile}"));
}

#[test]
fn ten_thousand_steps_are_drawn_and_always_alike() {
    let mut stage = Stage::new();
    for number in 0..5000 {
        stage.app(&number.to_string());
    }
    for number in 0..5000 {
        stage.copy(&format!("/{number}"));
    }
    let view = stage.view();
    assert_eq!(view.nodes.len(), 10_001);
    let lines: usize = view.nodes.iter().map(|node| node.inputs.len()).sum();
    assert!(lines < 20_000, "{lines}");
    assert_eq!(svg(&view), svg(&stage.view()));
}
