//! Conditions of changes by path, `If-Match` and `If-None-Match`, and the entity tags that answers have.

use axum::http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use miaofs::protocol::files::Node;
use miaofs::protocol::problem::{Code, Problem};

use super::problem::Failure;
use crate::service::files::{Condition, EntityTags, entity_tag};

/// The condition that a request makes.
///
/// # Errors
/// A problem with [`Code::InvalidValue`] when a header is no list of entity tags.
pub(super) fn condition_of(headers: &HeaderMap) -> Result<Condition, Failure> {
    Ok(Condition { has: tags(headers, IF_MATCH)?, has_not: tags(headers, IF_NONE_MATCH)? })
}

fn tags(headers: &HeaderMap, name: HeaderName) -> Result<Option<EntityTags>, Failure> {
    let mut listed = Vec::new();
    for value in headers.get_all(&name) {
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Some(EntityTags::Any));
        }
        for tag in text.split(',').map(str::trim) {
            if !is_tag(tag) {
                let detail = format!("{name}: '*', or entity tags in quotes with commas between");
                return Err(Problem::new(Code::InvalidValue, detail).into());
            }
            listed.push(tag.to_owned());
        }
    }
    Ok((!listed.is_empty()).then_some(EntityTags::These(listed)))
}

fn is_tag(text: &str) -> bool {
    let quoted = text.strip_prefix("W/").unwrap_or(text);
    quoted.len() >= 2 && quoted.starts_with('"') && quoted.ends_with('"')
}

/// A node as an answer, with its entity tag.
#[derive(Debug)]
pub(super) struct Tagged(pub Node);

impl IntoResponse for Tagged {
    fn into_response(self) -> Response {
        let tag = HeaderValue::try_from(entity_tag(&self.0));
        let mut response = axum::Json(self.0).into_response();
        response.headers_mut().extend(tag.ok().map(|tag| (ETAG, tag)));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&'static str]) -> Result<Condition, Failure> {
        let header = |value: &&'static str| (IF_MATCH, HeaderValue::from_static(value));
        condition_of(&values.iter().map(header).collect())
    }

    #[test]
    fn entity_tags_are_read_from_their_headers() {
        assert_eq!(of(&[]).unwrap(), Condition::default());
        assert_eq!(of(&[" * "]).unwrap().has, Some(EntityTags::Any));
        let tags = ["\"a\"", "W/\"b\""].map(str::to_owned).to_vec();
        assert_eq!(of(&["\"a\" , W/\"b\""]).unwrap().has, Some(EntityTags::These(tags)));
        for bad in ["", "a", "\"", "\"a\",", "*, \"a\"", "w/\"a\""] {
            assert!(of(&[bad]).is_err(), "{bad}");
        }
    }
}
