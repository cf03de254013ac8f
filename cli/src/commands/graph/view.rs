//! What a picture of a plan shows: sources, steps and images. The states between steps are bookkeeping, and nothing to see.

use solver::{Graph, Lane, Op, Plan, Record, SourceFile, Step, VertexIndex};

/// A picture's content. Inputs stand before their users, else in the order of the text.
#[derive(Debug, Default)]
pub(super) struct View {
    /// The text.
    pub(super) file: String,
    pub(super) nodes: Vec<Node>,
}

/// Something that is drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// The vertex; for an image its number.
    pub(super) id: String,
    /// As a build shows it.
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) state: State,
    pub(super) lane: Option<Lane>,
    /// Lines of the text, from 1.
    pub(super) lines: Vec<usize>,
    pub(super) inputs: Vec<usize>,
}

/// What a build would do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The cache has it.
    Cached,
    /// It would run.
    Runs,
    /// It is read by something that would run.
    Read,
    /// Nobody would ask for it.
    Unneeded,
    /// An image, or a point where many lines meet.
    Nothing,
}

impl State {
    /// One word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Runs => "runs",
            Self::Read => "read",
            Self::Unneeded => "unneeded",
            Self::Nothing => "",
        }
    }
}

/// Many steps that many others read meet in a point of this kind: between them there would be a line for each pair.
pub(super) const STATE: &str = "state";
/// What is built.
pub(super) const IMAGE: &str = "image";

impl View {
    pub(super) fn new(source: &SourceFile, graph: &Graph, plan: &Plan<Record>) -> Self {
        let lines = source.lines();
        let uses = uses(graph);
        let mut nodes: Vec<Node> = Vec::with_capacity(graph.len());
        // By position: the nodes that stand for a vertex.
        let mut stands: Vec<Vec<usize>> = Vec::with_capacity(graph.len());
        for index in graph.indices() {
            let (op, metadata) = (&graph.vertex(index).op, graph.metadata(index));
            let mut inputs = Vec::new();
            for input in inputs_of(graph, index) {
                let stand = &mut stands[input.position()];
                // A list that nobody else reads moves on, however long it has become.
                let is_last = uses[input.position()] == 1;
                let mut more = if is_last { std::mem::take(stand) } else { stand.clone() };
                if more.len() > inputs.len() {
                    std::mem::swap(&mut more, &mut inputs);
                }
                inputs.append(&mut more);
            }
            let (is_state, uses) = (*op == Op::State, uses[index.position()]);
            if is_state && inputs.len().saturating_mul(uses) <= inputs.len() + uses {
                stands.push(inputs);
                continue;
            }
            stands.push(vec![nodes.len()]);
            let mut node = Node::new(graph.digest(index).to_string(), kind(op), inputs);
            if !is_state {
                node.name.clone_from(&metadata.name);
                (node.state, node.lane) = (state(plan.step(index)), Some(op.into()));
                node.lines = metadata.spans.iter().map(|span| lines.position(span.start).line).collect();
            }
            nodes.push(node);
        }
        for (number, target) in graph.targets().iter().enumerate() {
            let inputs = target.map(|target| stands[target.position()].clone()).unwrap_or_default();
            let is_one = graph.targets().len() == 1;
            let name = if is_one { IMAGE.to_owned() } else { format!("{IMAGE} {}", number + 1) };
            nodes.push(Node { name, ..Node::new(format!("{IMAGE}-{}", number + 1), IMAGE, inputs) });
        }
        Self { file: source.name.clone(), nodes }
    }

    /// Numbers of steps that a build would look at, and of those that the cache has.
    pub(super) fn counts(&self) -> (usize, usize) {
        let count = |state| self.nodes.iter().filter(|node| node.state == state).count();
        let cached = count(State::Cached);
        (cached + count(State::Runs), cached)
    }
}

impl Node {
    fn new(id: String, kind: &'static str, mut inputs: Vec<usize>) -> Self {
        inputs.sort_unstable();
        inputs.dedup();
        Self { id, name: String::new(), kind, state: State::Nothing, lane: None, lines: Vec::new(), inputs }
    }

    /// What is said of it beside its name.
    pub(super) fn facts(&self) -> String {
        let lines: Vec<String> = self.lines.iter().map(ToString::to_string).collect();
        let place = match lines.as_slice() {
            [] => String::new(),
            [line] => format!("line {line}"),
            _ => format!("lines {}", lines.join(", ")),
        };
        let facts = [self.kind, self.state.word(), &place];
        facts
            .into_iter()
            .filter(|fact| !fact.is_empty() && *fact != self.name)
            .collect::<Vec<_>>()
            .join(" · ")
    }
}

/// What a vertex is drawn with lines from. A state has its step; what is below it, the step may have read already.
fn inputs_of(graph: &Graph, index: VertexIndex) -> Vec<VertexIndex> {
    let mut inputs = graph.inputs(index).to_vec();
    if graph.vertex(index).op == Op::State
        && let [step, below] = inputs.as_slice()
        && graph.inputs(*step).contains(below)
    {
        inputs.truncate(1);
    }
    inputs.sort_unstable();
    inputs.dedup();
    inputs
}

/// By position: how many lines a vertex is to have.
fn uses(graph: &Graph) -> Vec<usize> {
    let mut uses = vec![0; graph.len()];
    graph.indices().flat_map(|index| inputs_of(graph, index)).for_each(|input| uses[input.position()] += 1);
    graph.targets().iter().flatten().for_each(|target| uses[target.position()] += 1);
    uses
}

fn kind(op: &Op) -> &'static str {
    match op {
        Op::Local(_) => "context",
        Op::Http(_) => "url",
        Op::Git(_) => "git",
        Op::Image(_) => "base",
        Op::Blob(_) => "blob",
        Op::File(_) => "copy",
        Op::App(_) => "app",
        Op::Exec(_) => "run",
        Op::ContainerImage(_) => "container image",
        Op::State => STATE,
    }
}

fn state(step: &Step<Record>) -> State {
    match step {
        Step::Hit(_) => State::Cached,
        Step::Miss(_) => State::Runs,
        Step::Source => State::Read,
        Step::State => State::Nothing,
        Step::Unneeded => State::Unneeded,
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
