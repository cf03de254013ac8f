//! The values of --chown and --chmod.

use std::collections::BTreeSet;

use solver::{Account, Chmod, Chown, Class, ModeChange, ModeOperator, Permission, Permissions};

/// Permission bits with set-user-id, set-group-id and sticky.
const MODE_BITS: u32 = 0o7777;

/// `USER[:GROUP]`, each a name or a number.
pub(super) fn owner(text: &str) -> Option<Chown> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let group = match group {
        Some(group) => Some(account(group)?),
        None => None,
    };
    Some(Chown { user: account(user)?, group })
}

/// Digits alone are a number, as in Docker, whatever passwd has. A colon or a line end cannot stand in a name there.
fn account(text: &str) -> Option<Account> {
    if text.chars().all(|c| c.is_ascii_digit()) {
        return text.parse().ok().map(Account::Id);
    }
    (!text.contains([':', '\n', '\0'])).then(|| Account::Name(text.to_owned()))
}

/// An octal mode, or symbolic changes with commas between.
pub(super) fn mode(text: &str) -> Option<Chmod> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        let bits = u32::from_str_radix(text, 8).ok()?;
        return (bits <= MODE_BITS).then_some(Chmod::Bits(bits));
    }
    let mut changes = Vec::new();
    for clause in text.split(',') {
        changes_of(clause, &mut changes)?;
    }
    Some(Chmod::Changes(changes))
}

/// `[ugoa]*([+-=]([rwxXst]*|[ugo]))+`: one clause, with one change an operator.
fn changes_of(clause: &str, changes: &mut Vec<ModeChange>) -> Option<()> {
    let (who, mut rest) = clause.split_at(clause.find(['+', '-', '='])?);
    let mut classes = BTreeSet::new();
    for letter in who.chars() {
        match class(letter) {
            Some(class) => _ = classes.insert(class),
            None if letter == 'a' => classes.extend([Class::User, Class::Group, Class::Other]),
            None => return None,
        }
    }
    if classes.is_empty() {
        classes.extend([Class::User, Class::Group, Class::Other]);
    }
    while let Some(sign) = rest.chars().next() {
        let operator = match sign {
            '+' => ModeOperator::Add,
            '-' => ModeOperator::Remove,
            _ => ModeOperator::Set,
        };
        let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |next| next + 1);
        let permissions = permissions(&rest[1..end])?;
        changes.push(ModeChange { classes: classes.clone(), operator, permissions });
        rest = &rest[end..];
    }
    Some(())
}

fn permissions(letters: &str) -> Option<Permissions> {
    let mut all = letters.chars();
    if let (Some(class), None) = (all.next().and_then(class), all.next()) {
        return Some(Permissions::Like(class));
    }
    let permission = |letter| {
        Some(match letter {
            'r' => Permission::Read,
            'w' => Permission::Write,
            'x' => Permission::Execute,
            'X' => Permission::Search,
            's' => Permission::SetId,
            't' => Permission::Sticky,
            _ => return None,
        })
    };
    letters.chars().map(permission).collect::<Option<_>>().map(Permissions::Of)
}

fn class(letter: char) -> Option<Class> {
    Some(match letter {
        'u' => Class::User,
        'g' => Class::Group,
        'o' => Class::Other,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_names_and_numbers() {
        let name = |text: &str| Account::Name(text.into());
        for (text, user, group) in [
            ("7", Account::Id(7), None),
            ("7:8", Account::Id(7), Some(Account::Id(8))),
            ("app", name("app"), None),
            ("app:7", name("app"), Some(Account::Id(7))),
            ("7:app", Account::Id(7), Some(name("app"))),
            ("a-b_c.d$:0x1", name("a-b_c.d$"), Some(name("0x1"))),
            ("-1", name("-1"), None),
        ] {
            assert_eq!(owner(text), Some(Chown { user, group }), "{text}");
        }
        for text in ["", ":", "a:", ":a", "1:2:3", "a:b:c", "4294967296", "a\nb"] {
            assert_eq!(owner(text), None, "{text:?}");
        }
    }

    #[test]
    fn modes_are_octal_or_symbolic() {
        for (text, written) in [
            ("0755", "755"),
            ("7777", "7777"),
            ("0", "0"),
            ("u+x", "u+x"),
            ("+x", "ugo+x"),
            ("a=rX", "ugo=rX"),
            ("go-w,a+r", "go-w,ugo+r"),
            ("u=rwX,go=rX", "u=rwX,go=rX"),
            ("u=g", "u=g"),
            ("u=", "u="),
            ("ou+xr-w=o", "uo+rx,uo-w,uo=o"),
            ("g+s,+t", "g+s,ugo+t"),
            ("=", "ugo="),
        ] {
            assert_eq!(mode(text).map(|mode| mode.to_string()).as_deref(), Some(written), "{text}");
        }
        for text in [
            "", "8", "10000", "u", "ux", "z+x", "u+z", "u+x,", ",u+x", "u+gw", "u+uu", "+x y", "0x1ff", "u+é",
        ] {
            assert_eq!(mode(text), None, "{text:?}");
        }
    }
}
