//! The text of a key: the same walk that makes a content key, told in words, so that the two cannot disagree.

use serde::{Deserialize, Serialize};

use crate::key::{Walk, walk_content};
use crate::{ContentRead, Op};

/// Longest value kept as it is, in bytes; longer ones are told by their hash.
const LONGEST: usize = 120;

/// One thing that decides a step's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFact {
    /// What it is: an argument's name, or an input or a destination with its path.
    pub name: String,
    /// Its value; empty for a destination where nothing stands.
    pub value: String,
}

/// Where two lists of facts part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What differs.
    pub name: String,
    /// Its value before; `None` if it is new.
    pub before: Option<String>,
    /// Its value now; `None` if it is gone.
    pub after: Option<String>,
}

/// Everything that decides what a step makes of its inputs, in the order of its content key.
pub fn key_facts(op: &Op, reads: &[ContentRead]) -> Vec<KeyFact> {
    let mut facts = Facts::default();
    walk_content(op, reads, &mut facts);
    facts.facts
}

/// The first thing that differs; `None` if nothing does.
pub fn first_difference(before: &[KeyFact], after: &[KeyFact]) -> Option<Difference> {
    let place = before.iter().zip(after).take_while(|(before, after)| before == after).count();
    let (old, new) = (before.get(place), after.get(place));
    let has = |facts: &[KeyFact], name: &str| facts[place..].iter().any(|fact| fact.name == name);
    let (old, new) = match (old, new) {
        // Either `old` was taken out before `new`, which was there before, or `new` was put in.
        (Some(old), Some(new)) if old.name != new.name => match has(before, &new.name) {
            true => (Some(old), None),
            false => (None, Some(new)),
        },
        both => both,
    };
    let value = |fact: &KeyFact| fact.value.clone();
    Some(Difference { name: old.or(new)?.name.clone(), before: old.map(value), after: new.map(value) })
}

#[derive(Debug, Default)]
struct Facts {
    facts: Vec<KeyFact>,
    at: At,
}

/// What the walk is about.
#[derive(Debug, Default)]
enum At {
    /// The op's own parameters.
    #[default]
    Arguments,
    /// A match of a source.
    Input(String),
    /// What stands where the step lands.
    Destination,
}

impl Facts {
    fn push(&mut self, name: String, value: String) {
        self.facts.push(KeyFact { name, value });
    }

    /// One more word about the destination that was named last.
    fn extend(&mut self, word: &str) {
        if let Some(fact) = self.facts.last_mut() {
            if !fact.value.is_empty() {
                fact.value.push(' ');
            }
            fact.value.push_str(word);
        }
    }
}

impl Walk for Facts {
    fn bytes(&mut self, name: &'static str, value: &[u8]) {
        let text = || String::from_utf8_lossy(value).into_owned();
        match (name, &self.at) {
            ("destination fact", _) => {
                self.push(format!("destination `/{}`", text()), String::new());
                self.at = At::Destination;
            }
            ("path", At::Input(_)) => self.at = At::Input(text()),
            ("digest", At::Input(path)) => {
                let name = format!("input `{path}`");
                self.push(name, hex::encode(value));
            }
            ("target", At::Destination) if value.is_empty() => {}
            ("attributes", At::Destination) => self.extend(&format!("attributes={}", hash(value))),
            (_, At::Destination) => self.extend(&format!("-> {}", text())),
            // What a text holds may be nobody else's business.
            ("content", _) => self.push(name.to_owned(), hash(value)),
            _ if value.len() > LONGEST => self.push(name.to_owned(), hash(value)),
            _ => self.push(name.to_owned(), text()),
        }
    }

    fn number(&mut self, name: &'static str, value: u64) {
        match (name, &self.at) {
            ("source", _) => self.at = At::Input(String::new()),
            ("uid found" | "gid found", _) => self.push(name.to_owned(), value.to_string()),
            ("kind", At::Destination) => {
                let kind = match u32::try_from(value).ok().and_then(char::from_u32) {
                    Some('d') => "directory",
                    Some('f') => "file",
                    Some('l') => "link",
                    _ => "device",
                };
                self.extend(kind);
            }
            ("mode", At::Destination) => self.extend(&format!("{value:04o}")),
            (name, At::Destination) => self.extend(&format!("{name}={value}")),
            ("chmod", _) => self.push(name.to_owned(), format!("{value:o}")),
            _ => self.push(name.to_owned(), value.to_string()),
        }
    }
}

fn hash(value: &[u8]) -> String {
    blake3::hash(value).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Account, Chmod, Chown, CopySource, DestinationFact, FileOp, Header, Owner, Unpack, content_key,
    };

    fn op(destination: &str, chmod: Option<u32>) -> Op {
        Op::File(
            FileOp {
                below: true,
                sources: vec![CopySource::Input { input: 1, pattern: "a".into() }],
                destination: destination.into(),
                chown: None,
                chmod: chmod.map(Chmod::Bits),
                exclude: Vec::new(),
                parents: false,
                unpack: Unpack::Nothing,
            }
            .into(),
        )
    }

    fn input(path: &str, digest: u8) -> ContentRead {
        ContentRead::Subtree { source: 0, path: path.into(), digest: [digest; 32], unpack: false }
    }

    fn destination(mode: Option<u32>) -> ContentRead {
        let header = mode.map(|mode| Header {
            kind: 'd',
            mode,
            uid: 0,
            gid: 0,
            target: Vec::new(),
            others: Vec::new(),
        });
        ContentRead::Destination(DestinationFact { path: b"etc".to_vec(), header })
    }

    fn difference(before: (&Op, &[ContentRead]), after: (&Op, &[ContentRead])) -> String {
        let difference = first_difference(&key_facts(before.0, before.1), &key_facts(after.0, after.1));
        difference.map_or_else(
            || "none".to_owned(),
            |d| {
                let side = |side: Option<String>| side.unwrap_or_else(|| "-".into());
                format!("{}: {} => {}", d.name, side(d.before), side(d.after))
            },
        )
    }

    #[test]
    fn the_first_difference_is_named() {
        let (plain, other, mode) = (op("/etc/", None), op("/opt/", None), op("/etc/", Some(0o640)));
        let reads = [input("a", 1), destination(Some(0o755))];
        for (before, after, said) in [
            ((&plain, &reads[..]), (&plain, &reads[..]), "none".to_owned()),
            ((&plain, &reads), (&other, &reads), "destination: /etc/ => /opt/".to_owned()),
            ((&plain, &reads), (&mode, &reads), "chmod: - => 640".to_owned()),
            ((&mode, &reads), (&plain, &reads), "chmod: 640 => -".to_owned()),
            (
                (&plain, &reads),
                (&plain, &[input("a", 2), destination(Some(0o755))]),
                format!("input `a`: {} => {}", "01".repeat(32), "02".repeat(32)),
            ),
            (
                (&plain, &reads),
                (&plain, &[input("a", 1), destination(None)]),
                "destination `/etc`: directory 0755 uid=0 gid=0 => ".to_owned(),
            ),
            (
                (&plain, &reads),
                (&plain, &[input("a", 1), input("b", 3), destination(Some(0o755))]),
                format!("input `b`: - => {}", "03".repeat(32)),
            ),
        ] {
            assert_eq!(difference(before, after), said);
        }
    }

    #[test]
    fn an_owner_by_name_is_told_with_what_was_found() {
        let Op::File(plain) = op("/etc/", None) else { unreachable!() };
        let chown = Some(Chown { user: Account::Name("app".into()), group: None });
        let owned = Op::File(FileOp { chown, ..*plain }.into());
        let found = |gid| [ContentRead::Owner(Owner { uid: 7, gid }), input("a", 1)];
        assert_eq!(difference((&owned, &found(8)), (&owned, &found(9))), "gid found: 8 => 9");
        assert_eq!(difference((&op("/etc/", None), &[]), (&owned, &found(8))), "user: - => app");
    }

    #[test]
    fn facts_differ_exactly_where_keys_do() {
        let ops = [op("/etc/", None), op("/opt/", None), op("/etc/", Some(0o640))];
        let owner = |uid| ContentRead::Owner(Owner { uid, gid: 1 });
        let reads = [
            vec![owner(1), input("a", 1)],
            vec![owner(2), input("a", 1)],
            vec![input("a", 1)],
            vec![input("a", 2)],
            vec![input("b", 1)],
            vec![input("a", 1), destination(None)],
            vec![input("a", 1), destination(Some(0o700))],
        ];
        let all: Vec<_> = ops.iter().flat_map(|op| reads.iter().map(move |reads| (op, reads))).collect();
        for (n, (op, reads)) in all.iter().enumerate() {
            for (m, (other, theirs)) in all.iter().enumerate() {
                let same_key = content_key(op, reads) == content_key(other, theirs);
                let same_facts = key_facts(op, reads) == key_facts(other, theirs);
                assert_eq!((same_key, same_facts), (n == m, n == m), "{n} {m}");
            }
        }
    }
}
