//! `build --timings` and `--trace`: where the time of a build went.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::image_registry::{Format, Image, ImageRegistry, layer};
use crate::registry_server::Registry;
use crate::server::{Response, Server};
use crate::space::{Run, Space, has_peer, is_root, skipped};

/// What a trace says of one step.
#[derive(Debug, Clone)]
struct Step {
    name: String,
    outcome: String,
    start: u64,
    end: u64,
    tid: u64,
    args: Value,
}

struct Watched {
    page: String,
    trace: Value,
    /// What it took, seen from outside.
    took: Duration,
    run: Run,
}

impl Watched {
    fn of(space: &Space, words: &[&str]) -> Self {
        Self::by(space, |watched| space.build(&[watched, words].concat()))
    }

    /// Of a build that takes these words beside others.
    fn by(space: &Space, build: impl FnOnce(&[&str]) -> Run) -> Self {
        let start = Instant::now();
        let run = build(&["--timings", "../timings.html", "--trace", "../trace.json"]);
        let took = start.elapsed();
        let read = |name: &str| fs_err::read_to_string(space.root().join(name)).unwrap();
        let trace = serde_json::from_str(&read("trace.json")).unwrap();
        Self { page: read("timings.html"), trace, took, run }
    }

    fn events(&self) -> impl Iterator<Item = &Value> {
        self.trace["traceEvents"].as_array().unwrap().iter()
    }

    fn steps(&self) -> Vec<Step> {
        let step = |event: &Value| {
            let number = |key: &str| event[key].as_u64();
            let start = number("ts").unwrap();
            Step {
                name: event["name"].as_str().unwrap().to_owned(),
                outcome: event["args"]["outcome"].as_str().unwrap().to_owned(),
                start,
                end: start + number("dur").unwrap_or(0),
                tid: number("tid").unwrap(),
                args: event["args"].clone(),
            }
        };
        self.events().filter(|event| event["cat"] == "step").map(step).collect()
    }

    fn step(&self, name: &str) -> Step {
        let found = self.steps().into_iter().find(|step| step.name == name);
        found.unwrap_or_else(|| panic!("{name} is in {:?}", self.steps()))
    }

    /// Beginning and end of an activity.
    fn activity(&self, name: &str) -> (u64, u64) {
        let is_it = |event: &&Value| event["cat"] == "activity" && event["name"] == name;
        let event = self.events().find(is_it).unwrap_or_else(|| panic!("{name} is in {}", self.trace));
        let (start, took) = (event["ts"].as_u64().unwrap(), event["dur"].as_u64().unwrap());
        (start, start + took)
    }
}

/// Two stages, a download, two applications.
fn space(server: &Server) -> Space {
    server.route("/chart.yaml", |_| Response::ok("kind: A\n").latency(Duration::from_millis(80)));
    let space = Space::new();
    space.file("web/web.yaml", "kind: B\n").file("files/a", "a").kubefile(&format!(
        "FROM scratch AS one\nCOPY files /files\nFROM scratch\nCOPY --from=one /files /etc\nAPP web local://web\nAPP net {}\n",
        server.url("/chart.yaml")
    ));
    space
}

const STEPS: [&str; 4] =
    ["COPY files /files", "COPY --from=one /files /etc", "APP web local://web", "APP net"];

#[test]
fn every_step_is_there_within_the_wall_time_and_after_what_it_reads() {
    let server = Server::start();
    let space = space(&server);
    let watched = Watched::of(&space, &[]);
    assert_eq!(watched.run.code, Some(0), "{}", watched.run.stderr);
    let steps = watched.steps();
    for name in STEPS.iter().copied().chain([server.url("/chart.yaml").as_str()]) {
        let found = steps.iter().filter(|step| step.name.starts_with(name)).count();
        assert_eq!(found, 1, "{name}: {steps:?}");
        assert_eq!(watched.page.matches(&format!("<td class=\"name\">{name}")).count(), 1, "{name}");
    }
    assert_eq!(steps.len(), 5, "{steps:?}");
    assert!(steps.iter().all(|step| step.outcome == "done"), "{steps:?}");

    let (start, end) = watched.activity("build");
    assert!(start == 0 && u128::from(end) <= watched.took.as_micros(), "{end} of {:?}", watched.took);
    assert!(steps.iter().all(|step| step.start <= step.end && step.end <= end), "{steps:?}");
    let [pin, plan, run, commit] =
        ["pin sources", "plan", "run steps", "commit to the disk"].map(|name| watched.activity(name));
    assert!(pin.1 <= plan.0 && plan.1 <= run.0 && run.1 <= commit.0 && commit.1 <= end);
    let download = watched.step(&server.url("/chart.yaml"));
    assert!(pin.0 <= download.start && download.end <= pin.1 && download.end - download.start >= 80_000);
    let (from, to) = (watched.step(STEPS[0]), watched.step(STEPS[1]));
    // The first may still write its layer when the second has what it reads.
    assert!(run.0 <= from.start && from.start <= to.start && from.end.max(to.end) <= run.1);
    assert!(to.args["inputs"].as_array().unwrap().contains(&STEPS[0].into()), "{to:?}");
    assert_eq!(download.args["critical"], true);
    assert_eq!(download.args["bytes"], 8);
}

#[test]
fn a_trace_is_what_viewers_read() {
    let server = Server::start();
    let space = space(&server);
    let watched = Watched::of(&space, &[]);
    let phases: std::collections::BTreeSet<&str> =
        watched.events().map(|event| event["ph"].as_str().unwrap()).collect();
    assert!(["M", "X", "C"].iter().all(|phase| phases.contains(phase)), "{phases:?}");
    let is_named = |tid: u64| {
        watched.events().any(|event| {
            event["ph"] == "M"
                && event["name"] == "thread_name"
                && event["tid"] == tid
                && event["args"]["name"].is_string()
        })
    };
    for event in watched.events() {
        assert!(event["pid"].is_u64() && event["name"].is_string(), "{event}");
        assert!(event["ph"] == "M" || event["ts"].is_u64(), "{event}");
        assert_eq!(event["ph"] == "X", event["dur"].is_u64(), "{event}");
    }
    assert!(watched.steps().iter().all(|step| is_named(step.tid)));
    // Steps of one slot come one after the other.
    let mut steps = watched.steps();
    steps.retain(|step| step.start < step.end);
    steps.sort_by_key(|step| (step.tid, step.start));
    for pair in steps.windows(2).filter(|pair| pair[0].tid == pair[1].tid) {
        assert!(pair[0].end <= pair[1].start, "{pair:?}");
    }
    let received =
        |event: &Value| (event["name"] == "network bytes").then(|| event["args"]["received"].as_u64());
    let received: Vec<u64> = watched.events().filter_map(received).flatten().collect();
    assert!(received.is_sorted() && received.last() >= Some(&8), "{received:?}");
    assert!(watched.events().any(|event| event["name"] == "cpu" && event["args"]["cores"].is_number()));
}

#[test]
fn a_second_build_has_every_step_out_of_the_cache() {
    let server = Server::start();
    let space = space(&server);
    space.built(&[]);
    let watched = Watched::of(&space, &[]);
    // Two of four: nobody asks for the stage when what was copied from it is there.
    let url = server.url("/chart.yaml");
    let cached: Vec<Step> = watched.steps().into_iter().filter(|step| step.name != url).collect();
    assert_eq!(cached.len(), 3, "{cached:?}");
    assert!(cached.iter().all(|step| step.outcome == "cached"), "{cached:?}");
    assert!(watched.page.contains("steps, 3 cached"), "{}", watched.page);
}

#[test]
fn turns_and_what_comes_after_them_are_told() {
    let images = ImageRegistry::start();
    let image = Image::of(Format::Oci, "amd64", &[layer("large", 200_000), layer("small", 2000)]);
    let space = Space::new();
    space.file("manifests/imageList", images.with("a/b", "1", &image));
    space.kubefile("FROM scratch\nCOPY manifests manifests\n");
    let registry = Registry::open();
    let name = registry.as_ref().map_or("x:1".to_owned(), |registry| registry.name("team/x:1"));
    let mut words =
        vec!["build", "-t", &name, "--output", "type=store", "--output", "type=oci-dir,dest=../out"];
    words.extend(["--platform", "linux/amd64"].into_iter().chain(registry.iter().map(|_| "--push")));
    let watched = Watched::by(&space, |watched| space.run(&[&words, watched, &["."]].concat()));
    assert_eq!(watched.run.code, Some(0), "{}", watched.run.stderr);
    let turn = watched.activity("container images");
    for name in ["look for container images", "resolve container images"] {
        let inside = watched.activity(name);
        assert!(turn.0 <= inside.0 && inside.1 <= turn.1, "{name}");
    }
    let runs = watched.events().filter(|event| event["name"] == "run steps").count();
    assert_eq!(runs, 2, "files, and container images");
    let steps = watched.steps();
    let of_image: Vec<&Step> = steps.iter().filter(|step| step.name.contains("a/b:1")).collect();
    assert!(!of_image.is_empty() && of_image.iter().all(|step| step.args["lane"] == "net"), "{steps:?}");
    assert!(of_image.iter().all(|step| turn.0 <= step.start && step.end <= turn.1), "{steps:?}");
    assert!(of_image.iter().any(|step| step.args["critical"] == true), "{steps:?}");
    let last = |key: &str| {
        watched
            .events()
            .filter(|event| event["name"] == "network bytes")
            .filter_map(|event| event["args"][key].as_u64())
            .last()
    };
    assert!(last("received") >= Some(202_000), "{:?}", last("received"));
    let written = watched.activity("write outputs");
    assert!(turn.1 <= written.0);
    if registry.is_some() {
        let pushed = watched.activity("push");
        assert!(written.1 <= pushed.0 && last("sent") >= Some(202_000), "{:?}", last("sent"));
        assert!(watched.page.contains(">push<") && watched.page.contains("sent, at most"));
    }
}

#[test]
fn a_build_that_fails_is_written_too_with_what_it_never_reached() {
    let space = Space::new();
    space
        .file("a", "a")
        .kubefile("FROM scratch AS one\nCOPY a /a\nFROM scratch\nCOPY --from=one /nothing /b\nCOPY a /c\n");
    let watched = Watched::of(&space, &["--jobs", "1"]);
    assert_eq!(watched.run.code, Some(1));
    assert_eq!(watched.step("COPY --from=one /nothing /b").outcome, "failed");
    assert_eq!(watched.step("COPY a /c").outcome, "skipped");
    assert!(watched.page.contains("✖ COPY --from=one /nothing /b"));
    assert!(watched.page.contains("until it failed"));
    // What was finished is kept, which takes its time.
    assert!(watched.activity("run steps").1 <= watched.activity("commit to the disk").0);

    // So is one whose text is wrong.
    space.kubefile("FROM scratch\nCOPI a /a\n");
    let watched = Watched::of(&space, &[]);
    assert!(watched.run.code == Some(1) && watched.steps().is_empty());
    let names: Vec<_> =
        fs_err::read_dir(space.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains(".tmp")), "{names:?}");
}

#[test]
fn a_page_needs_no_network_and_a_hostile_name_stays_a_name() {
    let server = Server::start();
    server.route("/x.yaml", |_| Response::ok("kind: A\n"));
    let space = Space::new();
    let url = server.url("/x.yaml").replace("http://", "http://user:hunter2@");
    space.file("a", "a").kubefile(&format!(
        "FROM scratch\nCOPY a \"/</script><script>alert(1)</script>'&\"\nAPP x {url}?token=geheim\n"
    ));
    let watched = Watched::of(&space, &[]);
    assert_eq!(watched.run.code, Some(0), "{}", watched.run.stderr);
    assert!(
        watched.page.contains("&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;"),
        "{}",
        watched.page
    );
    assert_eq!(watched.page.matches("<script").count(), 1, "the page's own");
    // A name may be a URL; nothing else is.
    for word in ["src=", "href=", "url(", "@import", "\"http", "'http"] {
        assert!(!watched.page.contains(word), "{word}");
    }
    assert!(watched.page.contains("default-src 'none'"));
    let text = watched.trace.to_string();
    for secret in ["hunter2", "geheim"] {
        assert!(!watched.page.contains(secret) && !text.contains(secret), "{secret}");
    }
}

#[test]
fn a_place_that_cannot_be_written_is_told_before_anything_is_done() {
    let space = Space::new();
    space.file("a", "a").kubefile("FROM scratch\nCOPY a /a\n");
    for (option, place, reason) in [
        ("--timings", "../nowhere/t.html", "there is no directory"),
        ("--trace", "../nowhere/t.json", "there is no directory"),
        ("--timings", "..", "it is a directory"),
        ("--trace", "/dev/null", "it is no file"),
    ] {
        let run = space.build(&[option, place]);
        assert_eq!(run.code, Some(1));
        assert!(run.stderr.contains(&format!("`{option} {place}` cannot be written")), "{}", run.stderr);
        assert!(run.stderr.contains(reason) && run.stderr.contains("hint: "), "{}", run.stderr);
        assert!(!space.store().exists(), "nothing was done");
    }
    let run = space.build(&["--timings", "../t", "--trace", "../context/../t"]);
    assert!(run.stderr.contains("`--timings` and `--trace` cannot both be written"), "{}", run.stderr);
}

#[test]
fn with_one_job_the_largest_source_goes_first() {
    let space = Space::new();
    let mut text = String::from("FROM scratch\n");
    for (name, size) in [("small", 10), ("large", 300_000), ("middle", 90_000)] {
        space.file(&format!("{name}/x.yaml"), vec![b'#'; size]);
        text.push_str(&format!("APP {name} local://{name}\n"));
    }
    space.kubefile(&text);
    let watched = Watched::of(&space, &["--jobs", "1"]);
    let mut steps = watched.steps();
    steps.sort_by_key(|step| step.start);
    let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["APP large local://large", "APP middle local://middle", "APP small local://small"]);
}

/// Takes a shell some tenths of a second.
const LOOP: &str = "i=0; while [ $i -lt 150000 ]; do i=$((i+1)); done";

#[test]
fn a_command_that_took_long_goes_first_the_next_time() {
    if !is_root() || !has_peer("busybox") {
        return skipped("commands need root and a shell here");
    }
    let space = Space::new();
    let stage = |name: &str, command: &str| {
        format!(
            "FROM scratch AS {name}\nCOPY --from=host busybox /bin/sh\nRUN {command} && echo {name} > /{name}\n"
        )
    };
    space.kubefile(&format!(
        "{}{}FROM scratch\nCOPY --from=quick /quick /\nCOPY --from=slow /slow /\n",
        stage("quick", "true"),
        stage("slow", LOOP)
    ));
    let words = ["--jobs", "1", "--no-cache", "--build-context", "host=/bin"];
    let order = || {
        let watched = Watched::of(&space, &words);
        assert_eq!(watched.run.code, Some(0), "{}", watched.run.stderr);
        let start = |name: &str| watched.step(&format!("RUN {name}")).start;
        (start("true && echo quick > /quick"), start(&format!("{LOOP} && echo slow > /slow")))
    };
    let (quick, slow) = order();
    assert!(quick < slow, "nothing is known: the order of the text");
    let (quick, slow) = order();
    assert!(slow < quick, "the slow one is known");
}
