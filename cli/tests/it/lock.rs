//! `Kubefile.lock`: names lead where they led once, until somebody asks anew; and `--offline`, with which nobody is asked.

use serde_json::Value;

use crate::git_server::{Manners, Repositories, Smart};
use crate::registry_server::Registry;
use crate::server::{Response, Server, Stored};
use crate::space::{Run, Space, run};

/// Builds the Kubefile in a store of the space, as `x:1` in mode lite.
fn at(space: &Space, store: &str, words: &[&str]) -> Run {
    let mut command = space.command();
    command.env("SEALER_ROOT", space.root().join(store));
    command.args(["build", "-t", "x:1", "--build-mode", "lite", "--metadata-file", "../metadata.json"]);
    run(command.args(words).arg("."))
}

/// What a build that succeeds says of itself: its digest, and the requests it sent.
fn built(space: &Space, store: &str, words: &[&str]) -> (String, u64) {
    let (digest, requests, _) = built_loud(space, store, words);
    (digest, requests)
}

fn built_loud(space: &Space, store: &str, words: &[&str]) -> (String, u64, String) {
    let run = at(space, store, words);
    assert_eq!(run.code, Some(0), "{words:?}: {}", run.stderr);
    let metadata: Value = space.metadata();
    (space.digest(), metadata["sealer.build"]["http_requests"].as_u64().unwrap(), run.stderr)
}

fn fails(space: &Space, store: &str, words: &[&str], wanted: &[&str]) -> String {
    let run = at(space, store, words);
    assert_eq!(run.code, Some(1), "{words:?}: {}", run.stderr);
    for text in wanted {
        assert!(run.stderr.contains(text), "`{text}` is not in:\n{}", run.stderr);
    }
    run.stderr
}

fn lock(space: &Space) -> String {
    fs_err::read_to_string(space.context().join("Kubefile.lock")).unwrap()
}

/// Pushes an image that holds one file.
fn push(space: &Space, name: &str, text: &str, words: &[&str]) {
    space.file("Kubefile.base", "FROM scratch\nARG ARCH\nCOPY base /base-$ARCH\n").file("base", text);
    let mut command = space.command();
    command.env("SEALER_ROOT", space.root().join("maker"));
    command.args(["build", "-q", "-t", name, "--build-mode", "lite", "--push", "-f", "Kubefile.base"]);
    let run = run(command.args(words).arg("."));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}

#[test]
fn a_locked_base_is_what_its_name_led_to() {
    let Some(registry) = Registry::open() else { return };
    let (space, name) = (Space::new(), registry.name("team/base:1"));
    push(&space, &name, "old", &[]);
    space.file("a", "a").kubefile(&format!("FROM {name}\nCOPY a /a\n"));
    let (old, _, said) = built_loud(&space, "s", &["--lock"]);
    assert!(said.contains("Kubefile.lock: 1 added, 0 changed, 0 dropped"), "{said}");
    let written = lock(&space);
    assert!(written.contains(&format!("[[base]]\nname = \"{name}\"\nplatform = ")), "{written}");

    push(&space, &name, "new", &[]);
    for (store, words) in [("s", &[][..]), ("s", &["--locked", "--pull", "always"]), ("cold", &["--lock"])] {
        let (digest, requests, said) = built_loud(&space, store, words);
        assert_eq!(digest, old, "{store}: a lock changes nothing of the image");
        assert_eq!(requests == 0, store == "s", "{requests}");
        assert!(!said.contains("Kubefile.lock"), "there is nothing to tell or to write: {said}");
        assert_eq!(lock(&space), written);
    }
    // A store that has the digest under no name of its own gives it to the next build all the same.
    assert_eq!(built(&space, "cold", &["--locked", "--offline"]), (old.clone(), 0));

    fs_err::rename(space.context().join("Kubefile.lock"), space.context().join("kept")).unwrap();
    let (new, _) = built(&space, "s", &[]);
    assert_ne!(new, old, "without it, the name leads where it leads now");
    fs_err::rename(space.context().join("kept"), space.context().join("Kubefile.lock")).unwrap();
    assert_eq!(built(&space, "s", &[]), (old.clone(), 0), "and with it, where it led");
    assert_eq!(built(&space, "s", &["--lock"]).0, old, "what is there stays");

    let (digest, _, said) = built_loud(&space, "s", &["--update", "--pull", "missing"]);
    assert_eq!(digest, new);
    assert!(said.contains("0 added, 1 changed, 0 dropped"), "{said}");
    assert_eq!(built(&space, "s", &["--locked"]).0, new);
}

#[test]
fn what_is_demanded_must_be_there() {
    let Some(registry) = Registry::open() else { return };
    let (space, name, other) = (Space::new(), registry.name("team/base:1"), registry.name("team/other:1"));
    push(&space, &name, "one", &[]);
    push(&space, &other, "two", &[]);
    let server = Server::start();
    server.file("/f", "f");
    space.kubefile(&format!("FROM {name}\n"));
    built(&space, "s", &["--lock"]);
    let written = lock(&space);
    let text = format!(
        "FROM {other} AS o\nFROM {name}\nCOPY --from=o /base-* /other/\nADD {} /f\n",
        server.url("/f")
    );
    space.kubefile(&text);
    let missing = format!("`Kubefile.lock` does not have the base `{other}` for linux/");
    fails(&space, "s", &["--locked"], &["Kubefile:1:1", &missing, "hint: `--lock` adds what is missing"]);
    assert_eq!((server.requests().len(), lock(&space)), (0, written.clone()));
    // Without the demand it is one warning, about all of it.
    let (_, _, said) = built_loud(&space, "s", &[]);
    assert!(said.contains(&missing) && said.contains(&format!("the file `{}`", server.url("/f"))), "{said}");
    assert_eq!((said.matches("does not have").count(), lock(&space)), (1, written));
    fails(&space, "s", &["--strict"], &["does not have", "without `--strict` this is a warning"]);

    built(&space, "s", &["--lock"]);
    assert_eq!(built(&space, "s", &["--locked", "--offline"]).1, 0);
    space.kubefile(&format!("FROM {name}\nADD {} /f\n", server.url("/g")));
    fails(&space, "s", &["--locked"], &["Kubefile:2:1", "does not have the file", "/g"]);
    assert_eq!(server.hits("/g"), 0);

    // What nobody else can move, and what the command line says, stands in no lock file.
    space.file("Kubefile.own", "FROM scratch\nCOPY base /\n");
    let own = space.run(&["build", "-t", "own:1", "--build-mode", "lite", "-f", "Kubefile.own", "."]);
    assert_eq!(own.code, Some(0), "{}", own.stderr);
    space.kubefile("FROM own:1 AS own\nFROM replaced\nCOPY --from=own /base /own\n");
    let replaced = format!("replaced=docker-image://{name}");
    built(&space, "store", &["--lock", "--build-context", &replaced]);
    assert!(!lock(&space).contains("[["), "{}", lock(&space));
    built(&space, "store", &["--locked", "--build-context", &replaced]);
}

#[test]
fn a_locked_file_is_what_the_url_gave() {
    let (space, server) = (Space::new(), Server::start());
    let url = server.url("/dir/f.txt?token=hunter2");
    let named = |name: &'static str, text: &'static str| {
        move |request: &crate::server::Request| {
            let name = format!("attachment; filename=\"{name}\"");
            Stored::new(text).answer(request).header("Content-Disposition", &name)
        }
    };
    server.file("/dir/f.txt", "old");
    server.route("/", named("first.txt", "named"));
    let private = url.replace("http://", "http://me:secret@");
    let app = format!("APP named {}\nAPPCMDS named [\"ls\"]\n", server.url("/"));
    space.kubefile(&format!("FROM scratch\nADD {private} /\n{app}"));
    let (plain, _) = built(&space, "s", &[]);
    let (old, _) = built(&space, "s", &["--lock"]);
    assert_eq!(
        (&old, &space.metadata()["sealer.build"]["executed"]),
        (&plain, &0.into()),
        "the keys are the same"
    );
    let written = lock(&space);
    assert!(written.contains("file-name = \"first.txt\"") && written.contains("f.txt?…"), "{written}");
    assert!(!written.contains("hunter2") && !written.contains("secret"), "{written}");

    server.file("/dir/f.txt", "new");
    server.route("/", named("second.txt", "named"));
    let before = server.requests().len();
    assert_eq!(built(&space, "s", &["--locked"]), (old.clone(), 0));
    assert_eq!(server.requests().len(), before);
    let error = fails(
        &space,
        "cold",
        &[],
        &["Kubefile:2:1", "has the checksum sha256:", "as in `Kubefile.lock`", "`--update='http://"],
    );
    assert!(
        !error.lines().filter(|line| !line.contains("ADD ")).any(|line| line.contains("hunter2")),
        "{error}"
    );
    // As the hint says.
    let hint = error.split("--update='").nth(1).unwrap().split('\'').next().unwrap();
    let (new, _, said) = built_loud(&space, "cold", &[&format!("--update={hint}")]);
    assert!(said.contains("0 added, 1 changed, 0 dropped"), "{said}");
    assert_ne!(new, old);
    assert!(lock(&space).contains("file-name = \"first.txt\""), "only what was named is asked for anew");

    // A body that the store has from before comes back without a question, whatever the URL gave since.
    server.route("/", named("second.txt", "other"));
    built(&space, "s", &["--update"]);
    assert!(lock(&space).contains("second.txt"));
    space.file("Kubefile.lock", &written);
    assert_eq!(built(&space, "s", &["--locked", "--offline"]), (old, 0));

    // What the text pins itself needs no entry, and what is not used any more has none.
    let sum = "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437";
    space.kubefile(&format!("FROM scratch\nADD --checksum=sha256:{sum} {} /\n", server.url("/dir/f.txt")));
    let (_, _, said) = built_loud(&space, "s", &["--lock"]);
    assert!(said.contains("0 added, 0 changed, 2 dropped"), "{said}");
    assert!(!lock(&space).contains("[["), "{}", lock(&space));
}

#[test]
fn a_locked_reference_is_the_commit_it_was() {
    let Some(repositories) = Repositories::new() else { return };
    let commit = repositories.commit("r.git", &[("f", "old")]);
    let smart = Smart::start(&repositories.root(), Manners::default());
    let (space, url) = (Space::new(), smart.url("r.git"));
    space.kubefile(&format!("FROM scratch\nADD {url}#main /\nADD {url} /head\n"));
    let (old, _) = built(&space, "s", &["--lock"]);
    let entry = format!("[[git]]\nurl = \"{url}\"\nreference = \"main\"\ncommit = \"{commit}\"\n");
    assert!(lock(&space).contains(&entry), "{}", lock(&space));
    let newer = repositories.commit("r.git", &[("f", "new")]);
    let asked = smart.asked().len();
    assert_eq!(built(&space, "s", &["--locked", "--offline", "--no-cache"]).0, old);
    assert_eq!(smart.asked().len(), asked);
    assert_eq!(built(&space, "cold", &[]).0, old, "a server gives the commit itself");
    let (_, _, said) = built_loud(&space, "s", &[&format!("--update={url}#main")]);
    assert!(said.contains("0 added, 1 changed, 0 dropped"), "{said}");
    assert!(lock(&space).contains(&commit) && lock(&space).contains(&newer), "{}", lock(&space));
}

#[test]
fn offline_a_warm_store_is_enough_and_nobody_is_asked() {
    let Some(registry) = Registry::open() else { return };
    let (space, server) = (Space::new(), Server::start());
    let name = registry.name("team/base:1");
    push(&space, &name, "base", &[]);
    server.file("/f", "f");
    space.kubefile(&format!("FROM {name}\nADD {} /f\nCOPY base /again\n", server.url("/f")));
    let (digest, _) = built(&space, "s", &["--lock"]);
    let requests = server.requests().len();
    // From here on nobody listens there.
    drop(registry);
    for words in [&["--offline"][..], &["--offline", "--locked"], &["--offline", "--lock", "--no-cache"]] {
        let (again, sent, said) = built_loud(&space, "s", words);
        assert_eq!((again, sent, said.contains("warning")), (digest.clone(), 0, false), "{said}");
    }
    assert_eq!(server.requests().len(), requests);
    // Without a lock the store's last word counts, and what may be old is named.
    fs_err::remove_file(space.context().join("Kubefile.lock")).unwrap();
    let (again, sent, said) = built_loud(&space, "s", &["--offline"]);
    assert_eq!((again, sent), (digest, 0));
    let warning = format!("whether `{}` is still what the store has is not known", server.url("/f"));
    assert!(said.contains(&warning) && !said.contains(&format!("`{name}`")), "{said}");
    assert_eq!(server.requests().len(), requests);
}

#[test]
fn offline_what_would_be_asked_is_named_and_not_asked() {
    // It would hear of any question, whatever protocol asks it.
    let server = Server::start();
    server.route("/v2/", |_| Response::status(200));
    let (space, address) = (Space::new(), server.address());
    let hint = "run it once without `--offline`";
    space.kubefile(&format!("FROM {address}/team/base:1\n"));
    for policy in ["ifnewer", "always", "missing"] {
        let host = format!("`{address}` would have to be asked, and `--offline` forbids it");
        fails(&space, "s", &["--offline", "--pull", policy], &["Kubefile:1:1", &host, hint]);
    }
    let git = format!("http://{address}/r.git");
    space.kubefile(&format!("FROM scratch\nADD {} /\nADD {git}#main /\n", server.url("/f?token=1")));
    let asked = format!("`{}?…` would have to be asked", server.url("/f"));
    fails(
        &space,
        "s",
        &["--offline"],
        &["Kubefile:2:1", &asked, "Kubefile:3:1", &format!("`{git}#main`"), hint],
    );
    // A commit's id is known, its files are not.
    space.kubefile(&format!("FROM scratch\nADD {git}#{} /\n", "a".repeat(40)));
    fails(&space, "s", &["--offline"], &["Kubefile:2:1", "would have to be asked", hint]);
    let name = format!("{address}/a:1");
    for words in [
        &["pull", "--offline", &name][..],
        &["inspect", "--offline", "--remote", &name],
        &["search", "--offline", &name[..name.len() - 2]],
        &["build", "--offline", "-t", "x:1", &server.url("/ctx.tar")],
        &["build", "--offline", "-t", "x:1", &git],
    ] {
        let run = space.run(words);
        assert_eq!(run.code, Some(1), "{words:?}: {}", run.stderr);
        assert!(run.stderr.contains("would have to be asked, and `--offline` forbids it"), "{}", run.stderr);
    }
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn offline_a_context_behind_a_url_is_what_it_was() {
    let (space, server) = (Space::new(), Server::start());
    space.kubefile("FROM scratch\nCOPY Kubefile /\n");
    server.file("/ctx.tar", tar(&space));
    let words = ["build", "-t", "x:1", "--build-mode", "lite", &server.url("/ctx.tar")];
    assert_eq!(space.run(&words).code, Some(0));
    let requests = server.requests().len();
    let run = space.run(&[&words[..], &["--offline"]].concat());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("is still what the store has is not known"), "{}", run.stderr);
    assert_eq!(server.requests().len(), requests);
}

/// The context as an archive.
fn tar(space: &Space) -> Vec<u8> {
    let mut tar = std::process::Command::new("tar");
    let output = tar.arg("-C").arg(space.context()).args(["-cf", "-", "."]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn each_platform_has_its_entry_and_one_index() {
    let Some(registry) = Registry::open() else { return };
    let (space, name) = (Space::new(), registry.name("team/base:1"));
    let both = ["--platform", "linux/amd64,linux/arm64"];
    push(&space, &name, "old", &both);
    space.file("a", "a").kubefile(&format!("FROM {name}\nCOPY a /a\n"));
    let (old, _) = built(&space, "s", &[&both[..], &["--lock"]].concat());
    let written = lock(&space);
    let digests: Vec<&str> = written.lines().filter(|line| line.starts_with("digest")).collect();
    assert!(digests.len() == 2 && digests[0] == digests[1], "{written}");
    push(&space, &name, "new", &both);
    for (store, words) in [("s", &["--offline"][..]), ("cold", &[]), ("cold", &["--offline"])] {
        let (digest, sent) = built(&space, store, &[&both[..], words, &["--locked"]].concat());
        assert_eq!((&digest, sent == 0), (&old, words.contains(&"--offline")), "{store} {words:?}");
    }
    let error = fails(&space, "s", &["--locked", "--platform", "linux/riscv64"], &["for linux/riscv64"]);
    assert!(error.contains("does not have the base"), "{error}");
    // What a build of fewer platforms does not use is not kept.
    let (_, _, said) = built_loud(&space, "s", &["--platform", "linux/arm64", "--lock"]);
    assert!(said.contains("0 added, 0 changed, 1 dropped"), "{said}");
}

#[test]
fn all_images_of_an_index_that_were_fetched_are_there_without_a_lock_too() {
    let Some(registry) = Registry::open() else { return };
    let (space, name) = (Space::new(), registry.name("team/base:1"));
    let both = ["--platform", "linux/amd64,linux/arm64"];
    push(&space, &name, "old", &both);
    space.file("a", "a").kubefile(&format!("FROM {name}\nCOPY a /a\n"));
    let (old, _) = built(&space, "s", &both);
    for words in [["--offline"].as_slice(), &["--pull", "never"], &["--pull", "missing"]] {
        let (digest, sent) = built(&space, "s", &[&both[..], words].concat());
        assert_eq!((&digest, sent), (&old, 0), "{words:?}");
    }
}

#[test]
fn a_damaged_or_newer_lock_is_refused_at_its_line() {
    let space = Space::new();
    space.kubefile("FROM scratch\nCOPY Kubefile /\n");
    for (text, wanted) in [
        ("version = 1\n\n[[base]]\nname = \"a\"\n", "Kubefile.lock:3:1"),
        ("version = 1\nmore = 2\n", "Kubefile.lock:2:1"),
        ("version = 2\nelse = 3\n", "it is of version 2, which a newer sealer wrote"),
        ("version = 1\n[[http]\n", "`Kubefile.lock` cannot be used: "),
        ("", "missing field `version`"),
    ] {
        space.file("Kubefile.lock", text);
        for words in [&[][..], &["--lock"], &["--locked"], &["--update"]] {
            fails(&space, "s", words, &[wanted, "hint: "]);
        }
        assert_eq!(lock(&space), text);
    }
    space.file("Kubefile.lock", b"\xff");
    fails(&space, "s", &[], &["it is not UTF-8 text"]);
    fs_err::File::create(space.context().join("Kubefile.lock")).unwrap().set_len(17 << 20).unwrap();
    fails(&space, "s", &[], &["it is larger than 16777216 bytes"]);
}

#[test]
fn a_lock_stands_next_to_its_kubefile() {
    let (space, server) = (Space::new(), Server::start());
    server.file("/f", "f");
    space.file("sub/My.kube", format!("FROM scratch\nADD {} /\n", server.url("/f")));
    built(&space, "s", &["-f", "sub/My.kube", "--lock"]);
    let path = space.context().join("sub/My.kube.lock");
    let written = fs_err::read_to_string(&path).unwrap();
    assert!(written.starts_with("# ") && written.contains("[[http]]"), "{written}");
    assert_eq!(fs_err::read_dir(space.context().join("sub")).unwrap().count(), 2, "nothing else is left");
    // A build that fails writes nothing, and one that changes nothing does not either.
    let modified = fs_err::metadata(&path).unwrap().modified().unwrap();
    built(&space, "s", &["-f", "sub/My.kube", "--lock"]);
    space.file("sub/My.kube", format!("FROM scratch\nADD {} /\nCOPY nope /\n", server.url("/g")));
    fails(&space, "s", &["-f", "sub/My.kube", "--lock"], &["nope"]);
    assert_eq!(fs_err::metadata(&path).unwrap().modified().unwrap(), modified);
    space.file("sub/My.kube", format!("FROM scratch\nADD {} /\n", server.url("/f")));
    let unknown = "`--update=alpine:3`: this build asks for nothing of that name";
    fails(&space, "s", &["-f", "sub/My.kube", "--update=alpine:3"], &[unknown]);

    // In an archive it counts, and cannot be written.
    server.file("/f", "moved");
    fs_err::write(space.root().join("ctx.tar"), tar(&space)).unwrap();
    let archive = |words: &[&str]| {
        let base = ["build", "-t", "x:1", "--build-mode", "lite", "-f", "sub/My.kube", "../ctx.tar"];
        space.run(&[&base[..], words].concat())
    };
    for (words, wanted) in [
        (&[][..], "as in `sub/My.kube.lock`"),
        (&["--locked"], "as in `sub/My.kube.lock`"),
        (&["--lock"], "`--lock`: nothing can be written into `../ctx.tar`"),
        (&["--update"], "`--update`: nothing can be written into `../ctx.tar`"),
    ] {
        let run = archive(words);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert!(run.stderr.contains(wanted), "`{wanted}` is not in {}", run.stderr);
    }
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    let space = Space::new();
    space.kubefile("FROM scratch\nCOPY Kubefile /\n");
    for (words, wanted) in [
        (&["--lock", "--locked"][..], "cannot be used with"),
        (&["--locked", "--update=x"], "cannot be used with"),
        (&["--check", "--lock"], "cannot be used with"),
        (&["--check", "--locked"], "cannot be used with"),
        (&["--check", "--update"], "cannot be used with"),
        (&["--check", "--push"], "cannot be used with"),
        (&["--check", "-o", "type=oci-dir,dest=../x"], "cannot be used with"),
        (&["--no-discover=a"], "`--no-discover` says nothing to a build without container"),
        (
            &["-o", "type=tar,dest=../x", "-o", "type=oci-archive,dest=../x"],
            "two outputs cannot both go to `../x`",
        ),
        (&["--offline", "--update"], "`--update` asks what names lead to, which `--offline` forbids"),
        (&["-f", "-", "--lock"], "`--lock`: a Kubefile on standard input has no lock file"),
        (&["-f", "-", "--locked"], "`--locked`: a Kubefile on standard input has no lock file"),
        (&["-f", "-", "--update"], "`--update`: a Kubefile on standard input has no lock file"),
    ] {
        fails(&space, "s", words, &[wanted]);
    }
    assert!(!space.context().join("Kubefile.lock").exists());
}
