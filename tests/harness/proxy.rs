//! A middle box between a device and its server: it passes bytes on, or holds them back as long as a test wants.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

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
}

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
        let gate = Arc::new(Gate { state, changed: Condvar::new() });
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

    /// Returns when bytes of a connection of this generation may pass.
    fn wait_until_open(&self, generation: Generation) {
        let held = |(passage, now): &mut (Passage, Generation)| {
            *passage == Passage::Held || *now != generation
        };
        let state = self.state.lock().expect("nothing panics with it");
        drop(self.changed.wait_while(state, held).expect("nothing panics with it"));
    }
}

fn serve(client: &TcpStream, target: &str, gate: &Arc<Gate>) {
    let generation = gate.generation();
    gate.wait_until_open(generation);
    let Ok(server) = TcpStream::connect(target) else { return };
    thread::scope(|scope| {
        scope.spawn(|| pass(client, &server, (gate, generation)));
        pass(&server, client, (gate, generation));
    });
}

/// Passes bytes on in one direction until either side ends.
fn pass(mut from: &TcpStream, mut to: &TcpStream, (gate, generation): (&Gate, Generation)) {
    let mut buffer = vec![0; 64 * 1024];
    let mut step = || -> io::Result<bool> {
        let length = from.read(&mut buffer)?;
        gate.wait_until_open(generation);
        to.write_all(&buffer[..length])?;
        Ok(length > 0)
    };
    while step().unwrap_or(false) {}
    let _it_may_have_ended = to.shutdown(Shutdown::Write);
}
