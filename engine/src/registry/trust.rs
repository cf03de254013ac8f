//! Whom to believe: authorities of certificates, and hosts that need none.

use std::path::PathBuf;

/// How registries are trusted.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Whether certificates are not checked, and HTTP is tried where HTTPS does not answer, for every registry.
    pub skip_tls_verify: bool,
    /// Hosts for which the same holds.
    pub insecure: Vec<String>,
    /// Files with more authorities, for every registry.
    pub authorities: Vec<PathBuf>,
    /// Directories with a directory for each host, in which `*.crt` are authorities.
    pub certificate_dirs: Vec<PathBuf>,
}

impl Trust {
    pub(super) fn is_insecure(&self, host: &str) -> bool {
        self.skip_tls_verify || self.insecure.iter().any(|insecure| insecure == host)
    }

    /// Files with authorities for a host.
    pub(super) fn authorities(&self, host: &str) -> Vec<PathBuf> {
        let mut files = self.authorities.clone();
        for dir in &self.certificate_dirs {
            let entries = fs_err::read_dir(dir.join(host)).into_iter().flatten().filter_map(Result::ok);
            let mut own: Vec<PathBuf> = entries
                .map(|entry| entry.path())
                .filter(|path| path.extension().is_some_and(|end| end == "crt"))
                .collect();
            own.sort();
            files.extend(own);
        }
        files
    }
}
