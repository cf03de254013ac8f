//! The graph a build solves: the vertices the target needs, densely numbered, inputs before users.
//!
//! petgraph builds and checks it; afterwards everything is flat vectors, so the loops over it touch no graph library.

use petgraph::algo::toposort;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::{Dfs, Reversed};

use crate::definition::Defined;
use crate::{Definition, DigestMap, GraphError, Metadata, Vertex, VertexDigest};

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
    inputs: Vec<VertexIndex>,
    dependents: Vec<VertexIndex>,
}

/// A checked graph. Vertices the target does not need are not in it.
#[derive(Debug)]
pub struct Graph {
    nodes: Vec<Node>,
    by_digest: DigestMap<VertexDigest, VertexIndex>,
    targets: Vec<Option<VertexIndex>>,
}

impl Graph {
    /// Checks a definition and keeps what its target needs.
    ///
    /// # Errors
    /// An input that is not in the definition, or a circle; neither can come from [`Definition::add`], but a
    /// definition may one day come from elsewhere.
    pub fn new(definition: &Definition) -> Result<Self, GraphError> {
        let mut edges: DiGraph<(), ()> = DiGraph::with_capacity(definition.len(), definition.len() * 2);
        for _ in 0..definition.len() {
            edges.add_node(());
        }
        for (at, (digest, vertex, _)) in definition.iter().enumerate() {
            for input in &vertex.inputs {
                let from = definition.position(input);
                let from = from.ok_or(GraphError::MissingInput { vertex: digest, input: *input })?;
                edges.add_edge(NodeIndex::new(from), NodeIndex::new(at), ());
            }
        }
        toposort(&edges, None).map_err(|cycle| {
            let (vertex, ..) = definition.iter().nth(cycle.node_id().index()).expect("it is one of them");
            GraphError::Cycle { vertex }
        })?;
        let targets = definition.targets().iter().flatten().filter_map(|target| definition.position(target));
        let needed = needed(&edges, targets.map(NodeIndex::new));
        let mut graph = Self {
            nodes: Vec::with_capacity(definition.len()),
            by_digest: DigestMap::with_capacity_and_hasher(definition.len(), Default::default()),
            targets: Vec::new(),
        };
        // A definition's own order is topological (its inputs are added first) and the order people wrote in.
        for ((digest, defined), _) in definition.defined().zip(&needed).filter(|(_, is_needed)| **is_needed) {
            graph.push(digest, Defined::clone(defined));
        }
        let targets = definition.targets().iter().map(|target| target.map(|target| graph.by_digest[&target]));
        graph.targets = targets.collect();
        Ok(graph)
    }

    fn push(&mut self, digest: VertexDigest, defined: Defined) {
        let index = VertexIndex(self.nodes.len());
        let inputs: Vec<VertexIndex> = defined.0.inputs.iter().map(|input| self.by_digest[input]).collect();
        for input in &inputs {
            let dependents = &mut self.nodes[input.0].dependents;
            if dependents.last() != Some(&index) {
                dependents.push(index);
            }
        }
        self.by_digest.insert(digest, index);
        self.nodes.push(Node { digest, defined, inputs, dependents: Vec::new() });
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

    /// Where a vertex stands; `None` when the target does not need it.
    pub fn index(&self, digest: &VertexDigest) -> Option<VertexIndex> {
        self.by_digest.get(digest).copied()
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
        &self.nodes[index.0].inputs
    }

    /// Who uses it, each once.
    pub fn dependents(&self, index: VertexIndex) -> &[VertexIndex] {
        &self.nodes[index.0].dependents
    }
}

/// By number: whether a target needs a node.
fn needed(edges: &DiGraph<(), ()>, targets: impl Iterator<Item = NodeIndex>) -> Vec<bool> {
    let reversed = Reversed(edges);
    let mut walk = Dfs::empty(reversed);
    for target in targets {
        walk.stack.push(target);
    }
    let mut needed = vec![false; edges.node_count()];
    while let Some(node) = walk.next(reversed) {
        needed[node.index()] = true;
    }
    needed
}
