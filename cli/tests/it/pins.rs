//! Pins of URLs in remote caches: what one machine downloaded, another one only asks about.

use serde_json::Value;

use crate::registry_server::Registry;
use crate::server::{Request, Response, Server, Stored};
use crate::space::{Run, Space, run};

const TO: [&str; 2] = ["--cache-to", "type=local,dest=../cache"];
const FROM: [&str; 2] = ["--cache-from", "type=local,src=../cache"];

fn at(space: &Space, store: &str, words: &[&str]) -> Run {
    let mut command = space.command();
    command.env("SEALER_ROOT", space.root().join(store));
    command.args(["build", "-t", "x:1", "--build-mode", "lite", "--metadata-file", "../metadata.json"]);
    run(command.args(words).arg("."))
}

/// The digest of a build that succeeds, its steps that ran, and what it says.
fn good(space: &Space, store: &str, words: &[&str]) -> (String, u64, String) {
    let run = at(space, store, words);
    assert_eq!(run.code, Some(0), "{store} {words:?}: {}", run.stderr);
    let built: &Value = &space.metadata()["sealer.build"];
    (space.digest(), built["executed"].as_u64().unwrap(), run.stderr)
}

/// How a server was asked since: conditional questions, and downloads.
struct Asked<'a> {
    server: &'a Server,
    seen: std::cell::Cell<usize>,
}

impl Asked<'_> {
    fn new(server: &Server) -> Asked<'_> {
        Asked { server, seen: 0.into() }
    }

    fn now(&self) -> (usize, usize) {
        let requests = self.server.requests();
        let new = &requests[self.seen.replace(requests.len())..];
        let is_conditional = |request: &&Request| {
            request.header("if-none-match").or(request.header("if-modified-since")).is_some()
        };
        let conditional = new.iter().filter(is_conditional).count();
        (conditional, new.len() - conditional)
    }
}

/// What a server has that knows dates and no tags.
fn dated(text: &str) -> impl Fn(&Request) -> Response + Send + Sync + 'static {
    let (last_modified, date) = ("Tue, 15 Nov 1994 08:12:00 GMT", "Tue, 15 Nov 1994 09:12:00 GMT");
    let (last_modified, date) = (Some(last_modified.to_owned()), Some(date.to_owned()));
    let stored = Stored { etag: None, last_modified, date, ..Stored::new(text) };
    move |request| stored.answer(request)
}

#[test]
fn what_a_cache_knows_of_a_url_is_only_asked_about() {
    let (space, server) = (Space::new(), Server::start());
    let asked = Asked::new(&server);
    server.file("/tagged", "tagged");
    server.route("/dated", dated("dated"));
    server.route("/loose", |request| Stored { etag: None, ..Stored::new("loose") }.answer(request));
    let urls = ["/tagged", "/dated?part=1"].map(|path| server.url(path));
    let text = format!("FROM scratch\nADD {} /\nADD {} /\n", urls[0], urls[1]);
    space.kubefile(&text);
    let (digest, executed, said) = good(&space, "one", &TO);
    assert!(executed == 2 && said.contains("6 records"), "{said}");
    assert_eq!(asked.now(), (0, 2));
    let (second, executed, _) = good(&space, "two", &FROM);
    assert_eq!((&second, executed, asked.now()), (&digest, 0, (2, 0)), "no body is downloaded");
    // What is read after all is downloaded then, and is what it was.
    let (third, executed, _) = good(&space, "three", &[&FROM[..], &["--compression", "gzip"]].concat());
    assert_eq!((executed, asked.now()), (2, (2, 2)));
    assert_ne!(third, digest);
    assert_eq!(good(&space, "plain", &["--compression", "gzip"]).0, third);
    asked.now();
    let (fourth, _, _) = good(&space, "four", &[&FROM[..], &["--no-cache"]].concat());
    assert_eq!((&fourth, asked.now()), (&digest, (0, 2)), "then nobody asks twice");
    // What the server changed is what it is now, and what it does not pin does not travel.
    server.file("/tagged", "changed");
    space.kubefile(&format!("{text}ADD {} /\n", server.url("/loose")));
    let (changed, executed, said) = good(&space, "five", &[&FROM[..], &TO[..]].concat());
    // What is above the changed file is what it was, and its body is not read.
    assert_eq!((executed, asked.now()), (2, (2, 1)), "{said}");
    let (plain, ..) = good(&space, "six", &[]);
    assert_eq!(plain, changed);
    asked.now();
    assert_eq!((good(&space, "seven", &FROM).0, asked.now()), (changed, (2, 1)));
}

#[test]
fn who_asks_as_somebody_leaves_nothing_of_it() {
    let (space, server) = (Space::new(), Server::start());
    let asked = Asked::new(&server);
    server.file("/f", "f");
    let url = server.url("/f?token=hunter2").replace("http://", "http://me:secret@");
    space.kubefile(&format!("FROM scratch\nADD {url} /\n"));
    let (_, _, said) = good(&space, "one", &TO);
    assert!(said.contains("2 records"), "only the step's: {said}");
    asked.now();
    good(&space, "two", &FROM);
    assert_eq!(asked.now(), (0, 1));
    space.kubefile(&format!("FROM scratch\nADD {} /\n", url.replace("me:secret@", "")));
    let (_, _, said) = good(&space, "one", &TO);
    assert!(said.contains("4 records"), "the step has another text: {said}");
    for blob in fs_err::read_dir(space.root().join("cache/blobs/sha256")).unwrap() {
        let bytes = fs_err::read(blob.unwrap().path()).unwrap();
        // A shard is a zstd frame after its header; small ones stand in the head.
        let start = bytes.windows(4).position(|four| four == [0x28, 0xb5, 0x2f, 0xfd]);
        let raw = start.map(|start| zstd::decode_all(&bytes[start..]).unwrap_or_default());
        for bytes in [Some(bytes), raw].into_iter().flatten() {
            for secret in ["hunter2", "secret", "me:"] {
                assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "{secret}");
            }
        }
    }
}

#[test]
fn a_body_that_a_cache_lied_about_gets_into_no_image() {
    let (space, server) = (Space::new(), Server::start());
    // The same tag for everything it ever gave.
    let tagged = |text: &'static str| {
        move |request: &Request| {
            Stored { etag: Some("\"same\"".to_owned()), ..Stored::new(text) }.answer(request)
        }
    };
    server.route("/f", tagged("old"));
    server.file("/g", "g");
    let text = format!("FROM scratch\nADD {} /\nADD {} /\n", server.url("/f"), server.url("/g"));
    space.kubefile(&text);
    let (old, ..) = good(&space, "one", &TO);
    server.route("/f", tagged("new"));
    // Nobody reads it: the server says that it is what it was.
    assert_eq!(good(&space, "two", &FROM).0, old);
    // Somebody reads it.
    space.kubefile(&text.replace("/f /\n", "/f /other\n"));
    let (found, _, said) = good(&space, "three", &FROM);
    assert!(said.contains("gives something else than a remote cache has of it"), "{said}");
    assert!(said.contains("Kubefile:2:1") && said.contains(&server.url("/f")), "{said}");
    assert_eq!(good(&space, "four", &[]).0, found);
    // With a checksum it is an error that says what is what.
    let sum = "a6c9b3f4ab7e04ed43cfdb8a87f3d3aa6a5d0ee65a85e1f0c8c2a2a2b0dc7bb0";
    space.kubefile(&format!("FROM scratch\nADD --checksum=sha256:{sum} {} /third\n", server.url("/f")));
    let failed = at(&space, "five", &FROM);
    assert!(failed.code == Some(1) && failed.stderr.contains("has the checksum"), "{}", failed.stderr);
}

#[test]
fn what_is_pinned_anyway_is_not_asked_about_at_all() {
    let (space, server) = (Space::new(), Server::start());
    let asked = Asked::new(&server);
    server.route("/f", |request| Stored { etag: None, ..Stored::new("body") }.answer(request));
    let sum = sha256("body");
    let text = format!("FROM scratch\nADD --checksum=sha256:{sum} {} /\n", server.url("/f"));
    space.kubefile(&text);
    let (digest, ..) = good(&space, "one", &TO);
    asked.now();
    let (second, executed, _) = good(&space, "two", &FROM);
    assert_eq!((&second, executed, asked.now()), (&digest, 0, (0, 0)));
    space.kubefile(&text.replace("/f /\n", "/f /other\n"));
    good(&space, "three", &FROM);
    assert_eq!(asked.now(), (0, 1));

    // So is what a lock file has.
    space.kubefile(&format!("FROM scratch\nADD {} /\n", server.url("/f")));
    let (digest, ..) = good(&space, "one", &[&TO[..], &["--lock"]].concat());
    asked.now();
    let (second, executed, _) = good(&space, "four", &[&FROM[..], &["--locked"]].concat());
    assert_eq!((&second, executed, asked.now()), (&digest, 0, (0, 0)));
    server.file("/f", "changed");
    assert_eq!(good(&space, "five", &[&FROM[..], &["--locked", "--offline"]].concat()).0, digest);
    let words = [&FROM[..], &["--locked", "--compression", "gzip"]].concat();
    let failed = at(&space, "six", &words);
    assert_eq!(failed.code, Some(1));
    for wanted in
        ["Kubefile:2:1", "has the checksum", "as in `Kubefile.lock`", &server.url("/f"), "--update="]
    {
        assert!(failed.stderr.contains(wanted), "{wanted}: {}", failed.stderr);
    }
}

#[test]
fn offline_a_cache_in_a_directory_says_what_a_url_gave() {
    let (space, server) = (Space::new(), Server::start());
    server.file("/f", "f");
    space.kubefile(&format!("FROM scratch\nADD {} /\n", server.url("/f")));
    let (digest, ..) = good(&space, "one", &TO);
    let requests = server.requests().len();
    let (second, executed, said) = good(&space, "two", &[&FROM[..], &["--offline"]].concat());
    assert_eq!((second, executed), (digest, 0));
    assert!(said.contains(&format!("whether `{}` is still what", server.url("/f"))), "{said}");
    let failed = at(&space, "three", &[&FROM[..], &["--offline", "--compression", "gzip"]].concat());
    assert!(failed.code == Some(1) && failed.stderr.contains("would have to be asked"), "{}", failed.stderr);
    assert!(failed.stderr.contains("Kubefile:2:1"), "{}", failed.stderr);
    assert_eq!(server.requests().len(), requests);
}

fn sha256(text: &str) -> String {
    crate::image_registry::digest(text.as_bytes())[7..].to_owned()
}

#[test]
fn plain_http_may_lead_to_https_that_is_verified() {
    let Some(registry) = Registry::private() else { return };
    let (space, server) = (Space::new(), Server::start());
    let away = format!("https://{}/v2/", registry.address);
    server.route("/x", move |_| Response::redirect(&away));
    space.kubefile(&format!("FROM scratch\nADD {} /x\n", server.url("/x")));
    let build = |certificates: &std::path::Path| {
        let mut command = space.command();
        command.env("SSL_CERT_FILE", certificates).env("SSL_CERT_DIR", space.root());
        let run = run(command.args(["build", "-t", "x:1", "--build-mode", "lite", "."]));
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        run.stderr
    };
    // A server that is its own authority is trusted by nobody, whoever is.
    let said = build(&registry.certificate());
    assert!(said.contains("invalid peer certificate"), "{said}");
    assert_eq!(server.hits("/x"), 2, "the answer that leads away, and the same for who can follow");
    let said = build(&space.root().join("none.pem"));
    assert!(said.contains("certificate authorit"), "{said}");
}
