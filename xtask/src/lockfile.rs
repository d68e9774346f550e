//! Reading `Cargo.lock`.

/// The version of a package in the text of a `Cargo.lock`; the first one if there are several.
///
/// Read line by line rather than with a TOML parser: cargo writes this file, always in this form.
pub(crate) fn version_of<'a>(lockfile: &'a str, package: &str) -> Option<&'a str> {
    let name = format!("name = \"{package}\"");
    let mut lines = lockfile.lines();
    lines.find(|line| *line == name)?;
    lines.next()?.strip_prefix("version = \"")?.strip_suffix('"')
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
    fn our_own_lockfile_names_the_version_that_must_be_installed() {
        let own = include_str!("../../Cargo.lock");
        assert!(version_of(own, "wasm-bindgen").is_some_and(|version| version.starts_with("0.2.")));
    }
}
