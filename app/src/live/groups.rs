//! Locks put together, as the server tells them.

use lockkeeper_model::words::shown;
use lockkeeper_model::{GroupBy, NO_GROUP};

use super::json::Value;
use crate::lang::{count, duration, t};

/// The groups of a question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Groups {
    /// In order.
    pub(crate) listed: Vec<Group>,
    /// How many there are beside those, and how many locks those have.
    pub(crate) beyond: (u64, u64),
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// What stands for it in an address.
    pub(crate) value: String,
    /// What it is called.
    pub(crate) name: String,
    /// How many locks it has.
    pub(crate) locks: u64,
    /// That, in words.
    pub(crate) size: String,
    /// How many wait, and for how long.
    pub(crate) waited: String,
    /// The worst that is so of one of its locks.
    pub(crate) worst: String,
    /// How that looks.
    pub(crate) look: &'static str,
}

impl Groups {
    /// Reads an answer.
    pub(crate) fn read(answer: &Value, by: GroupBy) -> Groups {
        let listed: Vec<Group> = answer.items("groups").iter().map(|group| Group::read(group, by)).collect();
        let told: u64 = listed.iter().map(|group| group.locks).sum();
        let groups = answer.number("total").unwrap_or_default().saturating_sub(listed.len() as u64);
        Groups { beyond: (groups, answer.number("locks").unwrap_or_default().saturating_sub(told)), listed }
    }
}

impl Group {
    fn read(group: &Value, by: GroupBy) -> Group {
        let name = match (group.text("name"), by) {
            ("", GroupBy::Prefix) => t!(no_prefix).to_owned(),
            ("", _) => t!(holders_that_nothing_tells_apart).to_owned(),
            (name, _) => shown(name),
        };
        let locks = group.number("locks").unwrap_or_default();
        let waiters = group.number("waiters").unwrap_or_default();
        let blocked = group.number("blocked_ms").unwrap_or_default();
        let mut waited =
            if waiters > 0 { t!(so_many_waiting, count(waiters)) } else { t!(nobody_known_to_wait).to_owned() };
        if blocked > 0 {
            waited.push_str(&t!(blocked_for_lately, duration(i64::try_from(blocked).unwrap_or(i64::MAX))));
        }
        let (look, worst) = worst(group.text("worst"));
        let of =
            group.number("worst_locks").filter(|n| *n != locks).map(|n| format!("{} ", count(n))).unwrap_or_default();
        let size = t!(so_many_locks, count(locks));
        let value = match group.text("value") {
            "" => NO_GROUP,
            value => value,
        };
        Group { value: value.to_owned(), name, locks, size, waited, worst: format!("{of}{worst}"), look }
    }
}

/// How the worst condition looks, and what it is called.
fn worst(word: &str) -> (&'static str, String) {
    match word {
        "no_quorum" => ("is-gone", t!(worst_no_quorum).to_owned()),
        "waiting_only" => ("is-gone", t!(worst_waiting_only).to_owned()),
        "renewal-stopped" => ("is-gone", t!(worst_renewal_stopped).to_owned()),
        "unknown_holder" => ("is-quiet", t!(worst_unknown_holder).to_owned()),
        "waiting" => ("is-quiet", t!(worst_waiting).to_owned()),
        "no-expiry" => ("is-quiet", t!(worst_no_expiry).to_owned()),
        "held" => ("", t!(worst_held).to_owned()),
        other => ("", shown(other)),
    }
}

/// The order on the screen: the server's, but while one is open all stay where they are, and what is new comes last. Nothing
/// moves under the hand.
pub(crate) fn kept_order(before: &[String], now: &[Group], is_open: bool) -> Vec<String> {
    let told = |value: &String| now.iter().any(|group| group.value == *value);
    let mut order: Vec<String> =
        if is_open { before.iter().filter(|value| told(value)).cloned().collect() } else { Vec::new() };
    for group in now {
        if !order.contains(&group.value) {
            order.push(group.value.clone());
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::json::parse;

    fn answer(groups: &str, total: u64, locks: u64) -> Value {
        parse(&format!(r#"{{"groups":[{groups}],"total":{total},"locks":{locks}}}"#)).unwrap()
    }

    #[test]
    fn a_group_says_how_many_how_much_and_the_worst() {
        let group = r#"{"value":"stock:","name":"stock:","locks":1200,"waiters":3,"blocked_ms":61000,"worst":"waiting","worst_locks":2}"#;
        let rest =
            r#"{"value":"none","name":null,"locks":1,"waiters":0,"blocked_ms":0,"worst":"held","worst_locks":1}"#;
        let groups = Groups::read(&answer(&format!("{group},{rest}"), 5, 1_301), GroupBy::Prefix);
        assert_eq!(groups.beyond, (3, 100));
        let said: Vec<_> = groups.listed.iter().map(|it| [&*it.name, &*it.size, &*it.waited, &*it.worst]).collect();
        assert_eq!(
            said,
            [
                ["stock:", "1,200 locks", "3 waiting, blocked for 1 m 01 s in 5 min", "2 waited for"],
                ["No prefix", "1 lock", "nobody known to wait", "held"],
            ]
        );
        let hostile = r#"{"value":"a\u202e:","name":"a\u202e:","locks":1,"worst":"odd\u0007","worst_locks":1}"#;
        let groups = Groups::read(&answer(hostile, 1, 1), GroupBy::Prefix);
        assert_eq!((groups.listed[0].name.as_str(), groups.listed[0].worst.as_str()), ("a\\u{202e}:", "odd\\u{7}"));
    }

    #[test]
    fn groups_stay_where_they_are_while_one_is_open() {
        let group = |value: &str| {
            let text = format!(r#"{{"value":"{value}","name":"{value}","locks":1}}"#);
            Group::read(&parse(&text).unwrap(), GroupBy::Dialect)
        };
        let before: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        let now = [group("d"), group("c"), group("a")];
        assert_eq!(kept_order(&before, &now, true), ["a", "c", "d"]);
        assert_eq!(kept_order(&before, &now, false), ["d", "c", "a"]);
    }
}
