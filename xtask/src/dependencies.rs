//! What is built in must be ours to pass on, everything must come from the registry, and be free of known holes.
//!
//! Cargo itself tells all of it but the holes, so that nothing has to be installed for this.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::lockfile;
use crate::step::{cargo, find_program, say};
use crate::workspace::Workspace;

/// Licences that ask for no more than their text in what is passed on, by their SPDX names.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Of several versions of a crate, so many are named; the rest are counted.
const NAMED: usize = 8;

/// `cargo audit` found something, as against could not look.
const FOUND: i32 = 1;

/// Checks licences and origins, tells of crates that are there twice, and asks for known holes if it can.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let tree = cargo()
        .args(["tree", "--package", "lockkeeper", "--package", "lockkeeper-app", "--package", "lockkeeper-client"])
        .args(["--all-features", "--target", "all", "--edges", "normal,build"])
        .args(["--prefix", "none", "--no-dedupe", "--locked", "--format", "{p}\t{l}"])
        .current_dir(&workspace.root)
        .output()
        .context("ask cargo for the dependencies")?;
    if !tree.status.success() {
        bail!("ask cargo for the dependencies: {}", String::from_utf8_lossy(&tree.stderr).trim());
    }
    let wrong = with_other_licences(&String::from_utf8_lossy(&tree.stdout));
    if !wrong.is_empty() {
        bail!(
            "pass on what is built in; these have a licence that is not among those in xtask/src/dependencies.rs: {}",
            wrong.join(", ")
        );
    }
    let lock = std::fs::read_to_string(workspace.root.join("Cargo.lock")).context("read `Cargo.lock`")?;
    let foreign = lockfile::from_elsewhere(&lock);
    if !foreign.is_empty() {
        bail!("rely on the registry alone; these come from elsewhere: {}", foreign.join(", "));
    }
    let twice = lockfile::in_several_versions(&lock);
    if !twice.is_empty() {
        let named: Vec<String> =
            twice.iter().take(NAMED).map(|(name, versions)| format!("{name} {}", versions.join(" and "))).collect();
        let more = twice.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        say(&format!("in several versions: {}{more}", named.join(", ")));
    }
    holes(workspace)
}

/// Known holes are in a database of their own, which is not everywhere within reach.
fn holes(workspace: &Workspace) -> Result<()> {
    if find_program("cargo-audit").is_none() {
        say("without `cargo-audit` (`cargo install cargo-audit --locked`) known holes are not looked for");
        return Ok(());
    }
    let audited = Command::new("cargo-audit")
        .args(["audit", "--quiet"])
        .current_dir(&workspace.root)
        .status()
        .context("start `cargo-audit`")?;
    match audited.code() {
        Some(0) => Ok(()),
        Some(FOUND) => bail!("be free of known holes: `cargo audit` names them above"),
        _ => {
            say("`cargo audit` could not look, most likely for want of its database: known holes were not looked for");
            Ok(())
        }
    }
}

/// The crates, of lines such as `serde v1.0.0<tab>MIT OR Apache-2.0`, that may not be passed on.
fn with_other_licences(tree: &str) -> Vec<String> {
    let licences: BTreeMap<&str, &str> = tree.lines().filter_map(|line| line.split_once('\t')).collect();
    let wrong = licences.into_iter().filter(|(_, licence)| !is_allowed(licence));
    wrong
        .map(|(package, licence)| {
            let package = package.split(" (").next().unwrap_or(package);
            format!("{package} ({})", if licence.is_empty() { "none" } else { licence })
        })
        .collect()
}

/// Whether an SPDX expression can be met by what is allowed. `/` is an `OR` of old.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let met = any(&mut rest);
    met == Some(true) && rest.is_empty()
}

/// Reads alternatives off the front; `None`: it is no expression.
fn any(words: &mut &[&str]) -> Option<bool> {
    let mut met = all(words)?;
    while let Some(("OR", rest)) = words.split_first().map(|(first, rest)| (*first, rest)) {
        *words = rest;
        met |= all(words)?;
    }
    Some(met)
}

fn all(words: &mut &[&str]) -> Option<bool> {
    let mut met = one(words)?;
    while let Some(("AND", rest)) = words.split_first().map(|(first, rest)| (*first, rest)) {
        *words = rest;
        met &= one(words)?;
    }
    Some(met)
}

fn one(words: &mut &[&str]) -> Option<bool> {
    let (first, rest) = words.split_first()?;
    *words = rest;
    match *first {
        "(" => {
            let met = any(words)?;
            let (closing, rest) = words.split_first()?;
            *words = rest;
            (*closing == ")").then_some(met)
        }
        ")" | "OR" | "AND" | "WITH" => None,
        name => {
            let name = match *words {
                ["WITH", exception, rest @ ..] => {
                    *words = rest;
                    format!("{name} WITH {exception}")
                }
                _ => name.to_owned(),
            };
            Some(ALLOWED.contains(&name.as_str()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_met_or_not() {
        for (expression, met) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("MIT OR GPL-3.0", true),
            ("MIT/Apache-2.0", true),
            ("MIT AND GPL-3.0", false),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("GPL-2.0 OR (MIT AND BSD-3-Clause)", true),
            ("Apache-2.0 WITH LLVM-exception OR GPL-3.0", true),
            ("GPL-3.0 WITH Classpath-exception-2.0", false),
            ("", false),
            ("MIT OR", false),
            ("(MIT", false),
            ("MIT MIT", false),
        ] {
            assert_eq!(is_allowed(expression), met, "{expression}");
        }
    }

    #[test]
    fn what_may_not_be_passed_on_is_named_once() {
        let tree = "a v1.0.0\tMIT\nb v2.0.0 (/somewhere/b)\t\nc v3.0.0\tGPL-3.0\nc v3.0.0\tGPL-3.0\n";
        assert_eq!(with_other_licences(tree), ["b v2.0.0 (none)", "c v3.0.0 (GPL-3.0)"]);
    }
}
