//! What can be wrong with a graph.

use thiserror::Error;

use crate::VertexDigest;

/// A definition that is not a usable graph.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum GraphError {
    /// An input names a vertex that is not in the definition.
    #[error("vertex `{vertex}` names input `{input}`, which is not in the definition")]
    MissingInput {
        /// The vertex with the dangling input.
        vertex: VertexDigest,
        /// The input.
        input: VertexDigest,
    },
    /// The vertices depend on each other in a circle.
    #[error("vertices depend on each other in a circle through `{vertex}`")]
    Cycle {
        /// One vertex on the circle.
        vertex: VertexDigest,
    },
}
