//! Figures as lines of JSON on standard output.

use std::time::Duration;

use serde_json::json;

/// Says that the work of a measure begins, so that the reader can look at what the server spends on it.
pub(crate) fn print_begin(measure: &str) {
    println!("{}", json!({ "begins": measure }));
}

/// Prints a rate: so much in that time, by so many clients.
pub(crate) fn print_rate(measure: &str, clients: usize, amount: f64, unit: &str, time: Duration) {
    let figure = amount / time.as_secs_f64();
    let rate = json!({ "measure": measure, "clients": clients, "figure": figure, "unit": format!("{unit}/s"), "amount": amount });
    println!("{rate}");
}

/// Prints the median, the 99th percentile and the longest of some times.
pub(crate) fn print_times(measure: &str, clients: usize, mut times: Vec<Duration>) {
    times.sort_unstable();
    let Some(last) = times.len().checked_sub(1) else { return };
    for (name, at) in [("median", last / 2), ("99 %", last * 99 / 100), ("longest", last)] {
        let measure = format!("{measure}, {name}");
        let figure = times[at].as_secs_f64() * 1000.0;
        let time =
            json!({ "measure": measure, "clients": clients, "figure": figure, "unit": "ms" });
        println!("{time}");
    }
}
