//! Whether the app must be built again: trunk takes seconds even over nothing to do.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// One number for everything under these paths: names and contents. Paths that are not there count as absent.
pub(crate) fn of(paths: &[PathBuf], also: &str) -> Result<String> {
    let mut files = BTreeSet::new();
    for path in paths {
        collect(path, &mut files)?;
    }
    let mut hasher = DefaultHasher::new();
    also.hash(&mut hasher);
    for file in files {
        file.hash(&mut hasher);
        std::fs::read(&file).with_context(|| format!("read `{}`", file.display()))?.hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn collect(path: &Path, files: &mut BTreeSet<PathBuf>) -> Result<()> {
    if path.is_file() {
        files.insert(path.to_owned());
    } else if path.is_dir() && path.file_name().is_none_or(|name| name != "dist" && name != "target") {
        let entries = std::fs::read_dir(path).with_context(|| format!("list `{}`", path.display()))?;
        for entry in entries {
            collect(&entry.with_context(|| format!("list `{}`", path.display()))?.path(), files)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_change_of_a_file_or_a_name_shows() {
        let dir = std::env::temp_dir().join(format!("lockkeeper-fingerprint-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("dist")).unwrap();
        let look = || of(std::slice::from_ref(&dir), "v1").unwrap();
        let empty = look();
        std::fs::write(dir.join("a"), "1").unwrap();
        let one = look();
        std::fs::write(dir.join("a"), "2").unwrap();
        let changed = look();
        std::fs::rename(dir.join("a"), dir.join("b")).unwrap();
        let renamed = look();
        std::fs::write(dir.join("dist/ignored"), "1").unwrap();
        assert_eq!(look(), renamed);
        assert_ne!(of(std::slice::from_ref(&dir), "v2").unwrap(), renamed);
        std::fs::remove_dir_all(&dir).unwrap();
        let all = BTreeSet::from([empty, one, changed, renamed]);
        assert_eq!(all.len(), 4);
    }
}
