//! What a rule makes of what is stored: on the left the rule and the key, on the right who holds it.

use super::*;
use crate::source::redis::dialect::{Raw, Stored};

const NOW: i64 = 1_795_231_716_000;

fn rule(holder: Holder, mode: Mode, lease: Lease) -> Operator {
    Operator::new(Format {
        name: "billing-lock".to_owned(),
        pattern: "billing:*:lock".to_owned(),
        holder,
        decode: Some(Decode::parse("{host}:{pid}:{_}").unwrap()),
        lease,
        mode,
        signal: None,
    })
}

fn seen(rule: &Operator, root: &Raw) -> Option<Form> {
    let stored = Stored { root, beside: &[], configured: false, now_ms: NOW };
    rule.recognise(&stored).into_iter().next().map(|found| found.form)
}

/// Tokens, counts, what is left, and process ids.
fn holders(form: &Form) -> Vec<(&str, u32, Option<i64>, Option<u32>)> {
    let pid = |hold: &Hold| hold.extra.as_ref()?.identity.as_ref()?.pid;
    form.holds
        .iter()
        .map(|hold| (std::str::from_utf8(&hold.token).unwrap(), hold.count, hold.ttl_ms, pid(hold)))
        .collect()
}

#[track_caller]
fn is_odd(form: &Form, note: &str) {
    assert_eq!((form.state, form.recognition.certainty), (LockState::UnknownHolder, Certainty::Ambiguous));
    let extra = form.extra.as_ref().unwrap();
    assert_eq!((extra.flags.as_slice(), extra.notes.as_slice()), (&[Flag::Unrecognised][..], &[note.to_owned()][..]));
    assert!(!extra.entries.is_empty(), "nothing of it is dropped");
}

#[test]
fn a_string_is_its_holders_token() {
    let rule = rule(Holder::Value, Mode::Exclusive, Lease::Ttl);
    let form = seen(&rule, &Raw::string("billing:a:lock", b"web-1:7:x", Some(9))).unwrap();
    assert_eq!(holders(&form), [("web-1:7:x", 1, Some(9), Some(7))]);
    assert_eq!((form.state, form.recognition.certainty), (LockState::Held, Certainty::Configured));
    assert_eq!(
        form.recognition.because,
        "the rule `billing-lock` of the configuration, for each string under `billing:*:lock`"
    );
    assert_eq!(seen(&rule, &Raw::string("billing:a:locks", b"web-1:7:x", Some(9))), None);
    assert_eq!(seen(&rule, &Raw::set("billing:a:lock", &["web-1:7:x"], Some(9))), None);
    let form = seen(&rule, &Raw::string("billing:a:lock", b"1", Some(9))).unwrap();
    assert_eq!(form.state, LockState::UnknownHolder);
}

#[test]
fn a_token_in_json_is_bound_to_the_whole_value() {
    let rule = rule(Holder::JsonField("owner".to_owned()), Mode::Exclusive, Lease::Ttl);
    let value = br#"{"owner": "web-1:7:x", "at": 1}"#;
    let form = seen(&rule, &Raw::string("billing:a:lock", value, None)).unwrap();
    assert_eq!(holders(&form), [("web-1:7:x", 1, None, Some(7))]);
    assert_eq!(form.holds[0].extra.as_ref().unwrap().stamp.as_deref(), Some(&value[..]));
    let form = seen(&rule, &Raw::string("billing:a:lock", br#"{"owner": 4711}"#, None)).unwrap();
    assert_eq!(holders(&form), [("4711", 1, None, None)]);
    for value in ["", "web-1", "{\"owner\"", "[1]", "{}", r#"{"owner": null}"#, r#"{"owner": ["a"]}"#] {
        let form = seen(&rule, &Raw::string("billing:a:lock", value.as_bytes(), None)).unwrap();
        assert!(form.holds.is_empty(), "{value}");
        is_odd(&form, "not as its rule says: its value is not a JSON object with a text or a number in `owner`");
    }
}

#[test]
fn fields_are_holders_or_one_of_them_has_the_token() {
    let fields = [("web-1:7:x", "2"), ("web-2:8:y", "1795231716")];
    let root = Raw::hash("billing:a:lock", &fields, Some(9));
    let form = seen(&rule(Holder::Fields, Mode::Shared, Lease::Ttl), &root).unwrap();
    assert_eq!(holders(&form), [("web-1:7:x", 2, Some(9), Some(7)), ("web-2:8:y", 1, Some(9), Some(8))]);
    let stamp = |at: usize| form.holds[at].extra.as_ref().unwrap().stamp.clone();
    assert_eq!((stamp(0), stamp(1)), (None, Some(Bytes::from_static(b"1795231716"))));

    is_odd(
        &seen(&rule(Holder::Fields, Mode::Exclusive, Lease::Ttl), &root).unwrap(),
        "not as its rule says: one may hold it at a time, and 2 are listed",
    );

    let one = rule(Holder::Field("owner".to_owned()), Mode::Exclusive, Lease::Ttl);
    let held = Raw::hash("billing:a:lock", &[("since", "12"), ("owner", "web-1:7:x")], Some(9));
    assert_eq!(holders(&seen(&one, &held).unwrap()), [("web-1:7:x", 1, Some(9), Some(7))]);
    is_odd(&seen(&one, &root).unwrap(), "not as its rule says: it has no field `owner`");
}

#[test]
fn members_end_with_their_key_or_at_their_scores() {
    let root = Raw::set("billing:a:lock", &["a:1:x", "1"], Some(9));
    let form = seen(&rule(Holder::SetMember, Mode::Semaphore, Lease::Ttl), &root).unwrap();
    assert_eq!(holders(&form), [("a:1:x", 1, Some(9), Some(1)), ("1", 1, Some(9), None)]);
    assert_eq!(form.state, LockState::Held);

    let root = Raw::zset("billing:a:lock", &[("a:1:x", 17.5)], Some(9));
    let form = seen(&rule(Holder::ZSetMember, Mode::Semaphore, Lease::Ttl), &root).unwrap();
    assert_eq!(form.holds[0].extra.as_ref().unwrap().stamp.as_deref(), Some(&b"17.5"[..]));

    let ends = rule(Holder::ZSetMember, Mode::Semaphore, Lease::Score { unit_ms: 1_000 });
    let end = |s: i64| (NOW / 1_000 + s) as f64;
    let root = Raw::zset("billing:a:lock", &[("a:1:x", end(5)), ("b:2:y", end(-1))], None);
    let form = seen(&ends, &root).unwrap();
    assert_eq!(holders(&form), [("a:1:x", 1, Some(5_000), Some(1))]);
    assert_eq!(form.extra.unwrap().flags.as_slice(), [Flag::DeadMember]);

    let dead = Raw::zset("billing:a:lock", &[("b:2:y", end(-1))], None);
    assert_eq!(seen(&ends, &dead), None);
    assert!(ends.is_vacant(&Stored { root: &dead, beside: &[], configured: false, now_ms: NOW }));

    let wrong = Raw::zset("billing:a:lock", &[("a:1:x", end(5) * 1_000.0), ("b:2:y", f64::INFINITY)], None);
    is_odd(&seen(&ends, &wrong).unwrap(), "scores that are no time in the rule's unit: `a:1:x`, `b:2:y`");
}

#[test]
fn a_name_that_is_taken_is_known() {
    assert!(is_built_in("redisson") && is_built_in("token") && !is_built_in("billing-lock"));
}
