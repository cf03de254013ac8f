//! Graphs made by number: what planning costs where no file and no text is in the way.

use solver::{AppOp, AppSource, Definition, LocalSource, Metadata, Op, SourceFile, SourceKind, VertexDigest};

/// A definition of about so many vertices: for each three, a directory, an application made of it and of the directory before,
/// and the state after it. One long chain and much that is independent, as a large Kubefile has them.
pub fn synthetic(vertices: usize) -> Definition {
    let mut definition = Definition::new(SourceFile::default());
    let mut below: Option<VertexDigest> = None;
    let mut before: Option<VertexDigest> = None;
    for number in 0..vertices.div_ceil(3) {
        let pattern = format!("app{number}");
        let context = LocalSource::OWN.to_owned();
        let local = Op::Local(LocalSource { context, pattern: pattern.clone(), parents: false });
        let local = definition.add(local, Vec::new(), Metadata::default());
        let inputs: Vec<VertexDigest> = [Some(local), before].into_iter().flatten().collect();
        let source = AppSource { kind: SourceKind::Local, path: pattern, trailing_slash: false };
        let sources = vec![source; inputs.len()];
        let app = Op::App(AppOp { name: format!("a{number}"), sources });
        let app = definition.add(app, inputs, Metadata::default());
        let inputs = [Some(app), below].into_iter().flatten().collect();
        below = Some(definition.add(Op::State, inputs, Metadata::default()));
        before = Some(local);
    }
    if let Some(target) = below {
        definition.set_target(target);
    }
    definition
}
