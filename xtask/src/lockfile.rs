//! Reading `Cargo.lock`.

use std::collections::BTreeMap;

/// The version of a package in the text of a `Cargo.lock`; the first one if there are several.
///
/// Read line by line rather than with a TOML parser: cargo writes this file, always in this form.
pub(crate) fn version_of<'a>(lockfile: &'a str, package: &str) -> Option<&'a str> {
    let name = format!("name = \"{package}\"");
    let mut lines = lockfile.lines();
    lines.find(|line| *line == name)?;
    lines.next()?.strip_prefix("version = \"")?.strip_suffix('"')
}

/// Where cargo's registry is, as the file writes it.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The packages that come neither from the registry nor from this repository.
pub(crate) fn from_elsewhere(lockfile: &str) -> Vec<&str> {
    packages(lockfile)
        .filter(|(_, _, source)| source.is_some_and(|source| source != REGISTRY))
        .map(|(name, ..)| name)
        .collect()
}

/// The packages that are there in several versions, each with these.
pub(crate) fn in_several_versions(lockfile: &str) -> Vec<(&str, Vec<&str>)> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, version, _) in packages(lockfile) {
        versions.entry(name).or_default().push(version);
    }
    versions.into_iter().filter(|(_, versions)| versions.len() > 1).collect()
}

/// Name, version and source of each package.
fn packages(lockfile: &str) -> impl Iterator<Item = (&str, &str, Option<&str>)> {
    lockfile.split("[[package]]").skip(1).filter_map(|package| {
        let value = |key: &str| {
            let mut lines = package.lines().filter_map(|line| line.split_once(" = "));
            lines.find(|(name, _)| *name == key).map(|(_, value)| value.trim_matches('"'))
        };
        Some((value("name")?, value("version")?, value("source")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCKFILE: &str = "\
[[package]]
name = \"wasm-bindgen-shared\"
version = \"0.2.99\"

[[package]]
name = \"wasm-bindgen\"
version = \"0.2.130\"
dependencies = [
 \"wasm-bindgen-shared\",
]
";

    #[test]
    fn finds_the_package_of_exactly_that_name() {
        assert_eq!(version_of(LOCKFILE, "wasm-bindgen"), Some("0.2.130"));
        assert_eq!(version_of(LOCKFILE, "wasm"), None);
    }

    #[test]
    fn origins_and_several_versions_are_told() {
        let package = |name: &str, version: &str, source: &str| {
            format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n{source}\n")
        };
        let (registry, git) = (format!("source = \"{REGISTRY}\""), "source = \"git+https://example.org/b\"");
        let lockfile = package("a", "1.0.0", &registry)
            + &package("a", "2.0.0", &registry)
            + &package("b", "1.0.0", git)
            + &package("own", "0.1.0", "");
        assert_eq!(from_elsewhere(&lockfile), ["b"]);
        assert_eq!(in_several_versions(&lockfile), [("a", vec!["1.0.0", "2.0.0"])]);
    }

    #[test]
    fn our_own_lockfile_names_the_version_that_must_be_installed() {
        let own = include_str!("../../Cargo.lock");
        assert!(version_of(own, "wasm-bindgen").is_some_and(|version| version.starts_with("0.2.")));
    }
}
