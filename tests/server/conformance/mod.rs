//! A conformance run: requests that are generated from the served document, valid ones and all kinds of malformed
//! ones, of which each must be answered as the document says.
//!
//! `MIAOFS_REQUESTS` says how many, `MIAOFS_TEST_SEED` repeats a run. Ids come from answers, so a repeated run has other ids
//! at the same places.

mod document;
mod judge;
mod requests;
mod values;
mod wire;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use serde_json::Value;

use self::document::Document;
use self::judge::complaint;
use self::values::Generator;
use self::wire::{Answer, Connection, Request};
use crate::harness::content::{Content, batch_of, send_batch};
use crate::harness::drive::{Change, apply};
use crate::harness::random::Seed;
use crate::harness::server::Server;
use miaofs::protocol::ids::NodeId;

/// Requests of a run in which nobody says how many.
const REQUESTS: u64 = 20_000;
/// Connections at once, each of a user of its own.
const CONNECTIONS: u64 = 4;
/// Complaints of one kind that are reported whole.
const REPORTED: usize = 3;
/// Operations that would end the session that all others need: asked without a token only.
const SPARED: [&str; 2] = ["revoke", "sign_out"];

/// Complaints by their words, each with the requests that led to them, and the answers by status.
#[derive(Default)]
struct Findings {
    complaints: BTreeMap<String, Vec<String>>,
    answers: BTreeMap<String, BTreeMap<u16, u64>>,
    unanswered: u64,
}

#[test]
fn each_request_is_answered_as_the_document_says() {
    let server = Server::with(&["--access-ttl", "86400"]);
    let document = Document::new(server.api().get("/openapi.json").expect(200).json());
    let seed = Seed::of_this_run();
    let requests = std::env::var("MIAOFS_REQUESTS").ok();
    let requests = requests.map_or(REQUESTS, |count| count.parse().expect("a number"));
    let findings = Mutex::new(Findings::default());
    let began = Instant::now();
    std::thread::scope(|scope| {
        for worker in 0..CONNECTIONS {
            let (server, document, findings) = (&server, &document, &findings);
            let seed = seed.below(&format!("worker {worker}"), u64::MAX);
            scope.spawn(move || {
                run(server, document, findings, (worker, seed), requests / CONNECTIONS)
            });
        }
    });
    let rate = requests as f64 / began.elapsed().as_secs_f64();
    println!("{requests} requests, {rate:.0}/s");
    let findings = findings.into_inner().expect("no worker panicked");
    report(&findings, &document);
    let panics = server.log().lines().filter(|line| line.contains("panicked")).count();
    assert_eq!(panics, 0, "a part of the server panicked");
    let kinds: Vec<_> = findings.complaints.keys().collect();
    assert!(kinds.is_empty(), "{kinds:#?}");
}

fn run(
    server: &Server,
    document: &Document,
    findings: &Mutex<Findings>,
    (worker, seed): (u64, u64),
    requests: u64,
) {
    let api = server.sign_up(&format!("worker{worker}"));
    let content = Content::new(vec![7; 1000]);
    send_batch(&api, batch_of(&[&content, &Content::new(Vec::new())])).expect(200);
    let directory = Change::directory(NodeId::ROOT, "a");
    let within = Change::file(directory.id(), "f", &content);
    apply(&api, &[&directory, &within, &Change::file(NodeId::ROOT, "f", &content)]);

    let mut generator = Generator::new(document, seed);
    generator.learn(&api.get("/fs/changes?since=0").expect(200).json());
    let mut connection = Connection::new(server.url().trim_start_matches("http://"));
    for _ in 0..requests {
        let place = generator.below(document.operations.len());
        let operation = &document.operations[place];
        let spared = SPARED.contains(&operation.name.as_str());
        let request = generator.request(operation, if spared { "none" } else { api.token() });
        let answer = connection.ask(&request);
        if let Some(answer) = &answer
            && let Ok(json) = serde_json::from_slice::<Value>(&answer.body)
        {
            generator.learn(&json);
        }
        findings.lock().expect("no worker panicked").add(
            document,
            operation.name.as_str(),
            &request,
            answer.as_ref(),
        );
    }
    api.get("/user/info").expect(200);
}

impl Findings {
    fn add(
        &mut self,
        document: &Document,
        operation: &str,
        request: &Request,
        answer: Option<&Answer>,
    ) {
        let status = answer.map_or(0, |answer| answer.status);
        *self.answers.entry(operation.to_owned()).or_default().entry(status).or_default() += 1;
        let complaint = match answer {
            Some(answer) => complaint(document, request, answer),
            None if request.chaos.is_some() => {
                self.unanswered += 1;
                None
            }
            None => Some("no answer".to_owned()),
        };
        if let Some(complaint) = complaint {
            let examples = self.complaints.entry(format!("{operation}: {complaint}")).or_default();
            if examples.len() < REPORTED {
                let body = answer.map(|answer| String::from_utf8_lossy(&answer.body).into_owned());
                examples.push(format!(
                    "{}\n    {status} {}",
                    request.display(),
                    body.unwrap_or_default()
                ));
            }
        }
    }
}

fn report(findings: &Findings, document: &Document) {
    for operation in &document.operations {
        println!("{:24}{:?}", operation.name, findings.answers.get(&operation.name));
    }
    println!("{} broken requests got no answer", findings.unanswered);
    for (complaint, examples) in &findings.complaints {
        println!("\n{complaint}");
        examples.iter().for_each(|example| println!("  {example}"));
    }
}
