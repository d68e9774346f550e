//! The recognisers against what libraries really write: see `recorded/README.md`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value as Json;

use super::{ALL, FoundLock, Heard, Raw, Stored, Value};

const FILES: &[(&str, &str)] = &[
    ("bull", include_str!("recorded/bull.jsonl")),
    ("distributedlock_net", include_str!("recorded/distributedlock_net.jsonl")),
    ("hand_made", include_str!("recorded/hand_made.jsonl")),
    ("jobs", include_str!("recorded/jobs.jsonl")),
    ("not_locks", include_str!("recorded/not_locks.jsonl")),
    ("php", include_str!("recorded/php.jsonl")),
    ("python_redis_lock", include_str!("recorded/python_redis_lock.jsonl")),
    ("redis_py", include_str!("recorded/redis_py.jsonl")),
    ("redis_semaphore", include_str!("recorded/redis_semaphore.jsonl")),
    ("redisson", include_str!("recorded/redisson.jsonl")),
    ("redlock", include_str!("recorded/redlock.jsonl")),
    ("ruby", include_str!("recorded/ruby.jsonl")),
    ("rueidislock", include_str!("recorded/rueidislock.jsonl")),
    ("spring", include_str!("recorded/spring.jsonl")),
];

#[test]
fn every_recorded_situation_is_understood_as_it_was() {
    let mut wrong = Vec::new();
    let mut situations = 0;
    for (file, text) in FILES {
        for line in text.lines().filter(|line| !line.is_empty()) {
            let situation: Json = serde_json::from_str(line).unwrap();
            situations += 1;
            for problem in check(&situation) {
                let (library, what) = (said(&situation["library"]), said(&situation["situation"]));
                wrong.push(format!("{file}: {library}: {what}: {problem}"));
            }
        }
    }
    assert!(situations > 200, "only {situations} were read");
    assert!(wrong.is_empty(), "{} of {situations}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn families_whose_unlock_does_not_compare_or_that_come_back_say_so() {
    let situations = FILES.iter().flat_map(|(_, text)| text.lines().filter(|line| !line.is_empty()));
    let (mut careless, mut returning) = (BTreeSet::new(), BTreeSet::new());
    for line in situations {
        for seen in read(&serde_json::from_str(line).unwrap()).into_values() {
            for recognition in seen.locks.iter().map(|lock| lock.form.recognition) {
                careless.extend(recognition.traits.unsafe_unlock.map(|_| recognition.dialect));
                returning.extend(recognition.traits.comes_back.map(|_| recognition.dialect));
            }
        }
    }
    let expected = "arq celery-once celery-singleton getset huey laravel redis-objects rq-scheduler ruby-redis-semaphore \
                    shedlock spring-cache";
    assert_eq!(Vec::from_iter(careless).join(" "), expected);
    assert_eq!(Vec::from_iter(returning).join(" "), "pottery redsync rq-scheduler spring");
}

/// The end-to-end test that races releases against what the clients of a dialect do goes through a table of them. Only what
/// is never released, in no recorded situation, may be missing there.
#[test]
fn every_dialect_that_is_ever_released_is_raced() {
    const TABLE: &str = include_str!("../../../../../tests/src/contender.rs");
    let situations = FILES.iter().flat_map(|(_, text)| text.lines().filter(|line| !line.is_empty()));
    let (mut kept, mut released) = (BTreeSet::new(), BTreeSet::new());
    for line in situations {
        for seen in read(&serde_json::from_str(line).unwrap()).into_values() {
            for recognition in seen.locks.iter().map(|lock| lock.form.recognition) {
                let of_kind = if recognition.traits.no_release.is_some() { &mut kept } else { &mut released };
                of_kind.insert(recognition.dialect);
            }
        }
    }
    let is_raced = |name: &str| TABLE.contains(&format!("\"{name}\""));
    let is_never_released = |name: &str| kept.contains(name) && !released.contains(name);
    let names = ALL.iter().flat_map(|dialect| dialect.names()).copied();
    let missing: Vec<&str> = names.filter(|name| !is_raced(name) && !is_never_released(name)).collect();
    assert_eq!(missing, Vec::<&str>::new(), "not raced");
}

/// A lock as it was found: its keys, and what it is.
struct Seen {
    keys: BTreeSet<Bytes>,
    locks: Vec<FoundLock>,
}

/// The locks that are found in a situation, by their roots.
fn read(situation: &Json) -> BTreeMap<Bytes, Seen> {
    let dump: BTreeMap<Bytes, Raw> =
        list(&situation["keys"]).iter().map(raw).map(|raw| (raw.key.clone(), raw)).collect();
    let proven: BTreeSet<Bytes> = list(&situation["channels"])
        .iter()
        .map(|channel| bytes(&channel[0]))
        .filter(|channel| super::is_proof(channel))
        .filter_map(|channel| super::root_of_channel(&channel).map(Bytes::from))
        .collect();
    found(&dump, &proven, situation["now_ms"].as_i64().unwrap())
}

fn check(situation: &Json) -> Vec<String> {
    let found = read(situation);
    let mut problems = Vec::new();
    let mut explained: BTreeSet<Bytes> = BTreeSet::new();
    for expected in list(&situation["expect"]["locks"]) {
        let names: Vec<&str> = list(&expected["dialects"]).iter().filter_map(Json::as_str).collect();
        let known = names.iter().any(|name| ALL.iter().any(|dialect| dialect.names().contains(name)));
        let keys: BTreeSet<Bytes> = list(&expected["keys"]).iter().map(bytes).chain(id(expected)).collect();
        explained.extend(keys.iter().cloned());
        let seen = found.iter().find(|(root, seen)| keys.contains(*root) || !seen.keys.is_disjoint(&keys));
        let Some((root, seen)) = seen else {
            if known && expected["optional"] != true {
                problems.push(format!("{} was not found, {names:?}", shown(keys.first())));
            }
            continue;
        };
        explained.insert(root.clone());
        if !known {
            continue;
        }
        problems
            .extend(compare(expected, &names, &keys, seen).into_iter().map(|p| format!("{}: {p}", shown(Some(root)))));
    }
    for root in found.keys().filter(|root| !explained.contains(*root)) {
        let name = found[root].locks[0].form.recognition.dialect;
        problems.push(format!("{} was taken for a lock of {name}", shown(Some(root))));
    }
    problems
}

fn compare(expected: &Json, names: &[&str], keys: &BTreeSet<Bytes>, seen: &Seen) -> Vec<String> {
    let mut problems = Vec::new();
    let mut differs = |what: &str, want: String, is: String| {
        if want != is {
            problems.push(format!("{what} is {is}, expected {want}"));
        }
    };
    // One hash may keep several locks, a field each.
    let fields: BTreeSet<Bytes> =
        list(&expected["holders"]).iter().filter_map(|holder| holder.get("field_b64").map(bytes)).collect();
    let is_meant = |lock: &&FoundLock| fields.is_empty() || lock.part.as_ref().is_none_or(|part| fields.contains(part));
    let locks: Vec<&FoundLock> = seen.locks.iter().filter(is_meant).collect();
    let Some(first) = locks.first().map(|lock| &lock.form) else {
        return vec![format!("none of the locks is of {fields:?}")];
    };
    if !names.contains(&first.recognition.dialect) {
        differs("dialect", format!("{names:?}"), first.recognition.dialect.to_owned());
    }
    if id(expected).is_none() {
        differs("keys", format!("{keys:?}"), format!("{:?}", seen.keys));
    }
    differs("mode", said(&expected["mode"]), format!("{:?}", first.mode).to_lowercase());
    differs("state", said(&expected["state"]), first.state.word().to_owned());
    let holds: HashMap<Vec<u8>, u32> =
        locks.iter().flat_map(|lock| &lock.form.holds).map(|hold| (hold.token.to_vec(), hold.count)).collect();
    let mut wanted = BTreeSet::new();
    for holder in list(&expected["holders"]) {
        let token = bytes(&holder["token_b64"]).to_vec();
        match holds.get(&token) {
            Some(count) => {
                let want = holder["count"].as_u64().unwrap_or(1).to_string();
                differs(&format!("count of {}", token.escape_ascii()), want, count.to_string());
            }
            None if holder["optional"] == true => {}
            None => differs("holder", token.escape_ascii().to_string(), "missing".to_owned()),
        }
        wanted.insert(token);
    }
    for token in holds.keys().filter(|token| !wanted.contains(*token)) {
        differs("holder", "none".to_owned(), token.escape_ascii().to_string());
    }
    if let Some(permits) = expected["permits"].as_u64() {
        let is = first.extra.as_ref().and_then(|extra| extra.permits);
        differs("permits", format!("{:?}", Some(permits)), format!("{:?}", is.map(u64::from)));
    }
    if expected["waiters"]["basis"] == "exact" {
        let queue = first.extra.as_ref().and_then(|extra| extra.queue.as_ref());
        differs("waiters", expected["waiters"]["count"].to_string(), queue.map_or(0, |queue| queue.count).to_string());
        if let Some(tokens) = expected["waiters"]["tokens"].as_array() {
            let want: Vec<Bytes> = tokens.iter().map(bytes).collect();
            let is: Vec<Bytes> = queue
                .map(|queue| queue.waiters.iter().map(|waiter| Bytes::copy_from_slice(&waiter.token)).collect())
                .unwrap_or_default();
            differs("queue", format!("{want:?}"), format!("{is:?}"));
        }
    }
    problems
}

/// The locks of a dump, by their roots, as a reading of all of its keys would find them.
fn found(dump: &BTreeMap<Bytes, Raw>, proven: &BTreeSet<Bytes>, now_ms: i64) -> BTreeMap<Bytes, Seen> {
    let mut roots: BTreeMap<Bytes, bool> = BTreeMap::new();
    for key in dump.keys() {
        match super::root_of(key) {
            Some(root) => *roots.entry(root.into()).or_default() |= true,
            None => *roots.entry(key.clone()).or_default() |= false,
        }
    }
    let mut found: BTreeMap<Bytes, Seen> = BTreeMap::new();
    let mut tokens: HashMap<Vec<u8>, Bytes> = HashMap::new();
    for (root, led) in roots {
        let missing = || Raw { key: root.clone(), value: Value::Missing, ttl_ms: None };
        let raw = dump.get(&root).cloned().unwrap_or_else(missing);
        let look = led || raw.value != Value::Missing;
        let mut beside = if look { super::beside(&raw) } else { Vec::new() };
        if led {
            beside.extend(super::beside_led(&raw));
        }
        let beside: Vec<Raw> = beside.iter().filter_map(|key| dump.get(&key[..]).cloned()).collect();
        let heard = Heard { is_listened_for: proven.contains(&root), ..Heard::default() };
        let stored = Stored { root: &raw, beside: &beside, configured: false, now_ms };
        let locks = super::recognise_heard(&stored, &heard);
        let Some(first) = locks.first() else { continue };
        let mut keys: BTreeSet<Bytes> = first.form.extra.iter().flat_map(|extra| extra.keys.iter().cloned()).collect();
        if keys.is_empty() {
            keys.insert(root.clone());
        }
        if first.form.recognition.traits.may_span_keys {
            let token = first.form.holds[0].token.to_vec();
            let other = tokens.entry(token).or_insert_with(|| root.clone());
            if let Some(seen) = found.get_mut(other) {
                seen.keys.extend(keys);
                continue;
            }
        }
        found.insert(root, Seen { keys, locks: locks.into_vec() });
    }
    found
}

fn raw(dumped: &Json) -> Raw {
    let pairs = |name: &str| list(&dumped[name]).iter().map(|pair| (bytes(&pair[0]), pair[1].clone())).collect();
    let pairs: Vec<(Bytes, Json)> = match dumped["type"].as_str() {
        Some(kind @ ("hash" | "zset")) => pairs(kind),
        _ => Vec::new(),
    };
    let value = match dumped["type"].as_str().unwrap() {
        "string" => Value::String(bytes(&dumped["string_b64"])),
        "hash" => Value::Hash(pairs.into_iter().map(|(field, value)| (field, bytes(&value))).collect()),
        "zset" => Value::ZSet(pairs.into_iter().map(|(member, score)| (member, score.as_f64().unwrap())).collect()),
        "set" => Value::Set(list(&dumped["set"]).iter().map(bytes).collect()),
        "list" => {
            let items: Vec<Bytes> = list(&dumped["list"]).iter().map(bytes).collect();
            Value::List { total: items.len() as u32, items }
        }
        other => Value::Not(format!("a {other}")),
    };
    Raw { key: bytes(&dumped["key_b64"]), value, ttl_ms: dumped["pttl"].as_i64() }
}

fn id(expected: &Json) -> Option<Bytes> {
    expected.get("id").filter(|id| id.is_string()).map(bytes)
}

fn list(json: &Json) -> &[Json] {
    json.as_array().map_or(&[], Vec::as_slice)
}

fn bytes(json: &Json) -> Bytes {
    STANDARD.decode(json.as_str().unwrap()).unwrap().into()
}

fn said(json: &Json) -> String {
    json.as_str().unwrap_or_default().to_owned()
}

fn shown(key: Option<&Bytes>) -> String {
    key.map_or_else(String::new, |key| format!("`{}`", key.escape_ascii()))
}
