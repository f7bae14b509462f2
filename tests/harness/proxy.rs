//! A middle box between a device and its server: it passes bytes on, or holds them back as long as a test wants.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Treatment of the bytes that come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passage {
    Open,
    /// Connections are accepted and kept, and nothing goes through.
    Held,
}

/// Connections from before [`Proxy::swallow`] pass nothing on any more, whatever becomes of the others.
type Generation = u64;

struct Gate {
    state: Mutex<(Passage, Generation)>,
    changed: Condvar,
    /// Whatever befalls bytes that may pass; nothing unless somebody asked for trouble.
    network: Mutex<Option<Network>>,
}

/// A network that is not good, and its random numbers.
enum Network {
    /// Bytes are delayed, cut, lost and refused.
    Bad(StdRng),
    /// Requests come late, also when the one that sent them is gone.
    Late(StdRng),
}

/// Trouble of a bad network, and of what stands in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    /// The bytes come later.
    Delay(Duration),
    /// Half of the bytes come, and then the connection breaks.
    Cut,
    /// An answer is lost, and the connection breaks.
    Lost,
    /// Somebody on the way answers that the server is not available.
    Refused,
}

/// Pieces of which one meets with trouble.
const TROUBLE_ONCE_IN: u32 = 12;
/// The longest delay in milliseconds,
const DELAY_MAX: u64 = 300;
/// and of a request that comes late, as one in some does.
const LATE_MAX: u64 = 1500;
const LATE_ONCE_IN: u32 = 3;
/// Time for which the answer to one who is gone may still come: who stands in between does not tell the server.
const LINGER: Duration = Duration::from_secs(2);
const REFUSAL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// A proxy of one server on a port of its own. Its threads end with the test's process.
pub(crate) struct Proxy {
    url: String,
    gate: Arc<Gate>,
}

impl Proxy {
    /// Starts in front of a server's URL.
    pub(crate) fn start(server: &str) -> Self {
        let target = server.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let state = Mutex::new((Passage::Open, 0));
        let (changed, network) = (Condvar::new(), Mutex::new(None));
        let gate = Arc::new(Gate { state, changed, network });
        let shared = Arc::clone(&gate);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (gate, target) = (Arc::clone(&shared), target.clone());
                thread::spawn(move || serve(&client, &target, &gate));
            }
        });
        Self { url, gate }
    }

    /// Where the server seems to be.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Lets nothing through until [`Self::release`]; connections stay.
    pub(crate) fn hold(&self) {
        self.set(Passage::Held);
    }

    /// Lets everything through again, what was held back first.
    pub(crate) fn release(&self) {
        self.set(Passage::Open);
    }

    /// Keeps all connections that there are and passes nothing on of them, ever; new ones work.
    pub(crate) fn swallow(&self) {
        self.lock().1 += 1;
    }

    /// Has bytes delayed, cut, lost and refused at random until [`Self::heal`].
    pub(crate) fn trouble(&self, seed: u64) {
        self.set_network(Some(Network::Bad(StdRng::seed_from_u64(seed))));
    }

    /// Has requests come late at random until [`Self::heal`], also those of clients that are gone.
    pub(crate) fn delay_requests(&self, seed: u64) {
        self.set_network(Some(Network::Late(StdRng::seed_from_u64(seed))));
    }

    /// Ends the trouble.
    pub(crate) fn heal(&self) {
        self.set_network(None);
    }

    fn set_network(&self, network: Option<Network>) {
        *self.gate.network.lock().expect("nothing panics with it") = network;
    }

    fn set(&self, passage: Passage) {
        self.lock().0 = passage;
        self.gate.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, (Passage, Generation)> {
        self.gate.state.lock().expect("nothing panics with it")
    }
}

impl Gate {
    fn generation(&self) -> Generation {
        self.state.lock().expect("nothing panics with it").1
    }

    /// The trouble that the next piece meets with.
    fn next_trouble(&self, direction: Direction) -> Trouble {
        let mut network = self.network.lock().expect("nothing panics with it");
        network.as_mut().map_or(Trouble::None, |network| network.next_trouble(direction))
    }

    /// Returns when bytes of a connection of this generation may pass.
    fn wait_until_open(&self, generation: Generation) {
        let held = |(passage, now): &mut (Passage, Generation)| {
            *passage == Passage::Held || *now != generation
        };
        let state = self.state.lock().expect("nothing panics with it");
        drop(self.changed.wait_while(state, held).expect("nothing panics with it"));
    }
}

impl Network {
    fn next_trouble(&mut self, direction: Direction) -> Trouble {
        let delay = |random: &mut StdRng, longest| {
            Trouble::Delay(Duration::from_millis(random.random_range(1..longest)))
        };
        let is_request = direction == Direction::Request;
        match self {
            Self::Bad(random) => match random.random_range(0..6 * TROUBLE_ONCE_IN) {
                0..3 => delay(random, DELAY_MAX),
                3 => Trouble::Cut,
                4 => Trouble::Lost,
                5 => Trouble::Refused,
                _ => Trouble::None,
            },
            Self::Late(random) if is_request => match random.random_range(0..LATE_ONCE_IN) {
                0 => delay(random, LATE_MAX),
                _ => Trouble::None,
            },
            Self::Late(_) => Trouble::None,
        }
    }
}

fn serve(client: &TcpStream, target: &str, gate: &Arc<Gate>) {
    let generation = gate.generation();
    gate.wait_until_open(generation);
    let Ok(server) = TcpStream::connect(target) else { return };
    thread::scope(|scope| {
        scope.spawn(|| pass(client, &server, (gate, generation), Direction::Request));
        pass(&server, client, (gate, generation), Direction::Answer);
    });
}

/// Direction in which bytes pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Answer,
}

/// Passes bytes on in one direction until either side ends.
fn pass(
    mut from: &TcpStream,
    mut to: &TcpStream,
    (gate, generation): (&Gate, Generation),
    direction: Direction,
) {
    let mut buffer = vec![0; 64 * 1024];
    let break_off = || {
        let _it_may_have_ended = from.shutdown(Shutdown::Both);
        let _it_may_have_ended = to.shutdown(Shutdown::Both);
    };
    let mut step = || -> io::Result<bool> {
        let length = from.read(&mut buffer)?;
        gate.wait_until_open(generation);
        match gate.next_trouble(direction) {
            Trouble::Delay(delay) => thread::sleep(delay),
            Trouble::Cut => {
                let _it_breaks_anyway = to.write_all(&buffer[..length / 2]);
                break_off();
                return Ok(false);
            }
            Trouble::Lost if direction == Direction::Answer => {
                break_off();
                return Ok(false);
            }
            Trouble::Refused if direction == Direction::Request => {
                let _it_breaks_anyway = from.write_all(REFUSAL);
                break_off();
                return Ok(false);
            }
            Trouble::None | Trouble::Lost | Trouble::Refused => {}
        }
        to.write_all(&buffer[..length])?;
        Ok(length > 0)
    };
    while step().unwrap_or(false) {}
    if direction == Direction::Request {
        thread::sleep(LINGER);
    }
    let _it_may_have_ended = to.shutdown(Shutdown::Write);
}
