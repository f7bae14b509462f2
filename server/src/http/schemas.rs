//! Bounds of what requests and answers hold, for the document: from the constants that the services check by.
//!
//! They are put into the finished JSON, where a type of Rust says less than the service demands.

use miaofs::protocol::batch;
use miaofs::protocol::changes::{LIMIT_MAX, WAIT_MAX};
use miaofs::protocol::downloads::{CONTENTS_MAX, LOCATE_MAX};
use miaofs::protocol::files::{COMMIT_NODES_MAX, ENTRIES_MAX, PATH_MAX};
use miaofs::protocol::scoped_tokens::{LIFETIME_MAX, TOKENS_MAX};
use miaofs::protocol::uploads::KNOWN_MAX;
use serde_json::{Map, Value, json};

use super::json::LIST_BODY_MAX;

const OCTETS: &str = "application/octet-stream";

/// A name that is no `.` and no `..`.
const NAME: &str = r"([^/\x00.]|\.[^/\x00.]|\.\.[^/\x00])[^/\x00]*";
/// The name of an account.
const ACCOUNT: &str = "^[A-Za-z0-9._@-]{1,64}$";
/// The name of a device: no `/` and no control characters.
const DEVICE: &str = r"^[^/\x00-\x1f\x7f-\x9f]{1,64}$";
/// The name of a scoped token: no control characters.
const TOKEN_NAME: &str = r"^[^\x00-\x1f\x7f-\x9f]{1,64}$";
const REFRESH_TOKEN: &str = "^[0-9A-Fa-f]{96}$";
const PASSWORD_MAX: usize = 1024;

/// The variant of the place of a chunk that is an object.
const CHUNK_PLACE: &str = "/components/schemas/ChunkSource/oneOf/2/properties/url";

/// Puts all bounds into a document.
pub(super) fn bound(document: &mut Value) {
    for (schema, field, bounds) in fields() {
        let place = format!("/components/schemas/{schema}/properties/{field}");
        // A process without the role has neither the route nor its schema.
        if let Some(schema) = document.pointer_mut(&place) {
            merge(schema, bounds);
        }
    }
    part_chunk_place(document);
    let paths = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    for operation in paths.filter_map(Value::as_object_mut).flat_map(Map::values_mut) {
        let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
        parameters.into_iter().flatten().for_each(bound_parameter);
    }
    walk(document, &bound_number);
    walk(document, &bytes);
}

/// The place of a chunk becomes a type of its own: generators of clients fail at one that stands inside another.
fn part_chunk_place(document: &mut Value) {
    let reference = json!({ "$ref": "#/components/schemas/ChunkPlace" });
    if let Some(inside) = document.pointer_mut(CHUNK_PLACE) {
        let place = std::mem::replace(inside, reference);
        document["components"]["schemas"]["ChunkPlace"] = place;
    }
}

/// Changes each object of a document.
fn walk(json: &mut Value, change: &dyn Fn(&mut Map<String, Value>)) {
    match json {
        Value::Object(fields) => {
            change(fields);
            fields.values_mut().for_each(|value| walk(value, change));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| walk(item, change)),
        _ => (),
    }
}

/// Bodies that are no text are told from those that are.
fn bytes(object: &mut Map<String, Value>) {
    let Some(Value::Object(bodies)) = object.get_mut("content") else { return };
    for (media_type, body) in bodies {
        if [OCTETS, batch::MEDIA_TYPE].contains(&media_type.as_str()) {
            body["schema"] = json!({ "type": "string", "format": "binary" });
        }
    }
}

/// Bounds of fields: name of the schema, of the field, and keywords.
fn fields() -> Vec<(&'static str, &'static str, Value)> {
    let path = || text(format!("^/+({NAME}/+)*{NAME}/*$"), PATH_MAX);
    let account = || json!({ "pattern": ACCOUNT });
    let old_password = || json!({ "maxLength": PASSWORD_MAX });
    let new_password = || json!({ "minLength": 8, "maxLength": PASSWORD_MAX });
    let items = |max: usize| json!({ "maxItems": max });
    vec![
        ("SignUp", "name", account()),
        ("SignUp", "password", new_password()),
        ("SignIn", "name", account()),
        ("SignIn", "password", old_password()),
        ("ChangePassword", "old", old_password()),
        ("ChangePassword", "new", new_password()),
        ("CloseAccount", "password", old_password()),
        ("Device", "name", json!({ "pattern": DEVICE })),
        ("Refresh", "refresh_token", json!({ "pattern": REFRESH_TOKEN })),
        ("Session", "refresh_token", json!({ "pattern": REFRESH_TOKEN })),
        ("Session", "name", account()),
        ("Account", "name", account()),
        ("NodeState", "mode", json!({ "maximum": 0o7777 })),
        ("NodeState", "entries", items(ENTRIES_MAX)),
        ("Commit", "changes", items(COMMIT_NODES_MAX)),
        ("UpdatePath", "path", path()),
        ("UpdatePath", "new_path", path()),
        ("DeletePath", "path", path()),
        ("Form", "path", path()),
        ("CreateScopedToken", "name", json!({ "pattern": TOKEN_NAME })),
        ("CreateScopedToken", "path", text(format!("^/+({NAME}/+)*({NAME})?$"), PATH_MAX)),
        ("CreateScopedToken", "expires_in", json!({ "minimum": 1, "maximum": LIFETIME_MAX })),
        ("ScopedTokens", "tokens", items(TOKENS_MAX)),
        ("Locate", "count", json!({ "maximum": LOCATE_MAX })),
        ("Located", "chunks", items(usize::try_from(LOCATE_MAX).unwrap_or(usize::MAX))),
        ("SmallContents", "digests", items(CONTENTS_MAX)),
        ("Known", "digests", items(KNOWN_MAX)),
        ("KnownAnswer", "known", items(KNOWN_MAX)),
        // As many as a body has room for.
        ("UploadInit", "chunks", items(LIST_BODY_MAX / "null,".len())),
        ("Problem", "status", json!({ "minimum": 400, "maximum": 599 })),
    ]
}

/// Keywords of parameters by their names, which mean the same in all operations.
fn bounds_of_parameter(name: &str) -> Value {
    match name {
        "path" => text(format!("^/+({NAME}/+)*({NAME})?$"), PATH_MAX),
        "limit" => json!({ "minimum": 1, "maximum": LIMIT_MAX }),
        "wait" => json!({ "maximum": WAIT_MAX }),
        _ => json!({}),
    }
}

fn text(pattern: String, max: usize) -> Value {
    json!({ "pattern": pattern, "maxLength": max })
}

/// A parameter is there or not; there is no null in a query.
fn bound_parameter(parameter: &mut Value) {
    let bounds = bounds_of_parameter(parameter["name"].as_str().unwrap_or_default());
    let schema = &mut parameter["schema"];
    if let Some(Value::Array(types)) = schema.get("type") {
        schema["type"] = types.iter().find(|name| *name != "null").cloned().unwrap_or_default();
    }
    if let Some(Value::Array(choices)) = schema.get("oneOf") {
        let only = choices.iter().find(|choice| choice.get("$ref").is_some()).cloned();
        *schema = only.unwrap_or_default();
    }
    merge(schema, bounds);
}

/// Numbers that are never negative are as large as their type.
fn bound_number(schema: &mut Map<String, Value>) {
    let (format, maximum) = match schema.get("format").and_then(Value::as_str) {
        Some("int64") => ("uint64", u64::MAX),
        Some("int32") => ("uint32", u64::from(u32::MAX)),
        _ => return,
    };
    if schema.contains_key("minimum") {
        schema.insert("format".to_owned(), format.into());
        schema.entry("maximum").or_insert(maximum.into());
    }
}

fn merge(schema: &mut Value, keywords: Value) {
    if let (Value::Object(schema), Value::Object(keywords)) = (schema, keywords) {
        schema.extend(keywords);
    }
}
