//! Two users of one registry, each with a repository: neither is ever taken for the other.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use engine::net::FetchSettings;
use engine::registry::Credential;
use engine::{Cancel, Credentials, Fetcher, Reference, Registry, RegistryError, Trust};

use crate::server::{Request, Response, Server};

const MANIFEST: &str = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;
/// Users, with their repository and what base64 makes of name and password.
const USERS: [(&str, &str, &str); 2] =
    [("alice", "team/a", "Basic YWxpY2U6b25l"), ("bob", "team/b", "Basic Ym9iOnR3bw==")];

fn registry() -> Registry {
    let settings = FetchSettings { attempts: 1, ..FetchSettings::default() };
    Registry::new(Fetcher::with_settings(Cancel::new(), settings), Trust::default(), Credentials::default())
}

fn reference(server: &Server, path: &str) -> Reference {
    Reference::parse(&format!("{}/{path}:1", server.address())).unwrap()
}

fn password(user: &str) -> Credential {
    let password = if user == "alice" { "one" } else { "two" };
    Credential::Password { user: user.to_owned(), password: password.to_owned() }
}

/// A server whose repositories want to be told `wanted(path)`, and ask for it with a challenge.
fn server(challenge: &str, wanted: impl Fn(&str) -> String) -> Server {
    let server = Server::start();
    let asked = challenge.to_owned();
    server.route("/v2/", move |_| Response::status(401).header("WWW-Authenticate", &asked));
    for (_, path, _) in USERS {
        let (asked, wanted) = (challenge.to_owned(), wanted(path));
        server.route(&format!("/v2/{path}/manifests/1"), move |request: &Request| {
            match request.header("authorization") {
                Some(told) if told == wanted => Response::ok(MANIFEST),
                _ => Response::status(401).header("WWW-Authenticate", &asked),
            }
        });
    }
    server
}

/// Realm that gives a token for the one repository of a user, named after it.
fn realm() -> Server {
    let realm = Server::start();
    realm.route("/token", |request| {
        let query = request.query.clone().unwrap_or_default();
        let known = USERS.iter().find(|(_, _, basic)| request.header("authorization") == Some(*basic));
        match known {
            Some((_, path, _)) if query.contains(&path.replace('/', "%2F")) => {
                Response::ok(format!("{{\"token\":\"for-{}\"}}", path.replace('/', "-")))
            }
            _ => Response::status(401),
        }
    });
    realm
}

/// Everybody gets their own image, in whatever order, and nobody anybody else's.
fn check(server: &Server) {
    for order in [[0, 1, 0, 1], [1, 0, 0, 1]] {
        let registry = registry();
        for (user, path, _) in USERS {
            registry.assume(&reference(server, path), password(user));
        }
        for at in order {
            let (user, path, _) = USERS[at];
            registry.manifest(&reference(server, path)).unwrap_or_else(|error| panic!("{user}: {error}"));
        }
        std::thread::scope(|scope| {
            for (_, path, _) in USERS.iter().cycle().take(8) {
                let (registry, server) = (&registry, server);
                scope.spawn(move || registry.manifest(&reference(server, path)).unwrap());
            }
        });
    }
    // Who is known for one repository is nobody elsewhere.
    let registry = registry();
    registry.assume(&reference(server, "team/a"), password("alice"));
    registry.manifest(&reference(server, "team/a")).unwrap();
    let refused = registry.manifest(&reference(server, "team/b")).unwrap_err();
    assert!(matches!(refused, RegistryError::Unauthorized { is_known: false, .. }), "{refused}");
    // Somebody who is somebody else from now on has nothing of before.
    registry.assume(&reference(server, "team/a"), password("bob"));
    let refused = registry.manifest(&reference(server, "team/a")).unwrap_err();
    assert!(matches!(refused, RegistryError::Unauthorized { is_known: true, .. }), "{refused}");
    registry.assume(&reference(server, "team/b"), password("bob"));
    registry.manifest(&reference(server, "team/b")).unwrap();
}

#[test]
fn two_users_of_one_registry_with_basic_authentication() {
    let basic = |path: &str| USERS.iter().find(|user| user.1 == path).unwrap().2.to_owned();
    let server = server("Basic realm=\"x\"", basic);
    check(&server);
    for request in server.requests() {
        let told = request.header("authorization");
        let is_right = |user: &(&str, &str, &str)| request.path.contains(user.1) && told == Some(user.2);
        // Bob tries himself at the other repository once, because he was told to.
        let is_bobs = told == Some(USERS[1].2);
        assert!(told.is_none() || USERS.iter().any(is_right) || is_bobs, "{}", request.path);
    }
}

#[test]
fn two_users_of_one_registry_with_tokens() {
    let realm = realm();
    let challenge = format!("Bearer realm=\"{}\",service=\"reg\"", realm.url("/token"));
    let server = server(&challenge, |path| format!("Bearer for-{}", path.replace('/', "-")));
    check(&server);
    for request in server.requests() {
        let told =
            request.header("authorization").map(|told| told.replace("Bearer for-", "").replace('-', "/"));
        assert!(told.is_none_or(|path| request.path.contains(&path)), "{}", request.path);
    }
    // Eight requests at once ask for two tokens, which are kept.
    let asked = realm.requests().iter().filter(|request| request.header("authorization").is_some()).count();
    assert!(asked <= 8, "{asked}");
}
