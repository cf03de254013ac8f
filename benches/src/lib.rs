//! Workloads made from a seed: the same files on every machine, so figures can be compared.

use std::io;
use std::path::Path;

/// A small fast generator (splitmix64); reproducible is all it has to be.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Starts at a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Bytes of which about a third is left after compression, as of mixed binaries and text.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 64);
        while bytes.len() < length {
            if self.next_u64().is_multiple_of(3) {
                (0..6).for_each(|_| bytes.extend_from_slice(&self.next_u64().to_le_bytes()));
            } else {
                let word = self.next_u64() % 512;
                bytes.extend_from_slice(format!("  key-{word}: value of {word}\n").as_bytes());
                bytes.extend_from_slice(&[0; 24]);
            }
        }
        bytes.truncate(length);
        bytes
    }
}

/// Writes `apps` directories of `files` files with `size` bytes each, and a Kubefile that packs them.
///
/// # Errors
/// Those of the file system.
pub fn apps(context: &Path, apps: usize, files: usize, size: usize) -> io::Result<()> {
    let mut random = Random::new(apps as u64 ^ 0x5ea1);
    let mut kubefile = String::from("FROM scratch\n");
    for app in 0..apps {
        let dir = context.join(format!("app{app}"));
        fs_err::create_dir_all(&dir)?;
        for file in 0..files {
            fs_err::write(dir.join(format!("file{file}.yaml")), random.bytes(size))?;
        }
        kubefile.push_str(&format!("APP a{app} local://app{app}\n"));
    }
    fs_err::write(context.join("Kubefile"), kubefile)
}

/// Writes one tree of `files` files with `size` bytes each, and a Kubefile that copies it.
///
/// # Errors
/// Those of the file system.
pub fn one_tree(context: &Path, files: usize, size: usize) -> io::Result<()> {
    let mut random = Random::new(files as u64);
    for file in 0..files {
        let dir = context.join(format!("tree/d{}/e{}", file / 1000, file / 50 % 20));
        if file % 50 == 0 {
            fs_err::create_dir_all(&dir)?;
        }
        fs_err::write(dir.join(format!("f{file}")), random.bytes(size))?;
    }
    fs_err::write(context.join("Kubefile"), "FROM scratch\nCOPY tree /tree\n")
}
