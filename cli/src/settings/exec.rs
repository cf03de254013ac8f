//! What commands are run with: secrets, agents, proxies, the runtime.

use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use engine::{ExecOptions, Secret};

use crate::args::Build;
use crate::report::Failure;

/// Largest secret, in bytes, as in BuildKit.
const SECRET_LIMIT: u64 = 500 << 10;
/// Variables that reach commands whatever the Kubefile says, and decide nothing.
const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];
/// The one thing that can be allowed.
const INSECURE: &str = "security.insecure";

/// The settings of commands.
pub(crate) fn exec(args: &Build, build_args: &BTreeMap<String, String>) -> Result<ExecOptions, Failure> {
    let is_proxy = |name: &str| PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name));
    let mut agents = BTreeMap::new();
    for text in &args.ssh {
        let (id, socket) = agent(text)?;
        agents.insert(id, socket);
    }
    let timeout = args.run_timeout.as_deref().map(|text| {
        humantime::parse_duration(text).map_err(|error| {
            Failure::usage(format!("`--run-timeout {text}` is no duration: {error}")).hint("write 90s or 10m")
        })
    });
    Ok(ExecOptions {
        secrets: args.secret.iter().map(|text| secret(text)).collect::<Result<_, _>>()?,
        agents,
        proxies: build_args
            .iter()
            .filter(|(name, _)| is_proxy(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        runtime: args.runtime.as_deref().map(runtime).transpose()?,
        timeout: timeout.transpose()?,
    })
}

/// Whether commands may ask for all rights of root.
pub(crate) fn allows_insecure(given: &[String]) -> Result<bool, Failure> {
    match given.iter().find(|what| *what != INSECURE) {
        Some(other) => Err(Failure::usage(format!("`--allow {other}` is unknown"))
            .hint(format!("what can be allowed is `{INSECURE}`"))),
        None => Ok(!given.is_empty()),
    }
}

/// `id=ID[,src=FILE|,env=NAME]`; with neither, the variable or else the file called like the secret, as in BuildKit.
#[expect(clippy::disallowed_methods, reason = "this directory is where the environment is read")]
fn secret(text: &str) -> Result<(String, Secret), Failure> {
    let usage = || {
        Failure::usage(format!("`--secret {}` is not understood", text.split(',').next().unwrap_or_default()))
            .hint("write `--secret id=ID,src=FILE` or `--secret id=ID,env=NAME`")
    };
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for part in text.split(',') {
        let (name, value) = part.split_once('=').ok_or_else(usage)?;
        match name {
            "id" => id = Some(value.to_owned()),
            "src" | "source" => file = Some(PathBuf::from(value)),
            "env" => variable = Some(value.to_owned()),
            "type" => kind = Some(value.to_owned()),
            _ => return Err(usage()),
        }
    }
    let id = id.filter(|id| !id.is_empty()).ok_or_else(usage)?;
    match kind.as_deref() {
        None | Some("file") => {}
        Some("env") => variable = variable.or_else(|| file.take()?.into_os_string().into_string().ok()),
        Some(_) => return Err(usage()),
    }
    let of_variable = |name: &str| std::env::var_os(name).map(std::os::unix::ffi::OsStringExt::into_vec);
    let bytes = match (file, variable) {
        (Some(_), Some(_)) => return Err(usage()),
        (Some(file), None) => read(&id, &file)?,
        (None, Some(name)) => of_variable(&name)
            .ok_or_else(|| Failure::usage(format!("secret `{id}`: the variable `{name}` is not set")))?,
        (None, None) => match of_variable(&id) {
            Some(bytes) => bytes,
            None => read(&id, Path::new(&id))?,
        },
    };
    Ok((id, Secret::new(bytes)))
}

fn read(id: &str, file: &Path) -> Result<Vec<u8>, Failure> {
    let fail = |error: std::io::Error| Failure::usage(format!("secret `{id}` cannot be read: {error}"));
    if fs_err::metadata(file).map_err(fail)?.len() > SECRET_LIMIT {
        return Err(Failure::usage(format!("secret `{id}` is larger than {SECRET_LIMIT} bytes")));
    }
    fs_err::read(file).map_err(fail)
}

/// `ID[=SOCKET]`; without a socket, the agent of this session.
#[expect(clippy::disallowed_methods, reason = "this directory is where the environment is read")]
fn agent(text: &str) -> Result<(String, PathBuf), Failure> {
    let (id, socket) = match text.split_once('=') {
        Some((id, socket)) => (id, PathBuf::from(socket)),
        None => {
            let socket = std::env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty());
            let missing = || {
                Failure::usage(format!(
                    "`--ssh {text}` means the SSH agent of this session, and there is none"
                ))
                .hint("start one with `eval $(ssh-agent)`, or name its socket: `--ssh default=SOCKET`")
            };
            (text, PathBuf::from(socket.ok_or_else(missing)?))
        }
    };
    match fs_err::metadata(&socket) {
        Ok(found) if found.file_type().is_socket() => {
            let socket = fs_err::canonicalize(socket)
                .map_err(|error| Failure::usage(format!("SSH agent `{id}`: {error}")))?;
            Ok((id.to_owned(), socket))
        }
        Ok(_) => Err(Failure::usage(format!("SSH agent `{id}`: `{}` is no socket", socket.display()))
            .hint("keys are given to an agent with `ssh-add`; a command is handed the agent, not the key")),
        Err(error) => Err(Failure::usage(format!("SSH agent `{id}`: {error}"))),
    }
}

/// A path, or a program to look for where programs are.
#[expect(clippy::disallowed_methods, reason = "this directory is where the environment is read")]
fn runtime(given: &Path) -> Result<PathBuf, Failure> {
    let missing = || {
        Failure::usage(format!("the runtime `{}` is not there", given.display()))
            .hint("install it, or leave `--runtime` out: a runtime is built in")
    };
    if given.components().count() > 1 {
        return fs_err::canonicalize(given).map_err(|_| missing());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Where runtimes are, and users' searches do not always go.
    let more = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let mut dirs = std::env::split_paths(&path).chain(more);
    dirs.find_map(|dir| Some(dir.join(given)).filter(|program| program.is_file())).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_where_they_are_said_to_be() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        fs_err::write(&file, "hunter2").unwrap();
        let src = format!("id=a,src={}", file.display());
        assert_eq!(secret(&src).unwrap().0, "a");
        let faulty = ["a", "id=", "id=a,src=/no/such", "id=a,env=NO_SUCH_VARIABLE", "id=a,src=x,env=y"];
        assert!(faulty.iter().all(|text| secret(text).is_err()));
    }
}
