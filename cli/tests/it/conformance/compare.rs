//! Two images, path by path and word by word.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A root file system as it is mounted.
#[derive(Debug, Default)]
pub(super) struct Listing {
    entries: BTreeMap<String, Entry>,
    /// Paths of each inode that has several.
    links: BTreeMap<(u64, u64), BTreeSet<String>>,
}

#[derive(Debug)]
struct Entry {
    /// Type, mode, owner, and a device's numbers or a link's target.
    header: String,
    xattrs: BTreeMap<String, Vec<u8>>,
    /// The file to read, if it is one.
    file: Option<(PathBuf, u64)>,
}

impl Listing {
    /// Everything at and below a directory.
    pub(super) fn of(root: &Path) -> Self {
        let mut listing = Self::default();
        let mut pending = vec![root.to_owned()];
        while let Some(path) = pending.pop() {
            let metadata = fs_err::symlink_metadata(&path).unwrap();
            let below = path.strip_prefix(root).unwrap();
            let name = format!("/{}", below.as_os_str().as_bytes().escape_ascii());
            if metadata.is_dir() {
                pending.extend(fs_err::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else if metadata.nlink() > 1 {
                listing.links.entry((metadata.dev(), metadata.ino())).or_default().insert(name.clone());
            }
            listing.entries.insert(name, Entry::of(path, &metadata));
        }
        listing
    }

    /// What two root file systems differ in, one line each.
    pub(super) fn differences(&self, theirs: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let names: BTreeSet<&String> = self.entries.keys().chain(theirs.entries.keys()).collect();
        for name in names {
            match (self.entries.get(name), theirs.entries.get(name)) {
                (Some(own), None) => found.push(format!("{name} only ours: {}", own.header)),
                (None, Some(other)) => found.push(format!("{name} only theirs: {}", other.header)),
                (Some(own), Some(other)) => {
                    if own.header != other.header {
                        found.push(format!("{name} ours {}, theirs {}", own.header, other.header));
                    }
                    if own.content_differs(other) {
                        found.push(format!("{name} content"));
                    }
                    if own.xattrs != other.xattrs {
                        found.push(format!("{name} xattrs ours {:?}, theirs {:?}", own.xattrs, other.xattrs));
                    }
                }
                (None, None) => unreachable!("the name is of one of the two"),
            }
        }
        found
    }

    /// How many sets of names of one file only one of the two has; what is in them is the same, so it is only told.
    pub(super) fn links_apart(&self, theirs: &Self) -> usize {
        let groups = |listing: &Self| listing.links.values().cloned().collect::<BTreeSet<_>>();
        groups(self).symmetric_difference(&groups(theirs)).count()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl Entry {
    fn of(path: PathBuf, metadata: &std::fs::Metadata) -> Self {
        let kind = metadata.file_type();
        let (letter, more) = if kind.is_dir() {
            ("d", String::new())
        } else if kind.is_symlink() {
            let target = fs_err::read_link(&path).unwrap();
            ("l", format!(" -> {}", target.as_os_str().as_bytes().escape_ascii()))
        } else if kind.is_file() {
            ("-", String::new())
        } else {
            let letter = if kind.is_fifo() {
                "p"
            } else if kind.is_char_device() {
                "c"
            } else {
                "?"
            };
            (letter, format!(" {:x}", metadata.rdev()))
        };
        let (mode, uid, gid) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
        Self {
            header: format!("{letter}{mode:04o} {uid}:{gid}{more}"),
            xattrs: xattrs(&path),
            file: kind.is_file().then_some((path, metadata.len())),
        }
    }

    fn content_differs(&self, other: &Self) -> bool {
        match (&self.file, &other.file) {
            (Some((own, size)), Some((theirs, other_size))) => {
                size != other_size || fs_err::read(own).unwrap() != fs_err::read(theirs).unwrap()
            }
            _ => false,
        }
    }
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = [0; 4096];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let names = names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let value = |name: &str| {
        let mut value = [0; 4096];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        value[..length].to_vec()
    };
    names
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .map(|name| (name.clone(), value(&name)))
        .collect()
}

/// What two configs differ in (OCI image-spec, config); labels that name the tool do not count.
pub(super) fn config_differences(ours: &Value, theirs: &Value) -> Vec<String> {
    let top = ["author", "architecture", "os", "variant"];
    let inner =
        ["User", "Env", "Entrypoint", "Cmd", "WorkingDir", "Labels", "Volumes", "ExposedPorts", "StopSignal"];
    let pick = |config: &Value| -> Vec<(String, Value)> {
        let of_top = top.iter().map(|key| ((*key).to_owned(), plain(&config[key])));
        let of_inner = inner.iter().map(|key| ((*key).to_owned(), plain(&config["config"][key])));
        of_top.chain(of_inner).collect()
    };
    let pairs = pick(ours).into_iter().zip(pick(theirs));
    let differ = pairs.filter(|((_, own), (_, other))| own != other);
    differ.map(|((key, own), (_, other))| format!("config {key} ours {own}, theirs {other}")).collect()
}

/// Without labels of the tools; what is empty is absent.
fn plain(value: &Value) -> Value {
    let mut value = value.clone();
    if let Some(object) = value.as_object_mut() {
        object.retain(|key, _| !matches!(key.as_str(), "io.buildah.version" | "io.sealer.version"));
    }
    let is_empty = match &value {
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
        _ => false,
    };
    if is_empty { Value::Null } else { value }
}
