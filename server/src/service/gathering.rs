//! Bodies that are gathered before anything is done with them. Memory for a body is a seat in a room: who sends quickly
//! may have it while the bytes come, and who is slow keeps a file, and nothing that others wait for.

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::{Stream, StreamExt as _};
use tokio::time::Instant;

use super::{Error, Room, Seat};
use crate::backend::UserId;
use crate::backend::spool::{Spool, Spooled, Spools};

/// Longest time, in all, that somebody lets the server wait who has memory while the bytes come.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes that come before anybody has memory.
const FIRST: u64 = 64 * 1024;

/// The owner of a body, the room where they need a seat for it, and the spools where it waits for one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lobby<'a> {
    /// A seat here is memory for the whole body.
    pub room: &'a Room<UserId>,
    /// Bodies without a seat.
    pub spools: &'a Spools,
    /// Who sends the body.
    pub user: UserId,
}

/// A body of which some has come.
#[derive(Debug)]
pub(crate) struct Gathering<'a> {
    lobby: Lobby<'a>,
    /// Time that is left in which the server waits for somebody who has memory.
    patience: Duration,
    /// Bytes that it has memory for while it comes.
    size_max: u64,
    spool: Spool,
    /// In place of the spool.
    memory: Option<(BytesMut, Seat<UserId>)>,
    /// Taken when there is no place but memory for what is in the spool.
    seat: Option<Seat<UserId>>,
}

impl<'a> Gathering<'a> {
    /// Nothing yet, of a body that gets memory when it has come.
    pub(crate) fn patient(lobby: Lobby<'a>) -> Self {
        Self::with_patience(lobby, 0, Duration::ZERO)
    }

    /// Nothing yet, of a body of so many bytes that has memory while it comes, as long as its sender is quick and a seat
    /// is free.
    pub(crate) fn quick(lobby: Lobby<'a>, size_max: u64) -> Self {
        Self::with_patience(lobby, size_max, PATIENCE)
    }

    fn with_patience(lobby: Lobby<'a>, size_max: u64, patience: Duration) -> Self {
        let spool = lobby.spools.open(lobby.user);
        Self { lobby, patience, size_max, spool, memory: None, seat: None }
    }

    /// Bytes that have come.
    pub(crate) fn len(&self) -> u64 {
        self.memory.as_ref().map_or_else(|| self.spool.len(), |(bytes, _)| bytes.len() as u64)
    }

    /// Waits for the next bytes of the body; `None` at its end.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] when it breaks off; [`Error::Unavailable`], as [`Self::push`].
    pub(crate) async fn next<E: fmt::Display>(
        &mut self,
        body: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
    ) -> Result<Option<Bytes>, Error> {
        let since = Instant::now();
        let in_time = match &self.memory {
            Some(_) => tokio::time::timeout(self.patience, body.next()).await,
            None => Ok(body.next().await),
        };
        self.patience = self.patience.saturating_sub(since.elapsed());
        let frame = match in_time {
            Ok(frame) => frame,
            Err(_elapsed) => {
                self.leave_memory().await?;
                body.next().await
            }
        };
        let frame = frame.transpose();
        frame.map_err(|error| Error::LengthMismatch(format!("the body broke off: {error}")))
    }

    /// Puts bytes behind those that have come.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when neither a spool nor the room has a place for long.
    pub(crate) async fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.take_memory(bytes.len() as u64).await?;
        if let Some((memory, _seat)) = &mut self.memory {
            memory.extend_from_slice(bytes);
            return Ok(());
        }
        self.spool_on(bytes).await
    }

    /// All that has come, and the seat for its memory.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when there is no seat for long.
    pub(crate) async fn finish(self) -> Result<(Bytes, Seat<UserId>), Error> {
        let Self { lobby, spool, memory, seat, .. } = self;
        if let Some((bytes, seat)) = memory {
            return Ok((bytes.freeze(), seat));
        }
        let seat = match seat {
            Some(seat) => seat,
            None => lobby.room.enter(lobby.user).await?,
        };
        Ok((spool.into_bytes().await?, seat))
    }

    /// Goes on in memory, for more bytes than nobody needs a seat for, if that may be and a seat is free.
    async fn take_memory(&mut self, more: u64) -> Result<(), Error> {
        let is_due = self.memory.is_none() && self.spool.len() + more > FIRST;
        if !is_due || self.patience.is_zero() || self.seat.is_some() {
            return Ok(());
        }
        let Some(seat) = self.lobby.room.try_enter(self.lobby.user) else { return Ok(()) };
        let empty = self.lobby.spools.open(self.lobby.user);
        let first = std::mem::replace(&mut self.spool, empty).into_bytes().await?;
        let mut memory = BytesMut::with_capacity(usize::try_from(self.size_max).unwrap_or(0));
        memory.extend_from_slice(&first);
        self.memory = Some((memory, seat));
        Ok(())
    }

    /// Gives the seat to others and goes on in the spool.
    async fn leave_memory(&mut self) -> Result<(), Error> {
        let Some((bytes, seat)) = self.memory.take() else { return Ok(()) };
        if self.spool.push(&bytes).await? == Spooled::InMemory {
            self.seat = Some(seat);
        }
        Ok(())
    }

    async fn spool_on(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.spool.push(bytes).await? == Spooled::InMemory && self.seat.is_none() {
            self.seat = Some(self.lobby.room.enter(self.lobby.user).await?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use futures::stream;

    use super::*;

    type Frames = Vec<Result<Bytes, Error>>;

    fn frames(count: usize, size: usize) -> Frames {
        (0..count).map(|number| Ok(Bytes::from(vec![number as u8; size]))).collect()
    }

    fn all(frames: &Frames) -> Vec<u8> {
        frames.iter().flatten().flatten().copied().collect()
    }

    async fn gather(
        gathering: &mut Gathering<'_>,
        body: &mut (impl Stream<Item = Result<Bytes, Error>> + Unpin),
    ) -> Result<(), Error> {
        while let Some(frame) = gathering.next(body).await? {
            gathering.push(&frame).await?;
        }
        Ok(())
    }

    #[tokio::test]
    async fn who_falls_silent_with_a_seat_gives_it_to_the_next_and_loses_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (room, spools) = (Room::new("test", 1), Spools::new(directory.path()));
        let lobby = |user| Lobby { room: &room, spools: &spools, user: UserId(user) };
        let (first, rest) = (frames(8, 32 * 1024), frames(9, 1000));
        let whole = [all(&first), all(&rest)].concat();
        let (sender, receiver) = futures::channel::mpsc::unbounded();
        let mut body = stream::iter(first).chain(receiver);
        let mut slow = Gathering::with_patience(lobby(1), 1 << 20, Duration::from_millis(50));
        let more = {
            let mut coming = std::pin::pin!(gather(&mut slow, &mut body));
            assert!(coming.as_mut().now_or_never().is_none());
            assert!(room.try_enter(UserId(2)).is_none(), "memory for 256 KiB is a seat");
            let seat = tokio::select! {
                _ = &mut coming => panic!("the body has not ended"),
                seat = room.enter(UserId(2)) => seat.unwrap(),
            };
            for frame in rest {
                sender.unbounded_send(frame).unwrap();
            }
            drop(sender);
            coming.await.unwrap();
            seat
        };
        assert_eq!(slow.len(), whole.len() as u64);
        let mut finished = std::pin::pin!(slow.finish());
        assert!(finished.as_mut().now_or_never().is_none(), "what has come waits for a seat");
        drop(more);
        let (bytes, _seat) = finished.await.unwrap();
        assert!(bytes == whole, "a byte was lost");
    }

    #[tokio::test]
    async fn few_bytes_and_patient_bodies_need_no_seat_until_they_have_come() {
        let directory = tempfile::tempdir().unwrap();
        let (room, spools) = (Room::new("test", 1), Spools::new(directory.path()));
        let lobby = Lobby { room: &room, spools: &spools, user: UserId(1) };
        let taken = room.enter(UserId(2)).await.unwrap();
        let few = frames(2, FIRST as usize / 2);
        let many = frames(20, 32 * 1024);
        let mut gathered = Vec::new();
        for (gathering, frames) in
            [(Gathering::quick(lobby, 1 << 20), few), (Gathering::patient(lobby), many)]
        {
            let (mut gathering, whole) = (gathering, all(&frames));
            gather(&mut gathering, &mut stream::iter(frames)).await.unwrap();
            gathered.push((gathering, whole));
        }
        drop(taken);
        for (gathering, whole) in gathered {
            let (bytes, _seat) = gathering.finish().await.unwrap();
            assert!(bytes == whole);
        }
    }
}
