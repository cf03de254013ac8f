//! Names of users and groups, as the files of a state know them: `etc/passwd` and `etc/group`, looked up inside the
//! tree (passwd(5), group(5)).
//!
//! The host's accounts are never asked. Of the two files a step gets the numbers of the names it asked for and nothing
//! else, so that whoever is added beside them changes no key.

use std::fmt;

use solver::{Account, Chown, ContentDigest, Owner};
use thiserror::Error;

use crate::contents::{ContentError, Contents};
use crate::state::{Found, State};
use crate::tree::{Entry, Node, TreeError, Trees};

/// Largest file looked at, in bytes: a thousand times that of a distribution.
const SIZE_LIMIT: u64 = 1 << 20;
/// Most names kept to suggest one.
const MOST_NAMES: usize = 500;

/// What a name names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountKind {
    /// Of `etc/passwd`.
    User,
    /// Of `etc/group`.
    Group,
}

impl AccountKind {
    fn path(self) -> &'static str {
        match self {
            Self::User => "etc/passwd",
            Self::Group => "etc/group",
        }
    }
}

impl fmt::Display for AccountKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Group => "group",
        })
    }
}

/// An owner whose numbers cannot be found.
#[derive(Debug, Error)]
pub enum AccountError {
    /// The file does not have the name.
    #[error("there is no {kind} `{name}` in `/{}` of the files below", .kind.path())]
    Unknown {
        /// What was looked for.
        kind: AccountKind,
        /// As written.
        name: String,
        /// Names that are there, in the order of the file.
        known: Vec<String>,
    },
    /// There is no such file, or it is not one.
    #[error("the {kind} `{name}` cannot be looked up: the files below have no `/{}`", .kind.path())]
    NoFile {
        /// What was looked for.
        kind: AccountKind,
        /// As written.
        name: String,
    },
    /// It is no list of accounts that anybody would have.
    #[error("the {kind} `{name}` cannot be looked up: `/{}` has {size} bytes, and more than {SIZE_LIMIT} are not read", .kind.path())]
    TooLarge {
        /// What was looked for.
        kind: AccountKind,
        /// As written.
        name: String,
        /// Its length in bytes.
        size: u64,
    },
    /// The file cannot be read.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A directory is missing.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// The numbers of an owner in a state.
///
/// # Errors
/// When a name of it is not there.
pub fn owner(
    chown: &Chown,
    state: &State,
    trees: &Trees<'_>,
    contents: &Contents<'_>,
) -> Result<Owner, AccountError> {
    if let Some(owner) = chown.numbers() {
        return Ok(owner);
    }
    let look_up = |kind, name: &str| find(kind, name, &read(kind, name, state, trees, contents)?);
    let user = match &chown.user {
        Account::Id(uid) => Owner { uid: *uid, gid: *uid },
        Account::Name(name) => look_up(AccountKind::User, name)?,
    };
    let gid = match &chown.group {
        None => user.gid,
        Some(Account::Id(gid)) => *gid,
        Some(Account::Name(name)) => look_up(AccountKind::Group, name)?.gid,
    };
    Ok(Owner { gid, ..user })
}

/// The bytes of a list of accounts; links are followed inside the state.
fn read(
    kind: AccountKind,
    name: &str,
    state: &State,
    trees: &Trees<'_>,
    contents: &Contents<'_>,
) -> Result<Vec<u8>, AccountError> {
    let resolved = state.resolve(trees, kind.path().as_bytes())?;
    let Found::Other(Entry { node: Node::File { content, size }, .. }) = resolved.found else {
        return Err(AccountError::NoFile { kind, name: name.to_owned() });
    };
    match size {
        0 => Ok(Vec::new()),
        1..=SIZE_LIMIT => Ok(bytes_of(&resolved.path, &content, state, trees, contents)?),
        size => Err(AccountError::TooLarge { kind, name: name.to_owned(), size }),
    }
}

fn bytes_of(
    path: &[u8],
    content: &ContentDigest,
    state: &State,
    trees: &Trees<'_>,
    contents: &Contents<'_>,
) -> Result<Vec<u8>, ContentError> {
    // It may have to be brought out of the layer of the delta it comes from.
    for delta in state.deltas.iter().rev() {
        let alone = State::of(vec![*delta]);
        match alone.look_up(trees, path)? {
            Found::Other(Entry { node: Node::File { content: found, .. }, .. }) if found == *content => {
                contents.provide_files(trees, delta, std::iter::once((*content, path)))?;
                break;
            }
            _ => {}
        }
    }
    contents.read(content, path, SIZE_LIMIT)
}

/// The first line of a name, as the C library takes it; lines that are none of an account do not count.
fn find(kind: AccountKind, name: &str, file: &[u8]) -> Result<Owner, AccountError> {
    let mut known = Vec::new();
    for line in file.split(|&byte| byte == b'\n') {
        let mut fields = line.split(|&byte| byte == b':');
        let (Some(named), Some(_password), Some(first)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let numbers = match kind {
            AccountKind::User => number(first).zip(fields.next().and_then(number)),
            AccountKind::Group => number(first).map(|gid| (gid, gid)),
        };
        let Some((uid, gid)) = numbers else { continue };
        if named == name.as_bytes() {
            return Ok(Owner { uid, gid });
        }
        if known.len() < MOST_NAMES && is_portable(named) {
            known.push(String::from_utf8_lossy(named).into_owned());
        }
    }
    Err(AccountError::Unknown { kind, name: name.to_owned(), known })
}

fn number(field: &[u8]) -> Option<u32> {
    let text = str::from_utf8(field).ok()?;
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A name that can be shown to people: the file is a stranger's.
fn is_portable(name: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'$');
    (1..=32).contains(&name.len()) && name.iter().all(is_plain)
}

#[cfg(test)]
#[path = "accounts_tests.rs"]
mod tests;
