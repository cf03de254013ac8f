//! The file systems of a run, in the helper's own mount namespace.
//!
//! For the embedded runtime the helper moves into a root of its own, made of the store, `/dev` and a new `/proc`: what is not
//! in it cannot be reached by mistake, and the runtime finds no control groups to write to. An external runtime is a
//! program of the host and needs the host's files; it gets the same mounts in the host's root.

use std::ffi::CString;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_change,
    unmount,
};

use super::SetupStep;
use super::helper::Broken;
use super::spec::{MountSpec, Origin, Spec, UPPER};
use super::users::give;

/// Where the helper's own files are once it has its own root.
const PRIVATE: &str = "/sealer";
/// An identity map of all user ids: this is no user namespace but the first one.
const ALL_USERS: &str = "4294967295";

/// The file systems of a run.
#[derive(Debug)]
pub(super) struct World {
    /// A file system in memory for what no disk should see.
    pub(super) private: PathBuf,
    /// The root of the command.
    pub(super) root: PathBuf,
    /// What its `/sys` is.
    pub(super) sys: Sys,
    /// Sockets of the host, in the order of the mounts that are sockets.
    sockets: Vec<PathBuf>,
}

/// What `/sys` of a command is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sys {
    /// A mount of its own.
    Own,
    /// The host's, which a user namespace without a network of its own may only take over.
    Host(PathBuf),
    /// Nothing.
    Empty,
}

/// A mount of the command's root, ready to be bound.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) target: String,
    /// `None` is a new file system in memory.
    pub(super) source: Option<PathBuf>,
    pub(super) size_bytes: Option<u64>,
    pub(super) is_readonly: bool,
}

/// Makes the file systems.
pub(super) fn enter(spec: &Spec) -> Result<World, Broken> {
    let fail =
        |what: &'static str| move |error| Broken::errno(SetupStep::World, what, io::Error::from(error));
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(fail("a mount namespace apart from the host's"))?;
    let world = spec.dir.join("world");
    fs_err::create_dir(&world).map_err(|error| Broken::errno(SetupStep::World, "its directory", error))?;
    mount("sealer", &world, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(c"mode=755"))
        .map_err(fail("a file system in memory"))?;
    let is_mapped = !fs_err::read_to_string("/proc/self/uid_map").unwrap_or_default().contains(ALL_USERS);
    let world = match &spec.runtime {
        Some(_) => beside_the_host(spec, world, is_mapped)?,
        None => apart(spec, &world, is_mapped)?,
    };
    for dir in ["root", "layers", "files", "mounts"] {
        make_dir(&world.private.join(dir))?;
    }
    let upper = Upper { dir: spec.dir.clone(), name: UPPER };
    world.overlay(&spec.lowers, Some(&upper), &world.root, spec.is_insecure)?;
    Ok(world)
}

fn beside_the_host(spec: &Spec, private: PathBuf, is_mapped: bool) -> Result<World, Broken> {
    mount_proc(Path::new("/proc"))?;
    let root = private.join("root");
    let sys = if is_mapped { Sys::Host("/sys".into()) } else { Sys::Own };
    let sockets = sockets(spec).map(Path::to_owned).collect();
    Ok(World { private, root, sys, sockets })
}

/// Moves into a root that has nothing of the host but the store and what commands need.
fn apart(spec: &Spec, root: &Path, is_mapped: bool) -> Result<World, Broken> {
    let fail =
        |what: &'static str| move |error| Broken::errno(SetupStep::World, what, io::Error::from(error));
    let inside = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    let store = inside(&spec.store);
    make_dir(&store)?;
    mount_bind_recursive(&spec.store, &store).map_err(fail("the store"))?;
    make_dir(&inside(Path::new("/dev")))?;
    mount_bind_recursive("/dev", inside(Path::new("/dev"))).map_err(fail("/dev"))?;
    // The runtime looks here for control groups; there are none.
    make_dir(&inside(Path::new("/sys/fs/cgroup")))?;
    let private = inside(Path::new(PRIVATE));
    make_dir(&private)?;
    let mut inner_sockets = Vec::new();
    for (number, socket) in sockets(spec).enumerate() {
        let name = format!("socket-{number}");
        let place = private.join(&name);
        fs_err::write(&place, "").map_err(|error| Broken::errno(SetupStep::Mounts, "a socket", error))?;
        mount_bind(socket, &place)
            .map_err(|error| Broken::errno(SetupStep::Mounts, socket.display(), io::Error::from(error)))?;
        inner_sockets.push(Path::new(PRIVATE).join(name));
    }
    let sys = match is_mapped {
        false => Sys::Own,
        // The runtime would take them for its own.
        true if has_old_control_groups() => Sys::Empty,
        true => {
            let host = private.join("sys");
            make_dir(&host)?;
            match mount_bind_recursive("/sys", &host) {
                Ok(()) => Sys::Host(Path::new(PRIVATE).join("sys")),
                Err(_) => Sys::Empty,
            }
        }
    };
    make_dir(&inside(Path::new("/proc")))?;
    mount_proc(&inside(Path::new("/proc")))?;
    rustix::process::chdir(root).map_err(fail("the new root"))?;
    rustix::process::pivot_root(".", ".").map_err(fail("the new root"))?;
    unmount(".", UnmountFlags::DETACH).map_err(fail("leaving the host's root"))?;
    rustix::process::chdir("/").map_err(fail("the new root"))?;
    let private = PathBuf::from(PRIVATE);
    Ok(World { root: private.join("root"), private, sys, sockets: inner_sockets })
}

fn sockets(spec: &Spec) -> impl Iterator<Item = &Path> {
    spec.mounts.iter().filter_map(|mount| match &mount.origin {
        Origin::Socket(path) => Some(path.as_path()),
        _ => None,
    })
}

fn mount_proc(place: &Path) -> Result<(), Broken> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", place, "proc", flags, None)
        .map_err(|error| Broken::errno(SetupStep::Proc, "mounting /proc", io::Error::from(error)))
}

fn has_old_control_groups() -> bool {
    let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts.lines().any(|line| line.contains(" - cgroup "))
}

fn make_dir(path: &Path) -> Result<(), Broken> {
    fs_err::create_dir_all(path).map_err(|error| Broken::errno(SetupStep::World, "a directory", error))
}

/// Where an overlay is written: directories of that name and one beside it.
struct Upper {
    dir: PathBuf,
    name: &'static str,
}

impl World {
    /// Makes the sources of all mounts.
    pub(super) fn mounts(&mut self, spec: &Spec) -> Result<Vec<Bound>, Broken> {
        let mut sockets = std::mem::take(&mut self.sockets).into_iter();
        let mut bound = Vec::with_capacity(spec.mounts.len());
        for (number, mount) in spec.mounts.iter().enumerate() {
            let (source, size_bytes) = match &mount.origin {
                Origin::Path(path) => (Some(path.clone()), None),
                Origin::Layers { lowers, path } => {
                    (Some(self.layers(spec, number, mount, lowers, path)?), None)
                }
                Origin::Tmpfs { size_bytes } => (None, *size_bytes),
                Origin::File { content, mode, uid, gid } => {
                    (Some(self.file(number, content, *mode, (*uid, *gid))?), None)
                }
                Origin::Socket(_) => (sockets.next(), None),
            };
            let (target, is_readonly) = (mount.target.clone(), mount.is_readonly);
            bound.push(Bound { target, source, size_bytes, is_readonly });
        }
        Ok(bound)
    }

    fn layers(
        &self,
        spec: &Spec,
        number: usize,
        mount: &MountSpec,
        lowers: &[PathBuf],
        path: &Path,
    ) -> Result<PathBuf, Broken> {
        if let ([only], true) = (lowers, mount.is_readonly) {
            return Ok(only.join(path));
        }
        let place = self.private.join("mounts").join(number.to_string());
        make_dir(&place)?;
        let dir = spec.dir.join(format!("mount-{number}"));
        let upper = Upper { dir, name: UPPER };
        self.overlay(lowers, (!mount.is_readonly).then_some(&upper), &place, false)?;
        Ok(place.join(path))
    }

    fn file(&self, number: usize, content: &[u8], mode: u32, owner: (u32, u32)) -> Result<PathBuf, Broken> {
        let path = self.private.join("files").join(number.to_string());
        let fail = |error| Broken::errno(SetupStep::Mounts, "a file in memory", error);
        fs_err::write(&path, content).map_err(fail)?;
        give(&path, owner.0, owner.1).map_err(fail)?;
        fs_err::set_permissions(&path, PermissionsExt::from_mode(mode)).map_err(fail)?;
        Ok(path)
    }

    /// Mounts directories over each other. They are named by short links, because all names together must fit a page.
    fn overlay(
        &self,
        lowers: &[PathBuf],
        upper: Option<&Upper>,
        place: &Path,
        allows_devices: bool,
    ) -> Result<(), Broken> {
        let fail = |error| Broken::errno(SetupStep::Overlay, "overlay mount", error);
        let links = self.private.join("layers").join(place.file_name().unwrap_or_default());
        make_dir(&links)?;
        let link = |to: &Path, name: &str| fs_err::os::unix::fs::symlink(to, links.join(name)).map_err(fail);
        let mut names = Vec::with_capacity(lowers.len());
        for (number, lower) in lowers.iter().enumerate() {
            link(lower, &number.to_string())?;
            names.push(number.to_string());
        }
        let mut options = format!("userxattr,lowerdir={}", names.join(":"));
        if let Some(upper) = upper {
            let work = upper.dir.join("work");
            for (path, name) in [(upper.dir.join(upper.name), "upper"), (work, "work")] {
                fs_err::create_dir_all(&path).map_err(fail)?;
                link(&path, name)?;
            }
            // What is in it is read as soon as the command has ended, and a crash before that makes it worthless.
            options.push_str(",volatile,upperdir=upper,workdir=work");
        }
        let options = CString::new(options).map_err(|error| fail(io::Error::other(error)))?;
        rustix::process::chdir(&links).map_err(|error| fail(error.into()))?;
        // A device in a layer is somebody else's idea of this host.
        let flags = if allows_devices { MountFlags::empty() } else { MountFlags::NODEV };
        let mounted = mount("overlay", place, "overlay", flags, Some(options.as_c_str()));
        rustix::process::chdir("/").map_err(|error| fail(error.into()))?;
        mounted.map_err(|error| fail(error.into()))
    }
}
