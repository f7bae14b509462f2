//! A middle box between a device and its server: it passes bytes on, or holds them back as long as a test wants.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// Treatment of the bytes that come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passage {
    Open,
    /// Connections are accepted and kept, and nothing goes through.
    Held,
}

struct Gate {
    passage: Mutex<Passage>,
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
        let gate = Arc::new(Gate { passage: Mutex::new(Passage::Open), changed: Condvar::new() });
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

    fn set(&self, passage: Passage) {
        *self.gate.passage.lock().expect("nothing panics with it") = passage;
        self.gate.changed.notify_all();
    }
}

impl Gate {
    fn wait_until_open(&self) {
        let passage = self.passage.lock().expect("nothing panics with it");
        let held = |passage: &mut Passage| *passage == Passage::Held;
        drop(self.changed.wait_while(passage, held).expect("nothing panics with it"));
    }
}

fn serve(client: &TcpStream, target: &str, gate: &Arc<Gate>) {
    gate.wait_until_open();
    let Ok(server) = TcpStream::connect(target) else { return };
    thread::scope(|scope| {
        scope.spawn(|| pass(client, &server, gate));
        pass(&server, client, gate);
    });
}

/// Passes bytes on in one direction until either side ends.
fn pass(mut from: &TcpStream, mut to: &TcpStream, gate: &Gate) {
    let mut buffer = vec![0; 64 * 1024];
    let mut step = || -> io::Result<bool> {
        let length = from.read(&mut buffer)?;
        gate.wait_until_open();
        to.write_all(&buffer[..length])?;
        Ok(length > 0)
    };
    while step().unwrap_or(false) {}
    let _it_may_have_ended = to.shutdown(Shutdown::Write);
}
