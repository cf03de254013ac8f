//! Registries that drop, lie, stall and stumble: retried where that helps, else a clear error, with nothing bad kept.

use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::server::{Request, Response, Server, Stored};
use crate::space::{Run, Space};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry with one image, whose layer is answered as the test likes.
pub(crate) struct Fake {
    pub(crate) server: Server,
    pub(crate) layer: String,
    pub(crate) manifest: String,
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A layer of about 3 MB.
pub(crate) fn layer() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let content: Vec<u8> = (0..3 << 20).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "opt/file", content.as_slice()).unwrap();
    tar.into_inner().unwrap()
}

pub(crate) fn image(layer: &[u8]) -> (Vec<u8>, Vec<u8>) {
    image_for(&json!({ "architecture": "amd64" }), layer)
}

/// An image whose config says for what processor it is.
fn image_for(processor: &Value, layer: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut config = json!({
        "os": "linux", "config": { "Labels": { "of": "fake" } },
        "rootfs": { "type": "layers", "diff_ids": [digest(layer)] },
    });
    for (key, value) in processor.as_object().unwrap() {
        config[key] = value.clone();
    }
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config), "size": config.len() },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest(layer), "size": layer.len() }],
    });
    (config, manifest.to_string().into_bytes())
}

impl Fake {
    pub(crate) fn new(answer: impl Fn(&Request, &[u8]) -> Response + Send + Sync + 'static) -> Self {
        Self::of(&json!({ "architecture": "amd64" }), answer)
    }

    fn of(processor: &Value, answer: impl Fn(&Request, &[u8]) -> Response + Send + Sync + 'static) -> Self {
        let layer = layer();
        let (config, manifest) = image_for(processor, &layer);
        let fake = Self { server: Server::start(), layer: digest(&layer), manifest: digest(&manifest) };
        fake.server.route("/v2/", |_| Response::ok("{}"));
        let promised = digest(&manifest);
        fake.server.route("/v2/x/y/manifests/1", move |_| {
            Response::ok(manifest.clone())
                .header("Content-Type", MANIFEST)
                .header("Docker-Content-Digest", &promised)
        });
        fake.server.route(&blob_path(&digest(&config)), move |_| Response::ok(config.clone()));
        fake.server.route(&blob_path(&digest(&layer)), move |request| answer(request, &layer));
        fake
    }

    pub(crate) fn name(&self) -> String {
        format!("{}/x/y:1", self.server.address())
    }

    pub(crate) fn hits(&self) -> usize {
        self.server.hits(&blob_path(&self.layer))
    }
}

fn blob_path(digest: &str) -> String {
    format!("/v2/x/y/blobs/{digest}")
}

fn pull(space: &Space, name: &str) -> Run {
    space.run(&["pull", name])
}

/// The layer is whole and right.
pub(crate) fn check_layer(space: &Space, fake: &Fake) {
    let blob = space.blob(&fake.layer);
    assert_eq!(digest(&blob), fake.layer);
}

/// Nothing of an image is in the store but what is right.
pub(crate) fn nothing_is_kept(space: &Space, fake: &Fake) {
    let layer = space.store().join("blobs/sha256").join(&fake.layer[7..]);
    assert!(!layer.exists());
    let left = |dir: &Path| fs_err::read_dir(dir).map_or(0, Iterator::count);
    assert_eq!(left(&space.store().join("tmp")), 0);
    let list = space.run(&["images", "-q"]);
    assert_eq!((list.code, list.stdout.as_str()), (Some(0), ""), "{}", list.stderr);
}

/// Builds on an image whose config says a processor, for a platform that runs it.
fn check_base(processor: &Value, platform: &str) {
    let fake = Fake::of(processor, |request, layer| Stored::new(layer).answer(request));
    let space = Space::new();
    space.file("f", "x").kubefile(&format!("FROM {}\nCOPY f /f\n", fake.name()));
    let context = space.context().display().to_string();
    let build = |more: &[&str]| {
        let words = ["build", "-t", "x:1", "--build-mode", "lite", "--platform", platform];
        let run = space.run(&[&words[..], more, &[&context]].concat());
        assert_eq!(run.code, Some(0), "{platform}: {}", run.stderr);
    };
    build(&[]);
    // It is in the store.
    build(&["--offline"]);
    let run = space.run(&["pull", "--platform", platform, &fake.name()]);
    assert_eq!((run.code, run.stderr.contains("not for")), (Some(0), false), "{}", run.stderr);
}

#[test]
fn an_image_for_a_processor_by_another_name_or_an_older_one_is_a_base() {
    check_base(&json!({ "architecture": "arm64", "variant": "v8" }), "linux/arm64");
    check_base(&json!({ "architecture": "arm", "variant": "v6" }), "linux/arm/v7");
    check_base(&json!({ "architecture": "arm" }), "linux/arm/v7");
}

#[test]
fn a_dropped_layer_goes_on_where_it_stopped() {
    let fake = Fake::new(|request, layer| match request.attempt {
        1 => Response::ok(layer).drop_after(2 << 20),
        _ => Stored::new(layer).answer(request),
    });
    let space = Space::new();
    let run = pull(&space, &fake.name());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    check_layer(&space, &fake);
    let asked: Vec<Option<usize>> = fake
        .server
        .requests()
        .iter()
        .filter(|request| request.path == blob_path(&fake.layer))
        .map(Request::range_start)
        .collect();
    assert!(matches!(asked.as_slice(), [None, Some(1..)]), "{asked:?}");
}

#[test]
fn a_server_that_knows_no_ranges_sends_everything_again() {
    type Again = fn(&Request, &[u8]) -> Response;
    let from_the_beginning: Again = |_, layer| {
        let range = format!("bytes 0-{}/{}", layer.len() - 1, layer.len());
        Response::ok(layer).with_status(206).header("Content-Range", &range)
    };
    let refused: Again = |request, layer| match request.header("range") {
        Some(_) => Response::status(416),
        None => Response::ok(layer),
    };
    for again in [|_: &Request, layer: &[u8]| Response::ok(layer), from_the_beginning, refused] {
        let fake = Fake::new(move |request, layer| match request.attempt {
            1 => Response::ok(layer).drop_after(1 << 20),
            _ => again(request, layer),
        });
        let space = Space::new();
        let run = pull(&space, &fake.name());
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        check_layer(&space, &fake);
    }
}

#[test]
fn a_registry_that_stumbles_is_asked_again() {
    let fake = Fake::new(|request, layer| match request.attempt {
        1..=2 => Response::status(500),
        3 => Response::status(429).header("Retry-After", "0"),
        _ => Response::ok(layer),
    });
    let space = Space::new();
    let run = pull(&space, &fake.name());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    check_layer(&space, &fake);
    assert_eq!(fake.hits(), 4);
}

#[test]
fn a_manifest_that_breaks_off_is_asked_for_again() {
    let fake = Fake::new(|_, layer| Response::ok(layer));
    let (_, manifest) = image(&layer());
    fake.server.route("/v2/x/y/manifests/1", move |request| {
        let answer = Response::ok(manifest.clone()).header("Content-Type", MANIFEST);
        if request.attempt == 1 { answer.drop_after(100) } else { answer }
    });
    fake.server.route("/v2/x/y/tags/list", |request| {
        let answer = Response::ok(r#"{"name":"x/y","tags":["1"]}"#);
        if request.attempt == 1 { answer.drop_after(10) } else { answer }
    });
    let space = Space::new();
    let run = pull(&space, &fake.name());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let run = space.run(&["search", &fake.name()]);
    assert!(run.code == Some(0) && run.stdout.contains("x/y"), "{}{}", run.stdout, run.stderr);
}

#[test]
fn what_asking_again_does_not_change_is_an_error_at_once() {
    let denied = "an anonymous user pull from `x/y`: because of [31m reasons (DENIED)";
    for (status, wanted) in [(403, denied), (404, "is not in"), (400, "status 400")] {
        let fake = Fake::new(move |_, _| {
            let text = r#"{"errors":[{"code":"DENIED","message":"because of [31m reasons"}]}"#;
            Response::ok(text).with_status(status)
        });
        let space = Space::new();
        let run = pull(&space, &fake.name());
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert!(run.stderr.contains(wanted) && run.stderr.contains(&fake.name()), "{}", run.stderr);
        assert!(!run.stderr.contains('\u{1b}'), "{}", run.stderr);
        assert_eq!(fake.hits(), 1);
        nothing_is_kept(&space, &fake);
    }
}

#[test]
fn lies_are_found_and_nothing_of_them_is_kept() {
    type Answer = fn(&Request, &[u8]) -> Response;
    let other: Answer = |_, layer| Response::ok(layer.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>());
    let longer: Answer = |_, layer| Response::ok([layer, b"more"].concat());
    let shorter: Answer = |_, layer| Response::ok(&layer[..1000]);
    let endless: Answer = |_, layer| Response::ok(layer).endless();
    for (what, answer, wanted) in [
        ("other bytes", other, "is not what it should be"),
        ("more bytes", longer, "its descriptor says"),
        ("fewer bytes", shorter, "its descriptor says"),
        ("no end", endless, "its descriptor says"),
    ] {
        let fake = Fake::new(answer);
        let space = Space::new();
        // As a base the line of the Kubefile is told too.
        space.file("app/a.yaml", "kind: A\n").kubefile(&format!("FROM {}\nCOPY app /opt/\n", fake.name()));
        for run in [pull(&space, &fake.name()), space.build(&[])] {
            assert_eq!(run.code, Some(1), "{what}: {}", run.stderr);
            assert!(run.stderr.contains(wanted), "{what}: {}", run.stderr);
            assert!(
                run.stderr.contains(&fake.layer) && run.stderr.contains(&fake.name()),
                "{what}: {}",
                run.stderr
            );
            nothing_is_kept(&space, &fake);
        }
        let run = space.build(&[]);
        assert!(run.stderr.contains("Kubefile:2:1"), "{what}: {}", run.stderr);
    }
}

#[test]
fn a_layer_that_is_not_what_the_config_says_is_no_base() {
    let layer = layer();
    let (config, manifest) = image(b"another");
    let server = Server::start();
    let text = String::from_utf8(manifest).unwrap();
    let text = text
        .replace(&digest(b"another"), &digest(&layer))
        .replace("\"size\":7", &format!("\"size\":{}", layer.len()));
    let blob = digest(&layer);
    server.route("/v2/", |_| Response::ok("{}"));
    server.route("/v2/x/y/manifests/1", move |_| Response::ok(text.clone()).header("Content-Type", MANIFEST));
    server.route(&blob_path(&digest(&config)), move |_| Response::ok(config.clone()));
    server.route(&blob_path(&blob), move |_| Response::ok(layer.clone()));
    let space = Space::new();
    space.file("a", "").kubefile(&format!("FROM {}/x/y:1\nCOPY a /opt/\n", server.address()));
    let run = space.build(&[]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("diff id") && run.stderr.contains("Kubefile:2:1"), "{}", run.stderr);
}

#[test]
fn manifests_that_lie_or_never_end_are_refused() {
    let fake = Fake::new(|_, layer| Response::ok(layer));
    let space = Space::new();
    let (_, manifest) = image(b"another");
    let promised = fake.manifest.clone();
    let given = manifest.clone();
    fake.server.route("/v2/x/y/manifests/1", move |_| {
        Response::ok(given.clone())
            .header("Content-Type", MANIFEST)
            .header("Docker-Content-Digest", &promised)
    });
    let run = pull(&space, &fake.name());
    assert!(run.code == Some(1) && run.stderr.contains("is not what it should be"), "{}", run.stderr);
    let pinned = format!("{}/x/y@{}", fake.server.address(), fake.manifest);
    let given = manifest;
    fake.server.route(&format!("/v2/x/y/manifests/{}", fake.manifest), move |_| Response::ok(given.clone()));
    let run = pull(&space, &pinned);
    assert!(run.code == Some(1) && run.stderr.contains("is not what it should be"), "{}", run.stderr);
    fake.server.route("/v2/x/y/manifests/1", |_| Response::ok(vec![b' '; 1 << 20]).endless());
    let run = pull(&space, &fake.name());
    assert!(run.code == Some(1) && run.stderr.contains("larger than the limit"), "{}", run.stderr);
    for (wrong, why) in [
        ("", "EOF"),
        ("[]", "neither"),
        ("<html>", "expected value"),
        (r#"{"schemaVersion":1}"#, "schema 1"),
        (r#"{"config":{},"layers":[]}"#, "missing field"),
    ] {
        fake.server.route("/v2/x/y/manifests/1", move |_| Response::ok(wrong));
        let run = pull(&space, &fake.name());
        let is_told = run.stderr.contains("the manifest") && run.stderr.contains(why);
        assert!(run.code == Some(1) && is_told, "{wrong}: {}", run.stderr);
    }
    nothing_is_kept(&space, &fake);
}

#[test]
fn a_bad_request_is_not_taken_for_another_protocol() {
    let fake = Fake::new(|_, layer| Response::ok(layer));
    fake.server.route("/v2/x/y/manifests/1", |_| {
        Response::ok(r#"{"errors":[{"code":"TAG_INVALID","message":"not this one"}]}"#).with_status(400)
    });
    let run = pull(&Space::new(), &fake.name());
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("not this one (TAG_INVALID)"), "{}", run.stderr);
    assert_eq!(fake.server.hits("/v2/x/y/manifests/1"), 1);
}

#[test]
fn redirects_are_followed_without_what_is_not_theirs() {
    let elsewhere = Server::start();
    let layer = layer();
    elsewhere.route("/cdn/blob", move |request| Stored::new(layer.clone()).answer(request));
    let target = elsewhere.url("/cdn/blob?signature=s3cret");
    let fake = Fake::new(move |request, _| match request.header("authorization") {
        Some(_) => Response::redirect(&target).with_status(307),
        None => Response::status(401).header("WWW-Authenticate", "Basic realm=\"x\""),
    });
    let space = Space::new();
    let auth = json!({ "auths": { fake.server.address().to_string(): { "auth": "bWU6aHVudGVyMg==" } } });
    space.file("auth.json", auth.to_string());
    let run = space.run(&["pull", "--authfile", "auth.json", &fake.name()]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    check_layer(&space, &fake);
    assert!(elsewhere.requests().iter().all(|request| request.header("authorization").is_none()));
    drop(elsewhere);
    fs_err::remove_file(space.store().join("blobs/sha256").join(&fake.layer[7..])).unwrap();
    let run = space.run(&["pull", "--authfile", "auth.json", &fake.name()]);
    assert_eq!(run.code, Some(1));
    assert!(!run.stderr.contains("s3cret"), "{}", run.stderr);
}

#[test]
fn tokens_are_fetched_once_and_for_what_is_needed() {
    let realm = Server::start();
    realm.route("/token", |request| {
        let known = request.header("authorization") == Some("Basic bWU6aHVudGVyMg==");
        let query = request.query.as_deref().unwrap_or_default();
        assert!(
            query.contains("service=reg") && query.contains("scope=repository%3Ax%2Fy%3Apull"),
            "{query}"
        );
        if known { Response::ok(r#"{"token":"t0ken"}"#) } else { Response::status(401) }
    });
    let challenge = format!("Bearer realm=\"{}\",service=\"reg\"", realm.url("/token"));
    let ask = move |request: &Request, then: Response| match request.header("authorization") {
        Some("Bearer t0ken") => then,
        _ => Response::status(401).header("WWW-Authenticate", &challenge),
    };
    let guarded = ask.clone();
    let fake = Fake::new(move |request, layer| guarded(request, Response::ok(layer)));
    fake.server.route("/v2/", move |request| ask(request, Response::ok("{}")));
    let space = Space::new();
    let run = pull(&space, &fake.name());
    assert!(run.code == Some(1) && run.stderr.contains("anonymous"), "{}", run.stderr);
    let auth = json!({ "auths": { fake.server.address().to_string(): { "auth": "bWU6aHVudGVyMg==" } } });
    space.file("auth.json", auth.to_string());
    let before = realm.requests().len();
    let run = space.run(&["pull", "--authfile", "auth.json", "--progress-none", &fake.name()]);
    assert_eq!(run.code, Some(1), "an unknown flag: {}", run.stderr);
    let run = space.run(&["pull", "--authfile", "auth.json", &fake.name()]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(realm.requests().len() - before, 1);
    check_layer(&space, &fake);
}

#[test]
fn a_push_that_is_refused_is_told_with_the_registrys_words() {
    let space = Space::new();
    space.file("a.yaml", "kind: A\n").kubefile("FROM scratch\nAPP a local://a.yaml\n");
    assert_eq!(space.build(&[]).code, Some(0));
    let server = Server::start();
    server.route("/v2/", |_| Response::ok("{}"));
    server.route("/v2/x/y/blobs/uploads/", |_| {
        Response::ok(r#"{"errors":[{"code":"QUOTA","message":"no room left"}]}"#).with_status(507)
    });
    let name = format!("{}/x/y:1", server.address());
    let run = space.run(&["push", "x:1", &name]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("no room left (QUOTA)") && run.stderr.contains(&name), "{}", run.stderr);
}

#[test]
fn ctrl_c_ends_a_pull_and_leaves_nothing() {
    let fake = Fake::new(|_, layer| Response::ok(layer).stall_after(1 << 20));
    let space = Space::new();
    let mut command = space.command();
    command
        .args(["pull", &fake.name()])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    while fake.hits() == 0 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    std::thread::sleep(std::time::Duration::from_millis(50));
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    nothing_is_kept(&space, &fake);
}

#[test]
fn ctrl_c_while_a_registry_is_asked_is_no_answer_of_it() {
    const TAG: &str = "/v2/x/y/manifests/1";
    let fake = Fake::new(|_, layer| Response::ok(layer));
    let space = Space::new();
    let pulled = space.run(&["pull", &fake.name()]);
    assert_eq!(pulled.code, Some(0), "{}", pulled.stderr);
    space.kubefile(&format!("FROM {}\n", fake.name()));
    fake.server.route(TAG, |_| Response::ok("").latency(std::time::Duration::from_secs(60)));
    for words in [&["graph", "."][..], &["build", "-t", "x:1", "."]] {
        let asked = fake.server.hits(TAG);
        let mut command = space.command();
        command.current_dir(space.root().join("context")).args(words);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let child = command.spawn().unwrap();
        while fake.server.hits(TAG) == asked {
            std::thread::yield_now();
        }
        let id = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(130), "{said}");
        assert!(output.stdout.is_empty() && !said.contains("the newest"), "{said}");
    }
}

#[test]
fn bases_that_many_builds_need_at_once_are_fetched_once() {
    let fake = Fake::new(|_, layer| {
        std::thread::sleep(std::time::Duration::from_millis(200));
        Response::ok(layer)
    });
    let space = Space::new();
    space.file("a", "x").kubefile(&format!("FROM {}\nCOPY a /opt/\n", fake.name()));
    std::thread::scope(|scope| {
        for n in 0..4 {
            let space = &space;
            scope.spawn(move || {
                let tag = format!("n{n}:1");
                let run = space.run(&["build", "-q", "-t", &tag, "--build-mode", "lite", "."]);
                assert_eq!(run.code, Some(0), "{}", run.stderr);
            });
        }
    });
    assert_eq!(fake.hits(), 1);
    let of = space.run(&["inspect", "-f", "{{json .Labels}}", "n3:1"]);
    let labels: Value = serde_json::from_str(&of.stdout).unwrap();
    assert_eq!(labels["of"], "fake");
}
