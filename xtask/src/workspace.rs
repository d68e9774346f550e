//! Where things are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folders that chores work in.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The repository.
    pub(crate) root: PathBuf,
    /// Cargo's output.
    pub(crate) target: PathBuf,
    /// Tools that we install, outside `target/` so that a clean clone does not build them again.
    pub(crate) tools: PathBuf,
}

impl Workspace {
    pub(crate) fn locate() -> Result<Workspace> {
        // Cargo says at run time where the package is; a binary that is started by hand knows where it was built.
        let package = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = package.parent().context("find the repository: xtask has no folder above it")?.to_owned();
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(dir) if !dir.is_empty() => root.join(dir),
            _ => root.join("target"),
        };
        let cache = cache_dir(std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from), std::env::home_dir())
            .context("find a folder for tools: set `HOME` or `XDG_CACHE_HOME`")?;
        Ok(Workspace { root, target, tools: cache.join("lockkeeper").join("tools") })
    }

    /// The built app, which the server carries inside.
    pub(crate) fn dist(&self) -> PathBuf {
        self.root.join("app").join("dist")
    }
}

/// The user's cache folder. A relative `XDG_CACHE_HOME` is to be ignored, says its specification.
fn cache_dir(xdg: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    xdg.filter(|dir| dir.is_absolute())
        .or_else(|| home.filter(|dir| dir != Path::new("")).map(|dir| dir.join(".cache")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_go_to_the_users_cache() {
        let home = Some(PathBuf::from("/home/me"));
        assert_eq!(cache_dir(None, home.clone()), Some(PathBuf::from("/home/me/.cache")));
        assert_eq!(cache_dir(Some(PathBuf::from("/c")), home.clone()), Some(PathBuf::from("/c")));
        assert_eq!(cache_dir(Some(PathBuf::from("relative")), home), Some(PathBuf::from("/home/me/.cache")));
        assert_eq!(cache_dir(None, None), None);
    }
}
