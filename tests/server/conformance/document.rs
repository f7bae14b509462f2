//! The served document as operations, with what each may answer as validators.

use std::collections::BTreeMap;

use jsonschema::Validator;
use serde_json::{Map, Value, json};

/// A route with a method.
pub(super) struct Operation {
    /// The method in capitals.
    pub method: String,
    /// The path with its `{words}`.
    pub path: String,
    /// The name in the document.
    pub name: String,
    /// True if a token is needed.
    pub private: bool,
    /// The parameters.
    pub parameters: Vec<Parameter>,
    /// Media types of its body with their schemas; none when there is no body.
    pub bodies: Vec<(String, Value)>,
    answers: BTreeMap<String, AnswerShape>,
}

/// A parameter.
pub(super) struct Parameter {
    /// The name.
    pub name: String,
    /// Where it stands: `path`, `query` or `header`.
    pub place: String,
    /// True if the request is none without it.
    pub required: bool,
    /// The schema.
    pub schema: Value,
}

/// Bodies that an answer may have: none at all, or by media type with validators for JSON.
#[derive(Default)]
pub(super) struct AnswerShape {
    /// Validators by media type; `None` for bytes and text.
    pub bodies: BTreeMap<String, Option<Validator>>,
    /// Names of header fields that it may have, in lower case.
    pub headers: Vec<String>,
}

/// The document.
pub(super) struct Document {
    /// As it was served.
    pub json: Value,
    /// All operations.
    pub operations: Vec<Operation>,
    /// The shape of every problem.
    pub problem: Validator,
}

impl Document {
    /// Reads a document; panics when it is none.
    pub(super) fn new(json: Value) -> Self {
        let mut operations = Vec::new();
        for (path, item) in json["paths"].as_object().expect("paths") {
            let known = ["get", "put", "post", "delete"];
            for (method, operation) in item.as_object().expect("operations") {
                assert!(known.contains(&method.as_str()), "{method} {path}: say how to send it");
                operations.push(read_operation(&json, method, path, operation));
            }
        }
        let problem = validator(&json, &json!({ "$ref": "#/components/schemas/Problem" }));
        Self { json, operations, problem }
    }

    /// Follows a reference, when it is one.
    pub(super) fn follow<'a>(&'a self, schema: &'a Value) -> &'a Value {
        follow(&self.json, schema)
    }

    /// The operation that a method and path are for. `HEAD` is a `GET` of which only the head is answered.
    pub(super) fn find(&self, method: &str, path: &str) -> Option<&Operation> {
        let method = if method == "HEAD" { "GET" } else { method };
        let template = self.template(path)?;
        self.operations.iter().find(|it| it.method == method && it.path == template)
    }

    /// The path with `{words}` that a path is of: the one with the fewest of them.
    fn template(&self, path: &str) -> Option<&str> {
        let templates = self.operations.iter().map(|operation| operation.path.as_str());
        let words = |template: &&str| template.matches('{').count();
        templates.filter(|template| is_of(template, path)).min_by_key(words)
    }

    /// True if a path has some operation.
    pub(super) fn has_path(&self, path: &str) -> bool {
        self.template(path).is_some()
    }
}

impl Operation {
    /// The shape of its answers of this status, when that is documented.
    pub(super) fn answer(&self, status: u16) -> Option<&AnswerShape> {
        self.answers.get(&status.to_string())
    }
}

fn is_of(template: &str, path: &str) -> bool {
    let (words, names): (Vec<_>, Vec<_>) =
        (template.split('/').collect(), path.split('/').collect());
    let fits = |(word, name): (&&str, &&str)| word == name || (word.starts_with('{'));
    words.len() == names.len() && words.iter().zip(&names).all(fits)
}

fn follow<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str().and_then(|place| place.strip_prefix('#')) {
        Some(place) => document.pointer(place).unwrap_or_else(|| panic!("{place} dangles")),
        None => value,
    }
}

fn read_operation(document: &Value, method: &str, path: &str, json: &Value) -> Operation {
    let name = json["operationId"].as_str().expect("a name").to_owned();
    let parameter = |json: &Value| Parameter {
        name: json["name"].as_str().expect("a name").to_owned(),
        place: json["in"].as_str().expect("a place").to_owned(),
        required: json["required"] == true,
        schema: json["schema"].clone(),
    };
    let bodies = json["requestBody"]["content"].as_object().into_iter().flatten();
    let answers = json["responses"].as_object().expect("answers").iter();
    Operation {
        method: method.to_uppercase(),
        path: path.to_owned(),
        name,
        private: json["security"].is_null(),
        parameters: json["parameters"].as_array().into_iter().flatten().map(parameter).collect(),
        bodies: bodies.map(|(kind, body)| (kind.clone(), body["schema"].clone())).collect(),
        answers: answers
            .map(|(status, answer)| (status.clone(), shape(document, follow(document, answer))))
            .collect(),
    }
}

fn shape(document: &Value, answer: &Value) -> AnswerShape {
    let none = Map::new();
    let bodies = answer["content"].as_object().unwrap_or(&none).iter();
    let headers = answer["headers"].as_object().unwrap_or(&none).keys();
    AnswerShape {
        bodies: bodies
            .map(|(kind, body)| {
                let validator = kind.contains("json").then(|| validator(document, &body["schema"]));
                (kind.clone(), validator)
            })
            .collect(),
        headers: headers.map(|name| name.to_lowercase()).collect(),
    }
}

/// A validator of a schema that may refer to the document's.
fn validator(document: &Value, schema: &Value) -> Validator {
    let mut whole = schema.clone();
    whole["components"] = document["components"].clone();
    jsonschema::draft202012::new(&whole).unwrap_or_else(|error| panic!("{schema}: {error}"))
}
