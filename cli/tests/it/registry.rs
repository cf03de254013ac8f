//! Real registries: what is pushed is what is pulled, bases come from there, and layers only when somebody reads them.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use serde_json::Value;

use crate::registry_server::{PASSWORD, Registry, USER};
use crate::space::{Run, Space, run};

/// Runs on another store of the same space, as a user of their own without credentials.
fn at(space: &Space, store: &str, words: &[&str]) -> Run {
    let mut command = space.command();
    command.env("SEALER_ROOT", space.root().join(store)).env("HOME", space.root().join("home"));
    command.env_remove("XDG_CONFIG_HOME").env_remove("XDG_RUNTIME_DIR").env_remove("REGISTRY_AUTH_FILE");
    run(command.args(words))
}

fn good(space: &Space, store: &str, words: &[&str]) -> String {
    let run = at(space, store, words);
    assert_eq!(run.code, Some(0), "{words:?}: {}", run.stderr);
    format!("{}{}", run.stdout, run.stderr)
}

fn bad(space: &Space, store: &str, words: &[&str], wanted: &[&str]) {
    let run = at(space, store, words);
    assert_eq!(run.code, Some(1), "{words:?}: {}", run.stderr);
    for text in wanted {
        assert!(run.stderr.contains(text), "`{text}` is not in {}", run.stderr);
    }
}

/// A build, and what it says it did.
fn built(space: &Space, store: &str, kubefile: &str, words: &[&str]) -> Value {
    space.kubefile(kubefile);
    let all =
        [&["build", "--build-mode", "lite", "--metadata-file", "../metadata.json"], words, &["."]].concat();
    good(space, store, &all);
    space.metadata()
}

/// Bytes of blobs of a store.
fn stored(space: &Space, store: &str) -> u64 {
    let blobs = space.root().join(store).join("blobs/sha256");
    fs_err::read_dir(blobs).unwrap().map(|blob| blob.unwrap().metadata().unwrap().len()).sum()
}

/// Bytes that zstd can do nothing with.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// A base of about 2 MB in two layers.
fn base(space: &Space, name: &str) -> Value {
    space
        .file("rootfs/etc/os", "linux\n")
        .file("rootfs/bin/tool", noise(1, 1 << 20))
        .file("extra", noise(2, 1 << 20));
    space.file("app/a.yaml", "kind: A\n");
    let text = "FROM scratch\nCOPY rootfs /\nCOPY extra /opt/extra\nENV BASE=yes\nLABEL of=base\nAPP m local://app\nLAUNCH m\n";
    built(space, "maker", text, &["-t", name, "--push", "--annotation", "x.y/z=a&b"])
}

#[test]
fn what_is_pushed_is_pulled_byte_for_byte() {
    let Some(registry) = Registry::open() else { return };
    let space = Space::new();
    let name = registry.name("team/base:1");
    let made = base(&space, &name);
    let said = good(&space, "other", &["pull", &name]);
    let id = made["containerimage.config.digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    assert!(said.contains(&format!("successful pull {name} with the image ID: {id}")), "{said}");
    let inspect = |store: &str| good(&space, store, &["inspect", &name]);
    assert_eq!(inspect("maker"), inspect("other"));
    assert_eq!(good(&space, "nowhere", &["inspect", "--remote", &name]), inspect("other"));
    assert!(!space.root().join("nowhere").exists(), "looking keeps nothing");
    for digest in [made["containerimage.digest"].as_str().unwrap(), &format!("sha256:{id}")] {
        let blob = |store: &str| {
            fs_err::read(space.root().join(store).join("blobs/sha256").join(&digest[7..])).unwrap()
        };
        assert_eq!(blob("maker"), blob("other"));
    }
    // Nothing is sent twice, to the same place or to a neighbour of it.
    let again = good(&space, "other", &["push", &name]);
    assert!(again.contains("0 blobs sent, 0 mounted, 4 were there"), "{again}");
    let another = good(&space, "other", &["push", &name, &registry.name("team/base:3")]);
    assert!(another.contains("0 blobs sent, 0 mounted, 4 were there"), "{another}");
    let neighbour = registry.name("else/where/base:2");
    let mounted = good(&space, "other", &["push", &name, &neighbour]);
    assert!(mounted.contains("0 blobs sent, 4 mounted, 0 were there"), "{mounted}");
    let by_digest =
        format!("{}@{}", registry.name("else/where/base"), made["containerimage.digest"].as_str().unwrap());
    good(&space, "third", &["pull", "-q", &by_digest]);
    good(&space, "third", &["inspect", &by_digest]);
    let tags = good(&space, "third", &["search", &registry.name("team/base")]);
    assert!(tags.lines().any(|line| line.contains("team/base") && line.ends_with('1')), "{tags}");
    bad(
        &space,
        "third",
        &["pull", &registry.name("team/base:2")],
        &["is not in the registry", "sealer search"],
    );
    bad(
        &space,
        "third",
        &["search", &registry.name("team/bas")],
        &["is not in the registry", "HOST/REPOSITORY"],
    );
}

#[test]
fn a_base_that_nobody_reads_is_not_downloaded() {
    let Some(registry) = Registry::open() else { return };
    let space = Space::new();
    let (name, child) = (registry.name("team/base:1"), registry.name("team/child:1"));
    base(&space, &name);
    let text = format!("FROM {name}\nAPP n local://app\nLAUNCH n m\n");
    let made = built(&space, "lazy", &text, &["-t", &child, "--push"]);
    let fetched = made["sealer.build"]["bytes_fetched"].as_u64().unwrap();
    assert!(fetched < 16 << 10, "{fetched}");
    assert!(stored(&space, "lazy") < 16 << 10);
    // It is an image as any other, and becomes whole when somebody needs it whole.
    assert!(good(&space, "lazy", &["images"]).contains("team/child"));
    let shown: Value = serde_json::from_str(&good(&space, "lazy", &["inspect", &child])).unwrap();
    assert_eq!(shown["launch"]["app_names"], serde_json::json!(["n", "m"]));
    assert_eq!(shown["labels"]["of"], "base");
    good(&space, "lazy", &["cache", "verify"]);
    good(&space, "lazy", &["tag", &child, "short:1"]);
    let further =
        built(&space, "lazy", "FROM short:1\nLAUNCH m\n", &["-t", &registry.name("team/third:1"), "--push"]);
    assert!(further["sealer.build"]["bytes_fetched"].as_u64().unwrap() < 16 << 10, "{further}");
    good(&space, "lazy", &["save", "-q", &child, "-o", "../child.tar"]);
    assert!(stored(&space, "lazy") > 2 << 20);
    good(&space, "loaded", &["load", "-q", "-i", "../child.tar"]);
    let whole = |store: &str| good(&space, store, &["inspect", "-f", "{{.Digest}}", &child]);
    assert_eq!(whole("loaded"), whole("lazy"));
    // Kept in the store, a result is whole.
    built(&space, "whole", &text, &["-t", &child]);
    assert!(stored(&space, "whole") > 2 << 20);
    assert!(!space.root().join("whole/lazy.json").exists());
}

#[test]
fn a_base_that_is_written_onto_is_looked_into_once() {
    let Some(registry) = Registry::open() else { return };
    let space = Space::new();
    let (name, child) = (registry.name("team/base:1"), registry.name("team/child:1"));
    base(&space, &name);
    let build = |text: &str| {
        let text = format!("FROM {name}\nCOPY app /{text}/\n");
        let made = built(&space, "store", &text, &["-t", &child, "--push", "--pull", "missing"]);
        made["sealer.build"]["bytes_fetched"].as_u64().unwrap()
    };
    assert!(build("etc/one") > 2 << 20);
    assert!(build("etc/two") < 16 << 10);
    // What is known of a layer is known without its bytes.
    let blobs = space.root().join("store/blobs/sha256");
    for blob in fs_err::read_dir(blobs).unwrap().map(Result::unwrap) {
        if blob.metadata().unwrap().len() > 1 << 19 {
            fs_err::remove_file(blob.path()).unwrap();
        }
    }
    assert!(build("etc/three") < 16 << 10);
    good(&space, "check", &["pull", "-q", &child]);
    let files = space.root().join("rootfs.tar").display().to_string();
    space.kubefile(&format!("FROM {child}\nLABEL x=y\n"));
    let output = format!("type=tar,dest={files}");
    good(&space, "check", &["build", "-q", "--build-mode", "lite", "--output", &output, "-t", "y:1", "."]);
    let listing = crate::space::tar_listing(fs_err::File::open(files).unwrap());
    for path in ["bin/tool", "opt/extra", "etc/os", "etc/three/a.yaml"] {
        assert!(listing.contains_key(path), "{path}: {:?}", listing.keys());
    }
}

#[test]
fn a_base_that_turns_out_to_be_damaged_is_fetched_again() {
    let Some(registry) = Registry::open() else { return };
    let space = Space::new();
    let name = registry.name("team/base:1");
    base(&space, &name);
    let build = |store: &str, file: &str| {
        let text = format!("FROM scratch\nCOPY --from={name} /{file} /\n");
        built(&space, store, &text, &["-t", "x:1"]);
    };
    let damage = |store: &str| {
        let blobs = fs_err::read_dir(space.root().join(store).join("blobs/sha256")).unwrap();
        for blob in blobs.map(Result::unwrap) {
            let mut bytes = fs_err::read(blob.path()).unwrap();
            let middle = bytes.len() / 2;
            if bytes.len() > 1 << 19 {
                bytes[middle] ^= 1;
                fs_err::write(blob.path(), bytes).unwrap();
            }
        }
    };
    build("store", "etc/os");
    damage("store");
    build("store", "bin/tool");
    // Nobody has looked into these before.
    good(&space, "pulled", &["pull", "-q", &name]);
    damage("pulled");
    build("pulled", "etc/os");
}

#[test]
fn a_base_whose_manifest_or_config_is_damaged_or_gone_is_fetched_again() {
    let Some(registry) = Registry::open() else { return };
    let space = Space::new();
    let name = registry.name("team/base:1");
    base(&space, &name);
    built(&space, "store", &format!("FROM {name}\nCOPY Kubefile /\n"), &["-t", "x:1"]);
    let build = |words: &[&str]| at(&space, "store", &[&["build", "-t", "x:1", "."], words].concat());
    let blob = |digest: &Value| space.store().join("blobs/sha256").join(&digest.as_str().unwrap()[7..]);
    let read = |path: &Path| serde_json::from_slice::<Value>(&fs_err::read(path).unwrap()).unwrap();
    let index = read(&space.store().join("index.json"));
    let mut lines = index["manifests"].as_array().unwrap().iter();
    let is_base = |line: &&Value| line["annotations"]["org.opencontainers.image.ref.name"] == name.as_str();
    let manifest = blob(&lines.find(is_base).unwrap()["digest"]);
    let config = blob(&read(&manifest)["config"]["digest"]);
    for path in [manifest, config] {
        let bytes = fs_err::read(&path).unwrap();
        let is_good = || fs_err::read(&path).unwrap() == bytes;
        for policy in ["ifnewer", "missing", "always"] {
            fs_err::write(&path, &bytes[1..]).unwrap();
            let run = build(&["--pull", policy]);
            assert!(run.code == Some(0) && is_good(), "{policy}: {}", run.stderr);
        }
        fs_err::remove_file(&path).unwrap();
        let run = build(&[]);
        assert!(run.code == Some(0) && is_good(), "{}", run.stderr);
        // What nobody can give is told as it is.
        fs_err::write(&path, &bytes[1..]).unwrap();
        for words in [["--pull", "never"].as_slice(), &["--offline"]] {
            let run = build(words);
            assert!(run.code == Some(1) && run.stderr.contains("has the digest"), "{}", run.stderr);
        }
        assert_eq!(build(&[]).code, Some(0));
    }
}

#[test]
fn pull_policies_say_when_the_registry_is_asked() {
    let Some(registry) = Registry::open() else { return };
    let space = Space::new();
    let name = registry.name("team/base:1");
    let first = base(&space, &name);
    let text = format!("FROM {name}\nLAUNCH m\n");
    let on = |words: &[&str]| {
        built(&space, "store", &text, &[&["-t", "x:1"], words].concat());
        let manifest: Value = serde_json::from_str(&good(&space, "store", &["inspect", "x:1"])).unwrap();
        manifest["manifestv1"]["annotations"]["org.opencontainers.image.base.digest"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    space.kubefile(&text);
    bad(
        &space,
        "store",
        &["build", "-t", "x:1", "--pull", "never", "."],
        &["Kubefile:1:1", "image not known"],
    );
    assert_eq!(on(&["--pull", "missing"]), first["containerimage.digest"]);
    space.file("app/a.yaml", "kind: B\n");
    let newer = built(&space, "maker", "FROM scratch\nAPP m local://app\n", &["-t", &name, "--push"]);
    assert_ne!(newer["containerimage.digest"], first["containerimage.digest"]);
    for old in ["missing", "never", "false"] {
        assert_eq!(on(&["--pull", old]), first["containerimage.digest"], "{old}");
    }
    assert_eq!(on(&[]), newer["containerimage.digest"], "ifnewer is the default");
    assert_eq!(on(&["--pull", "always"]), newer["containerimage.digest"]);
    let pinned = first["containerimage.digest"].as_str().unwrap();
    let text = format!("FROM {}@{pinned}\nLAUNCH m\n", registry.name("team/base"));
    built(&space, "store", &text, &["-t", "y:1"]);
    // A registry that does not answer has nothing newer; but it must answer when it is asked always.
    drop(registry);
    let gone = at(&space, "store", &["build", "-q", "-t", "y:1", "--pull", "always", "."]);
    assert_eq!(gone.code, Some(0), "a digest needs no registry: {}", gone.stderr);
    space.kubefile(&format!("FROM {name}\nLAUNCH m\n"));
    let said = good(&space, "store", &["build", "-t", "x:1", "--build-mode", "lite", "."]);
    assert!(said.contains("is not known"), "{said}");
    bad(
        &space,
        "store",
        &["build", "-t", "x:1", "--pull", "always", "."],
        &["Kubefile:1:1", "could not be fetched"],
    );
}

/// Passes TLS on to a server, and hangs up on whoever speaks something else, as HAProxy does.
fn front_of(server: &str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, server) = (listener.local_addr().unwrap(), server.to_owned());
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let mut first = [0];
            // A handshake begins with its type of record (RFC 8446 §5.1).
            if client.peek(&mut first).is_err() || first != [22] {
                continue;
            }
            let server = TcpStream::connect(&server).unwrap();
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            std::thread::spawn(move || std::io::copy(&mut &server, &mut &client));
        }
    });
    address
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_told_although_http_failed_too() {
    let Some(registry) = Registry::private() else { return };
    let name = format!("{}/x:1", front_of(&registry.address));
    bad(&Space::new(), "s", &["pull", &name], &["invalid peer certificate", "--cacert FILE"]);
}

#[test]
fn a_private_registry_wants_a_certificate_and_a_password() {
    let Some(registry) = Registry::private() else { return };
    let space = Space::new();
    space.file("a.yaml", "kind: A\n").kubefile("FROM scratch\nAPP a local://a.yaml\n");
    let (name, host) = (registry.name("team/x:1"), registry.address.as_str());
    let certificate = registry.certificate().display().to_string();
    let trusting = ["--cacert", certificate.as_str()];
    good(&space, "s", &["build", "-q", "-t", &name, "--build-mode", "lite", "."]);
    bad(&space, "s", &["push", &name], &["certificate", "--cacert"]);
    bad(&space, "s", &[&["push", &name], &trusting[..]].concat(), &["anonymous", "sealer login"]);
    let login = |words: &[&str], password: &str| {
        let mut command = space.command();
        command
            .env("HOME", space.root().join("home"))
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_RUNTIME_DIR");
        command.args(["login", host, "-u", USER]).args(words).stdin(std::process::Stdio::piped());
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), format!("{password}\n").as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let stdin = [&["--password-stdin"], &trusting[..]].concat();
    let (code, out, said) = login(&stdin, "wrong");
    assert!(code == Some(1) && out.is_empty() && said.contains("refuses this name and password"), "{said}");
    let (code, out, said) = login(&stdin, PASSWORD);
    assert!(code == Some(0) && out == "Login Succeeded!\n", "{said}");
    let kept = fs_err::read_to_string(space.root().join("home/.sealer/auth.json")).unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept["auths"][host]["auth"], "bWU6aHVudGVyMg==");
    good(&space, "s", &[&["push", &name], &trusting[..]].concat());
    good(&space, "s", &["push", "--tls-verify=false", &name]);
    good(&space, "t", &["pull", "--skip-tls-verify", &name]);
    space.kubefile(&format!("FROM {name}\nLAUNCH a\n"));
    good(
        &space,
        "u",
        &[&["build", "-q", "-t", &name, "--build-mode", "lite", "--push", "."], &trusting[..]].concat(),
    );
    let insecure = ["pull", "--insecure-registry", host, &name];
    good(&space, "v", &insecure);
    assert!(good(&space, "s", &["logout", host]).contains("Removed login credentials"));
    bad(&space, "s", &["logout", host], &["not logged into"]);
    bad(&space, "v", &insecure, &["anonymous"]);
    // Files of other tools serve as well.
    let auth = r#"{"auths": {"HOST": {"auth": "bWU6aHVudGVyMg=="}}}"#.replace("HOST", host);
    for file in ["home/.config/containers/auth.json", "home/.docker/config.json"] {
        let file = space.root().join(file);
        fs_err::create_dir_all(file.parent().unwrap()).unwrap();
        fs_err::write(&file, &auth).unwrap();
        good(&space, "v", &insecure);
        fs_err::remove_file(&file).unwrap();
        bad(&space, "v", &insecure, &["anonymous"]);
    }
    credential_helper(&space, host, &insecure);
}

/// A program that keeps credentials, by Docker's protocol.
fn credential_helper(space: &Space, host: &str, pull: &[&str]) {
    let bin = space.root().join("bin");
    fs_err::create_dir_all(&bin).unwrap();
    let kept = space.root().join("kept");
    let script = format!(
        "#!/bin/sh\ncase $1 in store) cat > {0} ;; erase) rm {0} ;; \
         get) [ -e {0} ] && cat {0} || {{ echo credentials not found; exit 1; }} ;; esac\n",
        kept.display()
    );
    let helper = bin.join("docker-credential-test");
    fs_err::write(&helper, script).unwrap();
    fs_err::set_permissions(&helper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let own = space.root().join("home/.sealer/auth.json");
    fs_err::write(&own, r#"{"credHelpers": {"HOST": "test"}}"#.replace("HOST", host)).unwrap();
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display());
    let with_helper = |words: &[&str]| {
        let mut command = space.command();
        command.env("HOME", space.root().join("home")).env("PATH", &path).env_remove("XDG_CONFIG_HOME");
        command.env("SEALER_ROOT", space.root().join("helped"));
        run(command.args(words))
    };
    assert_eq!(with_helper(pull).code, Some(1), "it knows nothing yet");
    let login = with_helper(&["login", "--skip-tls-verify", "-u", USER, "-p", PASSWORD, host]);
    assert_eq!(login.code, Some(0), "{}", login.stderr);
    assert!(login.stderr.contains("--password-stdin"), "{}", login.stderr);
    assert!(!fs_err::read_to_string(&own).unwrap().contains("auths"), "the helper has it, not the file");
    assert!(fs_err::read_to_string(&kept).unwrap().contains(PASSWORD));
    let pulled = with_helper(pull);
    assert_eq!(pulled.code, Some(0), "{}", pulled.stderr);
    assert_eq!(with_helper(&["logout", host]).code, Some(0));
    assert!(!kept.exists());
}

#[test]
fn secrets_are_told_to_nobody() {
    let Some(registry) = Registry::private() else { return };
    let space = Space::new();
    space.file("a.yaml", "kind: A\n").kubefile("FROM scratch\nAPP a local://a.yaml\n");
    let (name, host) = (registry.name("team/x:1"), registry.address.as_str());
    let mut said = String::new();
    let mut tell = |words: &[&str]| {
        let run = at(&space, "s", words);
        said.push_str(&run.stdout);
        said.push_str(&run.stderr);
    };
    let skip = "--skip-tls-verify";
    tell(&["login", skip, "-u", USER, "-p", "wrong-hunter2", host]);
    tell(&["login", skip, "-u", USER, "-p", PASSWORD, host]);
    tell(&["build", "-t", &name, "--build-mode", "lite", "--push", skip, "--progress", "json", "."]);
    tell(&["pull", skip, &name]);
    tell(&["pull", skip, &registry.name("team/none:1")]);
    tell(&["pull", "--error-format", "json", &name]);
    tell(&["push", "-d", skip, &name, &registry.name("else/y:2")]);
    tell(&["inspect", "--remote", skip, &name]);
    tell(&["config", "--json"]);
    fs_err::write(space.root().join("home/.sealer/auth.json"), "{\"auths\": hunter2").unwrap();
    tell(&["pull", skip, &name]);
    tell(&["logout", host]);
    assert!(said.contains("auth.json"), "{said}");
    for secret in [PASSWORD, "bWU6aHVudGVyMg", "aHVudGVyMg"] {
        assert!(!said.contains(secret), "{said}");
        let found = files_with(&space.root().join("s"), secret.as_bytes());
        assert!(found.is_empty(), "{found:?}");
        let pushed = files_with(&registry.data().join("data"), secret.as_bytes());
        assert!(pushed.is_empty(), "{pushed:?}");
    }
}

/// Files below a directory that hold a text.
fn files_with(dir: &Path, text: &[u8]) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_with(&entry.path(), text));
        } else if fs_err::read(entry.path()).unwrap().windows(text.len()).any(|window| window == text) {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn a_failed_push_is_a_failure() {
    let Some(registry) = Registry::open() else { return };
    let space = Space::new();
    space.file("a.yaml", "kind: A\n").kubefile("FROM scratch\nAPP a local://a.yaml\n");
    let (name, list) = (registry.name("x:1"), registry.name("list:1"));
    good(&space, "s", &["build", "-q", "-t", &name, "--build-mode", "lite", "."]);
    good(
        &space,
        "s",
        &["build", "-q", "-t", &list, "--build-mode", "lite", "--platform", "linux/amd64,linux/arm64", "."],
    );
    bad(&space, "s", &["push", "localhost/none:1"], &["image not known"]);
    drop(registry);
    bad(&space, "s", &["push", &name], &["could not be fetched"]);
    bad(&space, "s", &["push", &list], &["could not be fetched"]);
    let built = at(&space, "s", &["build", "-t", &name, "--build-mode", "lite", "--push", "."]);
    assert_eq!(built.code, Some(1), "{}", built.stderr);
    assert!(built.stderr.contains("the image is built and stored"), "{}", built.stderr);
    bad(&space, "s", &["build", "-t", "plain:1", "--build-mode", "lite", "--push", "."], &["which registry"]);
}

#[test]
fn indexes_are_put_together_pushed_and_taken_apart() {
    let Some(registry) = Registry::open() else { return };
    let space = Space::new();
    space.file("amd64/bin", "a").file("arm64/bin", "b");
    space.kubefile("FROM scratch\nCOPY ${ARCH}/bin /bin/\nLABEL on=$TARGETPLATFORM\n");
    for arch in ["amd64", "arm64"] {
        let (tag, platform) = (format!("{arch}:1"), format!("linux/{arch}"));
        good(&space, "s", &["build", "-q", "-t", &tag, "--platform", &platform, "--build-mode", "lite", "."]);
    }
    let list = registry.name("team/list:1");
    good(&space, "s", &["manifest", "create", &list]);
    bad(&space, "s", &["alpha", "manifest", "create", &list], &["is there already"]);
    good(&space, "s", &["manifest", "add", &list, "amd64:1"]);
    good(&space, "s", &["manifest", "add", "-t", &list, "arm64:1", "--annotation", "k=v"]);
    let index =
        || -> Value { serde_json::from_str(&good(&space, "s", &["manifest", "inspect", &list])).unwrap() };
    assert_eq!(index()["manifests"][1]["annotations"]["k"], "v");
    let arm = index()["manifests"][1]["digest"].as_str().unwrap().to_owned();
    good(&space, "s", &["manifest", "annotate", &list, &arm, "--variant", "v9", "--os-version", "5"]);
    assert_eq!(index()["manifests"][1]["platform"]["variant"], "v9");
    good(&space, "s", &["manifest", "annotate", &list, "arm64:1", "--variant", "v8"]);
    good(&space, "s", &["manifest", "push", &list]);
    for arch in ["amd64", "arm64"] {
        let platform = format!("linux/{arch}");
        let shown = good(
            &space,
            "t",
            &["inspect", "--remote", "--platform", &platform, "-f", "{{index .Labels \"on\"}}", &list],
        );
        assert_eq!(shown, platform);
        good(&space, "t", &["pull", "-q", "--platform", &platform, &list]);
    }
    bad(&space, "t", &["pull", "--platform", "linux/s390x", &list], &["only for linux/amd64, linux/arm64"]);
    // An index as a base gives the right one of its images.
    space.kubefile(&format!("FROM {list}\nLABEL more=1\n"));
    good(
        &space,
        "u",
        &[
            "build",
            "-q",
            "-t",
            "child:1",
            "--platform",
            "linux/arm64,linux/amd64",
            "--build-mode",
            "lite",
            ".",
        ],
    );
    let on = good(
        &space,
        "u",
        &["inspect", "-f", "{{index .Labels \"on\"}}", "--platform", "linux/arm64", "child:1"],
    );
    assert_eq!(on, "linux/arm64");
    good(&space, "s", &["manifest", "remove", &list, &arm]);
    bad(&space, "s", &["manifest", "remove", &list, &arm], &["is not in"]);
    bad(&space, "s", &["manifest", "push", "--format", "v2s2", &list], &["no annotations"]);
    let alone = good(&space, "s", &["alpha", "manifest", "inspect", "arm64:1"]);
    assert!(alone.contains("\"architecture\": \"arm64\""), "{alone}");
    good(&space, "s", &["manifest", "push", "--all=false", "--rm", &list, &registry.name("team/one:1")]);
    bad(&space, "s", &["manifest", "delete", &list], &["image not known"]);
    let one = good(
        &space,
        "s",
        &["inspect", "--remote", "-f", "{{.OCIv1.Architecture}}", &registry.name("team/one:1")],
    );
    assert_eq!(one, "amd64");
}
