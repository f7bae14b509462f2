//! Bodies that are gathered before anything is done with them.

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_LENGTH;
use axum::http::request::Parts;

use crate::backend::UserId;
use crate::service::{Error, Gathering, Lobby, Seat};

/// Gathers a body of at most so many bytes, and then takes a seat in the room for the memory of them all.
///
/// # Errors
/// [`Error::TooLarge`]; [`Error::LengthMismatch`] when the body breaks off; [`Error::Unavailable`] when there is no seat
/// for long.
pub(super) async fn gather(
    (parts, body): (&Parts, Body),
    size_max: usize,
    lobby: Lobby<'_>,
) -> Result<(Bytes, Seat<UserId>), Error> {
    let size_max = size_max as u64;
    let too_large = || Error::TooLarge(format!("the body has at most {size_max} bytes"));
    let length = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if length.and_then(|length| length.parse().ok()).is_some_and(|length: u64| length > size_max) {
        return Err(too_large());
    }
    let (mut gathering, mut body) = (Gathering::patient(lobby), body.into_data_stream());
    while let Some(frame) = gathering.next(&mut body).await? {
        if gathering.len() + frame.len() as u64 > size_max {
            return Err(too_large());
        }
        gathering.push(&frame).await?;
    }
    gathering.finish().await
}
