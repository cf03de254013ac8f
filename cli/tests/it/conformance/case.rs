//! A case: a Kubefile, the files around it, and how buildah's result may differ. One text file each, see the README
//! beside them.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A build and its surroundings.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) kubefile: String,
    /// Flags that both tools get.
    pub(super) flags: Vec<String>,
    /// Neither builds it.
    pub(super) fails: bool,
    pub(super) differs: Vec<Allowed>,
    files: Vec<Item>,
}

/// A difference that is meant.
#[derive(Debug)]
pub(super) struct Allowed {
    /// How the text of the difference begins.
    pub(super) text: String,
    /// Why.
    pub(super) reason: String,
}

/// `-- WORDS --` and the lines below.
#[derive(Debug)]
struct Item {
    words: Vec<String>,
    body: String,
}

impl Case {
    /// Reads a case file.
    pub(super) fn read(path: &Path) -> Self {
        let text = fs_err::read_to_string(path).unwrap();
        let mut case = Self {
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            kubefile: String::new(),
            flags: Vec::new(),
            fails: false,
            differs: Vec::new(),
            files: Vec::new(),
        };
        for line in text.split_inclusive('\n') {
            let marker = line.trim_end().strip_prefix("-- ").and_then(|rest| rest.strip_suffix(" --"));
            match (marker, case.files.last_mut()) {
                (Some(words), _) => {
                    let words = words.split(' ').map(str::to_owned).collect();
                    case.files.push(Item { words, body: String::new() });
                }
                (None, Some(item)) => item.body.push_str(line),
                (None, None) => case.header(line.trim()),
            }
        }
        let is_kubefile = |item: &Item| item.words == ["Kubefile"];
        let at =
            case.files.iter().position(is_kubefile).unwrap_or_else(|| panic!("{path:?} has no Kubefile"));
        case.kubefile = case.files.remove(at).body;
        case
    }

    fn header(&mut self, line: &str) {
        match line.split_once(": ") {
            Some(("flags", flags)) => self.flags = flags.split(' ').map(str::to_owned).collect(),
            Some(("differs", rest)) => {
                let (text, reason) = rest.split_once(" | ").unwrap_or_else(|| panic!("{line}: no reason"));
                self.differs.push(Allowed { text: text.to_owned(), reason: reason.to_owned() });
            }
            _ if line == "fails" => self.fails = true,
            _ => assert!(line.is_empty() || line.starts_with('#'), "{}: what is `{line}`?", self.name),
        }
    }

    /// Writes the Kubefile and the files into an empty directory. `SERVER` in the Kubefile is that of this URL.
    pub(super) fn lay_out(&self, dir: &Path, server: &str) {
        fs_err::write(dir.join("Kubefile"), self.kubefile.replace("SERVER", server)).unwrap();
        for item in &self.files {
            item.lay_out(dir);
        }
        // Last, because a directory's mode may forbid to write into it.
        for item in self.files.iter().filter(|item| item.words[0] == "dir") {
            set_mode(&at(dir, &item.words[1]), &item.words[2]);
        }
    }

    /// What the server has: paths and bodies.
    pub(super) fn served(&self) -> impl Iterator<Item = (&str, Vec<u8>)> {
        let items = self.files.iter().filter(|item| item.words[0] == "served");
        items.map(|item| match item.words.get(2) {
            Some(compression) => (item.words[1].as_str(), compressed(&item.tar(), compression)),
            None => (item.words[1].as_str(), item.body.clone().into_bytes()),
        })
    }
}

impl Item {
    fn lay_out(&self, dir: &Path) {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let path = at(dir, words[1]);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        match words[..] {
            ["file", _, mode, ref owner @ ..] => {
                fs_err::write(&path, &self.body).unwrap();
                set_owner(&path, owner);
                set_mode(&path, mode);
            }
            ["dir", _, _, ref owner @ ..] => {
                fs_err::create_dir_all(&path).unwrap();
                set_owner(&path, owner);
            }
            ["link", _, target] => symlink(OsStr::from_bytes(&unescaped(target)), &path).unwrap(),
            ["hard", _, target] => fs_err::hard_link(at(dir, target), &path).unwrap(),
            ["tar", _, compression] => fs_err::write(&path, compressed(&self.tar(), compression)).unwrap(),
            ["cut", _, bytes] => {
                let content = fs_err::read(&path).unwrap();
                fs_err::write(&path, &content[..bytes.parse::<usize>().unwrap()]).unwrap();
            }
            ["fifo", _] => {
                assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
            }
            ["xattr", _, name, value] => {
                let flags = rustix::fs::XattrFlags::empty();
                rustix::fs::lsetxattr(&path, name, &unescaped(value), flags).unwrap();
            }
            // Of the server, not of the context.
            ["served", ..] => {}
            _ => panic!("what is {words:?}?"),
        }
    }

    /// A tar of the entries in the lines below, in their order.
    fn tar(&self) -> Vec<u8> {
        use tar::EntryType::{Char, Directory, Fifo, Link, Regular, Symlink};
        let mut tar = tar::Builder::new(Vec::new());
        for line in self.body.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            if let ["xattr", name, value] = words[..] {
                // Of the entry below.
                let record = [(format!("SCHILY.xattr.{name}"), unescaped(value))];
                tar.append_pax_extensions(record.iter().map(|(key, value)| (key.as_str(), value.as_slice())))
                    .unwrap();
                continue;
            }
            let mut header = tar::Header::new_ustar();
            header.set_mtime(0);
            let (mut mode, mut owner, mut content, mut target) = ("0777", "0:0", Vec::new(), None);
            match words[..] {
                ["file", _, m, o, ref text @ ..] => {
                    (mode, owner, content) = (m, o, unescaped(&text.join(" ")));
                    header.set_entry_type(Regular);
                }
                ["host", _, m, file] => {
                    (mode, content) = (m, fs_err::read(file).unwrap());
                    header.set_entry_type(Regular);
                }
                ["dir", _, m, o] => {
                    (mode, owner) = (m, o);
                    header.set_entry_type(Directory);
                }
                ["link", _, to] => {
                    target = Some(to);
                    header.set_entry_type(Symlink);
                }
                ["hard", _, to, m, o] => {
                    (mode, owner, target) = (m, o, Some(to));
                    header.set_entry_type(Link);
                }
                ["fifo", _, m] => {
                    mode = m;
                    header.set_entry_type(Fifo);
                }
                ["char", _, m, major, minor] => {
                    mode = m;
                    header.set_entry_type(Char);
                    header.set_device_major(major.parse().unwrap()).unwrap();
                    header.set_device_minor(minor.parse().unwrap()).unwrap();
                }
                _ => panic!("what is `{line}` in a tar?"),
            }
            header.set_mode(octal(mode));
            let (uid, gid) = owner.split_once(':').unwrap();
            header.set_uid(uid.parse().unwrap());
            header.set_gid(gid.parse().unwrap());
            header.set_size(content.len() as u64);
            let name = unescaped(words[1]);
            // Names as they are: the library would refuse some of those a hostile archive has.
            header.as_ustar_mut().unwrap().name[..name.len()].copy_from_slice(&name);
            if let Some(target) = target {
                header.set_link_name_literal(unescaped(target)).unwrap();
            }
            header.set_cksum();
            tar.append(&header, content.as_slice()).unwrap();
        }
        tar.into_inner().unwrap()
    }
}

fn compressed(plain: &[u8], compression: &str) -> Vec<u8> {
    match compression {
        "plain" => plain.to_vec(),
        "zstd" => zstd::encode_all(plain, 3).unwrap(),
        program => {
            let mut child =
                Command::new(program).arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let mut input = child.stdin.take().unwrap();
            std::thread::scope(|scope| {
                scope.spawn(move || input.write_all(plain).unwrap());
                child.wait_with_output().unwrap().stdout
            })
        }
    }
}

fn at(dir: &Path, name: &str) -> PathBuf {
    dir.join(OsStr::from_bytes(&unescaped(name)))
}

/// `\s` is a space, `\n` a line end, `\xHH` a byte.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut parts = text.split('\\');
    bytes.extend_from_slice(parts.next().unwrap().as_bytes());
    for part in parts {
        let (byte, rest) = match part.split_at(1) {
            ("s", rest) => (b' ', rest),
            ("n", rest) => (b'\n', rest),
            ("x", rest) => (u8::from_str_radix(&rest[..2], 16).unwrap(), &rest[2..]),
            _ => panic!("what is `\\{part}`?"),
        };
        bytes.push(byte);
        bytes.extend_from_slice(rest.as_bytes());
    }
    bytes
}

fn octal(mode: &str) -> u32 {
    u32::from_str_radix(mode, 8).unwrap()
}

fn set_mode(path: &Path, mode: &str) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(octal(mode))).unwrap();
}

fn set_owner(path: &Path, owner: &[&str]) {
    if let [owner] = owner {
        let (uid, gid) = owner.split_once(':').unwrap();
        std::os::unix::fs::lchown(path, Some(uid.parse().unwrap()), Some(gid.parse().unwrap())).unwrap();
    }
}
