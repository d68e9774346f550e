use lockkeeper_model::words;

use super::{Language, spoken};

/// [`words::duration`], with the decimal sign and the units of the language.
pub(crate) fn duration(ms: i64) -> String {
    localized(words::duration(ms))
}

/// A duration whose tenths are left out where they are nothing: `8 s`.
pub(crate) fn without_tenths(ms: i64) -> String {
    localized(words::duration(ms).replace(".0 s", " s"))
}

/// A duration without the parts that are nothing, as a person would have typed it: `5 m`.
pub(crate) fn shortest(ms: i64) -> String {
    let mut said = words::duration(ms);
    for nothing in [" 00 s", " 00 m", " 0 h", ".0"] {
        said = said.replace(nothing, "");
    }
    localized(said)
}

/// A duration as the model says it, in the language.
fn localized(english: String) -> String {
    match spoken() {
        Language::English => english,
        // A lone `m` is a metre to a German.
        Language::German => {
            let said = english.replace('.', ",").replace(" m ", " min ");
            match said.strip_suffix(" m") {
                Some(before) => format!("{before} min"),
                None => said,
            }
        }
    }
}

/// [`words::count`], with the groups of the language.
pub(crate) fn count(n: u64) -> String {
    let english = words::count(n);
    match spoken() {
        Language::English => english,
        Language::German => english.replace(',', "."),
    }
}
