//! Putting the built app into the form in which browsers are sent it.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;

use anyhow::{Context, Result, bail};
use brotli::enc::BrotliEncoderParams;

/// What compresses; pictures do not, and the page is made anew for everybody.
const COMPRESSED: [&str; 4] = ["wasm", "js", "css", "txt"];

const PAGE: &str = "index.html";

/// Leaves one style sheet instead of many: one request, and text of one kind compresses far better in one piece.
pub(crate) fn join_styles(dist: &Path) -> Result<()> {
    let page = dist.join(PAGE);
    let html = fs::read_to_string(&page).with_context(|| format!("read `{}`", page.display()))?;
    let (parts, hrefs) = without_sheets(&html);
    let mut all = String::new();
    for href in &hrefs {
        let sheet = dist.join(href.trim_start_matches('/'));
        all.push_str(&fs::read_to_string(&sheet).with_context(|| format!("read `{}`", sheet.display()))?);
        fs::remove_file(&sheet).with_context(|| format!("remove `{}`", sheet.display()))?;
    }
    let [before, after @ ..] = parts.as_slice() else { bail!("find a style sheet in `{}`", page.display()) };
    if hrefs.is_empty() {
        bail!("find a style sheet in `{}`: it names none", page.display());
    }
    let mut hasher = DefaultHasher::new();
    all.hash(&mut hasher);
    let name = format!("style-{:016x}.css", hasher.finish());
    fs::write(dist.join(&name), all).with_context(|| format!("write `{name}`"))?;
    let html = format!("{before}<link rel=\"stylesheet\" href=\"/{name}\">{}", after.concat());
    fs::write(&page, html).with_context(|| format!("write `{}`", page.display()))
}

/// A page in pieces, without the links to style sheets that stood between them, and where those led.
fn without_sheets(html: &str) -> (Vec<&str>, Vec<&str>) {
    let (mut parts, mut hrefs) = (Vec::new(), Vec::new());
    let (mut rest, mut from) = (html, 0);
    while let Some(start) = rest.get(from..).and_then(|tail| tail.find("<link ")).map(|at| at + from) {
        let Some(end) = rest.get(start..).and_then(|tail| tail.find('>')).map(|at| at + start + 1) else { break };
        let tag = rest.get(start..end).unwrap_or_default();
        match attribute(tag, "href") {
            Some(href) if attribute(tag, "rel") == Some("stylesheet") => {
                parts.push(rest.get(..start).unwrap_or_default());
                hrefs.push(href);
                rest = rest.get(end..).unwrap_or_default();
                from = 0;
            }
            _ => from = end,
        }
    }
    parts.push(rest);
    (parts, hrefs)
}

/// The value of an attribute, with quotes around it or, as a minifier leaves it, without.
fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let value = tag.split_once(&format!(" {name}="))?.1;
    match value.strip_prefix('"') {
        Some(quoted) => Some(quoted.split_once('"')?.0),
        None => value.split([' ', '>']).next(),
    }
}

/// A script without its indentation and the lines that only comment, as generated ones are full of both.
pub(crate) fn squeezed(script: &str) -> String {
    let mut squeezed = String::with_capacity(script.len());
    let mut in_comment = false;
    for line in script.lines().map(str::trim) {
        // A comment with code behind it stays where it is.
        let begins = line.starts_with("/*") && (line.ends_with("*/") || !line.contains("*/"));
        if !(in_comment || begins || line.is_empty() || line.starts_with("//")) {
            squeezed.push_str(line);
            squeezed.push('\n');
        }
        in_comment = (in_comment || begins) && !line.ends_with("*/");
    }
    squeezed
}

/// Leaves beside each file what it is with brotli at its best, which takes seconds: too long while somebody waits for it.
pub(crate) fn compress(dist: &Path) -> Result<()> {
    let entries = fs::read_dir(dist).with_context(|| format!("list `{}`", dist.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("list `{}`", dist.display()))?.path();
        let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
        if !COMPRESSED.contains(&kind) {
            continue;
        }
        let plain = fs::read(&path).with_context(|| format!("read `{}`", path.display()))?;
        let mut packed = Vec::new();
        let parameters = BrotliEncoderParams { size_hint: plain.len(), ..BrotliEncoderParams::default() };
        brotli::BrotliCompress(&mut plain.as_slice(), &mut packed, &parameters)
            .with_context(|| format!("compress `{}`", path.display()))?;
        let packed_path = path.with_extension(format!("{kind}.br"));
        fs::write(&packed_path, packed).with_context(|| format!("write `{}`", packed_path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_lose_what_nobody_reads() {
        let script = "/**\n * @param {number} a\n */\nexport function f(a) {\n    // twice\n\n    return a * 2; // kept\n}\n\
                      /* one line */\n/* g */ f(1);";
        assert_eq!(squeezed(script), "export function f(a) {\nreturn a * 2; // kept\n}\n/* g */ f(1);\n");
    }

    #[test]
    fn style_sheets_become_one_in_the_order_of_the_page() {
        let dist = std::env::temp_dir().join(format!("lockkeeper-pack-{}", std::process::id()));
        fs::create_dir_all(&dist).unwrap();
        fs::write(dist.join("b-1.css"), "@layer one;").unwrap();
        fs::write(dist.join("a-2.css"), "p{}").unwrap();
        let page = "<head><link rel=\"icon\" href=\"/i.svg\"><link rel=\"stylesheet\" href=\"/b-1.css\"/>\n\
                    <link rel=stylesheet href=/a-2.css><link rel=\"preload\" href=\"/x.wasm\"></head>";
        fs::write(dist.join(PAGE), page).unwrap();
        join_styles(&dist).unwrap();
        compress(&dist).unwrap();
        let html = fs::read_to_string(dist.join(PAGE)).unwrap();
        let (parts, hrefs) = without_sheets(&html);
        let [sheet] = hrefs.as_slice() else { panic!("{html}") };
        let sheet = sheet.trim_start_matches('/');
        assert_eq!(fs::read_to_string(dist.join(sheet)).unwrap(), "@layer one;p{}");
        assert_eq!(parts.first(), Some(&"<head><link rel=\"icon\" href=\"/i.svg\">"));
        assert_eq!(parts.get(1), Some(&"\n<link rel=\"preload\" href=\"/x.wasm\"></head>"));
        let packed = fs::read(dist.join(format!("{sheet}.br"))).unwrap();
        let mut plain = Vec::new();
        brotli::BrotliDecompress(&mut packed.as_slice(), &mut plain).unwrap();
        assert_eq!(plain, b"@layer one;p{}");
        assert!(!dist.join("a-2.css").exists());
        assert!(join_styles(&dist).is_ok(), "one sheet is joined, too");
        fs::remove_dir_all(&dist).unwrap();
    }
}
