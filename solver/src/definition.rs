//! The portable graph: vertices by digest, with names and positions beside them.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::key::{KeyHasher, Walk, walk_op, walk_wiring};
use crate::{DigestMap, Op, SourceFile, Span, VertexDigest};

/// An op with its inputs.
///
/// Its identity contains its inputs' identities, so an input must exist first and a cycle cannot be written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vertex {
    /// The work.
    pub op: Op,
    /// What it works on; ops refer to these by index.
    pub inputs: Vec<VertexDigest>,
}

/// What people are told of a vertex. Outside every digest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// One line for progress and errors, as written: `APP redis local://redis.yaml`.
    pub name: String,
    /// The statements it came from; more than one where equal steps were merged.
    pub spans: Vec<Span>,
    /// What the stages it stands in are called: their names, or their numbers where they have none.
    pub stages: Vec<String>,
    /// True for vertices that are bookkeeping and are shown to nobody.
    pub hidden: bool,
}

impl Metadata {
    /// Everything a step can be meant by beside its text: its application, and its stages.
    pub fn scopes<'a>(&'a self, op: &'a Op) -> impl Iterator<Item = &'a String> {
        let app = match op {
            Op::App(app) => Some(&app.name),
            _ => None,
        };
        app.into_iter().chain(&self.stages)
    }
}

fn add_missing<T: PartialEq>(list: &mut Vec<T>, more: Vec<T>) {
    for one in more {
        if !list.contains(&one) {
            list.push(one);
        }
    }
}

/// A vertex and what people are told of it, shared with the graphs that are made of a definition: ten thousand steps are not
/// there twice.
pub(crate) type Defined = Arc<(Vertex, Metadata)>;

/// A content-hashed DAG with its targets: one for each image that is built.
#[derive(Debug, Clone, Default)]
pub struct Definition {
    /// In the order they were added.
    vertices: Vec<(VertexDigest, Defined)>,
    /// Where each stands among them.
    positions: DigestMap<VertexDigest, usize>,
    targets: Vec<Option<VertexDigest>>,
    /// The text the spans point into.
    pub source: SourceFile,
}

impl Definition {
    /// An empty definition of a text.
    pub fn new(source: SourceFile) -> Self {
        Self { source, ..Self::default() }
    }

    /// The same, with room for so many vertices.
    pub fn with_capacity(source: SourceFile, vertices: usize) -> Self {
        let mut definition = Self::new(source);
        definition.vertices.reserve(vertices);
        definition.positions.reserve(vertices);
        definition
    }

    /// Adds a vertex and returns its identity. An equal vertex is the same vertex: only its metadata grows.
    ///
    /// # Panics
    /// If an input was not added before: callers build from sources upwards.
    pub fn add(&mut self, op: Op, inputs: Vec<VertexDigest>, metadata: Metadata) -> VertexDigest {
        assert!(
            inputs.iter().all(|input| self.positions.contains_key(input)),
            "inputs are added before their users"
        );
        let mut hasher = KeyHasher::new("vertex");
        walk_op(&op, &mut hasher);
        walk_wiring(&op, &mut hasher);
        inputs.iter().for_each(|input| hasher.bytes("input", input.as_bytes()));
        let digest = VertexDigest::from_bytes(hasher.finish());
        match self.positions.entry(digest) {
            Entry::Occupied(known) => {
                let known = &mut Arc::make_mut(&mut self.vertices[*known.get()].1).1;
                add_missing(&mut known.spans, metadata.spans);
                add_missing(&mut known.stages, metadata.stages);
            }
            Entry::Vacant(free) => {
                free.insert(self.vertices.len());
                self.vertices.push((digest, Arc::new((Vertex { op, inputs }, metadata))));
            }
        }
        digest
    }

    /// Names the one vertex the build is for.
    pub fn set_target(&mut self, target: VertexDigest) {
        self.targets = vec![Some(target)];
    }

    /// The vertex the build is for, or the first of several; `None` is an image without a step: an empty root.
    pub fn target(&self) -> Option<VertexDigest> {
        self.targets.first().copied().flatten()
    }

    /// The vertices the build is for, one for each image, in order.
    pub fn targets(&self) -> &[Option<VertexDigest>] {
        if self.targets.is_empty() { &[None] } else { &self.targets }
    }

    /// One graph of the graphs of several images of one text: what they share is in it once. Steps of some of them only
    /// are named after theirs, when there are several.
    pub fn union(mut of: Vec<(String, Self)>) -> Self {
        let count = of.len();
        // Ten thousand steps are not gone through again for nothing.
        if count == 1
            && let Some((_, only)) = of.pop()
        {
            return only;
        }
        let mut union = Self::default();
        let mut users: DigestMap<VertexDigest, Vec<String>> = DigestMap::default();
        for (name, definition) in of {
            union.targets.extend(definition.targets());
            for (digest, defined) in definition.vertices {
                let (vertex, metadata) = Arc::unwrap_or_clone(defined);
                union.add(vertex.op, vertex.inputs, metadata);
                users.entry(digest).or_default().push(name.clone());
            }
            union.source = definition.source;
        }
        for (digest, names) in users.into_iter().filter(|(_, names)| names.len() < count) {
            if let Some(&at) = union.positions.get(&digest) {
                let metadata = &mut Arc::make_mut(&mut union.vertices[at].1).1;
                metadata.name = format!("[{}] {}", names.join(", "), metadata.name);
            }
        }
        union
    }

    /// All vertices, inputs before their users.
    pub fn iter(&self) -> impl Iterator<Item = (VertexDigest, &Vertex, &Metadata)> {
        self.vertices.iter().map(|(digest, defined)| (*digest, &defined.0, &defined.1))
    }

    /// The same, to be shared.
    pub(crate) fn defined(&self) -> impl Iterator<Item = (VertexDigest, &Defined)> {
        self.vertices.iter().map(|(digest, defined)| (*digest, defined))
    }

    /// A vertex by its identity.
    pub fn get(&self, digest: &VertexDigest) -> Option<(&Vertex, &Metadata)> {
        let (_, defined) = &self.vertices[self.position(digest)?];
        Some((&defined.0, &defined.1))
    }

    /// Where a vertex stands among all.
    pub(crate) fn position(&self, digest: &VertexDigest) -> Option<usize> {
        self.positions.get(digest).copied()
    }

    /// Number of vertices.
    pub fn len(&self) -> usize {
        self.vertices.len()
    }

    /// Whether there is no vertex at all.
    pub fn is_empty(&self) -> bool {
        self.vertices.is_empty()
    }
}
