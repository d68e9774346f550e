use super::*;

const GERMAN: &str = include_str!("../../text/de.txt");
const ENGLISH_FILE: &str = include_str!("../../text/en.txt");

/// The keys of a file with their texts.
fn lines(file: &str) -> Vec<(&str, &str)> {
    let lines = file.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(" = ").unwrap_or_else(|| panic!("no key: {line}"))).collect()
}

/// The places of a text with how many forms each has, and whether its braces are whole.
fn places(text: &str) -> Vec<(&str, usize)> {
    assert_eq!(text.matches('{').count(), text.matches('}').count(), "{text}");
    let places = text.split('{').skip(1).map(|part| part.split_once('}').map_or(part, |(place, _)| place));
    let mut places: Vec<(&str, usize)> = places
        .map(|place| place.split_once(':').map_or((place, 0), |(number, forms)| (number, forms.split('|').count())))
        .collect();
    places.sort_unstable();
    places
}

#[test]
fn every_language_has_the_keys_of_english_in_the_same_order() {
    let keys = |file| lines(file).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(keys(GERMAN), keys(ENGLISH_FILE));
    assert_eq!(read(GERMAN).len(), english().len());
    assert_eq!(read(ENGLISH_FILE), english());
}

#[test]
fn every_translation_is_filled_with_the_values_of_the_english() {
    let numbers = |text| {
        let mut numbers: Vec<&str> = places(text).into_iter().map(|(number, _)| number).collect();
        numbers.dedup();
        numbers
    };
    for ((key, english), (_, german)) in lines(ENGLISH_FILE).into_iter().zip(lines(GERMAN)) {
        assert_eq!(numbers(english), numbers(german), "{key}");
        for (number, forms) in places(english).into_iter().chain(places(german)) {
            assert!(
                forms == 0 || forms == 2,
                "{key}: {{{number}}} has {forms} forms, expected one for 1 and one for others"
            );
        }
    }
}

#[test]
fn every_translation_begins_and_ends_as_the_english_does() {
    let edges = |text: &str| (text.starts_with("\" "), text.ends_with(" \""));
    for ((key, english), (_, german)) in lines(ENGLISH_FILE).into_iter().zip(lines(GERMAN)) {
        assert_eq!(edges(english), edges(german), "{key}: spaces at the ends join it to what stands beside it");
        assert!(german.len() > 2 || english.len() == 2, "{key} is empty");
    }
}

#[test]
fn a_text_is_filled_and_what_is_filled_in_is_left_alone() {
    assert_eq!(filled("{1} of {0}: {0:lock|locks}", &[&1, &"{0}"]), "{0} of 1: lock");
    assert_eq!(filled("{0} {0:lock|locks}", &[&"1,400"]), "1,400 locks");
    assert_eq!(filled("nothing {9} here {", &[&1]), "nothing  here ");
}

#[test]
fn german_is_spoken_with_its_numbers_and_given_up_again() {
    assert!(speak(Language::German, GERMAN));
    assert_eq!(t!(n_wait_for_it, count(1_400), t!(exact), ""), "1.400 warten auf ihn (genau).");
    assert_eq!(t!(n_wait_for_it, count(1), t!(exact), ""), "1 wartet auf ihn (genau).");
    let said = [840, 1_234, 271_000, 6_720_000, 273_600_000].map(duration);
    assert_eq!(said, ["0,8 s", "1,2 s", "4 min 31 s", "1 h 52 min", "3 d 4 h"]);
    assert_eq!((shortest(300_000), without_tenths(8_000)), ("5 min".to_owned(), "8 s".to_owned()));
    assert!(speak(Language::English, ""));
    assert_eq!((t!(unknown), duration(271_000).as_str()), ("unknown", "4 m 31 s"));
}

#[test]
fn words_of_another_version_are_refused() {
    assert!(!speak(Language::German, "a = \"b\"\n"));
    assert_eq!(spoken(), Language::English);
}
