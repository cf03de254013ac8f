//! `sealer login` and `sealer logout`

use std::io::Read;

use engine::Credentials;
use engine::registry::Credential;

use crate::args::{Global, Login, Logout};
use crate::interrupt::Interrupt;
use crate::report::{Failure, Page, Reporter};
use crate::{settings, ui};

/// Longest password read, in bytes.
const PASSWORD_LIMIT: u64 = 64 << 10;

/// Keeps name and password for a registry that lets them in.
pub(crate) fn login(args: &Login, global: &Global, reporter: &Reporter) -> Result<(), Failure> {
    let host = host_of(&args.host)?;
    let user = args
        .username
        .clone()
        .ok_or_else(|| Failure::usage("a user name is needed").hint("give it with `-u NAME`"))?;
    let password = password(args)?;
    if user.is_empty() || user.contains(':') || password.is_empty() {
        return Err(Failure::usage("name and password must not be empty, and a name has no `:`"));
    }
    if args.password.is_some() {
        reporter.warn(Page::warning(
            "password",
            "a password on the command line can be seen by others on this machine",
            "use `--password-stdin`",
        ));
    }
    let interrupt = Interrupt::listen()?;
    let registry = settings::registry(&args.registry, global, &interrupt.cancel)?;
    let told = Credential::Password { user: user.clone(), password: password.clone() };
    let fail = |error| Failure::registry(error, interrupt.signal());
    registry.greet_as(&host, told).map_err(fail)?;
    registry.credentials().keep(&host, &user, &password).map_err(fail)?;
    ui::data("Login Succeeded!");
    Ok(())
}

/// Forgets what is kept for a registry.
pub(crate) fn logout(args: &Logout) -> Result<(), Failure> {
    let credentials: Credentials = settings::credentials(args.authfile.as_deref());
    let fail = |error| Failure::registry(error, 0);
    let hosts = match &args.host {
        Some(host) => vec![host_of(host)?],
        None => credentials.known().map_err(fail)?,
    };
    for host in hosts {
        if credentials.forget(&host).map_err(fail)? {
            ui::data(&format!("Removed login credentials for {host}"));
        } else if args.host.is_some() {
            return Err(Failure::usage(format!("not logged into {host}")));
        }
    }
    Ok(())
}

fn password(args: &Login) -> Result<String, Failure> {
    if let Some(password) = &args.password {
        return Ok(password.clone());
    }
    if !args.password_stdin {
        return Err(Failure::usage("a password is needed")
            .hint("pipe it in: `sealer login -u NAME --password-stdin HOST`"));
    }
    let mut text = String::new();
    let read = std::io::stdin().lock().take(PASSWORD_LIMIT).read_to_string(&mut text);
    read.map_err(|error| Failure::usage(format!("the password cannot be read: {}", error.kind())))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// The host of what people type; a path says which part of a registry is meant, which is nothing here.
fn host_of(given: &str) -> Result<String, Failure> {
    let bare = given.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let is_host = !bare.is_empty()
        && bare.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']'));
    if is_host {
        Ok(bare.to_owned())
    } else {
        Err(Failure::usage(format!("`{given}` is not the host of a registry"))
            .hint("such as docker.io or 127.0.0.1:5000"))
    }
}
