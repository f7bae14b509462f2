//! Complaints about an answer: all that the document does not say.

use miaofs::protocol::problem::{Code, MEDIA_TYPE, REQUEST_ID};
use serde_json::Value;

use super::document::{AnswerShape, Document};
use super::wire::{Answer, Request};

/// Bytes of the head of a request beyond which a connection refuses it without a word.
const HEAD_MAX: usize = 16 * 1000;

/// A complaint about the answer to a request; `None` when it is as documented.
pub(super) fn complaint(document: &Document, request: &Request, answer: &Answer) -> Option<String> {
    if answer.status >= 500 {
        return Some("a failure of the server".to_owned());
    }
    if answer.header(REQUEST_ID).is_none() {
        return of_the_connection(request, answer);
    }
    let method = String::from_utf8_lossy(&request.method);
    let target = String::from_utf8_lossy(&request.target);
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let is_bounded = matches!(answer.status, 414 | 431);
    match document.find(&method, path) {
        _ if request.chaos.is_some() => {
            of_problem(document, answer).filter(|_| answer.status >= 400)
        }
        _ if is_bounded => of_problem(document, answer),
        // A route may or may not be one with an empty word.
        _ if answer.status == 404 && has_empty_word(path) => of_problem(document, answer),
        Some(operation) => match operation.answer(answer.status) {
            Some(shape) => of_shape(document, &method, shape, answer),
            None => Some(format!("{}: status {} is not documented", operation.name, answer.status)),
        },
        None => of_no_route(document, path, answer),
    }
}

/// The complaint about an answer of the connection: no HTTP is refused before there is a request, without a word.
fn of_the_connection(request: &Request, answer: &Answer) -> Option<String> {
    let is_refusal = matches!(answer.status, 400 | 405 | 408 | 414 | 431 | 505);
    let body = request.body.as_ref().map_or(0, Vec::len);
    let head = request.bytes().len().saturating_sub(body);
    let is_odd = request.chaos.is_some() || head > HEAD_MAX || !is_plain(request);
    (!is_refusal || !is_odd || !answer.body.is_empty())
        .then(|| "no id of the request in the answer to plain HTTP".to_owned())
}

fn has_empty_word(path: &str) -> bool {
    path.split('/').skip(1).any(str::is_empty)
}

/// True for bytes of which HTTP consists.
fn is_plain(request: &Request) -> bool {
    let printable = |bytes: &[u8]| bytes.iter().all(|byte| (0x21..0x7f).contains(byte));
    let values = request.headers.iter().all(|(name, value)| {
        printable(name) && value.iter().all(|byte| (0x20..0x7f).contains(byte))
    });
    let odd = b"\"<>\\^`{|}#";
    printable(&request.target)
        && request.target.starts_with(b"/")
        && !request.target.iter().any(|byte| odd.contains(byte))
        && printable(&request.method)
        && values
        && request.headers.len() < 90
}

fn of_no_route(document: &Document, path: &str, answer: &Answer) -> Option<String> {
    let is_elsewhere = path.starts_with("/on/") || path.starts_with("/internal/");
    if is_elsewhere {
        return of_problem(document, answer).filter(|_| answer.status >= 400);
    }
    let expected = if document.has_path(path) { 405 } else { 404 };
    if answer.status != expected {
        return Some(format!("no such operation, but status {}", answer.status));
    }
    if answer.status == 405 && answer.header("allow").is_none() {
        return Some("405 without Allow".to_owned());
    }
    of_problem(document, answer)
}

fn of_shape(
    document: &Document,
    method: &str,
    shape: &AnswerShape,
    answer: &Answer,
) -> Option<String> {
    let missing = shape.headers.iter().find(|name| answer.header(name).is_none());
    if let Some(name) = missing {
        return Some(format!("no header {name}"));
    }
    if method == "HEAD" {
        return (!answer.body.is_empty()).then(|| "a body to HEAD".to_owned());
    }
    if shape.bodies.is_empty() {
        return (!answer.body.is_empty()).then(|| "a body where none is documented".to_owned());
    }
    let said = answer.header("content-type").unwrap_or("none");
    let media_type = said.split(';').next().unwrap_or_default();
    let Some(validator) = shape.bodies.get(media_type) else {
        return Some(format!("media type {said} is not documented"));
    };
    if media_type == MEDIA_TYPE {
        return of_problem(document, answer);
    }
    let validator = validator.as_ref()?;
    match serde_json::from_slice::<Value>(&answer.body) {
        Ok(json) => validator.validate(&json).err().map(|error| format!("the body: {error}")),
        Err(error) => Some(format!("no JSON: {error}")),
    }
}

/// A refusal is a problem, with a code of its status.
fn of_problem(document: &Document, answer: &Answer) -> Option<String> {
    if answer.header("content-type") != Some(MEDIA_TYPE) {
        return Some(format!("a refusal as {:?}", answer.header("content-type")));
    }
    if answer.body.is_empty() {
        // The answer to a HEAD.
        return None;
    }
    let json: Value = match serde_json::from_slice(&answer.body) {
        Ok(json) => json,
        Err(error) => return Some(format!("no JSON: {error}")),
    };
    if let Err(error) = document.problem.validate(&json) {
        return Some(format!("no problem: {error}"));
    }
    let code: Code = serde_json::from_value(json["code"].clone()).unwrap_or(Code::Unknown);
    let is_right = code != Code::Unknown && code.status() == answer.status;
    let says_so = json["status"] == answer.status && json["title"] == code.title();
    (!is_right || !says_so).then(|| format!("code {} with status {}", json["code"], answer.status))
}
