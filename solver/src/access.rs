//! Who owns copied files and what may be done with them, as a text can ask for it before any tree is looked at.
//!
//! Names of users and groups stay names here: what they stand for is a fact of the state a step lands on.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Numeric owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// A user or a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// By its number.
    Id(u32),
    /// By its name.
    Name(String),
}

/// The owner copied files get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chown {
    /// The user.
    pub user: Account,
    /// The group. Without one it is the user's number, or the primary group of the user's name, as in Docker.
    pub group: Option<Account>,
}

impl Chown {
    /// The owner, if nothing has to be looked up for it.
    pub fn numbers(&self) -> Option<Owner> {
        match (&self.user, &self.group) {
            (Account::Id(uid), None) => Some(Owner { uid: *uid, gid: *uid }),
            (Account::Id(uid), Some(Account::Id(gid))) => Some(Owner { uid: *uid, gid: *gid }),
            _ => None,
        }
    }
}

/// The permission bits copied files and directories get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chmod {
    /// These, whatever they had.
    Bits(u32),
    /// What they had, changed step by step (POSIX, chmod, symbolic modes). Without a class a change is for all: there
    /// is no umask.
    Changes(Vec<ModeChange>),
}

/// One change of a mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModeChange {
    /// Whose bits change; never empty.
    pub classes: BTreeSet<Class>,
    /// How.
    pub operator: ModeOperator,
    /// Which.
    pub permissions: Permissions,
}

/// Classes of users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// `u`
    User,
    /// `g`
    Group,
    /// `o`
    Other,
}

/// What a change does with permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ModeOperator {
    /// `+`
    Add,
    /// `-`
    Remove,
    /// `=`
    Set,
}

/// The permissions of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permissions {
    /// Those named.
    Of(BTreeSet<Permission>),
    /// Those a class has at that moment.
    Like(Class),
}

/// One permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// `r`
    Read,
    /// `w`
    Write,
    /// `x`
    Execute,
    /// `X`: execute, for directories and for what somebody may execute already.
    Search,
    /// `s`: set-user-id for the user, set-group-id for the group.
    SetId,
    /// `t`: sticky.
    Sticky,
}

impl Class {
    fn letter(self) -> char {
        match self {
            Self::User => 'u',
            Self::Group => 'g',
            Self::Other => 'o',
        }
    }
}

impl fmt::Display for Chmod {
    /// As it can be written; two modes that differ are written differently.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bits(bits) => write!(f, "{bits:o}"),
            Self::Changes(changes) => {
                for (number, change) in changes.iter().enumerate() {
                    let comma = if number == 0 { "" } else { "," };
                    write!(f, "{comma}{change}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for ModeChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text: String = self.classes.iter().map(|class| class.letter()).collect();
        text.push(match self.operator {
            ModeOperator::Add => '+',
            ModeOperator::Remove => '-',
            ModeOperator::Set => '=',
        });
        match &self.permissions {
            Permissions::Like(class) => text.push(class.letter()),
            Permissions::Of(permissions) => {
                text.extend(permissions.iter().map(|permission| match permission {
                    Permission::Read => 'r',
                    Permission::Write => 'w',
                    Permission::Execute => 'x',
                    Permission::Search => 'X',
                    Permission::SetId => 's',
                    Permission::Sticky => 't',
                }))
            }
        }
        f.write_str(&text)
    }
}
