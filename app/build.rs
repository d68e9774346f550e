//! Makes a constant of each key in `text/en.txt`, so that a word that is missing, misspelt or filled with the wrong
//! number of values does not compile, and one that nothing says any more is a warning like other dead code.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

const ENGLISH: &str = "text/en.txt";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={ENGLISH}");
    if env::var_os("CARGO_FEATURE_PARTS").is_some() && env::var("CARGO_CFG_TARGET_FAMILY").as_deref() == Ok("wasm") {
        // What is cut off later is found by what refers to it.
        println!("cargo:rustc-link-arg-bins=--emit-relocs");
    }
    let (mut keys, mut words) = (String::new(), Vec::new());
    for (at, line) in fs::read_to_string(ENGLISH)?.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fault = |what: &str| format!("{ENGLISH}:{}: {what}, expected `a_key = \"its words\"`: {line}", at + 1);
        let (key, rest) = line.split_once(" = ").ok_or_else(|| fault("there is no ` = `"))?;
        let said = rest.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or_else(|| fault("no quotes"))?;
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
            return Err(fault("the key is no name in small letters").into());
        }
        let places = places(said).ok_or_else(|| fault("its places are not numbered {0}, {1}…"))?;
        writeln!(keys, "/// “{said}”\npub(crate) const {key}: Key<{places}> = Key({});", words.len())?;
        words.push(said.to_owned());
    }
    let out = env::var_os("OUT_DIR").ok_or("cargo names no OUT_DIR")?;
    fs::write(Path::new(&out).join("keys.rs"), keys)?;
    fs::write(Path::new(&out).join("english.txt"), words.join("\n"))?;
    Ok(())
}

/// How many values a text is filled with; `None` where a number is left out or something else stands in braces.
fn places(said: &str) -> Option<usize> {
    let mut seen = [false; 10];
    for part in said.split('{').skip(1) {
        let (place, _) = part.split_once('}')?;
        let (number, _) = place.split_once(':').unwrap_or((place, ""));
        *seen.get_mut(number.parse::<usize>().ok()?)? = true;
    }
    let places = seen.iter().filter(|seen| **seen).count();
    seen[..places].iter().all(|seen| *seen).then_some(places)
}
