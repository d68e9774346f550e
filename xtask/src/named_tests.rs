//! Tests that `docs/security.md` names have to exist: a promise that nothing shows any more is no promise.

use std::path::{Path, PathBuf};

/// What a name begins with whose test needs a running server.
const END_TO_END: &str = "end_to_end::";

/// Where the modules of such a name lie, below the root of the repository, and where those of others do.
const END_TO_END_IN: &[&str] = &["tests/tests"];
const SERVER_IN: &[&str] = &["server/src", "server/tests"];

/// The names between backticks in the last column of tables that have a column `Test`.
fn named(document: &str) -> Vec<&str> {
    let mut in_table = false;
    let mut names = Vec::new();
    for line in document.lines() {
        let Some(row) = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
            in_table = false;
            continue;
        };
        let Some(last) = row.rsplit('|').next() else { continue };
        if last.trim() == "Test" {
            in_table = true;
        } else if in_table {
            names.extend(last.split('`').skip(1).step_by(2));
        }
    }
    names
}

/// Whether the sources below `root` have the test, or the module of tests, of this name.
fn exists(root: &Path, name: &str) -> bool {
    let (folders, name) = match name.strip_prefix(END_TO_END) {
        Some(name) => (END_TO_END_IN, name),
        None => (SERVER_IN, name),
    };
    let modules: Vec<&str> = name.split("::").collect();
    let Some((function, parents)) = modules.split_last() else { return false };
    // A module of tests may stand in the file of what it tests.
    let inline = parents.strip_suffix(&["tests"]).unwrap_or(parents);
    let sources = |modules: &[&str]| -> Vec<String> {
        let paths = folders.iter().map(|folder| root.join(folder).join(modules.join("/")));
        let files = paths.flat_map(|path| [path.with_extension("rs"), path.join("mod.rs")]);
        files.filter_map(|file: PathBuf| std::fs::read_to_string(file).ok()).collect()
    };
    let has_test = |source: &String| {
        source.split(&format!("fn {function}(")).next().is_some_and(|before| {
            // Those of a test stand right before it.
            let attributes = before.rsplit('\n').take(4).collect::<String>();
            before.len() < source.len() && (attributes.contains("test]") || attributes.contains("test("))
        })
    };
    [parents, inline].iter().any(|parents| sources(parents).iter().any(has_test))
        || sources(&modules).iter().any(|source| source.contains("test"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_that_the_security_page_names_exists() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let document = std::fs::read_to_string(root.join("docs/security.md")).unwrap();
        let names = named(&document);
        assert!(names.len() > 80, "the tables were not found: {names:?}");
        let missing: Vec<&&str> = names.iter().filter(|name| !exists(&root, name)).collect();
        assert!(missing.is_empty(), "docs/security.md names tests that there are not: {missing:#?}");
    }

    #[test]
    fn only_the_last_column_of_tables_about_tests_is_read() {
        let document = "| What `x` | Test |\n|---|---|\n| `a` | `b::c`, `d` |\n\n| Other |\n| `e` |\n";
        assert_eq!(named(document), ["b::c", "d"]);
    }

    #[test]
    fn a_function_that_is_no_test_or_is_not_there_does_not_count() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        assert!(exists(&root, "http::tests::guard::nothing_may_be_framed"));
        assert!(!exists(&root, "http::tests::guard::nothing_may_be_fram"));
        assert!(!exists(&root, "http::guard::harden"));
        assert!(!exists(&root, "end_to_end::guard::nothing_may_be_framed"));
    }
}
