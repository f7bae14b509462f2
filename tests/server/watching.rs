//! What is deployed to watch a server, compared with the figures that a running one shows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::harness::server::Server;
use crate::harness::wait::{seconds, wait_until};

/// Labels that Prometheus adds.
const ADDED: [&str; 2] = ["job", "instance"];

/// For each series, the values of its labels.
type Shown = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// A file below `server/deploy`.
fn deployed(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("server/deploy");
    std::fs::read_to_string(root.join(path)).unwrap()
}

fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// Names of ours in a text, each with the labels that are asked for in braces after it.
fn figures(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_name) {
        let word = &rest[start..];
        let end = word.find(|it| !is_name(it)).unwrap_or(word.len());
        let (name, after) = word.split_at(end);
        if name.starts_with("miaofs_") || name.starts_with("process_") {
            let labels = after.strip_prefix('{').and_then(|it| it.split_once('}'));
            found.push((name.to_owned(), labels.map_or("", |(labels, _)| labels).to_owned()));
        }
        rest = after;
    }
    found
}

/// The labels of a selector or a series: name, how it is compared, and value.
fn labels(text: &str) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((head, tail)) = rest.split_once('"') {
        let (value, after) = tail.split_once('"').unwrap();
        let head = head.trim_start_matches([',', ' ']);
        let (name, compared) = head.split_at(head.find(|it| !is_name(it)).unwrap());
        found.push((name.to_owned(), compared.to_owned(), value.to_owned()));
        rest = after;
    }
    found
}

/// The figures of a server that has answered something and counted what waits.
fn shown() -> Shown {
    let server = Server::new();
    server.api().get("/healthz").expect(200);
    wait_until("the outbox is counted", seconds(20), || {
        server.metric_where("miaofs_transfers_oldest_seconds", "").is_some()
    });
    let text = String::from_utf8(server.api().get("/metrics").expect(200).body).unwrap();
    let mut shown = Shown::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (series, _value) = line.rsplit_once(' ').unwrap();
        let (name, rest) = series.split_once('{').unwrap_or((series, ""));
        let values = shown.entry(name.to_owned()).or_default();
        for (label, _, value) in labels(rest.trim_end_matches('}')) {
            values.entry(label).or_default().insert(value);
        }
    }
    shown
}

/// Makes sure that a server shows all that a text asks for; answers how many figures those are.
fn compare(place: &str, text: &str, shown: &Shown) -> usize {
    let asked = figures(text);
    for (name, selector) in &asked {
        let known = shown.get(name).unwrap_or_else(|| panic!("{place}: no server shows {name}"));
        for (label, compared, value) in labels(selector) {
            if ADDED.contains(&label.as_str()) {
                continue;
            }
            let values = known.get(&label);
            let values = values.unwrap_or_else(|| panic!("{place}: {name} has no label {label}"));
            let is_one = compared != "=" || values.contains(&value);
            assert!(is_one, "{place}: {name} never has {label}=\"{value}\", but {values:?}");
        }
    }
    asked.len()
}

#[test]
fn each_figure_of_alerts_and_dashboard_is_one_that_a_server_shows() {
    let shown = shown();
    let alerts = compare("rules.yaml", &deployed("prometheus/rules.yaml"), &shown);
    assert!(alerts > 8, "only {alerts} figures in the alerts");
    let dashboard: Value = serde_json::from_str(&deployed("grafana/miaofs-server.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let queries: Vec<&str> = targets.map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(queries.len() > 20, "only {} queries", queries.len());
    for query in queries {
        assert!(compare("dashboard", query, &shown) > 0, "no figure of ours in {query}");
    }
}

#[test]
fn what_no_server_shows_is_found() {
    let shown = shown();
    for (query, word) in [
        ("rate(miaofs_no_such_total[5m])", "miaofs_no_such_total"),
        ("miaofs_room_waiting{rooms=\"files\"} > 0", "no label rooms"),
        ("miaofs_transfers_waiting{job=\"a\", lane=\"hots\"}", "never has lane"),
    ] {
        let failure = std::panic::catch_unwind(|| compare("query", query, &shown)).unwrap_err();
        let said = failure.downcast_ref::<String>().unwrap();
        assert!(said.contains(word), "{said}");
    }
    assert_eq!(compare("query", "sum(miaofs_room_held{room=~\"f.*\"}) / 2", &shown), 1);
}
