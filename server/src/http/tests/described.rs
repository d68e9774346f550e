//! The description as programs read it that write programs: nothing in it without a name, nothing named that is not there.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::openapi;

const PROBLEM: &str = "#/components/schemas/Problem";

fn described() -> Value {
    serde_json::to_value(openapi::description()).unwrap()
}

fn operations(description: &Value) -> Vec<(String, &Value)> {
    let paths = description["paths"].as_object().unwrap().iter();
    paths
        .flat_map(|(path, item)| {
            item.as_object().unwrap().iter().map(move |(method, operation)| (format!("{method} {path}"), operation))
        })
        .collect()
}

/// Everything that is referred to, wherever it stands.
fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

/// Objects of which nothing is said, by where they are.
fn loose(value: &Value, place: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            let is_object = members.get("type").is_some_and(|kind| kind == "object");
            if is_object && !members.contains_key("properties") && !members.contains_key("additionalProperties") {
                found.push(place.to_owned());
            }
            members.iter().for_each(|(name, member)| loose(member, &format!("{place}/{name}"), found));
        }
        Value::Array(items) => items.iter().for_each(|item| loose(item, place, found)),
        _ => {}
    }
}

#[test]
fn every_operation_has_a_name_of_its_own_and_says_what_it_answers_and_how_it_fails() {
    let description = described();
    let mut names = BTreeSet::new();
    for (what, operation) in operations(&description) {
        let name = operation["operationId"].as_str().unwrap();
        assert!(names.insert(name.to_owned()), "{what} is called `{name}`, as another is");
        assert!(!operation["summary"].as_str().unwrap_or_default().is_empty(), "{what} has no summary");
        assert!(!operation["security"].as_array().unwrap().is_empty(), "{what} does not say who may ask");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with(['1', '2'])), "{what} never succeeds");
        for (status, response) in responses {
            assert!(!response["description"].as_str().unwrap().is_empty(), "{what} {status} is not explained");
            let bodies = response["content"].as_object();
            let is_without = matches!(status.as_str(), "101" | "204");
            assert_eq!(bodies.is_none(), is_without, "{what} {status}");
            for (kind, body) in bodies.into_iter().flatten() {
                assert!(body["schema"].is_object(), "{what} {status} {kind} has no schema");
            }
        }
        assert_eq!(responses["default"]["content"]["application/problem+json"]["schema"]["$ref"], PROBLEM, "{what}");
    }
}

#[test]
fn what_is_referred_to_is_there_and_nothing_is_an_object_of_which_nothing_is_known() {
    let description = described();
    let mut named = BTreeSet::new();
    references(&description, &mut named);
    assert!(named.contains(PROBLEM));
    for name in named {
        let place = name.strip_prefix('#').unwrap();
        assert!(description.pointer(place).is_some(), "{name} is not there");
    }
    for ways in operations(&description).iter().flat_map(|(_, operation)| operation["security"].as_array().unwrap()) {
        for way in ways.as_object().unwrap().keys() {
            assert!(description["components"]["securitySchemes"][way].is_object(), "{way} is not there");
        }
    }
    let mut found = Vec::new();
    loose(&description, "", &mut found);
    assert_eq!(found, [] as [&str; 0]);
}
