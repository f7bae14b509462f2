//! The connections that are open, in all and of each network, and which of them has been idle for longest.
//!
//! A connection is idle until its first request has come whole, and between an answer and the next request; so
//! whoever sends a head slowly, or nothing, is the first to go when others want to come in. One that has to go
//! counts no more from that moment on; its task closes it without delay.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::Gauge;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::service::Subnet;

/// Open connections by state.
const CONNECTIONS: &str = "miaofs_connections";

/// Connections that are sent away at once when the process has run out of something: others need it, too.
const SENT_AWAY: usize = 16;

/// Bounds of the number of connections at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectionLimits {
    /// From anywhere.
    pub total: usize,
    /// From one network, unless it is a trusted proxy's.
    pub per_subnet: usize,
}

/// All places for connections. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(super) struct Places {
    limits: ConnectionLimits,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug)]
struct Open {
    connections: HashMap<u64, Occupant>,
    /// Those that count: all that were not sent away.
    count: usize,
    /// Ids of those that are idle, by the moment since which they are, the longest first.
    idle: BTreeMap<Moment, u64>,
    subnets: HashMap<Subnet, OfSubnet>,
    last_id: u64,
    last_moment: Moment,
    gauges: [Gauge; 2],
}

/// A number that rises with each connection that becomes idle.
type Moment = u64;

#[derive(Debug)]
struct Occupant {
    /// `None` for one that counts for no network.
    subnet: Option<Subnet>,
    /// Requests that are not answered yet, and answers that the client has not taken.
    busy: usize,
    /// Since when it is idle, when it is.
    idle: Option<(Moment, Instant)>,
    leave: CancellationToken,
    sent_away: bool,
}

#[derive(Debug, Default)]
struct OfSubnet {
    open: usize,
    idle: BTreeSet<Moment>,
}

impl Places {
    /// So many places, all free.
    pub(super) fn new(limits: ConnectionLimits) -> Self {
        metrics::describe_gauge!(CONNECTIONS, "Open connections by state");
        let gauge = |state: &'static str| metrics::gauge!(CONNECTIONS, "state" => state);
        let open = Open {
            connections: HashMap::new(),
            count: 0,
            idle: BTreeMap::new(),
            subnets: HashMap::new(),
            last_id: 0,
            last_moment: 0,
            gauges: [gauge("idle"), gauge("busy")],
        };
        open.tell();
        Self { limits, open: Arc::new(Mutex::new(open)) }
    }

    /// A place for one connection more. When there is none, the one that has been idle longest has to leave, of
    /// the same network or of all; `None` when all are busy.
    pub(super) fn take(&self, subnet: Option<Subnet>) -> Option<Admitted> {
        let mut open = self.lock();
        let is_full = |of: &OfSubnet| of.open >= self.limits.per_subnet;
        let of_subnet = subnet.and_then(|subnet| open.subnets.get(&subnet));
        if let Some(of) = of_subnet.filter(|of| is_full(of)) {
            let longest = of.idle.first().copied()?;
            open.send_away(longest);
        } else if open.count >= self.limits.total {
            open.send_longest_idle_away()?;
        }
        let (id, leave) = open.admit(subnet);
        Some(Admitted { id, leave, places: self.clone() })
    }

    /// Sends some away that have been idle longest, for want of something else than places; `false` when none are.
    pub(super) fn make_room(&self) -> bool {
        let mut open = self.lock();
        let sent = (0..SENT_AWAY).map_while(|_| open.send_longest_idle_away()).count();
        sent > 0
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn admit(&mut self, subnet: Option<Subnet>) -> (u64, CancellationToken) {
        self.last_id += 1;
        let (id, leave) = (self.last_id, CancellationToken::new());
        if let Some(subnet) = subnet {
            self.subnets.entry(subnet).or_default().open += 1;
        }
        let (leave_too, sent_away) = (leave.clone(), false);
        let occupant = Occupant { subnet, busy: 0, idle: None, leave: leave_too, sent_away };
        self.connections.insert(id, occupant);
        self.count += 1;
        self.rest(id);
        (id, leave)
    }

    /// Makes a connection idle, unless it has to leave anyhow.
    fn rest(&mut self, id: u64) {
        let occupant = self.connections.get_mut(&id).filter(|occupant| !occupant.sent_away);
        let Some(occupant) = occupant else { return };
        self.last_moment += 1;
        occupant.idle = Some((self.last_moment, Instant::now()));
        self.idle.insert(self.last_moment, id);
        if let Some(of) = occupant.subnet.and_then(|subnet| self.subnets.get_mut(&subnet)) {
            of.idle.insert(self.last_moment);
        }
        self.tell();
    }

    /// Makes a connection not idle.
    fn wake(&mut self, id: u64) {
        let Some(occupant) = self.connections.get_mut(&id) else { return };
        let Some((moment, _)) = occupant.idle.take() else { return };
        self.idle.remove(&moment);
        if let Some(of) = occupant.subnet.and_then(|subnet| self.subnets.get_mut(&subnet)) {
            of.idle.remove(&moment);
        }
        self.tell();
    }

    fn is_sent_away(&self, id: u64) -> bool {
        self.connections.get(&id).is_none_or(|occupant| occupant.sent_away)
    }

    fn begin(&mut self, id: u64) {
        if let Some(occupant) = self.connections.get_mut(&id) {
            occupant.busy += 1;
            self.wake(id);
        }
    }

    fn end(&mut self, id: u64) {
        if let Some(occupant) = self.connections.get_mut(&id) {
            occupant.busy -= 1;
            if occupant.busy == 0 {
                self.rest(id);
            }
        }
    }

    fn send_longest_idle_away(&mut self) -> Option<()> {
        let (&moment, _) = self.idle.first_key_value()?;
        self.send_away(moment);
        Some(())
    }

    /// Has one leave that is idle since a moment.
    fn send_away(&mut self, moment: Moment) {
        let Some(&id) = self.idle.get(&moment) else { return };
        self.uncount(id);
        if let Some(occupant) = self.connections.get(&id) {
            occupant.leave.cancel();
        }
    }

    /// Frees the place of a connection, once.
    fn uncount(&mut self, id: u64) {
        self.wake(id);
        let occupant = self.connections.get_mut(&id).filter(|occupant| !occupant.sent_away);
        let Some(occupant) = occupant else { return };
        occupant.sent_away = true;
        self.count -= 1;
        if let Some(subnet) = occupant.subnet
            && let Some(of) = self.subnets.get_mut(&subnet)
        {
            of.open -= 1;
            if of.open == 0 {
                self.subnets.remove(&subnet);
            }
        }
        self.tell();
    }

    fn forget(&mut self, id: u64) {
        self.uncount(id);
        self.connections.remove(&id);
    }

    /// Tells the counts to whoever watches.
    fn tell(&self) {
        let [idle, busy] = &self.gauges;
        idle.set(self.idle.len() as f64);
        busy.set((self.count - self.idle.len()) as f64);
    }
}

/// The place of one connection, until dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    id: u64,
    leave: CancellationToken,
    places: Places,
}

impl Admitted {
    /// Handle by which parts of the connection say that it is busy.
    pub(super) fn presence(&self) -> Presence {
        Presence { id: self.id, places: self.places.clone() }
    }

    /// Ends when the connection has to leave to make room.
    pub(super) async fn sent_away(&self) {
        self.leave.cancelled().await;
    }

    /// True while something is at work for it.
    pub(super) fn is_busy(&self) -> bool {
        self.places.lock().connections.get(&self.id).is_some_and(|occupant| occupant.busy > 0)
    }

    /// Since when it is idle; `None` when it is not, or has to leave.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let open = self.places.lock();
        open.connections.get(&self.id)?.idle.map(|(_, since)| since)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.places.lock().forget(self.id);
    }
}

/// One of the connections, to those that are at work for it.
#[derive(Debug, Clone)]
pub(super) struct Presence {
    id: u64,
    places: Places,
}

impl Presence {
    /// The connection is busy until the answer is dropped.
    pub(super) fn begin(&self) -> Busy {
        self.places.lock().begin(self.id);
        Busy(self.clone())
    }

    /// The same for a request that has come. `None` when the connection has lost its place before: it counts no
    /// more, and whoever could go on without a place would get past the limits.
    pub(super) fn take_up(&self) -> Option<Busy> {
        let mut open = self.places.lock();
        if open.is_sent_away(self.id) {
            return None;
        }
        open.begin(self.id);
        Some(Busy(self.clone()))
    }
}

/// Something that a connection is at work on.
#[derive(Debug)]
pub(super) struct Busy(Presence);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.places.lock().end(self.0.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(total: usize, per_subnet: usize) -> Places {
        Places::new(ConnectionLimits { total, per_subnet })
    }

    fn subnet(number: u8) -> Option<Subnet> {
        Some(Subnet::of([10, 0, 0, number].into()))
    }

    #[test]
    fn the_one_that_has_been_idle_longest_makes_room() {
        let places = places(3, 3);
        let [first, second, third] = [1, 2, 3].map(|number| places.take(subnet(number)).unwrap());
        let busy = first.presence().begin();
        let fourth = places.take(subnet(4)).unwrap();
        assert!(second.leave.is_cancelled() && !third.leave.is_cancelled());
        drop(busy);
        let _fifth = places.take(subnet(5)).unwrap();
        assert!(third.leave.is_cancelled() && !first.leave.is_cancelled());
        let _sixth = places.take(subnet(6)).unwrap();
        assert!(fourth.leave.is_cancelled(), "it was idle before the first one's answer ended");
    }

    #[test]
    fn a_request_that_comes_after_its_place_was_given_away_is_not_taken_up() {
        let places = places(1, 1);
        let [first, second] = [1, 2].map(|number| places.take(subnet(number)).unwrap());
        assert!(first.presence().take_up().is_none());
        let _work = second.presence().take_up().unwrap();
        assert!(places.take(subnet(3)).is_none());
    }

    #[test]
    fn nobody_comes_in_while_all_are_busy() {
        let places = places(2, 2);
        let [first, second] = [1, 2].map(|number| places.take(subnet(number)).unwrap());
        let work = [&first, &second].map(|place| place.presence().begin());
        assert!(places.take(subnet(3)).is_none());
        assert!(first.idle_since().is_none());
        drop(work);
        assert!(first.idle_since().is_some());
        assert!(places.take(subnet(3)).is_some());
    }

    #[test]
    fn a_network_has_its_share_and_a_proxy_none() {
        let places = places(10, 2);
        let first = places.take(subnet(1)).unwrap();
        let second = places.take(subnet(1)).unwrap();
        let other = places.take(subnet(2)).unwrap();
        let _third = places.take(subnet(1)).unwrap();
        assert!(first.leave.is_cancelled() && !other.leave.is_cancelled());
        let _work = second.presence().begin();
        let _busy = _third.presence().begin();
        assert!(places.take(subnet(1)).is_none());
        let proxied: Vec<Admitted> = (0..7).map(|_| places.take(None).unwrap()).collect();
        assert!(!other.leave.is_cancelled() && proxied.iter().all(|it| !it.leave.is_cancelled()));
    }

    #[test]
    fn what_leaves_is_forgotten() {
        let places = places(2, 2);
        for _ in 0..10 {
            let [first, second, third] =
                [1, 1, 1].map(|number| places.take(subnet(number)).unwrap());
            let work = third.presence().begin();
            drop((third, first, second));
            drop(work);
        }
        let open = places.lock();
        assert!(open.connections.is_empty() && open.idle.is_empty() && open.subnets.is_empty());
    }
}
