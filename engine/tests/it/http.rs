//! Downloads against a server that misbehaves: what is retried, what is resumed, what is refused, what is told.

use std::io;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use engine::{
    Cancel, FetchError, FetchEvent, FetchRequest, FetchSettings, Fetched, Fetcher, Proxies, RedirectError,
    Validator,
};

use crate::server::{Response, Server, Stored};

const BODY: &[u8] = b"0123456789abcdef";

fn settings() -> FetchSettings {
    FetchSettings { base_delay: Duration::from_millis(1), ..FetchSettings::default() }
}

fn fetcher() -> Fetcher {
    Fetcher::with_settings(Cancel::new(), settings())
}

fn request(url: String) -> FetchRequest {
    FetchRequest { url, validator: None, limit_bytes: 1 << 30 }
}

/// A sink that does what the events say.
#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    /// Offset and total of each start.
    starts: Vec<(u64, Option<u64>)>,
}

impl Kept {
    fn take(&mut self, event: FetchEvent<'_>) -> io::Result<()> {
        match event {
            FetchEvent::Start { total, offset } => {
                self.starts.push((offset, total));
                self.bytes.truncate(offset.try_into().expect("test bodies fit in memory"));
            }
            FetchEvent::Chunk(chunk) => self.bytes.extend_from_slice(chunk),
        }
        Ok(())
    }
}

fn fetch(fetcher: &Fetcher, request: &FetchRequest) -> (Result<Fetched, FetchError>, Kept) {
    let mut kept = Kept::default();
    let fetched = fetcher.fetch(request, &mut |event| kept.take(event));
    (fetched, kept)
}

/// Fetches a path, which must bring [`BODY`]; returns the answer and the offsets at which the body began.
/// The failure of the last of so many attempts.
fn last(error: &FetchError, expected: u32) -> &FetchError {
    match error {
        FetchError::GivenUp { attempts, source } if *attempts == expected => source,
        other => panic!("given up after {expected} attempts, not: {other:?}"),
    }
}

fn check_body(server: &Server, path: &str) -> (Fetched, Vec<u64>) {
    let (fetched, kept) = fetch(&fetcher(), &request(server.url(path)));
    let fetched = fetched.expect(path);
    assert!(matches!(fetched, Fetched::Body { size: 16, .. }), "{fetched:?}");
    assert_eq!(kept.bytes, BODY);
    (fetched, kept.starts.into_iter().map(|(offset, _)| offset).collect())
}

/// Fetches a path, which must fail; returns the error and how many requests it took.
fn check_error(server: &Server, path: &str) -> (FetchError, usize) {
    let (fetched, _) = fetch(&fetcher(), &request(server.url(path)));
    (fetched.expect_err(path), server.hits(path))
}

fn validator_of(fetched: Fetched) -> Option<Validator> {
    match fetched {
        Fetched::Body { validator, .. } => validator,
        Fetched::NotModified => panic!("nothing was asked to be revalidated"),
    }
}

#[test]
fn file_comes_with_its_facts() {
    let server = Server::start();
    server.route("/x", |_| {
        let name = "attachment; filename=\"a b.txt\"";
        Response::ok(BODY).header("Content-Disposition", name).header("ETag", "\"one\"")
    });
    let fetcher = fetcher();
    let (fetched, kept) = fetch(&fetcher, &request(server.url("/x?query")));
    let wanted = Fetched::Body {
        size: 16,
        validator: Some(Validator::StrongEtag("\"one\"".to_owned())),
        file_name: Some("a b.txt".to_owned()),
        final_url: server.url("/x?query"),
    };
    assert_eq!(fetched.unwrap(), wanted);
    assert_eq!((kept.bytes.as_slice(), kept.starts), (BODY, vec![(0, Some(16))]));
    assert_eq!((fetcher.requests(), fetcher.bytes()), (1, 16));
    let sent = &server.requests()[0];
    assert_eq!(sent.query.as_deref(), Some("query"));
    assert_eq!(sent.header("accept-encoding"), Some("identity"));
    assert!(sent.header("user-agent").is_some_and(|agent| agent.starts_with("sealer/")), "{sent:?}");
}

#[test]
fn bodies_without_a_length_are_whole() {
    let server = Server::start();
    server.route("/chunked", |_| Response::ok(BODY).chunked());
    server.route("/close", |_| Response::ok(BODY).until_close());
    check_body(&server, "/chunked");
    check_body(&server, "/close");
    server.file("/empty", b"");
    let (fetched, kept) = fetch(&fetcher(), &request(server.url("/empty")));
    assert!(matches!(fetched.unwrap(), Fetched::Body { size: 0, .. }) && kept.bytes.is_empty());
}

#[test]
fn directory_is_served() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::create_dir(dir.path().join("sub")).unwrap();
    fs_err::write(dir.path().join("sub/f"), BODY).unwrap();
    let server = Server::start();
    server.serve_dir("/d", dir.path());
    check_body(&server, "/d/sub/f");
    assert!(matches!(check_error(&server, "/d/none").0, FetchError::Status { status: 404, .. }));
}

#[test]
fn client_errors_are_final_and_named() {
    let server = Server::start();
    for status in [400, 401, 403, 404, 410, 416] {
        let path = format!("/{status}");
        server.route(&path, move |_| Response::status(status));
        let (error, hits) = check_error(&server, &path);
        assert!(matches!(error, FetchError::Status { status: found, .. } if found == status), "{error}");
        assert!(error.to_string().contains(&server.url(&path)), "{error}");
        assert_eq!(hits, 1);
    }
    let (error, _) = check_error(&server, "/404");
    assert_eq!(error.to_string(), format!("`{}` was answered with status 404 Not Found", server.url("/404")));
}

#[test]
fn passing_statuses_are_retried() {
    let server = Server::start();
    for status in [408, 429, 500, 502, 503] {
        let path = format!("/{status}");
        let file = Stored::new(BODY);
        server.route(&path, move |request| match request.attempt {
            1..=4 => Response::status(status),
            _ => file.answer(request),
        });
        check_body(&server, &path);
        assert_eq!(server.hits(&path), 5);
    }
    server.route("/always", |_| Response::status(500));
    let (error, hits) = check_error(&server, "/always");
    assert!(matches!(last(&error, 5), FetchError::Status { status: 500, .. }), "{error}");
    assert_eq!(hits, 5);
}

#[test]
fn retry_after_replaces_the_backoff() {
    let server = Server::start();
    server.route("/x", |request| match request.attempt {
        1 => Response::status(429).header("Retry-After", "0"),
        2 => Response::status(503).header("Retry-After", "Tue, 15 Nov 1994 08:12:00 GMT"),
        _ => Response::ok(BODY),
    });
    let settings = FetchSettings { base_delay: Duration::from_secs(25), ..FetchSettings::default() };
    let started = Instant::now();
    let (fetched, _) = fetch(&Fetcher::with_settings(Cancel::new(), settings), &request(server.url("/x")));
    assert!(fetched.is_ok() && started.elapsed() < Duration::from_secs(10));
}

#[test]
fn refused_connections_are_retried_and_named_without_secrets() {
    let server = Server::start();
    let address = server.address();
    drop(server);
    let fetcher = fetcher();
    let secret = request(format!("http://user:hunter2@{address}/x?token=hunter2"));
    let (fetched, _) = fetch(&fetcher, &secret);
    let error = fetched.unwrap_err();
    assert!(matches!(last(&error, 5), FetchError::Transport { .. }), "{error}");
    assert_eq!(fetcher.requests(), 5);
    let mut text = format!("{error} {error:?}");
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text += &format!(" {error} {error:?}");
        cause = error.source();
    }
    assert!(text.contains(&format!("http://{address}/x?…")) && !text.contains("hunter2"), "{text}");
}

#[test]
fn dropped_body_is_resumed() {
    let server = Server::start();
    let file = Stored::new(BODY);
    server.route("/x", move |request| match request.attempt {
        1 => file.answer(request).header("Content-Disposition", "attachment; filename=n").drop_after(5),
        2 => file.answer(request).drop_after(4),
        _ => file.answer(request),
    });
    let (fetched, starts) = check_body(&server, "/x");
    assert_eq!(starts, [0, 5, 9]);
    let sent = server.requests();
    assert_eq!(sent[1].header("range"), Some("bytes=5-"));
    assert_eq!(sent[2].header("range"), Some("bytes=9-"));
    assert!(sent[2].header("if-range").is_some() && sent[0].header("if-range").is_none());
    assert!(
        matches!(fetched, Fetched::Body { file_name: Some(name), validator: Some(_), .. } if name == "n")
    );
}

#[test]
fn settled_modification_time_resumes_too() {
    let server = Server::start();
    let modified = Some("Tue, 15 Nov 1994 08:00:00 GMT".to_owned());
    let date = Some("Tue, 15 Nov 1994 08:01:00 GMT".to_owned());
    let file = Stored { etag: None, last_modified: modified, date, ..Stored::new(BODY) };
    server.route("/x", move |request| match request.attempt {
        1 => file.answer(request).drop_after(5),
        _ => file.answer(request),
    });
    assert_eq!(check_body(&server, "/x").1, [0, 5]);
    assert_eq!(server.requests()[1].header("if-range"), Some("Tue, 15 Nov 1994 08:00:00 GMT"));
}

#[test]
fn dropped_body_starts_over_where_it_cannot_be_resumed() {
    let server = Server::start();
    let check = |path: &str, first: Stored, then: Stored, asks_for_range: bool| {
        server.route(path, move |request| match request.attempt {
            1 => first.answer(request).drop_after(5),
            _ => then.answer(request),
        });
        assert_eq!(check_body(&server, path).1, [0, 0], "{path}");
        let second = server.requests().into_iter().filter(|request| request.path == path).nth(1).unwrap();
        assert_eq!(second.header("range").is_some(), asks_for_range, "{path}");
    };
    let file = Stored::new(BODY);
    check("/weak", Stored { etag: Some("W/\"a\"".to_owned()), ..file.clone() }, file.clone(), false);
    check("/bare", Stored { etag: None, ..file.clone() }, file.clone(), false);
    check(
        "/rangeless",
        Stored { ranges: false, ..file.clone() },
        Stored { ranges: false, ..file.clone() },
        true,
    );
    check("/changed", Stored::new(b"another content here"), file, true);
}

#[test]
fn wrong_ranges_start_over() {
    let server = Server::start();
    let etag = "\"one\"";
    let check = |path: &str, answer: Response| {
        server.route(path, move |request| match request.attempt {
            1 => Response::ok(BODY).header("ETag", etag).drop_after(5),
            2 => answer.clone(),
            _ => Response::ok(BODY).header("ETag", etag),
        });
        assert_eq!(check_body(&server, path).1, [0, 0], "{path}");
        assert_eq!(server.hits(path), 3, "{path}");
    };
    let part = |range: &str, etag: &str| {
        Stored { etag: Some(etag.to_owned()), ..Stored::new(BODY) }
            .answer(&crate::server::Request {
                headers: [("range".to_owned(), "bytes=5-".to_owned())].into(),
                ..Default::default()
            })
            .replace_header("Content-Range", range)
    };
    check("/earlier", part("bytes 4-15/16", etag));
    check("/longer", part("bytes 5-16/17", etag));
    check("/nonsense", part("bytes", etag));
    check("/other", part("bytes 5-15/16", "\"two\""));
    check("/unsatisfiable", Response::status(416));
}

#[test]
fn short_ranges_are_short_bodies() {
    let server = Server::start();
    server.route("/x", |request| match request.attempt {
        1 => Response::ok(BODY).header("ETag", "\"one\"").drop_after(5),
        // Its own framing is right, but the range promised more.
        2 => Stored { etag: Some("\"one\"".to_owned()), ..Stored::new(BODY) }.answer(request).shorten(3),
        _ => Stored { etag: Some("\"one\"".to_owned()), ..Stored::new(BODY) }.answer(request),
    });
    assert_eq!(check_body(&server, "/x").1, [0, 5, 8]);
}

#[test]
fn unasked_partial_answers_are_refused() {
    let server = Server::start();
    server.route("/x", |_| Response::ok(BODY).with_status(206).header("Content-Range", "bytes 0-15/32"));
    let (error, hits) = check_error(&server, "/x");
    assert!(matches!(error, FetchError::Status { status: 206, .. }), "{error}");
    assert_eq!(hits, 1);
}

#[test]
fn lies_about_the_length_are_errors() {
    let server = Server::start();
    server.route("/long", |_| Response::ok(BODY).false_length(20));
    let (error, hits) = check_error(&server, "/long");
    assert!(matches!(last(&error, 5), FetchError::Transport { .. }), "{error}");
    assert_eq!(hits, 5);
    server.route("/chunks", |_| Response::ok(BODY).chunked().drop_after(7));
    assert_eq!(check_error(&server, "/chunks").1, 5);
}

#[test]
fn progress_is_no_failure() {
    let server = Server::start();
    let body = vec![7; 8 << 20];
    let file = Stored::new(body.clone());
    // A little over a mebibyte at a time: more attempts than failures are allowed.
    server.route("/x", move |request| file.answer(request).drop_after((1 << 20) + 1));
    let (fetched, kept) = fetch(&fetcher(), &request(server.url("/x")));
    assert!(fetched.is_ok() && kept.bytes == body, "{fetched:?}");
    assert!(kept.starts.len() > 5);
}

#[test]
fn too_large_bodies_are_not_read() {
    let server = Server::start();
    server.file("/known", BODY);
    server.route("/endless", |_| Response::ok(vec![0; 1000]).endless());
    for (path, most) in [("/known", 0), ("/endless", 15)] {
        let limited = FetchRequest { limit_bytes: 15, ..request(server.url(path)) };
        let (fetched, kept) = fetch(&fetcher(), &limited);
        let error = fetched.unwrap_err();
        let wanted = format!("`{}` is larger than the limit of 15 bytes", server.url(path));
        assert_eq!(error.to_string(), wanted);
        assert!(kept.bytes.len() <= most && server.hits(path) == 1);
    }
    let exact = FetchRequest { limit_bytes: 16, ..request(server.url("/known")) };
    assert!(fetch(&fetcher(), &exact).0.is_ok());
}

#[test]
fn validators_are_kept_only_if_they_pin() {
    let server = Server::start();
    let at = |time: &str| Some(format!("Tue, 15 Nov 1994 {time} GMT"));
    let check = |etag: Option<&str>, modified: &str, wanted: Option<Validator>| {
        let (etag, last_modified) = (etag.map(str::to_owned), at(modified));
        let file = Stored { etag, last_modified, date: at("08:01:00"), ..Stored::new(BODY) };
        server.route("/x", move |request| file.answer(request));
        assert_eq!(validator_of(check_body(&server, "/x").0), wanted);
    };
    check(Some("\"a\""), "08:00:00", Some(Validator::StrongEtag("\"a\"".to_owned())));
    check(Some("W/\"a\""), "08:00:30", None);
    check(None, "08:00:01", None);
    check(None, "08:00:00", at("08:00:00").map(Validator::LastModified));
}

#[test]
fn unchanged_files_are_not_sent_again() {
    let server = Server::start();
    let modified = "Tue, 15 Nov 1994 08:00:00 GMT".to_owned();
    let file =
        Stored { etag: Some("\"a\"".to_owned()), last_modified: Some(modified.clone()), ..Stored::new(BODY) };
    server.route("/x", move |request| file.answer(request));
    let check = |validator: Validator, unchanged: bool| {
        let conditional = FetchRequest { validator: Some(validator), ..request(server.url("/x")) };
        let (fetched, kept) = fetch(&fetcher(), &conditional);
        assert_eq!(fetched.unwrap() == Fetched::NotModified, unchanged);
        assert_eq!(kept.starts.is_empty(), unchanged);
    };
    check(Validator::StrongEtag("\"a\"".to_owned()), true);
    check(Validator::StrongEtag("\"b\"".to_owned()), false);
    check(Validator::LastModified(modified), true);
    check(Validator::LastModified("Tue, 15 Nov 1994 07:00:00 GMT".to_owned()), false);
}

#[test]
fn unasked_not_modified_is_an_error() {
    let server = Server::start();
    server.route("/x", |_| Response::status(304));
    let (error, hits) = check_error(&server, "/x");
    assert!(matches!(error, FetchError::Status { status: 304, .. }) && hits == 1, "{error}");
}

#[test]
fn redirects_are_followed_within_bounds() {
    let server = Server::start();
    server.file("/end", BODY);
    for hop in 1..=11 {
        let next = if hop == 11 { "/end".to_owned() } else { format!("/hop{}", hop + 1) };
        server.route(&format!("/hop{hop}"), move |_| Response::redirect(&next));
    }
    // Ten hops from hop2, eleven from hop1.
    let (fetched, _) = check_body(&server, "/hop2");
    assert!(matches!(fetched, Fetched::Body { final_url, .. } if final_url == server.url("/end")));
    assert!(server.requests().iter().all(|request| request.header("referer").is_none()));
    let (error, hits) = check_error(&server, "/hop1");
    assert!(
        matches!(error, FetchError::Redirect { source: RedirectError::TooMany { limit: 10 }, .. }),
        "{error}"
    );
    assert_eq!(hits, 1);
    server.route("/ftp", |_| Response::redirect("ftp://user:hunter2@127.0.0.1/x?hunter2"));
    let (error, hits) = check_error(&server, "/ftp");
    assert!(
        matches!(&error, FetchError::Redirect { source: RedirectError::Scheme { to }, .. }
        if to == "ftp://127.0.0.1/x?…"),
        "{error}"
    );
    assert_eq!(hits, 1);
}

#[test]
fn user_and_password_are_sent_but_not_shown() {
    let server = Server::start();
    server.route("/x", |request| match request.header("authorization") {
        Some("Basic dXNlcjpwYXNz") => Response::ok(BODY),
        _ => Response::status(401),
    });
    let url = server.url("/x").replace("http://", "http://user:pass@");
    let (fetched, _) = fetch(&fetcher(), &request(url));
    assert!(matches!(fetched.unwrap(), Fetched::Body { final_url, .. } if !final_url.contains("pass")));
}

#[test]
fn other_urls_are_refused_without_a_request() {
    let fetcher = fetcher();
    let error = |url: &str| fetch(&fetcher, &request(url.to_owned())).0.unwrap_err();
    assert!(matches!(error("ftp://h/x"), FetchError::Scheme { .. }));
    assert!(matches!(error("file:///etc/passwd"), FetchError::Scheme { .. }));
    let bad = error("http://user:hun/ter2@h/x");
    assert!(matches!(bad, FetchError::Url { .. }) && !bad.to_string().contains("hun"), "{bad}");
    assert_eq!(fetcher.requests(), 0);
}

#[test]
fn silent_servers_are_given_up() {
    let server = Server::start();
    let file = Stored::new(BODY);
    server.route("/x", move |request| match request.attempt {
        1 => file.answer(request).stall_after(5),
        _ => file.answer(request),
    });
    let patience = FetchSettings { idle_timeout: Duration::from_millis(50), ..settings() };
    let (fetched, kept) = fetch(&Fetcher::with_settings(Cancel::new(), patience), &request(server.url("/x")));
    assert!(fetched.is_ok() && kept.bytes == BODY, "{fetched:?}");
    assert_eq!(kept.starts, [(0, Some(16)), (5, Some(16))]);
}

#[test]
fn failing_sink_ends_the_download() {
    let server = Server::start();
    server.file("/x", BODY);
    let mut full = |_: FetchEvent<'_>| Err(io::Error::from(io::ErrorKind::StorageFull));
    let error = fetcher().fetch(&request(server.url("/x")), &mut full).unwrap_err();
    assert!(matches!(error, FetchError::Sink { .. }) && server.hits("/x") == 1, "{error}");
}

#[test]
fn cancelled_downloads_return_promptly() {
    let server = Server::start();
    server.route("/stalled", |_| Response::ok(BODY).stall_after(5));
    server.route("/endless", |_| Response::ok(vec![0; 1 << 16]).endless());
    server.route("/busy", |_| Response::status(503).header("Retry-After", "30"));
    for path in ["/stalled", "/endless", "/busy"] {
        let cancel = Cancel::new();
        let fetcher = Fetcher::with_settings(cancel.clone(), settings());
        let (asked, url) = (fetcher.clone(), server.url(path));
        let (tx, rx) = mpsc::channel();
        let waiting = std::thread::spawn(move || {
            let unbounded = FetchRequest { limit_bytes: u64::MAX, ..request(url) };
            // Only the first event has a listener.
            let mut tell = |_: FetchEvent<'_>| tx.send(()).or(Ok(()));
            let fetched = asked.fetch(&unbounded, &mut tell);
            (fetched, Instant::now())
        });
        match path {
            // No byte of a body ever comes: the request's arrival is the sign.
            "/busy" => {
                while server.hits(path) == 0 {
                    std::thread::yield_now();
                }
            }
            _ => rx.recv().unwrap(),
        }
        cancel.cancel();
        let cancelled = Instant::now();
        let (fetched, ended) = waiting.join().unwrap();
        assert!(matches!(fetched, Err(FetchError::Cancelled { .. })), "{fetched:?}");
        assert!(ended - cancelled < Duration::from_secs(1), "{path} took {:?}", ended - cancelled);
        let (again, _) = fetch(&fetcher, &request(server.url(path)));
        assert!(matches!(again, Err(FetchError::Cancelled { .. })) && server.hits(path) == 1);
    }
}

#[test]
fn concurrent_requests_are_limited() {
    let server = Server::start();
    server.route("/x", |_| Response::ok(BODY).latency(Duration::from_millis(5)));
    let fetcher = Fetcher::with_settings(Cancel::new(), FetchSettings { concurrency: 2, ..settings() });
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert!(fetch(&fetcher, &request(server.url("/x"))).0.is_ok()));
        }
    });
    assert_eq!((fetcher.requests(), server.hits("/x")), (8, 8));
    assert!(server.busiest() <= 2, "{} at once", server.busiest());
}

#[test]
fn a_proxy_is_asked_for_others_and_never_for_this_machine() {
    let (proxy, here) = (Server::start(), Server::start());
    let elsewhere = "http://elsewhere.invalid/x";
    proxy.route(elsewhere, |_| Response::ok(BODY));
    here.route("/x", |_| Response::ok(BODY));
    let proxies = Proxies { http: Some(proxy.url("")), ..Proxies::default() };
    let fetcher = Fetcher::with_settings(Cancel::new(), FetchSettings { attempts: 1, proxies, ..settings() });
    for url in [elsewhere.to_owned(), here.url("/x"), here.url("/x").replace("127.0.0.1", "localhost")] {
        fetch(&fetcher, &request(url)).0.unwrap();
    }
    assert_eq!((proxy.requests().len(), proxy.hits(elsewhere), here.hits("/x")), (1, 1, 2));
}
