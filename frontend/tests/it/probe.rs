//! Throw-away timing.
use super::*;
#[test]
fn probe() {
    let text: String = std::iter::once("FROM scratch\n".to_owned()).chain((0..10_000).map(|i| format!("APP app{i} local://files/app{i}.yaml\n"))).collect();
    let source = SourceFile { name: "K".into(), text };
    for _ in 0..5 {
        let t = std::time::Instant::now(); let p = frontend::parse(&source); let a = t.elapsed();
        let t = std::time::Instant::now(); let (m, _) = frontend::model(&p, &options()); let b = t.elapsed();
        let t = std::time::Instant::now(); let l = frontend::lower(&m, &source, &options(), &BTreeMap::new()); let c = t.elapsed();
        let t = std::time::Instant::now();
        let mut d = solver::Definition::new(source.clone());
        let (def, _) = (l.0.as_ref().unwrap(), ());
        for (_, v, meta) in def.definition.iter() { d.add(v.op.clone(), v.inputs.clone(), meta.clone()); }
        println!("parse {a:?} model {b:?} lower {c:?} (of it Definition::add alone {:?})", t.elapsed());
    }
}
