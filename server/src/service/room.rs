//! Rooms: work that only so many may do at once, shared fairly between those who want to.
//!
//! Nobody has more than a share of the seats, also when nobody else wants one: work cannot be taken back once it has
//! begun, so who comes next must find a seat that the first one could not take. A seat that becomes free goes to
//! whoever has the fewest, and among equals to who came first. Who stops waiting, or is given up with their request,
//! stands in nobody's way.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::Gauge;
use tokio::sync::oneshot;

use super::Error;

/// Seats taken, by room.
const HELD: &str = "miaofs_room_held";
/// Who waits for a seat, by room.
const WAITING: &str = "miaofs_room_waiting";

/// Longest wait for a seat; then the client is to come again.
const PATIENCE: Duration = Duration::from_secs(60);

/// That by which those are told apart who share a room.
pub(crate) trait Key: fmt::Debug + Hash + Eq + Copy {}

impl<K: fmt::Debug + Hash + Eq + Copy> Key for K {}

/// A number of seats, shared between those who are told apart by a key. A clone is the same.
#[derive(Debug)]
pub(crate) struct Room<K: Key>(Arc<Inner<K>>);

#[derive(Debug)]
struct Inner<K: Key> {
    seats: usize,
    share: usize,
    patience: Duration,
    state: Mutex<State<K>>,
    held: Gauge,
    waiting: Gauge,
}

#[derive(Debug)]
struct State<K: Key> {
    held: usize,
    waiting: usize,
    /// Those who hold a seat or wait for one.
    sharers: HashMap<K, Sharer<K>>,
    arrivals: u64,
}

#[derive(Debug)]
struct Sharer<K: Key> {
    held: usize,
    waiting: VecDeque<Waiter<K>>,
}

#[derive(Debug)]
struct Waiter<K: Key> {
    /// A number that rises with each that comes.
    arrival: u64,
    /// Takes the seat to whoever waits.
    call: oneshot::Sender<Seat<K>>,
}

impl<K: Key> Clone for Room<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Key> Room<K> {
    /// A room of so many seats, all free. Half of them are what one may have; of a single one, that one.
    pub(crate) fn new(name: &'static str, seats: usize) -> Self {
        Self::with_patience(name, seats, PATIENCE)
    }

    fn with_patience(name: &'static str, seats: usize, patience: Duration) -> Self {
        metrics::describe_gauge!(HELD, "Seats taken in a room");
        metrics::describe_gauge!(WAITING, "Requests that wait for a seat in a room");
        let state = Mutex::new(State { held: 0, waiting: 0, sharers: HashMap::new(), arrivals: 0 });
        let inner = Inner {
            seats,
            share: (seats / 2).max(1),
            patience,
            state,
            held: metrics::gauge!(HELD, "room" => name),
            waiting: metrics::gauge!(WAITING, "room" => name),
        };
        inner.tell(&inner.lock());
        Self(Arc::new(inner))
    }

    /// Waits for a seat.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when none has become free for long.
    pub(crate) async fn enter(&self, key: K) -> Result<Seat<K>, Error> {
        let waiting = self.queue(key);
        tokio::time::timeout(self.0.patience, waiting.called())
            .await
            .map_err(|_elapsed| Error::Unavailable)
    }

    /// A seat, if one is free now.
    pub(crate) fn try_enter(&self, key: K) -> Option<Seat<K>> {
        self.queue(key).receiver.try_recv().ok()
    }

    /// Stands in line, and gives the seat that is free, if one is.
    fn queue(&self, key: K) -> Waiting<K> {
        let (call, receiver) = oneshot::channel();
        let mut state = self.0.lock();
        state.arrivals += 1;
        let arrival = state.arrivals;
        let sharer = state.sharers.entry(key).or_default();
        sharer.waiting.push_back(Waiter { arrival, call });
        state.waiting += 1;
        self.0.tell(&state);
        drop(state);
        Inner::call_next(&self.0);
        Waiting { room: self.0.clone(), key, arrival, receiver }
    }
}

impl<K: Key> Default for Sharer<K> {
    fn default() -> Self {
        Self { held: 0, waiting: VecDeque::new() }
    }
}

impl<K: Key> Inner<K> {
    /// Gives the seats that are free to those whose turn it is.
    fn call_next(this: &Arc<Self>) {
        while let Some((key, waiter)) = this.next() {
            // A seat that nobody takes any more goes on to the next when it is dropped here, with nothing locked.
            let _not_taken = waiter.call.send(Seat { room: this.clone(), key });
        }
    }

    /// Takes the one out of the line whose turn it is, and a seat with them.
    fn next(&self) -> Option<(K, Waiter<K>)> {
        let mut state = self.lock();
        if state.held >= self.seats {
            return None;
        }
        let waiting = state.sharers.iter().filter(|(_, sharer)| sharer.held < self.share);
        let turns = waiting.filter_map(|(key, sharer)| {
            Some(((sharer.held, sharer.waiting.front()?.arrival), *key))
        });
        let (_, key) = turns.min_by_key(|(turn, _)| *turn)?;
        let sharer = state.sharers.get_mut(&key)?;
        let waiter = sharer.waiting.pop_front()?;
        sharer.held += 1;
        state.held += 1;
        state.waiting -= 1;
        self.tell(&state);
        Some((key, waiter))
    }

    /// Takes somebody out of the line who is still in it.
    fn forget(&self, key: K, arrival: u64) {
        let mut state = self.lock();
        let Some(sharer) = state.sharers.get_mut(&key) else { return };
        let before = sharer.waiting.len();
        sharer.waiting.retain(|waiter| waiter.arrival != arrival);
        let gone = before - sharer.waiting.len();
        state.waiting -= gone;
        state.tidy(key);
        self.tell(&state);
    }

    fn leave(&self, key: K) {
        let mut state = self.lock();
        state.held -= 1;
        if let Some(sharer) = state.sharers.get_mut(&key) {
            sharer.held -= 1;
        }
        state.tidy(key);
        self.tell(&state);
    }

    fn tell(&self, state: &State<K>) {
        self.held.set(state.held as f64);
        self.waiting.set(state.waiting as f64);
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Key> State<K> {
    /// Forgets somebody who neither holds nor wants anything.
    fn tidy(&mut self, key: K) {
        if self
            .sharers
            .get(&key)
            .is_some_and(|sharer| sharer.held == 0 && sharer.waiting.is_empty())
        {
            self.sharers.remove(&key);
        }
    }
}

/// Somebody who waits, until dropped.
struct Waiting<K: Key> {
    room: Arc<Inner<K>>,
    key: K,
    arrival: u64,
    receiver: oneshot::Receiver<Seat<K>>,
}

impl<K: Key> Waiting<K> {
    async fn called(mut self) -> Seat<K> {
        (&mut self.receiver).await.expect("whoever waits is forgotten by themselves only")
    }
}

impl<K: Key> Drop for Waiting<K> {
    fn drop(&mut self) {
        self.room.forget(self.key, self.arrival);
    }
}

/// A seat in a room, until dropped.
#[derive(Debug)]
pub(crate) struct Seat<K: Key> {
    room: Arc<Inner<K>>,
    key: K,
}

impl<K: Key> Drop for Seat<K> {
    fn drop(&mut self) {
        self.room.leave(self.key);
        Inner::call_next(&self.room);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use futures::FutureExt as _;
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    type Entering = Pin<Box<dyn Future<Output = Result<Seat<u8>, Error>>>>;

    fn enter(room: &Room<u8>, key: u8) -> Entering {
        let room = room.clone();
        Box::pin(async move { room.enter(key).await })
    }

    fn counts(room: &Room<u8>) -> (usize, usize) {
        let state = room.0.lock();
        (state.held, state.waiting)
    }

    #[tokio::test]
    async fn one_alone_leaves_seats_for_the_next() {
        let room = Room::new("test", 4);
        let held = [room.enter(1).await.unwrap(), room.enter(1).await.unwrap()];
        let mut third = enter(&room, 1);
        assert!((&mut third).now_or_never().is_none() && room.try_enter(1).is_none());
        let other = enter(&room, 2).now_or_never().expect("there is a seat for another").unwrap();
        drop(held);
        assert!(third.now_or_never().is_some());
        drop(other);
        assert_eq!(counts(&room), (0, 0));
        assert!(room.0.lock().sharers.is_empty());
    }

    #[tokio::test]
    async fn a_seat_goes_to_who_has_fewest_and_then_to_who_came_first() {
        let room = Room::new("test", 4);
        let mut held: Vec<Seat<u8>> = Vec::new();
        for key in [1, 1, 2, 3] {
            held.push(room.enter(key).await.unwrap());
        }
        let mut line = [2, 3, 4, 5].map(|key| enter(&room, key));
        assert!(line.iter_mut().all(|it| it.now_or_never().is_none()));
        let mut order = Vec::new();
        for _ in 0..4 {
            held.remove(0);
            for (number, waiting) in line.iter_mut().enumerate() {
                if !order.contains(&number)
                    && let Some(seat) = waiting.now_or_never()
                {
                    order.push(number);
                    held.push(seat.unwrap());
                }
            }
        }
        assert_eq!(order, [2, 3, 0, 1]);
    }

    #[tokio::test]
    async fn who_is_given_up_gives_seat_and_place_in_line_back() {
        let room = Room::new("test", 1);
        let first = room.enter(1).await.unwrap();
        let (mut second, mut third) = (enter(&room, 2), enter(&room, 3));
        assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
        assert_eq!(counts(&room), (1, 2));
        drop(second);
        assert_eq!(counts(&room), (1, 1));
        // Called, and gone before it hears so.
        drop(first);
        assert_eq!(counts(&room), (1, 0));
        let mut fourth = enter(&room, 4);
        assert!((&mut fourth).now_or_never().is_none());
        drop(third);
        assert!(fourth.now_or_never().is_some(), "the seat went on");
        assert_eq!(counts(&room), (0, 0));
    }

    #[tokio::test]
    async fn who_waits_too_long_is_told_to_come_again() {
        let room = Room::with_patience("test", 1, Duration::from_millis(10));
        let _seat = room.enter(1).await.unwrap();
        assert!(matches!(room.enter(2).await, Err(Error::Unavailable)));
        assert_eq!(counts(&room), (1, 0));
    }

    #[tokio::test]
    async fn whoever_comes_and_goes_there_are_never_too_many_and_no_seat_is_idle() {
        let seed = std::env::var("MIAOFS_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed: u64 = seed.unwrap_or_else(rand::random);
        eprintln!("MIAOFS_TEST_SEED={seed}");
        let mut random = StdRng::seed_from_u64(seed);
        for _ in 0..200 {
            let seats = random.random_range(1..9);
            let room = Room::new("test", seats);
            let share = room.0.share;
            let mut line: Vec<(u8, Entering)> = Vec::new();
            let mut held: Vec<(u8, Seat<u8>)> = Vec::new();
            for _ in 0..300 {
                match random.random_range(0..4) {
                    0 | 1 => {
                        let key = random.random_range(0..5);
                        line.push((key, enter(&room, key)));
                    }
                    2 if !held.is_empty() => {
                        drop(held.swap_remove(random.random_range(0..held.len())));
                    }
                    3 if !line.is_empty() => {
                        drop(line.swap_remove(random.random_range(0..line.len())));
                    }
                    _ => (),
                }
                let mut waiting = Vec::new();
                for (key, mut entering) in std::mem::take(&mut line) {
                    match tokio::task::unconstrained(&mut entering).now_or_never() {
                        Some(seat) => held.push((key, seat.unwrap())),
                        None => waiting.push((key, entering)),
                    }
                }
                line = waiting;
                let of = |key: u8| held.iter().filter(|(holder, _)| *holder == key).count();
                assert!(held.len() <= seats && (0..5).all(|key| of(key) <= share));
                assert_eq!(counts(&room), (held.len(), line.len()));
                let idle = held.len() < seats && line.iter().any(|(key, _)| of(*key) < share);
                assert!(!idle, "a seat is free and somebody waits who may have it");
            }
            // Nobody starves: those who wait all come in when the others go on leaving.
            while !line.is_empty() {
                assert!(!held.is_empty(), "{} wait for nothing", line.len());
                drop(held.remove(0));
                let mut waiting = Vec::new();
                for (key, mut entering) in std::mem::take(&mut line) {
                    match tokio::task::unconstrained(&mut entering).now_or_never() {
                        Some(seat) => held.push((key, seat.unwrap())),
                        None => waiting.push((key, entering)),
                    }
                }
                line = waiting;
            }
        }
    }
}
