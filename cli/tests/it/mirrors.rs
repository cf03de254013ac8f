//! Mirrors are asked first, and are of use or passed over; what they say is checked, and nothing is pushed to them.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::registry_faults::{Fake, check_layer, nothing_is_kept};
use crate::registry_server::Registry;
use crate::server::{Request, Response, Stored};
use crate::space::{Run, Space, run};

/// A host that no name server knows.
const NOWHERE: &str = "registry.invalid";

fn at(space: &Space, store: &str, words: &[&str]) -> Run {
    run(space.command().env("SEALER_ROOT", space.root().join(store)).args(words))
}

fn good(space: &Space, store: &str, words: &[&str]) -> String {
    let run = at(space, store, words);
    assert_eq!(run.code, Some(0), "{words:?}: {}", run.stderr);
    format!("{}{}", run.stdout, run.stderr)
}

fn bad(space: &Space, store: &str, words: &[&str]) -> String {
    let run = at(space, store, words);
    assert_eq!(run.code, Some(1), "{words:?}: {}{}", run.stdout, run.stderr);
    run.stderr
}

/// Builds an image with a file of its own, and sends it to registries under these names.
fn pushed(space: &Space, content: &str, names: &[String]) -> String {
    space.file("rootfs/etc/os", content).kubefile("FROM scratch\nCOPY rootfs /\nCOPY rootfs /opt/\n");
    for name in names {
        good(space, "maker", &["build", "-q", "--build-mode", "lite", "-t", name, "--push", "."]);
    }
    digest(space, "maker", &names[0])
}

fn digest(space: &Space, store: &str, name: &str) -> String {
    good(space, store, &["inspect", "-f", "{{.Digest}}", name])
}

/// An address that nobody listens at.
fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn pull(space: &Space, fake: &Fake, mirror: &str) -> Run {
    let mirror = format!("{}={mirror}", fake.server.address());
    space.run(&["pull", "--registry-mirror", &mirror, &fake.name()])
}

#[test]
fn a_mirror_serves_for_a_registry_that_is_not_there() {
    let Some(registry) = Registry::open() else { return };
    let space = Space::new();
    let made =
        pushed(&space, "linux", &[registry.name("hub/team/base:1"), registry.name("hub/library/base:1")]);
    let name = format!("{NOWHERE}/team/base:1");
    let mirror = format!("{NOWHERE}={}/hub", registry.address);
    good(&space, "puller", &["pull", "--registry-mirror", &mirror, &name]);
    assert_eq!(digest(&space, "puller", &name), made, "it has the registry's name");
    let remote = ["inspect", "--remote", "--registry-mirror", &mirror, &name];
    assert_eq!(good(&space, "nowhere", &remote), good(&space, "puller", &["inspect", &name]));
    // Docker Hub has a short name, and library/.
    let hub = format!("docker.io=http://{}/hub/", registry.address);
    good(&space, "puller", &["pull", "--registry-mirror", &hub, "base:1"]);
    assert_eq!(digest(&space, "puller", "docker.io/library/base:1"), made);
    // A base may come from there, now and when its layers are wanted.
    space.file("app/a", "a").kubefile(&format!("FROM {name}\nCOPY app /app/\n"));
    let build = |store: &str, more: &[&str]| {
        let mut command = space.command();
        command
            .env("SEALER_ROOT", space.root().join(store))
            .env("SEALER_REGISTRY_MIRROR", format!("{hub},{mirror}"));
        command.args(["build", "-q", "--build-mode", "lite", "--pull", "always"]).args(more).arg(".");
        let run = run(&mut command);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
    };
    build("builder", &["-t", "x:1"]);
    build("pusher", &["-t", &registry.name("hub/other/x:1"), "--push"]);
    good(&space, "check", &["pull", &registry.name("hub/other/x:1")]);
    assert_eq!(digest(&space, "check", &registry.name("hub/other/x:1")), digest(&space, "builder", "x:1"));
}

#[test]
fn mirrors_without_the_image_and_without_anybody_are_passed_over() {
    let (Some(registry), Some(mirror)) = (Registry::open(), Registry::open()) else { return };
    let space = Space::new();
    let name = registry.name("team/base:1");
    let made = pushed(&space, "of the registry", std::slice::from_ref(&name));
    let by = |mirror: &str| format!("{}={mirror}", registry.address);
    let (silent, empty) = (by(&closed().to_string()), by(&mirror.address));
    let both = ["--registry-mirror", &silent, "--registry-mirror", &empty];
    good(&space, "one", &[&["pull"], &both[..], &[&name]].concat());
    assert_eq!(digest(&space, "one", &name), made);
    // They are asked in order, and a tag is what the first that knows it says.
    let other = pushed(&space, "of the mirror", &[mirror.name("team/base:1")]);
    good(&space, "two", &[&["pull"], &both[..], &[&name]].concat());
    assert_eq!(digest(&space, "two", &name), other);
    // Who has it nowhere is told where it was looked for.
    let text = bad(&space, "three", &[&["pull"], &both[..], &[&registry.name("team/none:1")]].concat());
    for wanted in [
        "is not in the registry",
        "mirrors tried before",
        &silent[by("").len()..],
        &mirror.name("team/none"),
        "sealer search",
    ] {
        assert!(text.contains(wanted), "`{wanted}` is not in {text}");
    }
}

#[test]
fn nothing_is_pushed_to_a_mirror() {
    let (Some(registry), Some(mirror)) = (Registry::open(), Registry::open()) else { return };
    let space = Space::new();
    pushed(&space, "linux", &[mirror.name("team/base:1")]);
    let mirrored = format!("{}={}", registry.address, mirror.address);
    let push = |name: &str| {
        let words = ["push", "--registry-mirror", &mirrored, &mirror.name("team/base:1"), name];
        good(&space, "maker", &words)
    };
    // What the mirror has is not there, whatever it says.
    let said = push(&registry.name("team/base:1"));
    assert!(said.contains("3 blobs sent, 0 mounted, 0 were there"), "{said}");
    push(&registry.name("team/other:1"));
    good(&space, "check", &["pull", &registry.name("team/other:1")]);
    bad(&space, "check", &["pull", &mirror.name("team/other:1")]);
}

#[test]
fn a_mirror_that_lies_drops_or_refuses_harms_nobody() {
    type Answer = fn(&Request, &[u8]) -> Response;
    let other: Answer = |_, layer| Response::ok(layer.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>());
    let longer: Answer = |_, layer| Response::ok([layer, b"more"].concat());
    let half: Answer = |_, layer| Response::ok(&layer[..layer.len() / 2]).until_close();
    let dropped: Answer = |request, layer| match request.attempt {
        1 => Response::ok(layer.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>()).drop_after(2 << 20),
        _ => Response::status(410),
    };
    let refused: Answer = |_, _| Response::status(403);
    let nothing: Answer = |_, _| Response::status(404);
    let page: Answer = |_, _| Response::ok("<html>log in first</html>");
    for (what, answer) in [
        ("other bytes", other),
        ("more bytes", longer),
        ("half of it", half),
        ("a drop", dropped),
        ("a refusal", refused),
        ("a page", page),
        ("nothing", nothing),
    ] {
        let mirror = Fake::new(answer);
        let fake = Fake::new(|request, layer| Stored::new(layer).answer(request));
        let space = Space::new();
        let run = pull(&space, &fake, &mirror.server.address().to_string());
        assert_eq!(run.code, Some(0), "{what}: {}", run.stderr);
        check_layer(&space, &fake);
        assert!(mirror.hits() > 0 && fake.hits() == 1, "{what}");
        let asked = fake.server.requests();
        assert!(asked.iter().all(|request| request.range_start().is_none()), "{what}: it is begun anew");
        // As a base the layer is read on the way.
        let space = Space::new();
        space.file("a", "").kubefile(&format!("FROM {}\nCOPY a /opt/\n", fake.name()));
        let by = format!("{}={}", fake.server.address(), mirror.server.address());
        assert_eq!(space.build(&["--registry-mirror", &by]).code, Some(0), "{what}");
        check_layer(&space, &fake);
    }
}

#[test]
fn manifests_with_a_digest_are_believed_of_nobody() {
    let mirror = Fake::new(|request, layer| Stored::new(layer).answer(request));
    let fake = Fake::new(|request, layer| Stored::new(layer).answer(request));
    let path = format!("/v2/x/y/manifests/{}", fake.manifest);
    for wrong in [r#"{"config":{},"layers":[]}"#, "<html>"] {
        mirror.server.route(&path, move |_| Response::ok(wrong));
        let origin = format!("http://{}/v2/x/y/manifests/1", fake.server.address());
        fake.server.route(&path, move |_| Response::redirect(&origin));
        let space = Space::new();
        let by = format!("{}={}", fake.server.address(), mirror.server.address());
        let name = format!("{}/x/y@{}", fake.server.address(), fake.manifest);
        let run = space.run(&["pull", "--registry-mirror", &by, &name]);
        assert_eq!(run.code, Some(0), "{wrong}: {}", run.stderr);
        assert!(mirror.server.hits(&path) > 0);
        check_layer(&space, &fake);
    }
}

#[test]
fn a_mirror_is_told_nothing_that_is_for_the_registry() {
    let ask = |request: &Request, then: Response| match request.header("authorization") {
        Some("Basic bWU6aHVudGVyMg==") => then,
        _ => Response::status(401).header("WWW-Authenticate", "Basic realm=\"x\""),
    };
    let guarded = move || Fake::new(move |request, layer| ask(request, Response::ok(layer)));
    let (mirror, fake) = (guarded(), guarded());
    let space = Space::new();
    let with = |address: SocketAddr| {
        let auth = json!({ "auths": { address.to_string(): { "auth": "bWU6aHVudGVyMg==" } } });
        space.file("auth.json", auth.to_string());
        let by = format!("{}={}", fake.server.address(), mirror.server.address());
        space.run(&["pull", "--authfile", "auth.json", "--registry-mirror", &by, &fake.name()])
    };
    let told = |fake: &Fake| fake.server.requests().iter().any(|one| one.header("authorization").is_some());
    let run = with(fake.server.address());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(mirror.hits() > 0 && told(&fake) && !told(&mirror));
    // Its own it is told.
    fs_err::remove_file(space.store().join("blobs/sha256").join(&fake.layer[7..])).unwrap();
    let before = fake.server.requests().len();
    let run = with(mirror.server.address());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(told(&mirror));
    assert_eq!(fake.server.requests().len(), before);
}

#[test]
fn a_mirror_that_answers_nothing_is_asked_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, hits) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&hits);
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
            drop(connection);
        }
    });
    let fake = Fake::new(|_, layer| Response::ok(layer));
    let space = Space::new();
    let run = pull(&space, &fake, &format!("http://{address}"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    check_layer(&space, &fake);
    // A pull reads a manifest, a config and a layer; only the first was asked for, three times.
    let hits = hits.load(Ordering::SeqCst);
    assert!((1..=3).contains(&hits), "{hits}");
}

#[test]
fn ctrl_c_ends_a_pull_from_a_mirror_and_asks_nobody_else() {
    let mirror = Fake::new(|_, layer| Response::ok(layer).stall_after(1 << 20));
    let fake = Fake::new(|_, layer| Response::ok(layer));
    let space = Space::new();
    let by = format!("{}={}", fake.server.address(), mirror.server.address());
    let mut command = space.command();
    command.args(["pull", "--registry-mirror", &by, &fake.name()]);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    while mirror.hits() == 0 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    nothing_is_kept(&space, &fake);
    assert!(fake.server.requests().is_empty());
}

#[test]
fn what_is_no_mirror_is_refused() {
    let space = Space::new();
    for (word, wanted) in [
        ("quay.io", "it has no `=`"),
        ("quay.io/team=m", "before `=`"),
        ("quay.io=http://me:hunter2@m", "credentials do not belong there"),
    ] {
        let said = bad(&space, "store", &["pull", "--registry-mirror", word, "quay.io/x:1"]);
        assert!(said.contains(wanted) && said.contains("write HOST=MIRROR"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}
