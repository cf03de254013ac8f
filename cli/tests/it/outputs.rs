//! Root file systems as directories and tars: what others can make of them.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::space::{Space, is_root, skipped};
use crate::transport::write_layout;

fn ok(space: &Space, words: &[&str]) {
    let run = space.run(words);
    assert_eq!(run.code, Some(0), "{words:?}: {}", run.stderr);
}

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

/// An image of two layers that state times.
fn timed(space: &Space) -> PathBuf {
    let layer = |members: &[(&str, tar::EntryType, u64)]| {
        let mut layer = tar::Builder::new(Vec::new());
        for (path, kind, mtime) in members {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            header.set_mtime(*mtime);
            header.set_size(0);
            match kind {
                tar::EntryType::Symlink | tar::EntryType::Link => {
                    layer.append_link(&mut header, path, "d/f").unwrap();
                }
                _ => layer.append_data(&mut header, path, std::io::empty()).unwrap(),
            }
        }
        layer.into_inner().unwrap()
    };
    let (dir, file) = (tar::EntryType::Directory, tar::EntryType::Regular);
    let first = layer(&[
        ("d/", dir, 11),
        ("d/f", file, 12),
        ("d/old", file, 13),
        ("link", tar::EntryType::Symlink, 14),
    ]);
    let second = layer(&[("d/", dir, 21), ("d/old", file, 22), ("hard", tar::EntryType::Link, 23)]);
    write_layout(&space.root().join("timed"), &[first, second], "localhost/timed:1")
}

#[test]
fn files_of_a_base_keep_their_own_times() {
    let space = Space::new();
    ok(&space, &["load", "-i", timed(&space).to_str().unwrap()]);
    space.kubefile("FROM timed:1\n");
    let (tar, dir) = outputs(&space, &["--timestamp", "keep", "-o", "type=store"]);
    let expected = [("d", 21), ("d/f", 12), ("d/old", 22), ("link", 14), ("hard", 12)];
    let time = |dir: &Path, path: &str| fs_err::symlink_metadata(dir.join(path)).unwrap().mtime();
    for (path, mtime) in expected {
        assert_eq!(time(&dir, path), mtime, "{path}");
        let members = members(&tar);
        let last = members.iter().rfind(|(name, ..)| name.trim_end_matches('/') == path).unwrap();
        assert!(path == "hard" || last.2.cast_signed() == mtime, "{path}");
    }
    let inode = |path: &str| fs_err::metadata(dir.join(path)).unwrap().ino();
    assert_eq!(inode("hard"), inode("d/f"), "of two layers");
    assert_eq!(fs_err::metadata(dir.join("d")).unwrap().permissions().mode() & 0o7777, 0o755);
    if !is_root() {
        return skipped("mounting needs root");
    }
    let mounted = space.run(&["mount", "timed:1"]);
    assert_eq!(mounted.code, Some(0), "{}", mounted.stderr);
    let place = mounted.stdout.split(' ').find(|word| word.starts_with('/')).unwrap();
    let times = expected.map(|(path, _)| (path, time(Path::new(place), path)));
    ok(&space, &["umount", "--all"]);
    assert_eq!(times, expected);
}

#[test]
fn what_holds_one_image_is_not_asked_for_several() {
    let space = Space::new();
    space.file("a", "a").kubefile("FROM scratch\nCOPY a /\n");
    let several = ["--platform", "linux/amd64,linux/arm64"];
    for kind in ["docker-dir", "rootfs", "tar"] {
        let output = format!("type={kind},dest={}", space.root().join(kind).display());
        let run = space.build(&[&several[..], &["-o", &output]].concat());
        assert_eq!(run.code, Some(1), "{kind}");
        assert!(run.stderr.contains("of one platform\nhint: choose one with"), "{kind}: {}", run.stderr);
        assert!(!run.stderr.contains("COPY"), "before anything is built: {}", run.stderr);
    }
    space.built(&several);
    let run = space.run(&["save", "x:1", "--format", "docker-dir", "-o", "dir"]);
    assert!(run.stderr.contains("docker-dir holds one image\nhint: oci-dir"), "{}", run.stderr);
}

#[test]
fn one_place_takes_one_result() {
    let space = Space::new();
    space.file("a", "a").kubefile("FROM scratch\nCOPY a /\n");
    fs_err::create_dir(space.context().join("dir")).unwrap();
    for (words, options) in [
        (["-o", "type=tar,dest=o", "--iidfile", "./o"], "`--output` and `--iidfile`"),
        (["-o", "type=tar,dest=o", "--trace", "o"], "`--output` and `--trace`"),
        (["-o", "type=tar,dest=o", "-o", "type=oci-archive,dest=./o"], "`--output` and `--output`"),
        (["-o", "type=oci-dir,dest=dir", "-o", "type=rootfs,dest=./dir"], "`--output` and `--output`"),
    ] {
        let run = space.build(&words);
        assert_eq!(run.code, Some(1), "{words:?}");
        assert!(run.stderr.contains(&format!("{options} cannot both be written to")), "{}", run.stderr);
    }
    assert!(!space.context().join("o").exists());
}
