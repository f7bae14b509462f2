//! Turns at work that few may do at once: each site in turn, and no more waiters than are served soon.
//!
//! A site that floods has a line of its own, and delays itself. When all lines together are full, whoever comes
//! from a site with fewer waiters takes the place of the last one of the longest line.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::service::{Error, Subnet};

/// Waiters in all.
const WAITING_MAX: usize = 64;
/// Waiters of one site.
const OF_SITE_MAX: usize = 16;
/// Waiters of one network.
const OF_NETWORK_MAX: usize = 8;
/// When somebody who was sent away is to come again.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// Gives turns. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(super) struct Turns(Arc<Mutex<Lines>>);

/// A turn, which goes to the next one when dropped.
#[derive(Debug)]
pub(super) struct Turn(Turns);

#[derive(Debug)]
struct Lines {
    free: usize,
    /// One of each site that somebody waits of; the first one is served next. None is empty.
    lines: VecDeque<Line>,
}

#[derive(Debug)]
struct Line {
    site: Subnet,
    waiters: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    network: Subnet,
    turn: oneshot::Sender<Turn>,
}

impl Turns {
    /// So many at once.
    pub(super) fn new(at_once: usize) -> Self {
        Self(Arc::new(Mutex::new(Lines { free: at_once, lines: VecDeque::new() })))
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`Error::TooManyRequests`] at once when too many wait already, or when somebody took the place.
    pub(super) async fn take(&self, from: IpAddr) -> Result<Turn, Error> {
        let turn = {
            let mut lines = self.lock();
            if lines.free > 0 {
                lines.free -= 1;
                return Ok(Turn(self.clone()));
            }
            lines.join(from)
        };
        let turn = turn.ok_or(Error::TooManyRequests { retry_after: COME_AGAIN })?;
        turn.await.map_err(|_displaced| Error::TooManyRequests { retry_after: COME_AGAIN })
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut lines = self.0.lock();
        let next = lines.next();
        if next.is_none() {
            lines.free += 1;
        }
        drop(lines);
        if let Some(waiter) = next {
            // Of a waiter that has gone, the turn is dropped, and so goes on to the next.
            let _gone = waiter.turn.send(Self(self.0.clone()));
        }
    }
}

impl Lines {
    /// Stands at the end of its line; `None` when there is no place.
    fn join(&mut self, from: IpAddr) -> Option<oneshot::Receiver<Turn>> {
        let (site, network) = (Subnet::site_of(from), Subnet::of(from));
        self.remove_gone();
        let line = self.lines.iter().find(|line| line.site == site);
        let of_site = line.map_or(0, |line| line.waiters.len());
        let of_network = line.map_or(0, |line| line.count(network));
        if of_site >= OF_SITE_MAX || of_network >= OF_NETWORK_MAX {
            return None;
        }
        let waiting: usize = self.lines.iter().map(|line| line.waiters.len()).sum();
        if waiting >= WAITING_MAX && !self.displace(of_site) {
            return None;
        }
        let (turn, given) = oneshot::channel();
        let waiter = Waiter { network, turn };
        match self.lines.iter_mut().find(|line| line.site == site) {
            Some(line) => line.waiters.push_back(waiter),
            None => self.lines.push_back(Line { site, waiters: [waiter].into() }),
        }
        Some(given)
    }

    /// Sends the last one of the longest line away for one of a line of `length`; `false` if that would not be fair.
    fn displace(&mut self, length: usize) -> bool {
        let longest = self.lines.iter_mut().max_by_key(|line| line.waiters.len());
        match longest {
            Some(line) if line.waiters.len() > length + 1 => line.waiters.pop_back().is_some(),
            _ => false,
        }
    }

    fn remove_gone(&mut self) {
        for line in &mut self.lines {
            line.waiters.retain(|waiter| !waiter.turn.is_closed());
        }
        self.lines.retain(|line| !line.waiters.is_empty());
    }

    /// The first one of the first line, which goes to the end.
    fn next(&mut self) -> Option<Waiter> {
        let mut line = self.lines.pop_front()?;
        let waiter = line.waiters.pop_front();
        if !line.waiters.is_empty() {
            self.lines.push_back(line);
        }
        waiter
    }
}

impl Line {
    fn count(&self, network: Subnet) -> usize {
        self.waiters.iter().filter(|waiter| waiter.network == network).count()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use futures::future::BoxFuture;

    use super::*;

    type Wait = BoxFuture<'static, Result<Turn, Error>>;

    fn address(site: u16, network: u16) -> IpAddr {
        IpAddr::from([0x2001, 0xdb8, site, network, 0, 0, 0, 1])
    }

    /// Somebody who asked for a turn; `Err` when they were sent away at once.
    fn ask(turns: &Turns, from: IpAddr) -> Result<Wait, Error> {
        let turns = turns.clone();
        let mut wait = async move { turns.take(from).await }.boxed();
        match futures::FutureExt::now_or_never(&mut wait) {
            None => Ok(wait),
            Some(Err(error)) => Err(error),
            Some(Ok(turn)) => Ok(async { Ok(turn) }.boxed()),
        }
    }

    fn is_sent_away(asked: &Result<Wait, Error>) -> bool {
        matches!(asked, Err(Error::TooManyRequests { .. }))
    }

    #[tokio::test]
    async fn whoever_floods_waits_behind_those_who_come_later_from_elsewhere() {
        let turns = Turns::new(1);
        let served = turns.take(address(0, 0)).await.unwrap();
        let flood: Vec<_> = (0..40).map(|_| ask(&turns, address(1, 0))).collect();
        assert_eq!(flood.iter().filter(|asked| !is_sent_away(asked)).count(), OF_NETWORK_MAX);
        let of_site: Vec<_> = (1..40).map(|network| ask(&turns, address(1, network))).collect();
        let waiting = of_site.iter().filter(|asked| !is_sent_away(asked)).count();
        assert_eq!(waiting, OF_SITE_MAX - OF_NETWORK_MAX);
        let mut other = ask(&turns, address(2, 0)).unwrap();
        let mut first = flood.into_iter().next().unwrap().unwrap();
        drop(served);
        let turn = (&mut first).now_or_never().expect("the first one is served").unwrap();
        assert!((&mut other).now_or_never().is_none());
        drop(turn);
        (&mut other).now_or_never().expect("the other one is next").unwrap();
    }

    #[tokio::test]
    async fn of_too_many_the_longest_line_gives_way_and_who_has_gone_gives_up_the_turn() {
        let turns = Turns::new(1);
        let served = turns.take(address(0, 0)).await.unwrap();
        let crowd = |site: u16| (0..OF_SITE_MAX as u16).map(move |at| address(site, at / 8));
        let mut waiting: Vec<Wait> =
            (1..=4).flat_map(crowd).map(|from| ask(&turns, from).unwrap()).collect();
        assert_eq!(waiting.len(), WAITING_MAX);
        let mut late = ask(&turns, address(9, 0)).unwrap();
        let gone = waiting.iter_mut().filter_map(|wait| wait.now_or_never()).count();
        assert_eq!(gone, 1, "one of the longest line was sent away");
        waiting.clear();
        drop(served);
        let turn = (&mut late).now_or_never().expect("all others have gone").unwrap();
        drop(turn);
        assert_eq!(turns.lock().free, 1);
    }
}
