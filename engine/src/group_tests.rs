//! The layer limit: few layers, the same files, and a change that stays in its group.

use cache::Store;

use super::*;
use crate::contents::content_digest;
use crate::tree::Meta;

fn member(trees: &Trees<'_>, name: &str, path: &[&str], byte: u8) -> Member {
    let mut root = OpenDir::root();
    let (last, dirs) = path.split_last().unwrap();
    let mut at = &mut root;
    for dir in dirs {
        at = at.dir(trees, dir.as_bytes(), &Meta::with_mode(0o755)).unwrap();
    }
    let node = Node::File { content: content_digest(&[byte]), size: 1 };
    at.put(trees, last.as_bytes(), Entry { meta: Meta::with_mode(0o644), node }).unwrap();
    Member { delta: root.finish(trees), name: name.into(), own_dir: None }
}

fn deltas(members: &[Member], group: &[usize]) -> Vec<TreeDigest> {
    group.iter().map(|member| members[*member].delta).collect()
}

fn with_trees(test: impl FnOnce(&Trees<'_>)) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    test(&Trees::new(&store));
}

fn apps(trees: &Trees<'_>, count: usize) -> Vec<Member> {
    let app = |n: usize| member(trees, &format!("a{n}"), &["apps", &format!("a{n}"), "f"], n as u8);
    (0..count).map(app).collect()
}

#[test]
fn few_members_keep_a_layer_each() {
    with_trees(|trees| {
        let groups = groups(trees, &apps(trees, 120), 120).unwrap();
        assert!(groups.iter().enumerate().all(|(n, group)| *group == [n]) && groups.len() == 120);
    });
}

#[test]
fn one_more_member_changes_one_group() {
    with_trees(|trees| {
        let deltas = |count| -> Vec<TreeDigest> {
            let members = apps(trees, count);
            let groups = groups(trees, &members, 120).unwrap();
            assert!((33..=120).contains(&groups.len()), "{} groups", groups.len());
            groups.iter().map(|group| merged(trees, &deltas(&members, group)).unwrap()).collect()
        };
        let (before, after) = (deltas(1000), deltas(1001));
        assert_eq!(after.iter().filter(|delta| !before.contains(delta)).count(), 1);
    });
}

#[test]
fn members_that_overwrite_each_other_keep_their_order() {
    with_trees(|trees| {
        let members: Vec<Member> = (0..200)
            .map(|n| member(trees, &format!("m{n}"), &["d", &format!("f{}", n % 7)], n as u8))
            .collect();
        let groups = groups(trees, &members, 20).unwrap();
        assert!(groups.len() <= 20);
        let fold = |deltas: Vec<TreeDigest>| {
            let mut root = OpenDir::root();
            deltas.iter().for_each(|delta| _ = root.add_all(trees, delta).unwrap());
            root.finish(trees)
        };
        let grouped = groups.iter().map(|group| merged(trees, &deltas(&members, group)).unwrap()).collect();
        assert_eq!(fold(grouped), fold(members.iter().map(|member| member.delta).collect()));
    });
}

#[test]
fn a_directory_of_ones_own_is_as_good_as_a_look_at_what_is_in_it() {
    with_trees(|trees| {
        let mut members = apps(trees, 300);
        // Files beside the apps, in one of them, and where one of them should be.
        members.insert(40, member(trees, "beside", &["apps", "beside"], 1));
        members.insert(90, member(trees, "in", &["apps", "a3", "more"], 1));
        members.insert(160, member(trees, "instead", &["apps", "a200"], 1));
        let walked = groups(trees, &members, 60).unwrap();
        for member in members.iter_mut().filter(|member| member.name.starts_with('a')) {
            member.own_dir = Some(format!("apps/{}", member.name).into_bytes());
        }
        let claimed = groups(trees, &members, 60).unwrap();
        let order = |groups: &Groups, first: &str, second: &str| {
            let place = |name: &str| {
                let number = members.iter().position(|member| member.name == name).unwrap();
                groups.iter().position(|group| group.contains(&number)).unwrap()
            };
            place(first) < place(second)
        };
        for groups in [&walked, &claimed] {
            assert!(groups.len() <= 60);
            assert!(order(groups, "a3", "in") && order(groups, "instead", "a200"));
        }
    });
}
