//! This sealer.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Cache, Family, Job, Leaves, Tool, done, remove};
use crate::contents::{self, Files};

/// One compression of it.
#[derive(Debug)]
pub(crate) struct Ours {
    name: String,
    binary: PathBuf,
    store: PathBuf,
    compression: &'static str,
    mode: &'static str,
}

impl Ours {
    pub(crate) fn new(binary: &Path, store: &Path, compression: &'static str, is_carrying: bool) -> Self {
        Self {
            name: format!("this sealer, {compression}"),
            binary: binary.to_owned(),
            store: store.to_owned(),
            compression,
            mode: if is_carrying { "all" } else { "lite" },
        }
    }

    fn command(&self, word: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.args([word, "-q", "--root"]).arg(&self.store);
        command
    }

    fn one(&self, job: &Job<'_>) -> Command {
        let mut build = self.command("build");
        build.args(["-t", "bench:1", "--build-mode", self.mode, "--compression", self.compression]);
        match job.cache {
            Cache::Unused => {}
            Cache::Fill(repository) => {
                build.args([
                    "--cache-to",
                    &format!("type=registry,ref={repository}:sealer"),
                    "--cache-required",
                ]);
            }
            Cache::Use(repository) => {
                build.args(["--cache-from", &format!("{repository}:sealer"), "--cache-required"]);
            }
            Cache::UseLazily(repository) => {
                build.args(["--cache-from", &format!("{repository}:sealer"), "--cache-required", "--lazy"]);
            }
        }
        build.arg(job.context);
        build
    }
}

impl Tool for Ours {
    fn name(&self) -> &str {
        &self.name
    }

    fn family(&self) -> Family {
        Family::Ours
    }

    fn leaves(&self) -> Leaves {
        Leaves::Image
    }

    fn start(&mut self, base: Option<&str>) -> io::Result<()> {
        self.stop()?;
        base.map_or(Ok(()), |base| done(self.command("pull").arg(base)))
    }

    fn stop(&mut self) -> io::Result<()> {
        remove(&self.store)
    }

    fn build(&self, job: &Job<'_>) -> Vec<Command> {
        vec![self.one(job)]
    }

    fn can(&self, _: Cache<'_>) -> bool {
        true
    }

    fn contents(&self, job: &Job<'_>) -> io::Result<Files> {
        let mut build = self.one(&Job { cache: Cache::Unused, ..*job });
        contents::of_command(build.args(["--output", "type=tar,dest=-"]))
    }

    fn dir(&self) -> &Path {
        &self.store
    }

    /// The config and the layers of the manifest that the store's index names (OCI image-layout).
    fn image_bytes(&self) -> io::Result<Option<u64>> {
        let json = |path: PathBuf| -> io::Result<serde_json::Value> {
            Ok(serde_json::from_slice(&fs_err::read(path)?)?)
        };
        let index = json(self.store.join("index.json"))?;
        let name = "org.opencontainers.image.ref.name";
        let is_ours = |entry: &&serde_json::Value| {
            entry["annotations"][name].as_str().is_some_and(|name| name.ends_with("bench:1"))
        };
        let Some(entry) = index["manifests"].as_array().and_then(|all| all.iter().find(is_ours)) else {
            return Ok(None);
        };
        let digest = entry["digest"].as_str().unwrap_or_default().trim_start_matches("sha256:");
        let manifest = json(self.store.join("blobs/sha256").join(digest))?;
        let layers = manifest["layers"].as_array().into_iter().flatten();
        Ok(Some(layers.chain([&manifest["config"]]).filter_map(|blob| blob["size"].as_u64()).sum()))
    }
}
