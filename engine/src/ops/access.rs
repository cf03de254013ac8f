//! Owner and mode of what is copied.

use solver::{Chmod, Class, ModeChange, ModeOperator, Owner, Permission, Permissions, TreeDigest};

use crate::tree::{Directory, Entry, Meta, Node, TreeError, Trees};

/// Permission bits with set-user-id, set-group-id and sticky.
const MODE_BITS: u32 = 0o7777;
/// Everybody's right to execute.
const EXECUTE: u32 = 0o111;
/// Set-user-id and set-group-id.
const SET_IDS: u32 = 0o6000;
const STICKY: u32 = 0o1000;

/// An entry with everything below it, with another owner or mode. Links have no mode of their own.
///
/// # Errors
/// If a directory is missing.
pub fn restyle_entry(
    trees: &Trees<'_>,
    entry: &Entry,
    owner: Option<Owner>,
    chmod: Option<&Chmod>,
) -> Result<Entry, TreeError> {
    let mut entry = entry.clone();
    let is_dir = matches!(entry.node, Node::Dir(_));
    restyle_meta(&mut entry.meta, owner, chmod.filter(|_| !matches!(entry.node, Node::Symlink(_))), is_dir);
    if let Node::Dir(child) = &entry.node {
        entry.node = Node::Dir(restyle(trees, child, owner, chmod)?);
    }
    Ok(entry)
}

/// A header with another owner or mode.
pub(super) fn restyle_meta(meta: &mut Meta, owner: Option<Owner>, chmod: Option<&Chmod>, is_dir: bool) {
    if let Some(Owner { uid, gid }) = owner {
        (meta.uid, meta.gid) = (uid, gid);
    }
    if let Some(chmod) = chmod {
        meta.mode = mode(chmod, meta.mode, is_dir);
    }
}

/// A tree with another owner or mode everywhere; itself where neither is asked for.
///
/// # Errors
/// If a directory is missing.
pub fn restyle(
    trees: &Trees<'_>,
    tree: &TreeDigest,
    owner: Option<Owner>,
    chmod: Option<&Chmod>,
) -> Result<TreeDigest, TreeError> {
    if owner.is_none() && chmod.is_none() {
        return Ok(*tree);
    }
    let mut styled = Directory::default();
    for (name, entry) in trees.load(tree)?.entries.iter() {
        styled.entries.insert(name, restyle_entry(trees, entry, owner, chmod)?);
    }
    Ok(trees.add(styled))
}

/// The mode something gets.
fn mode(chmod: &Chmod, before: u32, is_dir: bool) -> u32 {
    match chmod {
        Chmod::Bits(bits) => *bits,
        Chmod::Changes(changes) => {
            changes.iter().fold(before & MODE_BITS, |mode, change| changed(change, mode, is_dir))
        }
    }
}

/// POSIX, chmod, with what GNU's adds: the set-id bits of a directory stay unless they are named.
fn changed(change: &ModeChange, mode: u32, is_dir: bool) -> u32 {
    let reach = change.classes.iter().fold(0, |bits, class| bits | reach(*class));
    let named = match &change.permissions {
        Permissions::Of(permissions) => {
            permissions.iter().fold(0, |bits, permission| bits | bits_of(*permission, mode, is_dir))
        }
        Permissions::Like(class) => {
            // The three bits of one class, for all of them.
            let bits = mode >> shift(*class) & 0o7;
            bits << 6 | bits << 3 | bits
        }
    };
    let bits = named & reach;
    match change.operator {
        ModeOperator::Add => mode | bits,
        ModeOperator::Remove => mode & !bits,
        ModeOperator::Set => {
            let kept = if is_dir { SET_IDS & !bits } else { 0 };
            mode & (!reach | kept) | bits
        }
    }
}

fn bits_of(permission: Permission, mode: u32, is_dir: bool) -> u32 {
    match permission {
        Permission::Read => 0o444,
        Permission::Write => 0o222,
        Permission::Execute => EXECUTE,
        Permission::Search if is_dir || mode & EXECUTE != 0 => EXECUTE,
        Permission::Search => 0,
        Permission::SetId => SET_IDS,
        Permission::Sticky => STICKY,
    }
}

/// All bits a class has a say in.
fn reach(class: Class) -> u32 {
    match class {
        Class::User => 0o4700,
        Class::Group => 0o2070,
        Class::Other => 0o1007,
    }
}

fn shift(class: Class) -> u32 {
    match class {
        Class::User => 6,
        Class::Group => 3,
        Class::Other => 0,
    }
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
