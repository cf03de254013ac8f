//! Whether two tools made the same: every file of a root file system with the digest of its bytes.
//!
//! Compared are paths, kinds, contents and targets of links. Times, owners and modes are not: Docker gives what ADD fetched
//! a mode of its own, and buildah keeps the times of files. Directories are not either, and neither is what `docker export`
//! puts beside the image's own files.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

/// Files by path; what is in them, in short.
pub(crate) type Files = BTreeMap<String, String>;

/// What tools put there themselves.
const NOT_OF_THE_IMAGE: [&str; 7] =
    [".dockerenv", "dev/", "proc/", "sys/", "etc/hosts", "etc/hostname", "etc/resolv.conf"];
const MTAB: &str = "etc/mtab";

/// Reads the tar that a command writes.
///
/// # Errors
/// When it fails, or writes something else.
pub(crate) fn of_command(command: &mut Command) -> io::Result<Files> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let files = child.stdout.take().map(|tar| of_tar(io::BufReader::with_capacity(1 << 20, tar)));
    let status = child.wait()?;
    match files {
        Some(Ok(files)) if status.success() => Ok(files),
        Some(Err(error)) => Err(error),
        _ => Err(io::Error::other(format!("{}: {status}", command.get_program().display()))),
    }
}

fn of_tar(tar: impl Read) -> io::Result<Files> {
    let mut files = Files::new();
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = plain(&entry.path_bytes());
        let target = entry.link_name_bytes().map(|target| String::from_utf8_lossy(&target).into_owned());
        let what = match entry.header().entry_type() {
            tar::EntryType::Directory => continue,
            tar::EntryType::Symlink => format!("-> {}", target.unwrap_or_default()),
            // The same file under another name stood before.
            tar::EntryType::Link => {
                files.get(&plain(target.unwrap_or_default().as_bytes())).cloned().unwrap_or_default()
            }
            tar::EntryType::Regular => digest(&mut entry)?,
            other => format!("{other:?}"),
        };
        let is_foreign = NOT_OF_THE_IMAGE.iter().any(|own| path.starts_with(own)) || path == MTAB;
        if !is_foreign {
            files.insert(path, what);
        }
    }
    // What follows the end of the archive belongs to it.
    let _ = io::copy(&mut archive.into_inner(), &mut io::sink());
    Ok(files)
}

fn plain(path: &[u8]) -> String {
    String::from_utf8_lossy(path).trim_start_matches("./").trim_matches('/').to_owned()
}

fn digest(bytes: &mut impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match bytes.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    Ok(hasher.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

/// The first few differences, in words; `None` where there are none.
pub(crate) fn difference(ours: &Files, theirs: &Files) -> Option<String> {
    let mut found = Vec::new();
    for (path, what) in ours {
        match theirs.get(path) {
            None => found.push(format!("`{path}` is missing")),
            Some(other) if other != what => found.push(format!("`{path}` differs")),
            Some(_) => {}
        }
    }
    let more = theirs.keys().filter(|path| !ours.contains_key(*path));
    found.extend(more.map(|path| format!("`{path}` is too much")));
    let count = found.len();
    found.truncate(3);
    (count > 0).then(|| format!("{count} differences: {}", found.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_count_with_the_file_they_are_and_dockers_own_files_do_not() {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(1);
        for path in ["./a", ".dockerenv", "dev/console"] {
            tar.append_data(&mut header.clone(), path, &b"x"[..]).unwrap();
        }
        header.set_entry_type(tar::EntryType::Link);
        header.set_size(0);
        tar.append_link(&mut header, "b", "a").unwrap();
        let files = of_tar(tar.into_inner().unwrap().as_slice()).unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(files["a"], files["b"]);
        assert_eq!(difference(&files, &files), None);
        let more = difference(&Files::new(), &files).unwrap();
        assert_eq!(more, "2 differences: `a` is too much, `b` is too much");
    }
}
