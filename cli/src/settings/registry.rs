//! How registries are reached: flags, and the files other tools keep for it.

use std::path::{Path, PathBuf};

use engine::registry::Mirror;
use engine::{Cancel, Credentials, FetchSettings, Fetcher, Proxies, PullPolicy, Registry, Trust};

use crate::args::{Global, RegistryFlags};
use crate::report::Failure;

/// Largest file with registries read, in bytes.
const LIMIT: u64 = 1 << 20;

/// The way to registries that the arguments describe. Nothing is asked yet.
pub(crate) fn registry(flags: &RegistryFlags, global: &Global, cancel: &Cancel) -> Result<Registry, Failure> {
    registry_with(flags, global, cancel, Vec::new())
}

/// The same, with more files of authorities.
pub(crate) fn registry_with(
    flags: &RegistryFlags,
    global: &Global,
    cancel: &Cancel,
    authorities: Vec<PathBuf>,
) -> Result<Registry, Failure> {
    let verify = boolean("--tls-verify", &flags.tls_verify)?;
    let mut insecure = global.insecure_registry.clone();
    insecure.extend(insecure_of_containers()?);
    let mut certificate_dirs: Vec<PathBuf> =
        ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from).to_vec();
    certificate_dirs.extend(config_dir().map(|dir| dir.join("containers/certs.d")));
    let trust = Trust {
        skip_tls_verify: flags.skip_tls_verify || !verify,
        insecure,
        authorities: flags.cacert.iter().cloned().chain(authorities).collect(),
        certificate_dirs,
    };
    let fetching = FetchSettings { offline: global.offline, proxies: proxies(), ..FetchSettings::default() };
    let fetcher = Fetcher::with_settings(cancel.clone(), fetching);
    let registry = Registry::new(fetcher, trust, credentials(flags.authfile.as_deref()));
    Ok(registry.with_mirrors(mirrors(&flags.registry_mirror)?))
}

/// The proxies that the environment names, by the names curl and Go know.
#[expect(clippy::disallowed_methods, reason = "this directory is where the environment is read")]
fn proxies() -> Proxies {
    let var = |name: &str| {
        let values = [name.to_ascii_uppercase(), name.to_ascii_lowercase()].map(std::env::var);
        values.into_iter().filter_map(Result::ok).find(|value| !value.is_empty())
    };
    let all = var("all_proxy");
    Proxies {
        http: var("http_proxy").or_else(|| all.clone()),
        https: var("https_proxy").or(all),
        except: var("no_proxy").unwrap_or_default(),
    }
}

/// `--registry-mirror`; a variable that is set to nothing names none.
fn mirrors(given: &[String]) -> Result<Vec<Mirror>, Failure> {
    let one = |text: &String| {
        Mirror::parse(text.trim()).map_err(|error| {
            Failure::usage(error.to_string()).hint(
                "write HOST=MIRROR, such as docker.io=mirror.example:5000/hub; `sealer login` keeps credentials",
            )
        })
    };
    given.iter().filter(|text| !text.trim().is_empty()).map(one).collect()
}

/// The files with authorities in a directory (`--cert-dir`).
pub(crate) fn certificates_of(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let fail = |error: std::io::Error| Failure::usage(format!("the certificates cannot be read: {error}"));
    let mut files = Vec::new();
    for entry in fs_err::read_dir(dir).map_err(fail)? {
        files.push(entry.map_err(fail)?.path());
    }
    files.retain(|path| path.extension().is_some_and(|end| end == "crt"));
    files.sort();
    Ok(files)
}

/// Files with credentials: the one given, else sealer's own, the containers tools' and Docker's.
#[expect(clippy::disallowed_methods, reason = "this directory is where the environment is read")]
pub(crate) fn credentials(given: Option<&Path>) -> Credentials {
    if let Some(file) = given {
        return Credentials::new(vec![file.to_owned()]);
    }
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    Credentials::new(credential_files(&var, config_dir(), rustix::process::getuid().as_raw()))
}

/// The files with credentials of a user, best first.
fn credential_files(
    var: &dyn Fn(&str) -> Option<PathBuf>,
    config_dir: Option<PathBuf>,
    user: u32,
) -> Vec<PathBuf> {
    let home = var("HOME");
    let own = home.as_ref().map(|home| home.join(".sealer/auth.json"));
    // Where the containers tools' `login` writes to, until the machine starts again.
    let runtime = || PathBuf::from(format!("/run/containers/{user}"));
    let runtime = var("XDG_RUNTIME_DIR").map_or_else(runtime, |dir| dir.join("containers")).join("auth.json");
    let containers = config_dir.map(|dir| dir.join("containers/auth.json"));
    let docker = var("DOCKER_CONFIG").or_else(|| home.map(|home| home.join(".docker")));
    let docker = docker.map(|dir| dir.join("config.json"));
    own.into_iter().chain([runtime]).chain(containers).chain(docker).collect()
}

/// `--pull` and `--policy`; `true` and `false` as in buildah.
pub(crate) fn pull_policy(given: &str) -> Result<PullPolicy, Failure> {
    Ok(match given {
        "always" => PullPolicy::Always,
        "ifnewer" | "true" => PullPolicy::IfNewer,
        "missing" | "false" => PullPolicy::Missing,
        "never" => PullPolicy::Never,
        other => {
            return Err(Failure::usage(format!("unsupported pull policy {other:?}"))
                .hint("use always, ifnewer, missing or never"));
        }
    })
}

/// A flag that is true or false.
pub(crate) fn boolean(flag: &str, given: &str) -> Result<bool, Failure> {
    match given.to_ascii_lowercase().as_str() {
        "true" | "1" | "t" => Ok(true),
        "false" | "0" | "f" => Ok(false),
        _ => Err(Failure::usage(format!("`{flag}` is true or false, not `{given}`"))),
    }
}

#[expect(clippy::disallowed_methods, reason = "this directory is where the environment is read")]
fn config_dir() -> Option<PathBuf> {
    let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    config.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")))
}

/// Hosts that the containers tools' files call insecure.
fn insecure_of_containers() -> Result<Vec<String>, Failure> {
    let own = config_dir().map(|dir| dir.join("containers"));
    let files = registries_confs(own.as_deref(), Path::new("/etc/containers"));
    let hosts: Result<Vec<Vec<String>>, Failure> = files.iter().map(|path| insecure_of(path)).collect();
    Ok(hosts?.concat())
}

/// The files that say how registries are reached (containers-registries.conf.d(5)): the user's or else the system's, and the parts
/// that lie beside either.
fn registries_confs(own: Option<&Path>, system: &Path) -> Vec<PathBuf> {
    let whole = own.into_iter().chain([system]).map(|dir| dir.join("registries.conf"));
    let mut files: Vec<PathBuf> = whole.into_iter().find(|path| path.exists()).into_iter().collect();
    for dir in [Some(system), own].into_iter().flatten() {
        let parts = fs_err::read_dir(dir.join("registries.conf.d")).into_iter().flatten();
        let mut parts: Vec<PathBuf> = parts.filter_map(Result::ok).map(|part| part.path()).collect();
        parts.retain(|path| path.extension().is_some_and(|end| end == "conf"));
        parts.sort();
        files.extend(parts);
    }
    files
}

/// Hosts that a file calls insecure.
fn insecure_of(path: &Path) -> Result<Vec<String>, Failure> {
    let fail = |reason: String| Failure::usage(format!("`{}` cannot be used: {reason}", path.display()));
    if fs_err::metadata(path).map_err(|error| fail(error.to_string()))?.len() > LIMIT {
        return Err(fail(format!("it is larger than {LIMIT} bytes")));
    }
    let text = fs_err::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    insecure_in(&text).map_err(|error| fail(error.message().to_owned()))
}

/// Hosts a `registries.conf` calls insecure, in its first form and in its second.
fn insecure_in(text: &str) -> Result<Vec<String>, toml::de::Error> {
    let table: toml::Table = text.parse()?;
    let first = table
        .get("registries")
        .and_then(|registries| registries.get("insecure")?.get("registries")?.as_array());
    let mut hosts: Vec<String> =
        first.into_iter().flatten().filter_map(toml::Value::as_str).map(str::to_owned).collect();
    for registry in table.get("registry").and_then(toml::Value::as_array).into_iter().flatten() {
        if registry.get("insecure").and_then(toml::Value::as_bool) == Some(true) {
            let place =
                registry.get("location").or_else(|| registry.get("prefix")).and_then(toml::Value::as_str);
            hosts.extend(place.and_then(|place| place.split('/').next()).map(str::to_owned));
        }
    }
    Ok(hosts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn insecure_hosts_are_found_in_both_forms() {
        let first = "[registries.search]\nregistries = ['docker.io']\n[registries.insecure]\nregistries = ['a:1', 'b']\n";
        assert_eq!(insecure_in(first).unwrap(), ["a:1", "b"]);
        let second = "unqualified-search-registries = ['docker.io']\n[[registry]]\nlocation = 'a:1/team'\ninsecure = true\n\
            [[registry]]\nprefix = 'b'\ninsecure = true\n[[registry]]\nlocation = 'c'\n";
        assert_eq!(insecure_in(second).unwrap(), ["a:1", "b"]);
        assert!(insecure_in("[[").is_err());
    }

    #[test]
    fn parts_of_the_containers_tools_files_count() {
        let dir = tempfile::tempdir().unwrap();
        let (own, system) = (dir.path().join("own"), dir.path().join("system"));
        let insecure = |host: &str| format!("[[registry]]\nlocation = '{host}'\ninsecure = true\n");
        let put = |path: PathBuf, host: &str| {
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, insecure(host)).unwrap();
        };
        put(system.join("registries.conf"), "a");
        put(system.join("registries.conf.d/2.conf"), "b");
        put(system.join("registries.conf.d/1.conf"), "c");
        put(system.join("registries.conf.d/1.conf.bak"), "d");
        put(own.join("registries.conf.d/x.conf"), "e");
        let hosts = |own: Option<&Path>| -> Vec<String> {
            registries_confs(own, &system).iter().flat_map(|path| insecure_of(path).unwrap()).collect()
        };
        assert_eq!(hosts(Some(&own)), ["a", "c", "b", "e"]);
        put(own.join("registries.conf"), "f");
        assert_eq!(hosts(Some(&own)), ["f", "c", "b", "e"]);
        assert_eq!(hosts(None), ["a", "c", "b"]);
    }

    #[test]
    fn credentials_are_looked_for_where_other_tools_keep_them() {
        let files = |set: &[(&str, &str)], config: Option<&str>| -> Vec<String> {
            let var =
                |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(value));
            let files = credential_files(&var, config.map(PathBuf::from), 1000);
            files.iter().map(|file| file.display().to_string()).collect()
        };
        let home =
            ["/h/.sealer/auth.json", "/run/containers/1000/auth.json", "/h/.config/containers/auth.json"];
        assert_eq!(files(&[("HOME", "/h")], Some("/h/.config"))[..3], home);
        assert_eq!(files(&[("HOME", "/h")], Some("/h/.config"))[3], "/h/.docker/config.json");
        let all = files(&[("XDG_RUNTIME_DIR", "/r"), ("DOCKER_CONFIG", "/d")], None);
        assert_eq!(all, ["/r/containers/auth.json", "/d/config.json"]);
    }

    #[test]
    fn policies_are_sealers_and_buildahs() {
        assert_eq!(pull_policy("true").unwrap(), PullPolicy::IfNewer);
        assert_eq!(pull_policy("false").unwrap(), PullPolicy::Missing);
        assert!(["sometimes", ""].iter().all(|text| pull_policy(text).is_err()));
    }
}
