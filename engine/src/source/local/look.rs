//! A look at what a source selects, by names alone: no file is read, and nothing is kept of it.
//!
//! `sealer build --check` asks so, without a store and without the time that reading takes. It goes the way of a scan,
//! and stops at the first file that the scan would take.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::locate::Located;
use super::walk::{PATH_LIMIT, names, open_below};
use super::{Context, LocalError, joined, lossy, open_dir};
use crate::cancel::Cancel;
use crate::pattern::Pattern;
use crate::tree::{Name, components, push_name};

/// What a source selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// One file, named without wildcards.
    File,
    /// A directory, named without wildcards.
    Directory,
    /// Whatever wildcards match.
    Several,
    /// Nothing.
    Nothing,
    /// Nothing but what the ignore file leaves out.
    Ignored,
}

/// What a walk saw.
#[derive(Debug, Default)]
struct Seen {
    /// Something is selected: there is no need to go on.
    found: bool,
    ignored: bool,
}

/// An open directory, where it is, and how the pattern spells that.
struct Place<'p> {
    dir: &'p OwnedFd,
    real: &'p [u8],
    written: &'p [u8],
}

impl Context {
    /// Looks what a pattern selects.
    ///
    /// # Errors
    /// [`LocalError`], as a build would give it for this source; that nothing matches is an answer here.
    pub fn look(&self, source: &str, cancel: &Cancel) -> Result<Look, LocalError> {
        let pattern = Pattern::new(source)?;
        let prefix: Vec<Name> = components(pattern.literal_prefix().as_bytes()).map(<[u8]>::to_vec).collect();
        let real = match self.locate(&prefix, source)? {
            Located::At(real) => real,
            Located::LeftOut => return Ok(Look::Ignored),
            Located::Nowhere => return Ok(Look::Nothing),
        };
        let real_path = joined(&real);
        let mut seen = Seen::default();
        if pattern.is_literal() {
            let kind = self.kind(&real)?;
            if kind != FileType::Directory {
                self.see(&real_path, kind, &mut seen)?;
                return Ok(if seen.found { Look::File } else { Look::Nothing });
            }
            let dir = open_dir(&self.host(&real))?;
            self.look_below(&Place { dir: &dir, real: &real_path, written: b"" }, cancel, &mut seen)?;
            return Ok(if seen.ignored && !seen.found { Look::Ignored } else { Look::Directory });
        }
        if let Ok(dir) = open_dir(&self.host(&real)) {
            let place = Place { dir: &dir, real: &real_path, written: &joined(&prefix) };
            self.look_for(&pattern, &place, cancel, &mut seen)?;
        }
        Ok(match seen {
            Seen { found: true, .. } => Look::Several,
            Seen { ignored: true, .. } => Look::Ignored,
            Seen { .. } => Look::Nothing,
        })
    }

    /// What wildcards match in a directory and below.
    fn look_for(
        &self,
        pattern: &Pattern,
        place: &Place<'_>,
        cancel: &Cancel,
        seen: &mut Seen,
    ) -> Result<(), LocalError> {
        for name in self.names_of(place, cancel)? {
            let (mut written, mut real) = (place.written.to_vec(), place.real.to_vec());
            push_name(&mut written, &name);
            push_name(&mut real, &name);
            if pattern.matches(&written) {
                self.look_at_match(place, &name, &real, cancel, seen)?;
            } else if pattern.could_match_below(&written)
                && let Ok(dir) = open_below(place.dir, &name)
            {
                let below = Place { dir: &dir, real: &real, written: &written };
                self.look_for(pattern, &below, cancel, seen)?;
            }
            if seen.found {
                break;
            }
        }
        Ok(())
    }

    fn look_at_match(
        &self,
        place: &Place<'_>,
        name: &[u8],
        real: &[u8],
        cancel: &Cancel,
        seen: &mut Seen,
    ) -> Result<(), LocalError> {
        match self.kind_in(place, name)? {
            FileType::Directory => self.look_at_dir(place, name, real, cancel, seen),
            FileType::Symlink if !self.ignore.is_ignored(real) => {
                let path: Vec<Name> = components(real).map(<[u8]>::to_vec).collect();
                match self.locate(&path, &lossy(real))? {
                    Located::At(_) => seen.found = true,
                    Located::LeftOut => seen.ignored = true,
                    Located::Nowhere => {}
                }
                Ok(())
            }
            kind => self.see(real, kind, seen),
        }
    }

    /// Whether anything in a directory is not left out.
    fn look_below(&self, place: &Place<'_>, cancel: &Cancel, seen: &mut Seen) -> Result<(), LocalError> {
        for name in self.names_of(place, cancel)? {
            let mut real = place.real.to_vec();
            push_name(&mut real, &name);
            match self.kind_in(place, &name)? {
                FileType::Directory => self.look_at_dir(place, &name, &real, cancel, seen)?,
                kind => self.see(&real, kind, seen)?,
            }
            if seen.found {
                break;
            }
        }
        Ok(())
    }

    /// A directory that is not ignored is something, even when it is empty.
    fn look_at_dir(
        &self,
        place: &Place<'_>,
        name: &[u8],
        real: &[u8],
        cancel: &Cancel,
        seen: &mut Seen,
    ) -> Result<(), LocalError> {
        if !self.ignore.is_ignored(real) {
            seen.found = true;
            return Ok(());
        }
        seen.ignored = true;
        if self.ignore.can_prune(real) {
            return Ok(());
        }
        let dir = open_below(place.dir, name).map_err(|errno| self.fail(real, errno))?;
        self.look_below(&Place { dir: &dir, real, written: b"" }, cancel, seen)
    }

    /// Something that is no directory.
    fn see(&self, real: &[u8], kind: FileType, seen: &mut Seen) -> Result<(), LocalError> {
        if self.ignore.is_ignored(real) {
            seen.ignored = true;
            return Ok(());
        }
        let host = || self.root.join(OsStr::from_bytes(real));
        if components(real).last().is_some_and(|name| name.starts_with(b".wh.")) {
            return Err(LocalError::WhiteoutName { path: host() });
        }
        match kind {
            FileType::RegularFile | FileType::Symlink => seen.found = true,
            FileType::Socket => {}
            FileType::Fifo => return Err(LocalError::Special { path: host(), kind: "FIFO" }),
            _ => return Err(LocalError::Special { path: host(), kind: "device" }),
        }
        Ok(())
    }

    fn names_of(&self, place: &Place<'_>, cancel: &Cancel) -> Result<Vec<Name>, LocalError> {
        if cancel.is_cancelled() {
            return Err(LocalError::Cancelled);
        }
        if place.real.len() > PATH_LIMIT {
            return Err(self.fail(place.real, Errno::NAMETOOLONG));
        }
        let fail = |source| LocalError::Io { path: self.root.join(OsStr::from_bytes(place.real)), source };
        names(place.dir).map_err(fail)
    }

    fn kind(&self, path: &[Name]) -> Result<FileType, LocalError> {
        let stat = rustix::fs::lstat(self.host(path)).map_err(|errno| self.fail(&joined(path), errno))?;
        Ok(FileType::from_raw_mode(stat.st_mode))
    }

    fn kind_in(&self, place: &Place<'_>, name: &[u8]) -> Result<FileType, LocalError> {
        let stat = rustix::fs::statat(place.dir, name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = stat.map_err(|errno| {
            let mut path = place.real.to_vec();
            push_name(&mut path, name);
            self.fail(&path, errno)
        })?;
        Ok(FileType::from_raw_mode(stat.st_mode))
    }

    fn fail(&self, real: &[u8], errno: Errno) -> LocalError {
        LocalError::Io { path: self.root.join(OsStr::from_bytes(real)), source: errno.into() }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A context with these files; names that end in `/` are empty directories.
    fn context(ignore: &str, files: &[&str]) -> (tempfile::TempDir, Context) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs_err::write(dir.path().join(".sealerignore"), ignore).expect("it is writable");
        for file in files {
            let path = dir.path().join(file);
            let parent = if file.ends_with('/') { &path } else { path.parent().expect("it is below") };
            fs_err::create_dir_all(parent).expect("it is writable");
            if !file.ends_with('/') {
                fs_err::write(&path, file).expect("it is writable");
            }
        }
        let context = Context::open(dir.path()).expect("it is a directory");
        (dir, context)
    }

    fn check(context: &Context, pattern: &str, expected: Look) {
        let look = context.look(pattern, &Cancel::default()).expect("it can be looked at");
        assert_eq!(look, expected, "{pattern}");
    }

    #[test]
    fn what_a_source_selects_is_seen_by_names() {
        let (_dir, context) = context(
            "**/*.md\ncharts/*\n!charts/keep\nlogs\n",
            &[
                "a.yaml",
                "b.md",
                "d/x.yaml",
                "d/y.md",
                "charts/drop/x",
                "charts/keep/x",
                "logs/l/x",
                "empty/",
                "m/a.md",
            ],
        );
        for (pattern, expected) in [
            ("a.yaml", Look::File),
            ("d", Look::Directory),
            (".", Look::Directory),
            ("empty", Look::Directory),
            ("*.yaml", Look::Several),
            ("**/*.yaml", Look::Several),
            ("d/*", Look::Several),
            ("no", Look::Nothing),
            ("a.yaml/x", Look::Nothing),
            ("no/*", Look::Nothing),
            ("logs/*", Look::Ignored),
            ("*.txt", Look::Nothing),
            ("**/no", Look::Nothing),
            ("b.md", Look::Ignored),
            ("logs/l", Look::Ignored),
            ("log*", Look::Ignored),
            ("charts", Look::Directory),
            ("charts/dr*", Look::Ignored),
            ("charts/keep", Look::Directory),
            // The directory itself is not ignored, and all in it is.
            ("m", Look::Ignored),
        ] {
            check(&context, pattern, expected);
        }
    }

    #[test]
    fn links_lead_no_further_than_the_context() {
        let (dir, context) = context("", &["d/x"]);
        symlink("d", dir.path().join("inside")).expect("it is writable");
        symlink("/etc", dir.path().join("outside")).expect("it is writable");
        symlink("nowhere", dir.path().join("dangling")).expect("it is writable");
        check(&context, "inside", Look::Directory);
        check(&context, "inside/x", Look::File);
        check(&context, "ins*", Look::Several);
        check(&context, "dangling", Look::Nothing);
        for pattern in ["outside", "outside/passwd", "out*"] {
            let look = context.look(pattern, &Cancel::default());
            assert!(matches!(look, Err(LocalError::Escapes { .. })), "{pattern}: {look:?}");
        }
    }

    #[test]
    fn what_no_image_can_hold_is_the_error_of_a_build() {
        let (dir, context) = context("", &["d/.wh.x"]);
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("s")).expect("it can be bound");
        check(&context, "s", Look::Nothing);
        let whiteout = context.look("d/.wh.x", &Cancel::default());
        assert!(matches!(whiteout, Err(LocalError::WhiteoutName { .. })), "{whiteout:?}");
        let pattern = context.look("[", &Cancel::default());
        assert!(matches!(pattern, Err(LocalError::Pattern(_))), "{pattern:?}");
    }
}
