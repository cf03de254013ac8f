//! Names looked up in small states.

use cache::Store;

use super::*;
use crate::contents::Location;
use crate::contents::content_digest;
use crate::delta::OpenDir;
use crate::tree::Meta;

const PASSWD: &str = "# users\nroot:x:0:0:root:/root:/bin/sh\nnobody\nbad:x:-1:7::/:\nworse:x:1:::/:\nfull:x:1:99999999999::/:\n\
     app:x:1000:1001::/home/app:/bin/sh\napp:x:5:5::/:\nlast:x:7:8";
const GROUP: &str = "root:x:0:\nstaff:x:50:app,last\n\x1b[31m:x:9:\nweb:x:80:\n";

/// What a name stands for in a state of deltas, oldest first, each a list of paths with content, or `-> ` and a target.
fn check(deltas: &[&[(&str, &str)]], user: Account, group: Option<Account>) -> Result<(u32, u32), String> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (trees, contents) = (Trees::new(&store), Contents::new(&store, false));
    let mut state = State::default();
    for files in deltas {
        let mut root = OpenDir::root();
        for (path, text) in *files {
            let (above, name) = path.rsplit_once('/').unwrap();
            let mut at = &mut root;
            for name in above.split('/') {
                at = at.dir(&trees, name.as_bytes(), &Meta::with_mode(0o755)).unwrap();
            }
            let node = match text.strip_prefix("-> ") {
                Some(target) => Node::Symlink(target.into()),
                None => {
                    let content = content_digest(text.as_bytes());
                    contents.add(content, Location::Inline(text.as_bytes().into()));
                    Node::File { content, size: text.len() as u64 }
                }
            };
            at.put(&trees, name.as_bytes(), Entry { meta: Meta::with_mode(0o644), node }).unwrap();
        }
        state.deltas.push(root.finish(&trees));
    }
    let found = owner(&Chown { user, group }, &state, &trees, &contents);
    found.map(|owner| (owner.uid, owner.gid)).map_err(|error| error.to_string())
}

fn name(name: &str) -> Account {
    Account::Name(name.into())
}

#[test]
fn names_are_found_in_passwd_and_group() {
    let files: &[(&str, &str)] = &[("etc/passwd", PASSWD), ("etc/group", GROUP)];
    for (user, group, expected) in [
        (name("root"), None, (0, 0)),
        (name("app"), None, (1000, 1001)),
        (name("last"), None, (7, 8)),
        (name("app"), Some(name("staff")), (1000, 50)),
        (name("app"), Some(Account::Id(3)), (1000, 3)),
        (Account::Id(3), Some(name("web")), (3, 80)),
        (Account::Id(1000), None, (1000, 1000)),
    ] {
        assert_eq!(check(&[files], user.clone(), group.clone()), Ok(expected), "{user:?} {group:?}");
    }
    for (user, group, said) in [
        (name("ap"), None, "there is no user `ap` in `/etc/passwd` of the files below"),
        (name("App"), None, "no user `App`"),
        (name("bad"), None, "no user `bad`"),
        (name("worse"), None, "no user `worse`"),
        (name("full"), None, "no user `full`"),
        (name("nobody"), None, "no user `nobody`"),
        (name("app"), Some(name("app")), "there is no group `app` in `/etc/group` of the files below"),
    ] {
        let error = check(&[files], user, group).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn the_newest_file_counts_and_links_are_followed_inside_the_tree() {
    let old: &[(&str, &str)] = &[("etc/passwd", "app:x:1:1::/:\n")];
    let new: &[(&str, &str)] = &[("etc/passwd", "app:x:2:2::/:\n")];
    assert_eq!(check(&[old, new], name("app"), None), Ok((2, 2)));
    let linked: &[(&str, &str)] =
        &[("etc/passwd", "-> ../../../usr/share/users"), ("usr/share/users", "app:x:3:3::/:\n")];
    assert_eq!(check(&[old, linked], name("app"), None), Ok((3, 3)));
    let away: &[(&str, &str)] = &[("etc/passwd", "-> /proc/self/environ")];
    let lost = "the user `app` cannot be looked up: the files below have no `/etc/passwd`";
    assert_eq!(check(&[old, away], name("app"), None).unwrap_err(), lost);
    let circle: &[(&str, &str)] = &[("etc/passwd", "-> passwd")];
    assert_eq!(check(&[circle], name("app"), None).unwrap_err(), lost);
    let dir: &[(&str, &str)] = &[("etc/passwd/x", "")];
    assert_eq!(check(&[dir], name("app"), None).unwrap_err(), lost);
    assert_eq!(check(&[], name("app"), None).unwrap_err(), lost);
    assert!(check(&[&[("etc/passwd", "")]], name("app"), None).unwrap_err().contains("no user `app`"));
}

#[test]
fn files_no_system_has_are_not_read() {
    let large = "x".repeat(1 << 20) + "\napp:x:1:1::/:\n";
    let error = check(&[&[("etc/passwd", &large)]], name("app"), None).unwrap_err();
    assert!(error.contains("`/etc/passwd` has 1048591 bytes"), "{error}");
}

#[test]
fn only_names_that_can_be_shown_are_suggested() {
    let found = find(AccountKind::Group, "wbe", GROUP.as_bytes());
    let Err(AccountError::Unknown { known, .. }) = found else { panic!("{found:?}") };
    assert_eq!(known, ["root", "staff", "web"]);
}
