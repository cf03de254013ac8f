//! Root file systems as directories and tars: what others can make of them.

use std::path::{Path, PathBuf};

use crate::space::Space;

/// Builds, and gives the tar and the directory.
fn outputs(space: &Space, more: &[&str]) -> (PathBuf, PathBuf) {
    let (tar, dir) = (space.root().join("o.tar"), space.root().join("o"));
    let outputs = [format!("type=tar,dest={}", tar.display()), format!("type=rootfs,dest={}", dir.display())];
    space.built(&[&["-o", &outputs[0], "-o", &outputs[1]], more].concat());
    (tar, dir)
}

/// Modes and times of a tar's members, in their order.
fn members(tar: &Path) -> Vec<(String, u32, u64)> {
    let mut archive = tar::Archive::new(fs_err::File::open(tar).unwrap());
    let member = |member: std::io::Result<tar::Entry<'_, fs_err::File>>| {
        let member = member.unwrap();
        let (mode, mtime) = (member.header().mode().unwrap(), member.header().mtime().unwrap());
        (String::from_utf8(member.path_bytes().into_owned()).unwrap(), mode, mtime)
    };
    archive.entries().unwrap().map(member).collect()
}

#[test]
fn a_tar_of_read_only_directories_can_be_unpacked_by_anybody() {
    let space = Space::new();
    space.file("ro/sub/f", "f");
    space.kubefile("FROM scratch\nCOPY --chmod=555 ro /ro/\n");
    let (tar, _) = outputs(&space, &[]);
    let shown: Vec<(String, u32)> = members(&tar).into_iter().map(|(path, mode, _)| (path, mode)).collect();
    let expected = [("ro/", 0o755), ("ro/sub/", 0o755), ("ro/sub/f", 0o555), ("ro/sub/", 0o555)];
    assert_eq!(shown, expected.map(|(path, mode)| (path.to_owned(), mode)));
}
