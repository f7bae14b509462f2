//! Bodies that are gathered before anything is done with them: a slow sender keeps a file, and not what others wait for.

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_LENGTH;
use axum::http::request::Parts;
use futures::stream::StreamExt as _;

use crate::backend::UserId;
use crate::backend::spool::{Spooled, Spools};
use crate::service::{Error, Room, Seat};

/// Gathers a body of at most so many bytes, and then takes a seat in the room for the memory of them all. The seat is
/// taken earlier only when there is no other place for them than memory.
///
/// # Errors
/// [`Error::TooLarge`]; [`Error::LengthMismatch`] when the body breaks off; [`Error::Unavailable`] when there is no seat
/// for long.
pub(super) async fn gather(
    (parts, body): (&Parts, Body),
    size_max: usize,
    spools: &Spools,
    (room, user): (&Room<UserId>, UserId),
) -> Result<(Bytes, Seat<UserId>), Error> {
    let too_large = || Error::TooLarge(format!("the body has at most {size_max} bytes"));
    let length = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if length.and_then(|length| length.parse().ok()).is_some_and(|length: usize| length > size_max)
    {
        return Err(too_large());
    }
    let (mut spool, mut seat) = (spools.open(user), None);
    let mut frames = body.into_data_stream();
    while let Some(frame) = frames.next().await {
        let broke_off = |error| Error::LengthMismatch(format!("the body broke off: {error}"));
        let frame = frame.map_err(broke_off)?;
        if spool.len() + frame.len() as u64 > size_max as u64 {
            return Err(too_large());
        }
        if spool.push(&frame).await? == Spooled::InMemory && seat.is_none() {
            seat = Some(room.enter(user).await?);
        }
    }
    let seat = match seat {
        Some(seat) => seat,
        None => room.enter(user).await?,
    };
    Ok((spool.into_bytes().await?, seat))
}
