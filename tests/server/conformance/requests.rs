//! Requests of an operation: valid ones, ones with a fault, and ones whose bytes were damaged.

use miaofs::content::Digest;
use miaofs::protocol::batch;
use miaofs::protocol::ids::NodeId;
use rand::RngExt as _;
use serde_json::{Value, json};

use super::document::{Operation, Parameter};
use super::values::Generator;
use super::wire::Request;
use crate::harness::content::Content;
use crate::harness::drive::{Change, commit_of};

/// Values of header fields that somebody may send anywhere.
const VALUES: [&str; 16] = [
    "",
    "*",
    "bytes=0-0",
    "bytes=5-2",
    "bytes=0-",
    "bytes=-1",
    "bytes=9999999999999999999999-",
    "bytes=0-0,2-2",
    "gzip",
    "100-continue",
    "\"x\", W/\"y\"",
    "chunked",
    "close",
    "application/json; charset=utf-16",
    "text/plain",
    "multipart/form-data",
];
/// Header fields by which a server may be led astray.
const FIELDS: [&str; 17] = [
    "range",
    "if-range",
    "if-none-match",
    "if-match",
    "content-type",
    "content-encoding",
    "accept",
    "accept-encoding",
    "expect",
    "x-request-id",
    "x-forwarded-for",
    "content-md5",
    "cookie",
    "upgrade",
    "te",
    "host",
    "origin",
];
/// Parts of an address that are not what they seem.
const WORDS: [&str; 12] = [
    "%00",
    "%ff",
    "%zz",
    "%",
    "..",
    "..%2f",
    "",
    "x",
    "0",
    "-1",
    "99999999999999999999",
    "%E7%A7%92",
];

impl Generator<'_> {
    /// A request of an operation, with a token if it takes one.
    pub(super) fn request(&mut self, operation: &Operation, token: &str) -> Request {
        let is_faulty = !self.once_in(3);
        let mut fault = if is_faulty { self.random.random_range(0..4) } else { 4 };
        if operation.parameters.is_empty() && fault == 0 {
            fault = 1;
        }
        let target = self.target(operation, fault == 0);
        let mut request = Request::new(&operation.method, target);
        self.fill_headers(operation, &mut request);
        if operation.private && !(fault == 3 && self.once_in(2)) {
            request = request.with("authorization", &format!("Bearer {token}"));
        } else if self.once_in(2) {
            let odd = ["", "Bearer", "Bearer x", "Basic eDp5", "Bearer a.b.c"];
            let value = *self.one(&odd);
            request = request.with("authorization", value);
        }
        if !operation.bodies.is_empty() {
            self.fill_body(operation, &mut request, fault == 1);
        }
        match fault {
            2 => self.damage(&mut request),
            3 => self.bend_headers(&mut request),
            _ => (),
        }
        request
    }

    fn target(&mut self, operation: &Operation, is_faulty: bool) -> String {
        let broken = match is_faulty {
            true => self.random.random_range(0..operation.parameters.len()),
            false => usize::MAX,
        };
        let (mut path, mut query) = (operation.path.clone(), Vec::new());
        for (place, parameter) in operation.parameters.iter().enumerate() {
            let value = match place == broken {
                true => self.broken_parameter(parameter),
                false => self.parameter(parameter),
            };
            match (parameter.place.as_str(), value) {
                ("path", value) => {
                    let word = format!("{{{}}}", parameter.name);
                    path = path.replace(&word, &value.unwrap_or_default());
                }
                ("query", Some(value)) => query.push(format!("{}={value}", parameter.name)),
                _ => (),
            }
        }
        if is_faulty && self.once_in(4) {
            let more = ["surprise=1", "&&&", "=", "path=%2f&path=%2f", "since=0", "%ff=1"];
            query.push((*self.one(&more)).to_owned());
        }
        if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) }
    }

    fn parameter(&mut self, parameter: &Parameter) -> Option<String> {
        if !parameter.required && self.once_in(2) {
            return None;
        }
        // Whoever waits for changes is answered late, as documented: a run has no time for that.
        if parameter.name == "wait" {
            return Some("0".to_owned());
        }
        if parameter.place == "path" && self.once_in(2) {
            match parameter.name.as_str() {
                "upload_id" => return Some(self.upload.id.clone()),
                "index" => return Some("0".to_owned()),
                _ => (),
            }
        }
        Some(encode(&text_of(&self.valid(&parameter.schema))))
    }

    fn broken_parameter(&mut self, parameter: &Parameter) -> Option<String> {
        if self.once_in(8) {
            return None;
        }
        if self.once_in(2) {
            let word = *self.one(&WORDS);
            let long = "y".repeat(*self.one(&[1, 300, 5000, 9000]));
            return Some(if self.once_in(8) { long } else { word.to_owned() });
        }
        let mut value = self.valid(&parameter.schema);
        self.break_value(&mut value);
        // No more than an address may have, most times.
        let text: String = text_of(&value).chars().take(5000).collect();
        let text = if parameter.name == "wait" { format!("-{text}") } else { text };
        Some(encode(&text))
    }

    fn fill_headers(&mut self, operation: &Operation, request: &mut Request) {
        for parameter in operation.parameters.iter().filter(|it| it.place == "header") {
            if self.once_in(2) {
                let value = match parameter.schema.get("pattern") {
                    Some(_) => text_of(&self.valid(&parameter.schema)),
                    None => (*self.one(&VALUES)).to_owned(),
                };
                request.headers.push((parameter.name.clone().into(), value.into()));
            }
        }
    }

    fn fill_body(&mut self, operation: &Operation, request: &mut Request, is_faulty: bool) {
        let (media_type, schema) = self.one(&operation.bodies).clone();
        let mut said = media_type.clone();
        let body = match media_type.as_str() {
            "application/json" => {
                let mut body = match self.known_good(&operation.name) {
                    Some(body) if !self.once_in(3) => body,
                    _ => self.valid(&schema),
                };
                if is_faulty {
                    self.break_value(&mut body);
                }
                body.to_string().into_bytes()
            }
            batch::MEDIA_TYPE => self.batch(is_faulty),
            "multipart/form-data" => {
                said = "multipart/form-data; boundary=b".to_owned();
                self.form(is_faulty)
            }
            _ if !is_faulty && self.once_in(2) => self.upload.bytes.clone(),
            _ => self.octets(),
        };
        request.body = Some(body);
        request.headers.push((b"content-type".to_vec(), said.into_bytes()));
    }

    /// A body that is likely to succeed, for operations whose fields depend on each other.
    fn known_good(&mut self, operation: &str) -> Option<Value> {
        let content = Content::new(self.octets());
        let name = format!("n{}", self.random.random_range(0..50));
        match operation {
            "commit" => {
                let change = match self.random.random_range(0..4) {
                    0 => Change::directory(NodeId::ROOT, &name),
                    1 => Change::create("symlink", NodeId::ROOT, &name).with("target", json!("t")),
                    2 => Change::create("fifo", NodeId::ROOT, &name),
                    _ => Change::file(NodeId::ROOT, &name, &Content::new(Vec::new())),
                };
                Some(commit_of(&[&change]))
            }
            "init" => {
                self.upload.bytes.clone_from(&content.bytes);
                Some(content.init())
            }
            "fast_upload" => Some(json!({ "filehash": content.digest, "size": content.size() })),
            _ => None,
        }
    }

    fn octets(&mut self) -> Vec<u8> {
        let length = *self.one(&[0, 1, 10, 100, 100, 100, 5000]);
        (0..length).map(|_| self.random.random()).collect()
    }

    fn batch(&mut self, is_faulty: bool) -> Vec<u8> {
        let mut body = Vec::new();
        for _ in 0..self.random.random_range(0..4) {
            let bytes = self.octets();
            batch::push(&mut body, Digest::of(&bytes), &bytes);
        }
        if is_faulty {
            self.damage_bytes(&mut body);
        }
        body
    }

    fn form(&mut self, is_faulty: bool) -> Vec<u8> {
        let path = *self.one(&["/f", "/a/f", "/a", "x", "/../f", "/a/\u{0}"]);
        let mut body = Vec::new();
        for (name, value) in [("path", path.as_bytes().to_vec()), ("file", self.octets())] {
            let head = format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n");
            body.extend([head.as_bytes(), &value, b"\r\n"].concat());
        }
        body.extend_from_slice(b"--b--\r\n");
        if is_faulty {
            self.damage_bytes(&mut body);
        }
        body
    }

    /// Damages a request somewhere, so that it may be none any more.
    fn damage(&mut self, request: &mut Request) {
        match self.random.random_range(0..12) {
            0 | 1 => self.damage_bytes(&mut request.target),
            2 => {
                let odd = [
                    &b"PATCH"[..],
                    b"HEAD",
                    b"OPTIONS",
                    b"DELETE",
                    b"TRACE",
                    b"get",
                    b"BREW",
                    b"PUT",
                ];
                request.method = self.one(&odd).to_vec();
            }
            3 => {
                let prefix = *self.one(&[
                    "/on/local",
                    "/on/elsewhere",
                    "/on/",
                    "/on",
                    "/internal/blobs",
                    "//",
                    "/.",
                ]);
                request.target = [prefix.as_bytes(), &request.target].concat();
            }
            4 if self.once_in(4) => {
                let mut chaos = request.bytes();
                self.damage_bytes(&mut chaos);
                request.chaos = Some(chaos);
            }
            _ => match &mut request.body {
                Some(body) => self.damage_bytes(body),
                None => request.body = Some(self.octets()),
            },
        }
    }

    /// Damages bytes in one to three places.
    fn damage_bytes(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.random.random_range(1..4) {
            let place = self.random.random_range(0..=bytes.len());
            let end = (place + self.random.random_range(0..20)).min(bytes.len());
            match self.random.random_range(0..9) {
                0 => bytes.truncate(place),
                1 => drop(bytes.drain(place..end)),
                2 => {
                    let again = bytes[place..end].to_vec();
                    bytes.splice(place..place, again);
                }
                3 => {
                    let odd = [
                        &b"\xff\xfe"[..],
                        b"\0",
                        b"1e999",
                        b"99999999999999999999",
                        b"\"",
                        b"{",
                        b"\\u",
                        b"\xed\xa0\x80",
                    ];
                    let more = *self.one(&odd);
                    bytes.splice(place..place, more.iter().copied());
                }
                4 => {
                    let (open, depth) = (*self.one(b"[{"), *self.one(&[10, 130, 3000]));
                    bytes.splice(place..place, std::iter::repeat_n(open, depth));
                }
                5 if bytes.len() > 1 && bytes[0] == b'{' => {
                    let twice = [b"{", &bytes[1..bytes.len() - 1], b",", &bytes[1..]].concat();
                    *bytes = twice;
                }
                _ => {
                    if let Some(byte) = bytes.get_mut(place) {
                        *byte ^= 1 << self.random.random_range(0..8);
                    }
                }
            }
        }
    }

    fn bend_headers(&mut self, request: &mut Request) {
        for _ in 0..self.random.random_range(1..4) {
            let (name, value) = (*self.one(&FIELDS), *self.one(&VALUES));
            let value = match self.random.random_range(0..12) {
                0 => "v".repeat(*self.one(&[300, 9000, 20_000])).into_bytes(),
                1 => vec![0x80, 0xff],
                _ => value.as_bytes().to_vec(),
            };
            match self.random.random_range(0..4) {
                0 => request.headers.retain(|(own, _)| own != name.as_bytes()),
                1 => request
                    .headers
                    .iter_mut()
                    .filter(|(own, _)| own == name.as_bytes())
                    .for_each(|it| it.1 = value.clone()),
                _ => request.headers.push((name.into(), value)),
            }
        }
    }
}

/// A value as it stands in an address or a header field.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Percent-encodes all but letters, digits and `-._~`.
fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => encoded.push(char::from(byte)),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
        encoded
    })
}
