//! Credentials of registries: found in the files of sealer, of containers' tools and of Docker, or with helpers.
//!
//! Files are asked in order; the first that knows the registry answers. `login` and `logout` change the first only.

use std::collections::HashMap;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use docker_credential::{CredentialRetrievalError, DockerCredential};
use fs_err::os::unix::fs::OpenOptionsExt;
use serde_json::{Map, Value, json};

use super::error::RegistryError;
use super::reference::{Repository, server};

/// Largest file with credentials, in bytes.
const FILE_LIMIT: u64 = 4 << 20;
/// The key Docker keeps its own registry under.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// Who asks. It shows itself to nobody.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// Name and password.
    Password {
        /// Name.
        user: String,
        /// Password.
        password: String,
    },
    /// A token that stands for the user (RFC 6749, refresh token).
    IdentityToken(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(…)")
    }
}

/// The files that credentials are looked for in.
#[derive(Debug, Default)]
pub struct Credentials {
    /// In order; the first is written by `login`.
    files: Vec<PathBuf>,
    /// What was found for a repository: helpers are slow.
    found: Mutex<HashMap<Repository, Option<Credential>>>,
}

impl Credentials {
    /// Credentials of files, best first. Nothing is read yet.
    pub fn new(files: Vec<PathBuf>) -> Self {
        Self { files, found: Mutex::default() }
    }

    /// Who to be for a repository.
    ///
    /// # Errors
    /// When a file or a helper that knows the registry fails.
    pub fn find(&self, repository: &Repository) -> Result<Option<Credential>, RegistryError> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = found.get(repository) {
            return Ok(known.clone());
        }
        let mut credential = None;
        for file in &self.files {
            credential = in_file(file, repository)?;
            if credential.is_some() {
                break;
            }
        }
        found.insert(repository.clone(), credential.clone());
        Ok(credential)
    }

    /// Somebody to be for a repository, whatever the files say.
    pub(super) fn assume(&self, repository: &Repository, who: Credential) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).insert(repository.clone(), Some(who));
    }

    /// Keeps a name and password for a registry: with the helper the file names, or in the file.
    ///
    /// # Errors
    /// When the helper or the file refuses.
    pub fn keep(&self, host: &str, user: &str, password: &str) -> Result<PathBuf, RegistryError> {
        let file = self.own()?;
        let mut content = read(file)?.unwrap_or_else(|| json!({}));
        if let Some(helper) = helper_of(&content, host) {
            let text = json!({ "ServerURL": key_of(host), "Username": user, "Secret": password });
            helped(&helper, "store", host, "keep", &text.to_string())?;
            return Ok(file.clone());
        }
        let encoded = STANDARD.encode(format!("{user}:{password}"));
        let auths = section(&mut content, "auths");
        // What another tool wrote under another key would go before it.
        auths.retain(|key, _| !is_of(key, host));
        auths.insert(key_of(host).to_owned(), json!({ "auth": encoded }));
        write(file, &content)?;
        Ok(file.clone())
    }

    /// Forgets a registry. Whether it was known.
    ///
    /// # Errors
    /// When the helper or the file refuses.
    pub fn forget(&self, host: &str) -> Result<bool, RegistryError> {
        let file = self.own()?;
        let Some(mut content) = read(file)? else { return Ok(false) };
        if let Some(helper) = helper_of(&content, host) {
            helped(&helper, "erase", host, "forget", key_of(host))?;
            return Ok(true);
        }
        let auths = section(&mut content, "auths");
        let count = auths.len();
        auths.retain(|key, _| key != host && !is_of(key, host));
        let is_less = auths.len() < count;
        if is_less {
            write(file, &content)?;
        }
        Ok(is_less)
    }

    /// Every registry the first file knows.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn known(&self) -> Result<Vec<String>, RegistryError> {
        let content = read(self.own()?)?.unwrap_or_default();
        let auths = content.get("auths").and_then(Value::as_object);
        Ok(auths.map(|auths| auths.keys().cloned().collect()).unwrap_or_default())
    }

    fn own(&self) -> Result<&PathBuf, RegistryError> {
        self.files.first().ok_or_else(|| RegistryError::Credentials {
            path: PathBuf::from("auth.json"),
            reason: "there is no place for it: HOME is not set".to_owned(),
        })
    }
}

/// The key of a registry in a file.
fn key_of(host: &str) -> &str {
    if server(host) == server("docker.io") { DOCKER_HUB_KEY } else { host }
}

/// Whether a key stands for a whole registry: it is its host, or a URL of it.
fn is_of(key: &str, host: &str) -> bool {
    let named = match key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")) {
        Some(bare) => bare.split_once('/').map_or(bare, |(named, _)| named),
        None => key,
    };
    server(named) == server(host)
}

/// Keys a repository may stand under, best first: containers' tools know parts of a registry too.
fn keys(repository: &Repository) -> Vec<String> {
    let mut keys = Vec::new();
    let mut path = repository.to_string();
    loop {
        keys.push(path.clone());
        let Some((shorter, _)) = path.rsplit_once('/') else { break };
        path.truncate(shorter.len());
    }
    let host = &repository.host;
    keys.extend([format!("https://{host}"), format!("https://{host}/v1/"), format!("https://{host}/v2/")]);
    keys.extend([format!("http://{host}")]);
    if key_of(host) == DOCKER_HUB_KEY {
        keys.extend([DOCKER_HUB_KEY.to_owned(), "index.docker.io".to_owned(), "docker.io".to_owned()]);
    }
    keys
}

fn in_file(path: &Path, repository: &Repository) -> Result<Option<Credential>, RegistryError> {
    let Some(content) = read(path)? else { return Ok(None) };
    let keys = keys(repository);
    let named = |key: &String| Some((key.clone(), helper_at(&content, key)?));
    if let Some((key, helper)) = keys.iter().find_map(named) {
        return asked(&helper, &key, &repository.host);
    }
    if let Some((key, entry)) = entry_of(&content, &keys, &repository.host) {
        let unreadable = || RegistryError::Credentials {
            path: path.to_owned(),
            reason: format!("the entry of `{key}` cannot be read"),
        };
        return written(entry).ok_or_else(unreadable).map(Some);
    }
    match helper_of(&content, &repository.host) {
        Some(helper) => asked(&helper, key_of(&repository.host), &repository.host),
        None => Ok(None),
    }
}

/// The entry of a registry or of a part of it, best first. Docker and the containers' tools take the host alone of keys
/// that are URLs, whatever path stands behind it.
fn entry_of<'c>(content: &'c Value, keys: &[String], host: &str) -> Option<(String, &'c Value)> {
    let auths = content.get("auths")?.as_object()?;
    let exact = keys.iter().find_map(|key| Some((key, auths.get(key).filter(|entry| holds(entry))?)));
    let by_host = || auths.iter().find(|(key, entry)| is_of(key, host) && holds(entry));
    exact.or_else(by_host).map(|(key, entry)| (key.clone(), entry))
}

/// What an entry says; `None` if it cannot be understood. As for Docker, `auth` goes before name and password beside it.
fn written(entry: &Value) -> Option<Credential> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(token) = text("identitytoken") {
        return Some(Credential::IdentityToken(token.to_owned()));
    }
    let Some(auth) = text("auth") else {
        let (user, password) =
            (text("username")?.to_owned(), text("password").unwrap_or_default().to_owned());
        return Some(Credential::Password { user, password });
    };
    // `base64` breaks its lines, and Docker once filled up with zeros.
    let auth: String = auth.split_ascii_whitespace().collect();
    let decoded = STANDARD_NO_PAD.decode(auth.trim_end_matches('=')).ok()?;
    let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(Credential::Password { user: user.to_owned(), password: password.trim_end_matches('\0').to_owned() })
}

/// What a credential helper knows of a registry.
fn asked(helper: &str, key: &str, host: &str) -> Result<Option<Credential>, RegistryError> {
    let config = json!({ "credsStore": helper }).to_string();
    match docker_credential::get_credential_from_reader(config.as_bytes(), key) {
        Ok(DockerCredential::IdentityToken(token)) => Ok(Some(Credential::IdentityToken(token))),
        Ok(DockerCredential::UsernamePassword(user, password)) => {
            Ok(Some(Credential::Password { user, password }))
        }
        // A helper that knows nothing says so by failing.
        Err(CredentialRetrievalError::HelperFailure { .. }) => Ok(None),
        Err(_) => {
            let (helper, host) = (format!("docker-credential-{helper}"), host.to_owned());
            Err(RegistryError::Helper { helper, verb: "give", host })
        }
    }
}

/// Docker leaves empty entries for registries whose credentials a helper keeps.
fn holds(entry: &Value) -> bool {
    ["auth", "identitytoken", "username"]
        .iter()
        .any(|key| entry.get(key).and_then(Value::as_str).is_some_and(|text| !text.is_empty()))
}

/// The helper a file names for a key; one without a name is none.
fn helper_at(content: &Value, key: &str) -> Option<String> {
    let helper = content.get("credHelpers")?.get(key)?.as_str()?;
    (!helper.is_empty()).then(|| helper.to_owned())
}

/// The helper a file names for a registry.
fn helper_of(content: &Value, host: &str) -> Option<String> {
    let own = helper_at(content, key_of(host)).or_else(|| helper_at(content, host));
    let store = || content.get("credsStore").and_then(Value::as_str).filter(|store| !store.is_empty());
    own.or_else(|| store().map(str::to_owned))
}

/// Runs a credential helper (Docker's protocol: a verb, and text on its standard input).
fn helped(
    helper: &str,
    action: &str,
    host: &str,
    verb: &'static str,
    text: &str,
) -> Result<(), RegistryError> {
    let helper = format!("docker-credential-{helper}");
    let run = || -> std::io::Result<bool> {
        let mut child = Command::new(&helper)
            .arg(action)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(text.as_bytes())?;
        }
        Ok(child.wait()?.success())
    };
    match run() {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(RegistryError::Helper { helper, verb, host: host.to_owned() }),
    }
}

fn read(path: &Path) -> Result<Option<Value>, RegistryError> {
    let fail = |reason: String| RegistryError::Credentials { path: path.to_owned(), reason };
    let text = match fs_err::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        // A file of another user is no file of ours.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Ok(None),
        Err(error) => return Err(fail(error.kind().to_string())),
        Ok(file) if file.len() > FILE_LIMIT => return Err(fail("it is too large".to_owned())),
        Ok(_) => fs_err::read(path).map_err(|error| fail(error.kind().to_string()))?,
    };
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    // The parser's own words may quote the text.
    let content: Value = serde_json::from_slice(&text).map_err(|error| {
        fail(format!("it is not JSON (line {}, column {})", error.line(), error.column()))
    })?;
    if content.is_object() { Ok(Some(content)) } else { Err(fail("it is not a JSON object".to_owned())) }
}

fn section<'a>(content: &'a mut Value, name: &str) -> &'a mut Map<String, Value> {
    let section = &mut content[name];
    if !section.is_object() {
        *section = json!({});
    }
    section.as_object_mut().expect("it was made an object above")
}

/// Replaces the file whole, for its owner's eyes only.
fn write(path: &Path, content: &Value) -> Result<(), RegistryError> {
    let write = || -> std::io::Result<()> {
        // Through a link, not over it.
        let path = &fs_err::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let dir = path.parent().unwrap_or(Path::new("."));
        fs_err::create_dir_all(dir)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let tmp = dir.join(format!(".{name}.{}", std::process::id()));
        let _ = fs_err::remove_file(&tmp);
        let mut file = fs_err::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&tmp)?;
        file.write_all(format!("{content:#}\n").as_bytes())?;
        file.sync_all()?;
        fs_err::rename(&tmp, path)
    };
    let fail = |error: std::io::Error| RegistryError::Credentials {
        path: path.to_owned(),
        reason: error.kind().to_string(),
    };
    write().map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(host: &str, path: &str) -> Repository {
        Repository { host: host.into(), path: path.into() }
    }

    fn found(content: &Value, host: &str, path: &str) -> Option<Credential> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("auth.json");
        fs_err::write(&file, content.to_string()).unwrap();
        Credentials::new(vec![dir.path().join("absent"), file]).find(&repository(host, path)).unwrap()
    }

    fn password(user: &str, password: &str) -> Option<Credential> {
        Some(Credential::Password { user: user.into(), password: password.into() })
    }

    #[test]
    fn the_closest_entry_is_taken() {
        let auth = |text: &str| json!({ "auth": STANDARD.encode(text) });
        let content = json!({ "auths": {
            "quay.io": auth("a:b"), "quay.io/team": auth("c:d:e"), "https://r.example/v1/": auth("f:g"),
            "https://index.docker.io/v1/": auth("h:i"), "empty.example": {},
        }});
        assert_eq!(found(&content, "quay.io", "other/x"), password("a", "b"));
        assert_eq!(found(&content, "quay.io", "team/x"), password("c", "d:e"));
        assert_eq!(found(&content, "r.example", "x"), password("f", "g"));
        assert_eq!(found(&content, "docker.io", "library/x"), password("h", "i"));
        assert_eq!(found(&content, "empty.example", "x"), None);
        assert_eq!(found(&content, "elsewhere", "x"), None);
    }

    #[test]
    fn of_a_key_that_is_a_url_the_host_counts() {
        let (user, secret) = ("a", "b");
        let auth = json!({ "auth": STANDARD.encode(format!("{user}:{secret}")) });
        for key in
            ["https://r:1/", "https://r:1/v2", "http://r:1/v2/", "https://r:1/artifactory/api", "http://r:1"]
        {
            assert_eq!(
                found(&json!({ "auths": { key: auth } }), "r:1", "x"),
                password(user, secret),
                "{key}"
            );
            assert_eq!(found(&json!({ "auths": { key: auth } }), "r", "x"), None, "{key}");
        }
        let hub = json!({ "auths": { "https://registry-1.docker.io/v2/": auth } });
        assert_eq!(found(&hub, "docker.io", "library/x"), password(user, secret));
        let closer = json!({ "auths": { "https://r:1/": { "auth": "eDp5" }, "r:1": auth } });
        assert_eq!(found(&closer, "r:1", "x"), password(user, secret));
    }

    #[test]
    fn entries_are_understood_as_other_tools_write_them() {
        for (entry, wanted) in [
            (json!({ "auth": "YTpi" }), password("a", "b")),
            (json!({ "auth": "YTpi\n" }), password("a", "b")),
            (json!({ "auth": "YTpi\nYw" }), password("a", "bc")),
            (json!({ "auth": STANDARD.encode("a:b\0\0") }), password("a", "b")),
            (json!({ "auth": "YTpi", "username": "x", "password": "y" }), password("a", "b")),
            (json!({ "auth": "", "username": "x", "password": "y" }), password("x", "y")),
            (json!({ "auth": "YTpi", "identitytoken": "t" }), Some(Credential::IdentityToken("t".into()))),
            (json!(null), None),
        ] {
            assert_eq!(found(&json!({ "auths": { "r": entry } }), "r", "x"), wanted, "{entry}");
        }
        let beside = json!({ "auths": { "r": { "auth": "YTpi" } }, "credHelpers": null, "credsStore": null });
        assert_eq!(found(&beside, "r", "x"), password("a", "b"));
    }

    #[test]
    fn what_is_kept_is_found_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new/auth.json");
        let open = || Credentials::new(vec![file.clone()]);
        assert!(!open().forget("r:5000").unwrap());
        open().keep("r:5000", "me", "secret").unwrap();
        open().keep("docker.io", "you", "hidden").unwrap();
        assert_eq!(open().find(&repository("r:5000", "x")).unwrap(), password("me", "secret"));
        assert_eq!(open().find(&repository("docker.io", "library/x")).unwrap(), password("you", "hidden"));
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs_err::metadata(&file).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        assert!(open().forget("r:5000").unwrap() && !open().forget("r:5000").unwrap());
        assert_eq!(open().find(&repository("r:5000", "x")).unwrap(), None);
    }

    #[test]
    fn what_another_tool_wrote_under_another_key_is_replaced_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("auth.json");
        let link = dir.path().join("link.json");
        std::os::unix::fs::symlink("auth.json", &link).unwrap();
        let hub = ["docker.io", "index.docker.io", DOCKER_HUB_KEY, "https://registry-1.docker.io/v2/"];
        let other = ["r.example", "https://r.example/v1/", "http://r.example"];
        for (host, keys) in [("docker.io", &hub[..]), ("r.example", &other)] {
            for key in keys {
                let old = json!({ "auth": STANDARD.encode("old:secret") });
                let content = json!({ "auths": { *key: old, "r.example/team": old, "r.example:5000": old } });
                fs_err::write(&file, content.to_string()).unwrap();
                let credentials = || Credentials::new(vec![link.clone()]);
                credentials().keep(host, "new", "word").unwrap();
                let found = credentials().find(&repository(host, "library/x")).unwrap();
                assert_eq!(found, password("new", "word"), "{key}");
                fs_err::write(&file, content.to_string()).unwrap();
                assert!(credentials().forget(host).unwrap() && !credentials().forget(host).unwrap(), "{key}");
                assert_eq!(credentials().find(&repository(host, "library/x")).unwrap(), None, "{key}");
                assert_eq!(credentials().known().unwrap(), ["r.example/team", "r.example:5000"], "{key}");
                assert!(fs_err::symlink_metadata(&link).unwrap().is_symlink());
            }
        }
    }

    #[test]
    fn errors_and_debug_texts_show_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("auth.json");
        fs_err::write(&file, r#"{"auths": {"r": {"auth": "c2VjcmV0"}}, hunter2}"#).unwrap();
        let error = Credentials::new(vec![file.clone()]).find(&repository("r", "x")).unwrap_err().to_string();
        assert!(
            error.contains("auth.json") && !error.contains("hunter2") && !error.contains("c2Vj"),
            "{error}"
        );
        fs_err::write(&file, r#"{"auths": {"r": {"auth": "%%%hunter2"}}}"#).unwrap();
        let error = Credentials::new(vec![file]).find(&repository("r", "x")).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
        assert!(!format!("{:?}", password("me", "hunter2")).contains("hunter2"));
    }
}
