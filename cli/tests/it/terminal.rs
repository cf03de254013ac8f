//! The binary in a pseudo-terminal: what a person sees while it builds, and what is left when it has ended.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::server::{Response, Server};
use crate::space::Space;

/// A pseudo-terminal: our end, and the path of the other.
fn terminal(columns: u16, rows: u16) -> (OwnedFd, String) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    resize(&ours, columns, rows);
    let path = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    (ours, path)
}

fn resize(ours: &OwnedFd, columns: u16, rows: u16) {
    tcsetwinsize(ours, Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

/// Runs a command on a terminal and plays what it writes into an emulator; `watch` sees every state of the screen.
fn play(
    command: &mut Command,
    columns: u16,
    rows: u16,
    mut watch: impl FnMut(u32, &OwnedFd, &mut vt100::Parser),
) -> (i32, vt100::Parser, Vec<u8>) {
    let (ours, path) = terminal(columns, rows);
    let theirs = || fs_err::OpenOptions::new().read(true).write(true).open(&path).unwrap().into_parts().0;
    command.stdin(Stdio::null()).stdout(theirs()).stderr(theirs());
    let mut child = command.spawn().unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut screen = vt100::Parser::new(rows.try_into().unwrap(), columns.try_into().unwrap(), 1000);
    let mut from = std::fs::File::from(ours.try_clone().unwrap());
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    // Reading fails when the last of the other ends is closed.
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        screen.process(&buffer[..read]);
        all.extend_from_slice(&buffer[..read]);
        watch(child.id(), &ours, &mut screen);
    }
    (child.wait().unwrap().code().unwrap(), screen, all)
}

fn lines(screen: &vt100::Parser) -> Vec<String> {
    let text = screen.screen().contents();
    text.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// A build of three downloads that take a while.
fn slow(space: &Space) -> Server {
    let server = Server::start();
    let mut text = String::from("FROM scratch\n");
    for n in 0..3 {
        let path = format!("/f{n}.yaml");
        server.route(&path, |_| Response::ok("kind: A\n").latency(Duration::from_millis(700)));
        text.push_str(&format!("APP app{n} {}\n", server.url(&path)));
    }
    space.kubefile(&text);
    server
}

fn build(space: &Space) -> Command {
    let mut command = space.command();
    command.args(["build", "-t", "x:1", "--build-mode", "lite", "."]).env("TERM", "xterm-256color");
    command
}

#[test]
fn a_terminal_shows_what_runs_and_is_clean_afterwards() {
    let space = Space::new();
    let _server = slow(&space);
    let mut seen = Vec::new();
    let mut resized = false;
    let (code, screen, all) = play(&mut build(&space), 80, 24, |_, ours, screen| {
        let now = lines(screen);
        if now.len() > 1 && !resized {
            resized = true;
            resize(ours, 60, 20);
            screen.screen_mut().set_size(20.try_into().unwrap(), 60.try_into().unwrap());
        }
        seen.push(now);
    });
    assert_eq!(code, 0, "{}", screen.screen().contents());
    let widest = seen
        .iter()
        .find(|lines| lines.len() == 4)
        .unwrap_or_else(|| panic!("three steps run at once: {seen:?}"));
    assert!(widest[..3].iter().all(|line| line.contains("s http://127.0.0.1")), "{widest:?}");
    assert!(widest[3].ends_with("looking at sources"), "{widest:?}");
    assert!(seen.iter().all(|lines| lines.len() <= 14));
    let left = lines(&screen);
    assert!(left[0].starts_with("built localhost/x:1 (sha256:"), "{left:?}");
    assert!(left.len() <= 3 && left.iter().all(|line| !line.contains("APP")), "{left:?}");
    assert!(!screen.screen().hide_cursor(), "the cursor is hidden");
    let text = String::from_utf8_lossy(&all);
    assert!(!text.contains("\u{1b}[2J"), "the whole screen was cleared");
    assert!(!text.contains("\u{1b}[?1049h"), "another screen was opened");
}

#[test]
fn a_build_that_is_over_at_once_draws_nothing() {
    let space = Space::new();
    space.file("a.yaml", "kind: A\n").kubefile("FROM scratch\nAPP a local://a.yaml\n");
    space.built(&[]);
    let (code, _, all) = play(&mut build(&space), 80, 24, |_, _, _| {});
    let text = String::from_utf8_lossy(&all);
    assert_eq!(code, 0, "{text}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn dumb_terminals_and_pipes_get_lines() {
    let space = Space::new();
    let _server = slow(&space);
    let (code, _, all) = play(build(&space).env("TERM", "dumb"), 80, 24, |_, _, _| {});
    let text = String::from_utf8_lossy(&all);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("#1 http://") && !text.contains('\u{1b}'), "{text:?}");
    let piped = space.run(&["build", "-t", "x:2", "--build-mode", "lite", "--progress", "tty", "."]);
    assert!(
        piped.stderr.contains("CACHED") && piped.stderr.contains("#1 ") && !piped.stderr.contains('\u{1b}'),
        "{}",
        piped.stderr
    );
}

#[test]
fn interrupting_leaves_a_clean_terminal_and_store() {
    let space = Space::new();
    let server = Server::start();
    server.route("/x.yaml", |_| Response::ok("late").latency(Duration::from_secs(30)));
    space.kubefile(&format!("FROM scratch\nAPP a {}\n", server.url("/x.yaml")));
    let start = Instant::now();
    let mut signalled = false;
    let (code, screen, _) = play(&mut build(&space), 80, 24, |pid, _, screen| {
        if !signalled && lines(screen).len() > 1 {
            signalled = true;
            Command::new("kill").args(["-INT", &pid.to_string()]).status().unwrap();
        }
    });
    assert_eq!(code, 130);
    assert!(start.elapsed() < Duration::from_secs(20));
    let left = lines(&screen);
    assert!(left.iter().all(|line| !line.contains("looking at sources")), "{left:?}");
    assert!(left.iter().any(|line| line.contains("the build was cancelled")), "{left:?}");
    assert!(!screen.screen().hide_cursor());
    assert_eq!(fs_err::read_dir(space.store().join("tmp")).unwrap().count(), 0);
}

#[test]
fn colour_is_left_out_where_somebody_says_so() {
    let space = Space::new();
    for (variable, value, is_coloured) in [
        ("NO_COLOR", "", true),
        ("NO_COLOR", "1", false),
        ("CLICOLOR", "0", false),
        ("CLICOLOR", "1", true),
        ("TERM", "dumb", false),
    ] {
        let mut command = space.command();
        command.env("TERM", "xterm").env_remove("NO_COLOR").env_remove("CLICOLOR").env(variable, value);
        let (code, _, all) = play(command.args(["build", "-t", "x:1", "nowhere"]), 80, 24, |_, _, _| {});
        assert_eq!(code, 1);
        assert_eq!(all.contains(&0x1b), is_coloured, "{variable}={value}");
    }
}
