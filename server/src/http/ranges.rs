//! Which bytes a request wants: `Range`, `If-Range` and `If-None-Match` of RFC 9110, sections 13 and 14.

use std::ops::Range;

use axum::http::header::{IF_NONE_MATCH, IF_RANGE, RANGE};
use axum::http::{HeaderMap, HeaderName};
use http_range_header::parse_range_header;

use crate::service::Error;

/// Answer to a request for a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it: 200.
    Whole,
    /// These bytes of it: 206.
    Part(Range<u64>),
    /// Nothing, it is what the client has: 304.
    NotModified,
}

/// Evaluates the conditions and the range of a request for a content of `size` bytes with this entity tag.
///
/// Several ranges, and units other than bytes, are ignored, as a server may: the whole is answered.
///
/// # Errors
/// [`Error::RangeNotSatisfiable`] when the content has none of the bytes; [`Error::Invalid`] when the
/// header is not a range.
pub(super) fn wanted(headers: &HeaderMap, etag: &str, size: u64) -> Result<Wanted, Error> {
    if text(headers, IF_NONE_MATCH).is_some_and(|tags| lists(tags, etag)) {
        return Ok(Wanted::NotModified);
    }
    let still_the_same = text(headers, IF_RANGE).is_none_or(|tag| tag == etag);
    let range = text(headers, RANGE).filter(|range| still_the_same && range.starts_with("bytes"));
    let Some(range) = range else { return Ok(Wanted::Whole) };
    if range.contains(',') {
        return Ok(Wanted::Whole);
    }
    let ranges = parse_range_header(range)
        .map_err(|error| Error::Invalid(format!("Range: '{range}': {error}")))?;
    match ranges.validate(size).as_deref() {
        Ok([only]) => Ok(Wanted::Part(*only.start()..only.end() + 1)),
        Ok(_) => Ok(Wanted::Whole),
        Err(_none_of_them) => Err(Error::RangeNotSatisfiable { size }),
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// True if a list of entity tags has this one, weak ones included.
fn lists(tags: &str, etag: &str) -> bool {
    tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETAG: &str = "\"abc\"";

    fn of(headers: &[(HeaderName, &str)], size: u64) -> Result<Wanted, Error> {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
        wanted(&headers.collect(), ETAG, size)
    }

    fn range(value: &str, size: u64) -> Option<Wanted> {
        match of(&[(RANGE, value)], size) {
            Ok(wanted) => Some(wanted),
            Err(Error::RangeNotSatisfiable { size: said }) if said == size => None,
            Err(error) => panic!("{value}: {error}"),
        }
    }

    #[test]
    fn a_single_range_is_cut_at_the_end() {
        assert_eq!(range("bytes=0-0", 10), Some(Wanted::Part(0..1)));
        assert_eq!(range("bytes=2-5", 10), Some(Wanted::Part(2..6)));
        assert_eq!(range("bytes=2-", 10), Some(Wanted::Part(2..10)));
        assert_eq!(range("bytes=2-99", 10), Some(Wanted::Part(2..10)));
        assert_eq!(range("bytes=-3", 10), Some(Wanted::Part(7..10)));
        assert_eq!(range("bytes=-30", 10), Some(Wanted::Part(0..10)));
    }

    #[test]
    fn bytes_that_are_not_there_are_refused_and_nonsense_too() {
        assert_eq!(range("bytes=10-", 10), None);
        assert_eq!(range("bytes=10-12", 10), None);
        assert_eq!(range("bytes=0-", 0), None);
        for nonsense in ["bytes=5-2", "bytes=a-b", "bytes=", "bytes=--1", "bytes"] {
            assert!(of(&[(RANGE, nonsense)], 10).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn many_ranges_and_other_units_get_the_whole() {
        assert_eq!(range("bytes=0-1,4-5", 10), Some(Wanted::Whole));
        assert_eq!(
            range(&format!("bytes={}", vec!["0-0"; 500].join(",")), 10),
            Some(Wanted::Whole)
        );
        assert_eq!(range("lines=0-1", 10), Some(Wanted::Whole));
    }

    #[test]
    fn a_range_holds_only_for_the_content_that_it_was_meant_for() {
        let part = [(RANGE, "bytes=0-1"), (IF_RANGE, ETAG)];
        assert_eq!(of(&part, 10).unwrap(), Wanted::Part(0..2));
        let other = [(RANGE, "bytes=0-1"), (IF_RANGE, "\"other\"")];
        assert_eq!(of(&other, 10).unwrap(), Wanted::Whole);
    }

    #[test]
    fn what_the_client_has_is_not_sent_again() {
        for tags in [ETAG, "*", "\"x\", W/\"abc\""] {
            assert_eq!(of(&[(IF_NONE_MATCH, tags)], 10).unwrap(), Wanted::NotModified, "{tags}");
        }
        assert_eq!(of(&[(IF_NONE_MATCH, "\"x\"")], 10).unwrap(), Wanted::Whole);
    }
}
