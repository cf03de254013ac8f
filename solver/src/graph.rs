//! The graph a build solves: the vertices the target needs, densely numbered, inputs before users.
//!
//! petgraph builds and checks it; afterwards everything is flat vectors, so the loops over it touch no graph library.

use petgraph::algo::toposort;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::Dfs;

use crate::definition::Defined;
use crate::{Definition, GraphError, Metadata, Vertex, VertexDigest};

/// Position of a vertex in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VertexIndex(usize);

impl VertexIndex {
    /// The position, from 0, in topological order.
    pub fn position(self) -> usize {
        self.0
    }
}

#[derive(Debug)]
struct Node {
    digest: VertexDigest,
    defined: Defined,
}

/// What each vertex has an edge to, one vertex after the other: no list of its own for each of a hundred thousand.
#[derive(Debug)]
struct Edges {
    ends: Vec<VertexIndex>,
    /// Where those of each vertex start among the ends, and where the last one's end.
    bounds: Vec<usize>,
}

impl Edges {
    fn with_capacity(vertices: usize, edges: usize) -> Self {
        let mut bounds = Vec::with_capacity(vertices + 1);
        bounds.push(0);
        Self { ends: Vec::with_capacity(edges), bounds }
    }

    /// What was put behind the ends is what the next vertex has edges to.
    fn close(&mut self) {
        self.bounds.push(self.ends.len());
    }

    fn of(&self, index: VertexIndex) -> &[VertexIndex] {
        &self.ends[self.bounds[index.0]..self.bounds[index.0 + 1]]
    }

    /// Every edge, by whom it is of; equal ones of a vertex once.
    fn each(&self, mut take: impl FnMut(VertexIndex, VertexIndex)) {
        let vertices = self.bounds.len() - 1;
        let mut last = vec![None; vertices];
        for index in (0..vertices).map(VertexIndex) {
            for &end in self.of(index) {
                if last[end.0].replace(index) != Some(index) {
                    take(index, end);
                }
            }
        }
    }

    /// From the ends back, in order.
    fn reversed(&self) -> Self {
        let mut bounds = vec![0; self.bounds.len()];
        self.each(|_, end| bounds[end.0 + 1] += 1);
        for at in 1..bounds.len() {
            bounds[at] += bounds[at - 1];
        }
        let mut free = bounds.clone();
        let mut ends = vec![VertexIndex(0); self.ends.len()];
        self.each(|index, end| {
            ends[free[end.0]] = index;
            free[end.0] += 1;
        });
        Self { ends, bounds }
    }
}

/// A checked graph. Vertices the target does not need are not in it.
#[derive(Debug)]
pub struct Graph {
    nodes: Vec<Node>,
    inputs: Edges,
    dependents: Edges,
    targets: Vec<Option<VertexIndex>>,
}

impl Graph {
    /// Checks a definition and keeps what its target needs.
    ///
    /// # Errors
    /// An input that is not in the definition, or a circle; neither can come from [`Definition::add`], but a
    /// definition may one day come from elsewhere.
    pub fn new(definition: &Definition) -> Result<Self, GraphError> {
        let defined = defined_edges(definition)?;
        let position = |target| definition.position(&target).expect("a target is a vertex of its definition");
        let targets: Vec<Option<usize>> =
            definition.targets().iter().map(|target| target.map(position)).collect();
        let needed = needed(&defined, definition, targets.iter().flatten().copied())?;
        let mut nodes = Vec::with_capacity(definition.len());
        let mut inputs = Edges::with_capacity(definition.len(), defined.ends.len());
        // By position in the definition; its own order is topological (inputs are added first) and the order people wrote in.
        let mut indices = vec![VertexIndex(usize::MAX); definition.len()];
        for (at, (digest, vertex)) in definition.defined().enumerate().filter(|(at, _)| needed[*at]) {
            indices[at] = VertexIndex(nodes.len());
            nodes.push(Node { digest, defined: Defined::clone(vertex) });
            inputs.ends.extend(defined.of(VertexIndex(at)).iter().map(|input| indices[input.0]));
            inputs.close();
        }
        let targets = targets.into_iter().map(|target| target.map(|at| indices[at])).collect();
        let dependents = inputs.reversed();
        Ok(Self { nodes, inputs, dependents, targets })
    }

    /// All positions, inputs before users.
    pub fn indices(&self) -> impl DoubleEndedIterator<Item = VertexIndex> + use<> {
        (0..self.nodes.len()).map(VertexIndex)
    }

    /// Number of vertices.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether nothing is needed.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The vertex the build is for, or the first of several.
    pub fn target(&self) -> Option<VertexIndex> {
        self.targets.first().copied().flatten()
    }

    /// The vertices the build is for, one for each image, in order; `None` is an empty root.
    pub fn targets(&self) -> &[Option<VertexIndex>] {
        &self.targets
    }

    /// Identity of a vertex.
    pub fn digest(&self, index: VertexIndex) -> VertexDigest {
        self.nodes[index.0].digest
    }

    /// A vertex.
    pub fn vertex(&self, index: VertexIndex) -> &Vertex {
        &self.nodes[index.0].defined.0
    }

    /// What people are told of it.
    pub fn metadata(&self, index: VertexIndex) -> &Metadata {
        &self.nodes[index.0].defined.1
    }

    /// Its inputs, in the op's order.
    pub fn inputs(&self, index: VertexIndex) -> &[VertexIndex] {
        self.inputs.of(index)
    }

    /// Who uses it, each once.
    pub fn dependents(&self, index: VertexIndex) -> &[VertexIndex] {
        self.dependents.of(index)
    }
}

/// The inputs of each vertex of a definition, by position.
fn defined_edges(definition: &Definition) -> Result<Edges, GraphError> {
    let mut edges = Edges::with_capacity(definition.len(), definition.len() * 2);
    for (digest, vertex, _) in definition.iter() {
        for input in &vertex.inputs {
            let at = definition.position(input);
            let at = at.ok_or(GraphError::MissingInput { vertex: digest, input: *input })?;
            edges.ends.push(VertexIndex(at));
        }
        edges.close();
    }
    Ok(edges)
}

/// By position: whether a target needs a vertex. Fails where they run in a circle.
fn needed(
    inputs: &Edges,
    definition: &Definition,
    targets: impl Iterator<Item = usize>,
) -> Result<Vec<bool>, GraphError> {
    let mut edges: DiGraph<(), ()> = DiGraph::with_capacity(definition.len(), inputs.ends.len());
    for _ in 0..definition.len() {
        edges.add_node(());
    }
    inputs.each(|index, input| {
        edges.add_edge(NodeIndex::new(index.0), NodeIndex::new(input.0), ());
    });
    toposort(&edges, None).map_err(|cycle| {
        let (vertex, ..) = definition.iter().nth(cycle.node_id().index()).expect("it is one of them");
        GraphError::Cycle { vertex }
    })?;
    let mut walk = Dfs::empty(&edges);
    walk.stack.extend(targets.map(NodeIndex::new));
    let mut needed = vec![false; definition.len()];
    while let Some(node) = walk.next(&edges) {
        needed[node.index()] = true;
    }
    Ok(needed)
}
