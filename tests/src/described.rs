//! Answers held to what the server itself says of them: the description is read once from the server under test, and
//! what it answers must be among what is described, down to the last property.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};
use tokio::sync::OnceCell;

use crate::Answer;

/// Where the description is.
pub(crate) const PATH: &str = "/api/v1/openapi.json";

/// Answers of one kind that are looked at: a test that waits asks again and again, and the rest would say the same.
const ENOUGH: usize = 64;

static DESCRIPTION: OnceCell<Description> = OnceCell::const_new();

/// Checks an answer against the description that `read` gets, if it is of the public contract.
pub(crate) async fn check(method: &str, path: &str, answer: &Answer, read: impl AsyncFnOnce() -> Value) {
    let path = path.split('?').next().unwrap_or_default();
    if !path.starts_with("/api/v1/") && !["/healthz", "/readyz", "/metrics"].contains(&path) || path == PATH {
        return;
    }
    let description = DESCRIPTION.get_or_init(async || Description::of(read().await)).await;
    description.check(&method.to_lowercase(), path, answer);
}

/// What checks an answer, and how often it did.
type Checked = (Arc<Validator>, usize);

struct Description {
    paths: Map<String, Value>,
    /// Named schemas, each of which allows what it names and nothing else.
    components: Value,
    /// By the place of the schema in the description.
    known: Mutex<HashMap<[String; 4], Checked>>,
}

impl Description {
    fn of(document: Value) -> Description {
        let paths = document["paths"].as_object().expect("a description has paths").clone();
        Description { paths, components: closed(&document["components"]), known: Mutex::default() }
    }

    fn check(&self, method: &str, path: &str, answer: &Answer) {
        // What there is not is answered with a problem, which the test that asks looks at.
        let Some((template, operation)) = self.operation(method, path) else { return };
        let what = format!("{method} {template} {}", answer.status);
        let responses = &operation["responses"];
        let status = answer.status.to_string();
        let status = if responses[&status].is_object() { status } else { "default".to_owned() };
        let response = &responses[&status];
        assert!(response.is_object(), "{what} is not described: {answer:#?}");
        let kind = answer.content_type.split(';').next().unwrap_or_default();
        if kind.is_empty() && answer.body.is_empty() {
            assert!(response["content"].is_null(), "{what} should have a body");
            return;
        }
        let schema = &response["content"][kind]["schema"];
        assert!(schema.is_object(), "{what} is not described as `{kind}`: {answer:#?}");
        if !kind.ends_with("json") {
            return;
        }
        let place = [method.to_owned(), template.to_owned(), status, kind.to_owned()];
        if let Some(validator) = self.validator(place, schema) {
            let body: Value = serde_json::from_str(&answer.body).expect("JSON");
            let wrong: Vec<String> =
                validator.iter_errors(&body).map(|error| format!("{}: {error}", error.instance_path())).collect();
            assert!(wrong.is_empty(), "{what} is not as described: {wrong:#?}\n{body:#}");
        }
    }

    /// The operation, and the template of its path: the one with the most words in it of those that fit.
    fn operation(&self, method: &str, path: &str) -> Option<(&str, &Value)> {
        let words: Vec<&str> = path.split('/').collect();
        let fits = |template: &str| {
            let parts: Vec<&str> = template.split('/').collect();
            let is_same = parts.len() == words.len()
                && parts.iter().zip(&words).all(|(part, word)| part.starts_with('{') || part == word);
            is_same.then(|| parts.iter().filter(|part| !part.starts_with('{')).count())
        };
        let fitting = self.paths.iter().filter_map(|(template, item)| Some((fits(template)?, template, item)));
        let (_, template, item) = fitting.max_by_key(|(literal, ..)| *literal)?;
        Some((template, item.get(method)?))
    }

    /// What checks that schema; `None` once it was checked often enough.
    fn validator(&self, place: [String; 4], schema: &Value) -> Option<Arc<Validator>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (validator, checked) = known.entry(place).or_insert_with(|| {
            let whole = json!({ "allOf": [schema], "components": self.components });
            let options = jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true);
            (Arc::new(options.build(&whole).expect("a schema")), 0)
        });
        *checked += 1;
        (*checked <= ENOUGH).then(|| Arc::clone(validator))
    }
}

/// The schemas, so that a property that none of them names is an error. Those that others are made of stay open, as each
/// names a part only.
fn closed(components: &Value) -> Value {
    let mut parts = BTreeSet::new();
    collect_parts(components, &mut parts);
    let mut closed = components.clone();
    for (name, schema) in closed["schemas"].as_object_mut().expect("schemas") {
        let is_whole = schema["properties"].is_object() && schema["additionalProperties"].is_null();
        if !parts.contains(name) && (is_whole || schema["allOf"].is_array()) {
            schema["unevaluatedProperties"] = json!(false);
        }
    }
    closed
}

/// The names of the schemas that are referred to in any `allOf`.
fn collect_parts(value: &Value, parts: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for part in members.get("allOf").and_then(Value::as_array).into_iter().flatten() {
                if let Some(name) = part["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
                    parts.insert(name.to_owned());
                }
            }
            members.values().for_each(|member| collect_parts(member, parts));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_parts(item, parts)),
        _ => {}
    }
}
