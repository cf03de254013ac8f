//! Who a command runs as: names looked up in the root's own `/etc/passwd` and `/etc/group`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use super::SetupStep;
use super::helper::Broken;

/// Longest user database that is read, in bytes.
const LIMIT: u64 = 4 << 20;

/// A user as the kernel sees one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Further groups.
    pub(super) groups: Vec<u32>,
    /// Home directory; `/` where nothing says otherwise.
    pub(super) home: String,
}

/// Gives a file to somebody. Where this user namespace has no such user, it stays with who made it.
pub(crate) fn give(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    match fs_err::os::unix::fs::chown(path, Some(uid), Some(gid)) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        given => given,
    }
}

/// Looks a user up as image configs name them: `USER[:GROUP]`, each a name or a number.
pub(super) fn resolve(root: &Path, user: &str) -> Result<User, Broken> {
    find(user, &read(root, "etc/passwd"), &read(root, "etc/group"))
        .map_err(|what| Broken::new(SetupStep::User, format!("the image names `{user}`, and {what}")))
}

fn find(user: &str, passwd: &str, group: &str) -> Result<User, String> {
    let (user, wanted_group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (user, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number: Option<u32> = user.parse().ok();
    let entry = fields(passwd).find(|fields| {
        fields[0] == user || number.is_some() && fields.get(2).and_then(|uid| uid.parse().ok()) == number
    });
    let part = |at: usize| entry.as_ref().and_then(|fields| fields.get(at)).copied();
    let uid = part(2).and_then(|uid| uid.parse().ok()).or(number);
    let uid = uid.ok_or_else(|| format!("`/etc/passwd` has no user `{user}`"))?;
    let (gid, groups) = match wanted_group {
        Some(name) => (group_number(group, name)?, Vec::new()),
        None => {
            let own = part(3).and_then(|gid| gid.parse().ok()).unwrap_or(0);
            let name = part(0).unwrap_or(user);
            let member = fields(group).filter(|fields| {
                fields.get(3).is_some_and(|members| members.split(',').any(|member| member == name))
            });
            (own, member.filter_map(|fields| fields.get(2)?.parse().ok()).collect())
        }
    };
    let home = part(5).filter(|home| home.starts_with('/')).unwrap_or("/").to_owned();
    Ok(User { uid, gid, groups, home })
}

fn group_number(group: &str, name: &str) -> Result<u32, String> {
    let found = fields(group).find(|fields| fields[0] == name);
    let number = found.and_then(|fields| fields.get(2)?.parse().ok());
    number.or_else(|| name.parse().ok()).ok_or_else(|| format!("`/etc/group` has no group `{name}`"))
}

fn fields(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split(':').collect())
}

/// A file of the root, links resolved inside it; empty if there is none.
fn read(root: &Path, path: &str) -> String {
    let mut text = Vec::new();
    let opened = openat(CWD, root, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).and_then(|root| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
    });
    if let Ok(file) = opened {
        // What cannot be read names nobody.
        let _ = File::from(file).take(LIMIT).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nme:x:1000:100::/home/me:/bin/sh\nbroken\n";
    const GROUP: &str = "root:x:0:\nusers:x:100:me\nwheel:x:10:root,me\n";

    #[test]
    fn users_are_found_by_name_and_by_number() {
        let check = |user: &str, uid, gid, groups: &[u32], home: &str| {
            let groups = groups.to_vec();
            let expected = User { uid, gid, groups, home: home.to_owned() };
            assert_eq!(find(user, PASSWD, GROUP), Ok(expected), "{user}");
        };
        check("", 0, 0, &[10], "/root");
        check("me", 1000, 100, &[100, 10], "/home/me");
        check("1000", 1000, 100, &[100, 10], "/home/me");
        check("me:wheel", 1000, 10, &[], "/home/me");
        check("7:8", 7, 8, &[], "/");
        check("7", 7, 0, &[], "/");
        assert!(find("you", PASSWD, GROUP).is_err_and(|what| what.contains("no user `you`")));
        assert!(find("me:none", PASSWD, GROUP).is_err_and(|what| what.contains("no group `none`")));
        assert_eq!(find("", "", "").map(|user| user.home), Ok("/".to_owned()));
    }
}
