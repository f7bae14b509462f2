//! Values from schemas: valid ones, often at a bound, and others that are broken in one place.

use std::collections::HashMap;

use miaofs::protocol::ids::NodeId;
use proptest::strategy::{BoxedStrategy, Strategy as _, ValueTree as _};
use proptest::string::string_regex;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Map, Value, json};

use super::document::Document;

/// Strings of a kind that are remembered.
const KNOWN_MAX: usize = 64;
/// Depth at which only what must be there is made.
const DEPTH_MAX: usize = 6;

/// Texts that somebody may send anywhere.
const TEXTS: [&str; 14] = [
    "",
    "a",
    "b.txt",
    "秒",
    "\u{0}",
    "..",
    "a/b",
    "%00",
    "' or 1=1 --",
    "\u{202e}x",
    "🦀🦀",
    "\r\nx: y",
    "null",
    "-0",
];
/// Paths that are there in part.
const PATHS: [&str; 9] = ["/", "/a", "/a/b", "/a/b/c", "/b", "//a//", "/f", "/a/f", "/nothing"];

/// Makes values; the same ones for the same seed and answers.
pub(super) struct Generator<'a> {
    /// The document that the schemas are of.
    pub document: &'a Document,
    /// The source of every choice.
    pub random: StdRng,
    runner: TestRunner,
    patterns: HashMap<String, Option<BoxedStrategy<String>>>,
    /// Strings of hex digits that answers held, by their length: ids, digests.
    known: HashMap<usize, Vec<String>>,
    /// A content of which an upload was asked for last.
    pub upload: UploadInSight,
}

/// The last upload that was asked for: its content, and its id once it is known.
#[derive(Default)]
pub(super) struct UploadInSight {
    /// The only chunk of the content.
    pub bytes: Vec<u8>,
    /// The upload's id, or that of one before.
    pub id: String,
}

impl<'a> Generator<'a> {
    /// A generator of its own course.
    pub(super) fn new(document: &'a Document, seed: u64) -> Self {
        let bytes = blake3::hash(&seed.to_le_bytes());
        let random = TestRng::from_seed(RngAlgorithm::ChaCha, bytes.as_bytes());
        Self {
            document,
            random: StdRng::seed_from_u64(seed),
            runner: TestRunner::new_with_rng(Config::default(), random),
            patterns: HashMap::new(),
            known: HashMap::new(),
            upload: UploadInSight::default(),
        }
    }

    /// One of some things.
    pub(super) fn one<'b, T>(&mut self, of: &'b [T]) -> &'b T {
        &of[self.random.random_range(0..of.len())]
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }

    /// True once in so many times.
    pub(super) fn once_in(&mut self, times: u32) -> bool {
        self.random.random_range(0..times) == 0
    }

    /// Remembers the ids and digests of an answer, for requests to come.
    pub(super) fn learn(&mut self, json: &Value) {
        match json {
            Value::String(text) if is_name(text) => self.remember(text.clone()),
            Value::Array(items) => items.iter().take(8).for_each(|item| self.learn(item)),
            Value::Object(fields) => {
                if let Some(id) = fields.get("upload_id").and_then(Value::as_str) {
                    self.upload.id = id.to_owned();
                }
                fields.values().for_each(|value| self.learn(value));
            }
            _ => (),
        }
    }

    fn remember(&mut self, text: String) {
        let known = self.known.entry(text.len()).or_default();
        if known.len() < KNOWN_MAX {
            known.push(text);
        } else {
            let place = self.random.random_range(0..KNOWN_MAX);
            known[place] = text;
        }
    }

    /// A value that a schema allows.
    pub(super) fn valid(&mut self, schema: &Value) -> Value {
        self.value(schema, 0)
    }

    fn value(&mut self, schema: &Value, depth: usize) -> Value {
        let schema = self.document.follow(schema);
        if let Some(choices) = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array()) {
            let choice = self.one(choices).clone();
            return self.value(&choice, depth);
        }
        if let Some(values) = schema["enum"].as_array() {
            return self.one(values).clone();
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => self.one(kinds).as_str().unwrap_or("null").to_owned(),
            kind => kind.as_str().unwrap_or("object").to_owned(),
        };
        match kind.as_str() {
            "string" => json!(self.text(schema)),
            "integer" => self.integer(schema),
            "number" => json!(self.random.random::<f64>()),
            "boolean" => json!(self.once_in(2)),
            "array" => self.array(schema, depth),
            "null" => Value::Null,
            _ => self.object(schema, depth),
        }
    }

    fn text(&mut self, schema: &Value) -> String {
        let pattern = schema["pattern"].as_str().unwrap_or_default();
        let max = schema["maxLength"].as_u64().map_or(300, |max| max as usize);
        if pattern.starts_with("^/+") && !self.once_in(4) {
            return (*self.one(&PATHS)).to_owned();
        }
        let hex = pattern.contains("0-9A-Fa-f");
        let length = if pattern.contains("{32}") { 32 } else { max };
        if hex && !self.once_in(4) {
            if length == 32 && self.once_in(4) {
                return NodeId::ROOT.to_string();
            }
            if let Some(known) = self.known.get(&length) {
                let place = self.random.random_range(0..known.len());
                return known[place].clone();
            }
        }
        if hex && length == 64 {
            return blake3::hash(&self.random.random::<[u8; 8]>()).to_hex().to_string();
        }
        let min = schema["minLength"].as_u64().map_or(0, |min| min as usize);
        if pattern.is_empty() {
            let text = *self.one(&TEXTS);
            let length = if self.once_in(20) { max } else { min.max(text.chars().count()) };
            return text.chars().chain(std::iter::repeat('x')).take(length.min(max)).collect();
        }
        // Names of which some meet again.
        let small = *self.one(&["a", "b", "c", "f"]);
        if !hex && max == 255 && self.once_in(2) {
            return small.to_owned();
        }
        self.of_pattern(pattern).chars().take(max).collect()
    }

    fn of_pattern(&mut self, pattern: &str) -> String {
        let strategy = self.patterns.entry(pattern.to_owned()).or_insert_with(|| {
            let unanchored = pattern.trim_start_matches('^').trim_end_matches('$');
            string_regex(unanchored).ok().map(|strategy| strategy.boxed())
        });
        let tree = strategy.as_ref().and_then(|it| it.new_tree(&mut self.runner).ok());
        tree.map(|tree| tree.current()).unwrap_or_default()
    }

    fn integer(&mut self, schema: &Value) -> Value {
        let min = schema["minimum"].as_i64().map_or(i128::from(i64::MIN), i128::from);
        let max = schema["maximum"].as_u64().map_or(i128::from(i64::MAX), i128::from);
        let near = [0, 1, 2, 3, 7, 1000, 4096, 4 << 20, i128::from(i64::MAX), 1 << 53];
        let number = match self.random.random_range(0..8) {
            0 => min,
            1 => max,
            2 => min + 1,
            3 => max - 1,
            _ => *self.one(&near),
        };
        let number = number.clamp(min, max);
        u64::try_from(number).map_or_else(|_negative| json!(number as i64), |number| json!(number))
    }

    fn array(&mut self, schema: &Value, depth: usize) -> Value {
        let max = schema["maxItems"].as_u64().unwrap_or(20).min(20);
        let count = if depth > DEPTH_MAX { 0 } else { self.random.random_range(0..=max.min(3)) };
        let items: Vec<Value> =
            (0..count).map(|_| self.value(&schema["items"], depth + 1)).collect();
        json!(items)
    }

    fn object(&mut self, schema: &Value, depth: usize) -> Value {
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let mut object = Map::new();
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let must = required.iter().any(|it| it == name.as_str());
            if must || (depth <= DEPTH_MAX && self.once_in(2)) {
                object.insert(name.clone(), self.value(field, depth + 1));
            }
        }
        if schema["additionalProperties"].is_object() && self.once_in(3) {
            let name = *self.one(&["user.a", "user.b", "trusted.x"]);
            let value = self.value(&schema["additionalProperties"], depth + 1);
            object.insert(name.to_owned(), value);
        }
        Value::Object(object)
    }

    /// Breaks a value in one place: another type, a number out of range, a field too many or too few.
    pub(super) fn break_value(&mut self, value: &mut Value) {
        let deeper = !self.once_in(3);
        match value {
            Value::Object(fields) if deeper && !fields.is_empty() => {
                let place = self.random.random_range(0..fields.len());
                let name = fields.keys().nth(place).cloned().unwrap_or_default();
                match self.random.random_range(0..6) {
                    0 => drop(fields.remove(&name)),
                    1 => drop(fields.insert("surprise".to_owned(), json!(1))),
                    _ => fields.get_mut(&name).into_iter().for_each(|it| self.break_value(it)),
                }
            }
            Value::Array(items) if deeper && !items.is_empty() => {
                let place = self.random.random_range(0..items.len());
                match self.random.random_range(0..6) {
                    0 => items.push(items[place].clone()),
                    1 => *items = vec![items[place].clone(); 2001],
                    _ => self.break_value(&mut items[place]),
                }
            }
            other => *other = self.odd(),
        }
    }

    fn odd(&mut self) -> Value {
        let length = *self.one(&[1, 255, 256, 1025, 4097, 70_000]);
        match self.random.random_range(0..14) {
            0 => Value::Null,
            1 => json!(true),
            2 => json!(-1),
            3 => json!(0.5),
            4 => json!(u64::MAX),
            5 => json!(i64::MIN),
            6 => json!(1e300),
            7 => json!([]),
            8 => json!({}),
            9 => json!("x".repeat(length)),
            10 => json!("秒".repeat(length)),
            11 => (0..100).fold(json!(1), |inner, _| json!([inner])),
            12 => json!({ "base64": "!" }),
            _ => json!(*self.one(&TEXTS)),
        }
    }
}

/// True for an id or a digest, in hexadecimal digits.
fn is_name(text: &str) -> bool {
    matches!(text.len(), 32 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
