//! The served document: sound by itself, and true about refusals that no handler sees.

use std::collections::HashSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::server::Server;

/// The document of a server that is one process.
fn document() -> Value {
    Server::new().api().get("/openapi.json").expect(200).json()
}

/// Every operation with its method and path.
fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        let operations = item.as_object().unwrap().iter();
        operations.map(move |(method, operation)| (format!("{method} {path}"), operation))
    });
    operations.collect()
}

/// All values under a key, anywhere.
fn under<'a>(json: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match json {
        Value::Object(fields) => {
            found.extend(fields.get(key));
            fields.values().for_each(|value| under(value, key, found));
        }
        Value::Array(items) => items.iter().for_each(|item| under(item, key, found)),
        _ => (),
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document();
    let mut references = Vec::new();
    under(&document, "$ref", &mut references);
    assert!(references.len() > 100, "{}", references.len());
    for reference in references {
        let place = reference.as_str().unwrap().strip_prefix('#').unwrap();
        assert!(document.pointer(place).is_some(), "{reference} dangles");
    }
}

#[test]
fn every_operation_is_named_and_each_refusal_is_a_problem() {
    let document = document();
    let mut names = HashSet::new();
    for (what, operation) in operations(&document) {
        assert!(names.insert(operation["operationId"].as_str().unwrap()), "{what}: a name twice");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{what}: no success");
        for (status, response) in responses {
            let place = response["$ref"].as_str().map(|place| place.trim_start_matches('#'));
            let response = place.map_or(response, |place| document.pointer(place).unwrap());
            assert!(
                response["description"].as_str().is_some_and(|text| !text.is_empty()),
                "{what}: {status}"
            );
            if status.as_str() >= "400" {
                let media_types: Vec<_> = response["content"].as_object().unwrap().iter().collect();
                let problem = json!({ "$ref": "#/components/schemas/Problem" });
                assert_eq!(media_types.len(), 1, "{what}: {status}");
                assert_eq!(media_types[0].0, "application/problem+json", "{what}: {status}");
                assert_eq!(media_types[0].1["schema"], problem, "{what}: {status}");
            }
        }
        let is_public = operation["security"] == json!([{}]);
        assert!(is_public || responses.contains_key("401"), "{what}: 401 is not documented");
    }
}

#[test]
fn every_text_and_list_of_a_request_has_bounds() {
    let document = document();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for (name, schema) in schemas.iter().filter(|(_, it)| it["additionalProperties"] == false) {
        for (field, schema) in schema["properties"].as_object().unwrap() {
            let kind = schema["type"].as_str().unwrap_or_default();
            let bounds: &[&str] = match kind {
                "string" => &["maxLength", "pattern", "enum"],
                "array" => &["maxItems"],
                _ => continue,
            };
            let is_bounded = bounds.iter().any(|keyword| schema.get(keyword).is_some());
            assert!(is_bounded, "{name}.{field} has no bound");
        }
    }
}

#[test]
fn refusals_before_any_handler_are_problems_too() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    let typed = |path: &str, media_type: &str| {
        ada.send(Method::POST, path, &[("content-type", media_type)], b"{}".to_vec())
    };
    for path in ["/fs/commit", "/file/known", "/file/batch", "/user/signin", "/file/delete"] {
        typed(path, "text/plain").expect_problem(415, "unsupported_media_type");
        let untyped = ada.send(Method::POST, path, &[], b"{}".to_vec());
        untyped.expect_problem(415, "unsupported_media_type");
    }
    for body in ["{", "[]", "{\"digests\":7}", "{\"digests\":[],\"more\":1}"] {
        ada.send_json("/file/known", body.into()).expect_problem(400, "bad_request");
    }
    ada.get(&format!("/file/meta?path=/{}", "x".repeat(14_000)))
        .expect_problem(414, "address_too_long");
    let long = "x".repeat(9000);
    let headers = [("x-long", long.as_str())];
    let answer = ada.send(Method::GET, "/user/info", &headers, Vec::new());
    answer.expect_problem(431, "headers_too_long");
    ada.get("/no/such/route").expect_problem(404, "not_found");
    let other = ada.delete("/fs/commit");
    assert_eq!(other.header("allow"), Some("POST"));
    other.expect_problem(405, "method_not_allowed");
}
