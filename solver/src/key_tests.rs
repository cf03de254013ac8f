//! Laws of keys: what counts changes them, what does not count does not, and their values are pinned.

use std::collections::HashSet;

use super::*;
use crate::{
    AppOp, AppSource, Class, Definition, FileOp, GitSource, HttpSource, ImageSource, Inline, LocalSource,
    Metadata, ModeChange, ModeOperator, Permission, Permissions, Platform, Sharing, SourceFile, Span,
};

fn platform(architecture: &str) -> Platform {
    Platform { os: "linux".into(), architecture: architecture.into(), variant: None }
}

fn file() -> FileOp {
    FileOp {
        below: false,
        sources: vec![CopySource::Input { input: 0, pattern: "a".into() }],
        destination: "/d/".into(),
        chown: None,
        chmod: None,
        exclude: Vec::new(),
        parents: false,
        unpack: Unpack::Nothing,
    }
}

fn app() -> AppOp {
    let source = AppSource { kind: SourceKind::Local, path: "a".into(), trailing_slash: false };
    AppOp { name: "app".into(), sources: vec![source] }
}

fn file_with(change: fn(&mut FileOp)) -> Op {
    let mut op = file();
    change(&mut op);
    Op::File(op.into())
}

/// Ops that each differ from another one in a single field.
fn variants() -> Vec<Op> {
    let local = |context: &str, pattern: &str, parents| {
        Op::Local(LocalSource { context: context.into(), pattern: pattern.into(), parents })
    };
    let http = |url: &str, checksum: Option<&str>| {
        Op::Http(HttpSource { url: url.into(), checksum: checksum.map(str::to_owned), file_name: None })
    };
    let image = |reference: &str, architecture| {
        Op::Image(
            ImageSource {
                reference: reference.into(),
                platform: platform(architecture),
                digest: ManifestDigest::from_bytes([7; 32]),
            }
            .into(),
        )
    };
    let app_with = |change: fn(&mut AppOp)| {
        let mut op = app();
        change(&mut op);
        Op::App(op)
    };
    let inline = |name: &str, content: &[u8]| {
        let inline = Inline { name: name.into(), content: content.to_vec() };
        Op::File(FileOp { sources: vec![CopySource::Inline(inline)], ..file() }.into())
    };
    let mut variants = vec![
        local("context", "a", false),
        local("other", "a", false),
        local("context", "b", false),
        local("context", "a", true),
        http("http://h/a", None),
        http("http://h/b", None),
        http("http://h/a", Some("00")),
        image("a", "amd64"),
        image("b", "amd64"),
        image("a", "arm64"),
        Op::File(file().into()),
        file_with(|op| op.sources = vec![CopySource::Input { input: 0, pattern: "b".into() }]),
        file_with(|op| op.sources.push(CopySource::Input { input: 0, pattern: "b".into() })),
        file_with(|op| op.destination = "/e/".into()),
        file_with(|op| op.chown = Some(chown(Account::Id(1), Some(Account::Id(2))))),
        file_with(|op| op.chown = Some(chown(Account::Id(2), Some(Account::Id(1))))),
        file_with(|op| op.chmod = Some(Chmod::Bits(0o600))),
        file_with(|op| op.exclude = vec!["x".into()]),
        file_with(|op| op.exclude = vec!["x".into(), "y".into()]),
        file_with(|op| op.parents = true),
        file_with(|op| op.unpack = Unpack::Everything),
        inline("a", b"x"),
        inline("b", b"x"),
        inline("a", b"y"),
        Op::App(app()),
        app_with(|op| op.name = "other".into()),
        app_with(|op| op.sources[0].kind = SourceKind::Remote),
        app_with(|op| op.sources[0].path = "b".into()),
        app_with(|op| op.sources[0].trailing_slash = true),
        app_with(|op| op.sources.push(op.sources[0].clone())),
        Op::State,
    ];
    variants.extend(exec_variants());
    variants.extend(access_variants());
    variants.extend(git_variants());
    variants
}

/// Commands and their mounts.
fn exec_variants() -> Vec<Op> {
    vec![
        Op::Exec(exec().into()),
        exec_with(|op| op.args.push("b".into())),
        exec_with(|op| op.args = vec!["a".into(), String::new()]),
        exec_with(|op| op.env.push(("A".into(), "1".into()))),
        exec_with(|op| op.directory = "/w".into()),
        exec_with(|op| op.user = "1".into()),
        exec_with(|op| op.network = Network::None),
        exec_with(|op| op.is_insecure = true),
        exec_with(|op| op.has_one_user = true),
        exec_with(|op| op.platform.architecture = "arm64".into()),
        mounted("/m", bind("a", false)),
        mounted("/n", bind("a", false)),
        mounted("/m", bind("b", false)),
        mounted("/m", bind("a", true)),
        mounted("/m", cache("a", Sharing::Shared)),
        mounted("/m", cache("b", Sharing::Shared)),
        mounted("/m", cache("a", Sharing::Locked)),
        mounted("/m", MountKind::Tmpfs { size_bytes: None }),
        mounted("/m", MountKind::Tmpfs { size_bytes: Some(1) }),
        mounted("/m", secret("a", None)),
        mounted("/m", secret("b", None)),
        mounted("/m", secret("a", Some("TOKEN"))),
        mounted("/m", MountKind::Ssh { id: "a".into(), is_required: false }),
        mounted("/m", MountKind::Ssh { id: "a".into(), is_required: true }),
        mounted("/m", MountKind::Script { content: b"a".to_vec() }),
    ]
}

/// Owners, modes and archives.
fn access_variants() -> Vec<Op> {
    vec![
        file_with(|op| op.unpack = Unpack::Local),
        file_with(|op| op.chown = Some(chown(named("a"), None))),
        file_with(|op| op.chown = Some(chown(named("b"), None))),
        file_with(|op| op.chown = Some(chown(named("a"), Some(named("a"))))),
        file_with(|op| op.chown = Some(chown(named("a"), Some(Account::Id(1))))),
        file_with(|op| op.chown = Some(chown(Account::Id(1), Some(named("a"))))),
        file_with(|op| op.chmod = Some(changed([Class::User], ModeOperator::Add, execute()))),
        file_with(|op| op.chmod = Some(changed([Class::Group], ModeOperator::Add, execute()))),
        file_with(|op| op.chmod = Some(changed([Class::User, Class::Group], ModeOperator::Add, execute()))),
        file_with(|op| op.chmod = Some(changed([Class::User], ModeOperator::Set, execute()))),
        file_with(|op| {
            op.chmod = Some(changed([Class::User], ModeOperator::Set, Permissions::Of([].into())))
        }),
        file_with(|op| {
            op.chmod = Some(changed([Class::User], ModeOperator::Set, Permissions::Like(Class::Group)));
        }),
    ]
}

fn git_variants() -> Vec<Op> {
    let git = |change: fn(&mut GitSource)| {
        let mut git = GitSource::parse("git://h/r").expect("it is one");
        change(&mut git);
        Op::Git(git.into())
    };
    vec![
        git(|_| {}),
        git(|git| git.url = "git://h/s".into()),
        git(|git| git.reference = Some("x".into())),
        git(|git| git.subdir = "x".into()),
        git(|git| git.keep_git_dir = true),
        git(|git| git.checksum = Some("x".into())),
    ]
}

fn exec() -> ExecOp {
    ExecOp {
        below: true,
        args: vec!["a".into()],
        env: Vec::new(),
        directory: "/".into(),
        user: String::new(),
        mounts: Vec::new(),
        network: Network::Host,
        is_insecure: false,
        has_one_user: false,
        platform: Platform { os: "linux".into(), architecture: "amd64".into(), variant: None },
    }
}

fn exec_with(change: impl FnOnce(&mut ExecOp)) -> Op {
    let mut op = exec();
    change(&mut op);
    Op::Exec(op.into())
}

fn mounted(target: &str, kind: MountKind) -> Op {
    exec_with(|op| op.mounts.push(Mount { target: target.into(), kind }))
}

fn bind(source: &str, is_writable: bool) -> MountKind {
    MountKind::Bind { input: 1, source: source.into(), is_writable }
}

fn cache(id: &str, sharing: Sharing) -> MountKind {
    let owner = Owner { uid: 0, gid: 0 };
    MountKind::Cache { id: id.into(), sharing, is_readonly: false, source: None, mode: 0o755, owner }
}

fn secret(id: &str, env: Option<&str>) -> MountKind {
    let owner = Owner { uid: 0, gid: 0 };
    MountKind::Secret { id: id.into(), is_required: false, env: env.map(str::to_owned), mode: 0o400, owner }
}

fn named(name: &str) -> Account {
    Account::Name(name.into())
}

fn chown(user: Account, group: Option<Account>) -> Chown {
    Chown { user, group }
}

fn execute() -> Permissions {
    Permissions::Of([Permission::Execute].into())
}

fn changed<const N: usize>(classes: [Class; N], operator: ModeOperator, permissions: Permissions) -> Chmod {
    Chmod::Changes(vec![ModeChange { classes: classes.into(), operator, permissions }])
}

fn key_of(op: &Op) -> String {
    content_key(op, &[]).hex()
}

#[test]
fn every_parameter_counts() {
    let keys: HashSet<String> = variants().iter().map(key_of).collect();
    assert_eq!(keys.len(), variants().len());
}

#[test]
fn an_owner_of_numbers_has_one_key_however_it_is_written() {
    let owned = |group| Op::File(FileOp { chown: Some(chown(Account::Id(7), group)), ..file() }.into());
    assert_eq!(key_of(&owned(None)), key_of(&owned(Some(Account::Id(7)))));
}

#[test]
fn wiring_counts_for_the_definition_and_not_for_the_content() {
    let onto_nothing = Op::File(file().into());
    let sources = vec![CopySource::Input { input: 1, pattern: "a".into() }];
    let onto_a_base = Op::File(FileOp { below: true, sources, ..file() }.into());
    assert_eq!(key_of(&onto_nothing), key_of(&onto_a_base));
    let wired = |op: &Op| {
        let mut hasher = KeyHasher::new("test");
        walk_wiring(op, &mut hasher);
        hasher.finish()
    };
    assert_ne!(wired(&onto_nothing), wired(&onto_a_base));
}

/// A changed value here makes every cache in the world cold: it comes with a new [`KEY_VERSION`], on purpose.
#[test]
fn keys_of_this_version_are_these() {
    let pinned: Vec<String> =
        [0, 4, 7, 10, 21, 24, 30].iter().map(|&n| key_of(&variants()[n])[..12].to_owned()).collect();
    assert_eq!(pinned, PINNED);
}

const PINNED: [&str; 7] = [
    "c488c405ac09",
    "313565cf6826",
    "8c883eb26038",
    "2225a511b405",
    "8f503be0768d",
    "1c746b1b3fdf",
    "341d890cfca3",
];

#[test]
fn what_is_read_counts() {
    let header = Header { kind: 'd', mode: 0o755, uid: 0, gid: 0, target: Vec::new(), others: Vec::new() };
    let fact = |path: &[u8], header: Option<Header>| {
        ContentRead::Destination(DestinationFact { path: path.to_vec(), header })
    };
    let subtree = |source, path: &[u8], byte| ContentRead::Subtree {
        source,
        path: path.to_vec(),
        digest: [byte; 32],
        unpack: false,
    };
    let reads = [
        vec![],
        vec![fact(b"d", None)],
        vec![fact(b"d", Some(header.clone()))],
        vec![fact(b"e", Some(header.clone()))],
        vec![fact(b"d", Some(Header { kind: 'l', ..header.clone() }))],
        vec![fact(b"d", Some(Header { mode: 0o700, ..header.clone() }))],
        vec![fact(b"d", Some(Header { uid: 1, ..header.clone() }))],
        vec![fact(b"d", Some(Header { gid: 1, ..header.clone() }))],
        vec![fact(b"d", Some(Header { others: vec![1], ..header.clone() }))],
        vec![fact(b"d", Some(Header { target: b"x".to_vec(), ..header }))],
        vec![ContentRead::Owner(Owner { uid: 1, gid: 2 })],
        vec![ContentRead::Owner(Owner { uid: 2, gid: 1 })],
        vec![subtree(0, b"a", 1)],
        vec![subtree(1, b"a", 1)],
        vec![subtree(0, b"b", 1)],
        vec![subtree(0, b"a", 2)],
        vec![ContentRead::Subtree { source: 0, path: b"a".to_vec(), digest: [1; 32], unpack: true }],
    ];
    let keys: HashSet<CacheKey> =
        reads.iter().map(|reads| content_key(&Op::File(file().into()), reads)).collect();
    assert_eq!(keys.len(), reads.len());
}

fn build(order: [usize; 2], span: Span) -> (Definition, Vec<crate::VertexDigest>) {
    let mut definition = Definition::new(SourceFile::default());
    let metadata = || Metadata { spans: vec![span], ..Metadata::default() };
    let mut apps = vec![None; 2];
    for number in order {
        let local = LocalSource { context: "context".into(), pattern: format!("p{number}"), parents: false };
        let source = definition.add(Op::Local(local), vec![], metadata());
        apps[number] = Some(definition.add(Op::App(app()), vec![source], metadata()));
    }
    let apps: Vec<_> = apps.into_iter().flatten().collect();
    let first = definition.add(Op::State, vec![apps[0]], metadata());
    let last = definition.add(Op::State, vec![apps[1], first], metadata());
    definition.set_target(last);
    (definition, apps)
}

#[test]
fn order_of_unrelated_vertices_and_positions_in_the_text_do_not_count() {
    let target_key = |definition: &Definition, tree: u8| {
        let graph = Graph::new(definition).unwrap();
        let keys = definition_keys(&graph, |_| Pin::Tree(TreeDigest::from_bytes([tree; 32])));
        keys[graph.target().unwrap().position()]
    };
    let (one, apps) = build([0, 1], Span::new(0, 1));
    let (other, same_apps) = build([1, 0], Span::new(7, 9));
    assert_eq!((one.target(), apps), (other.target(), same_apps));
    assert_eq!(target_key(&one, 1), target_key(&other, 1));
    assert_ne!(target_key(&one, 1), target_key(&one, 2), "a pin reaches every key above it");
}

#[test]
fn an_equal_vertex_is_the_same_vertex_with_both_positions() {
    let mut definition = Definition::new(SourceFile::default());
    let add = |definition: &mut Definition, start| {
        let metadata = Metadata { spans: vec![Span::new(start, start + 1)], ..Metadata::default() };
        definition.add(variants()[0].clone(), vec![], metadata)
    };
    let (first, second, again) = (add(&mut definition, 0), add(&mut definition, 5), add(&mut definition, 5));
    assert_eq!((first, definition.len()), (second, 1));
    assert_eq!(first, again);
    let (_, metadata) = definition.get(&first).unwrap();
    assert_eq!(metadata.spans, [Span::new(0, 1), Span::new(5, 6)]);
}

#[test]
fn vertices_the_target_does_not_need_are_not_in_the_graph() {
    let (mut definition, _) = build([0, 1], Span::default());
    definition.add(variants()[4].clone(), vec![], Metadata::default());
    let graph = Graph::new(&definition).unwrap();
    assert_eq!((definition.len(), graph.len()), (7, 6));
}
