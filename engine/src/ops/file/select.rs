//! What is copied: the matches of a pattern in an input, without what is left out.

use solver::LocalSource;

use super::{FileError, lossy};
use crate::ignore::{IgnoreRules, Matched};
use crate::ops::Input;
use crate::pattern::Pattern;
use crate::state::{Found, State};
use crate::tree::{Directory, Entry, Meta, Node, TreeError, Trees, components, push_name};

/// In a pattern of `--parents`: what stands before it selects, and is not copied.
const PIVOT: &str = "/./";

/// Matches of a pattern in an input, by path. With `--parents` a link that leads nowhere is itself what is copied.
pub(super) fn select(
    trees: &Trees<'_>,
    input: &Input,
    text: &str,
    parents: bool,
) -> Result<Vec<(Vec<u8>, Entry)>, FileError> {
    let (state, clean) = (state_of(input), !matches!(input, Input::State(_)));
    let pattern = Pattern::new(&text.replacen(PIVOT, "/", 1))?;
    let not_found = || FileError::NotFound { pattern: LocalSource::shown(text).into_owned() };
    let resolve = |path: &[u8]| -> Result<Found, FileError> {
        let resolved = state.resolve(trees, path)?;
        if resolved.is_loop() {
            return Err(FileError::LinkLoop { path: lossy(path) });
        }
        Ok(resolved.found)
    };
    let whole = |found| -> Result<Option<Entry>, FileError> {
        Ok(match found {
            Found::Absent => None,
            Found::Other(entry) => Some(entry),
            Found::Dir { meta, parts } if clean => Some(Entry { meta, node: Node::Dir(parts[0]) }),
            Found::Dir { meta, parts } => {
                Some(Entry { meta, node: Node::Dir(State::merged(trees, &parts)?) })
            }
        })
    };
    if pattern.is_literal() {
        let path = components(text.as_bytes()).collect::<Vec<_>>().join(&b'/');
        if let Some(entry) = whole(resolve(text.as_bytes())?)? {
            return Ok(vec![(path, entry)]);
        }
        return Err(match state.look_up(trees, &path)? {
            Found::Other(Entry { node: Node::Symlink(target), .. }) => {
                FileError::Dangling { pattern: text.to_owned(), target: lossy(&target) }
            }
            _ => not_found(),
        });
    }
    let mut matches = Vec::new();
    collect(trees, &state, &pattern, &mut Vec::new(), &mut matches)?;
    let entries = matches.into_iter().filter_map(|(path, found)| {
        let found = match found {
            Found::Other(Entry { node: Node::Symlink(ref target), .. }) => match resolve(&path) {
                Ok(Found::Absent) if !parents => {
                    let (pattern, target) = (lossy(&path), lossy(target));
                    return Some(Err(FileError::Dangling { pattern, target }));
                }
                Ok(Found::Absent) => found,
                Ok(found) => found,
                Err(error) => return Some(Err(error)),
            },
            found => found,
        };
        whole(found).transpose().map(|entry| entry.map(|entry| (path, entry)))
    });
    let entries: Vec<_> = entries.collect::<Result<_, FileError>>()?;
    if entries.is_empty() { Err(not_found()) } else { Ok(entries) }
}

/// An input as a state.
fn state_of(input: &Input) -> State {
    match input {
        Input::Tree(tree) | Input::Download(tree) => State::of(vec![*tree]),
        Input::State(state) => state.clone(),
    }
}

/// Headers of the directories above a match, from the top; one that is reached through a link is plain.
pub(super) fn headers_above(trees: &Trees<'_>, input: &Input, path: &[u8]) -> Result<Vec<Meta>, FileError> {
    let state = state_of(input);
    let (mut above, mut headers) = (Vec::new(), Vec::new());
    let names: Vec<&[u8]> = components(path).collect();
    for name in names.iter().take(names.len().saturating_sub(1)) {
        push_name(&mut above, name);
        headers.push(match state.look_up(trees, &above)? {
            Found::Dir { meta, .. } => meta,
            Found::Absent | Found::Other(_) => Meta::with_mode(0o755),
        });
    }
    Ok(headers)
}

/// How many directories of a match a pattern leaves behind: those before the pivot.
pub(super) fn pivot(pattern: &str) -> usize {
    pattern.find(PIVOT).map_or(0, |at| components(&pattern.as_bytes()[..at]).count())
}

fn collect(
    trees: &Trees<'_>,
    state: &State,
    pattern: &Pattern,
    path: &mut Vec<u8>,
    matches: &mut Vec<(Vec<u8>, Found)>,
) -> Result<(), FileError> {
    let Found::Dir { parts, .. } = state.look_up(trees, path)? else { return Ok(()) };
    for (name, found) in State::list(trees, &parts)? {
        let length = path.len();
        push_name(path, &name);
        if pattern.matches(path) {
            matches.push((path.clone(), found));
        } else if matches!(found, Found::Dir { .. }) && pattern.could_match_below(path) {
            collect(trees, state, pattern, path, matches)?;
        }
        path.truncate(length);
    }
    Ok(())
}

/// An entry at a path without what the rules leave out; `None` if that is all of it. A directory at the path `""` stays.
pub(super) fn kept(
    trees: &Trees<'_>,
    entry: &Entry,
    rules: &IgnoreRules,
    path: &[u8],
) -> Result<Option<Entry>, TreeError> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let above = slashes.fold(Matched::default(), |above, (at, _)| rules.enter(&above, &path[..at]));
    kept_in(trees, entry, rules, &above, &mut path.to_vec())
}

fn kept_in(
    trees: &Trees<'_>,
    entry: &Entry,
    rules: &IgnoreRules,
    above: &Matched,
    path: &mut Vec<u8>,
) -> Result<Option<Entry>, TreeError> {
    let is_left_out = !path.is_empty() && rules.is_ignored_in(above, path);
    let Node::Dir(tree) = &entry.node else { return Ok((!is_left_out).then(|| entry.clone())) };
    let matched = rules.enter(above, path);
    if is_left_out && rules.can_prune_in(&matched, path) {
        return Ok(None);
    }
    let mut left = Directory::default();
    for (name, entry) in trees.load(tree)?.entries.iter() {
        let length = path.len();
        push_name(path, name);
        if let Some(entry) = kept_in(trees, entry, rules, &matched, path)? {
            left.entries.insert(name, entry);
        }
        path.truncate(length);
    }
    let is_left = !is_left_out || !left.entries.is_empty();
    Ok(is_left.then(|| Entry { meta: entry.meta.clone(), node: Node::Dir(trees.add(left)) }))
}
