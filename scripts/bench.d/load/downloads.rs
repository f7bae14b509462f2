//! Downloads: ranges of contents that were just uploaded, from the server itself.

use miaofs::protocol::routes;
use reqwest::Method;

use crate::Outcome;
use crate::account::{answer, together};
use crate::figures::{print_begin, print_rate, print_times};
use crate::uploads::Uploaded;
use std::time::Instant;

/// Bytes of a range.
const RANGE: u64 = 1024 * 1024;
/// Times that each content is read.
const TIMES: u64 = 2;

/// Measures the reading of each content by ranges, one after the other.
///
/// # Errors
/// What ends a measure.
pub(crate) async fn measure(contents: Vec<Uploaded>) -> Outcome<()> {
    let clients = contents.len();
    let bytes: u64 = contents.iter().map(|content| content.size * TIMES).sum();
    print_begin("ranged downloads");
    let (took, times) = together(contents, |content| async move {
        let path = format!("{}?digest={}&through=server", routes::DOWNLOAD, content.digest);
        let mut times = Vec::new();
        for start in (0..content.size)
            .step_by(RANGE as usize)
            .cycle()
            .take((content.size / RANGE * TIMES) as usize)
        {
            let range = format!("bytes={start}-{}", start + RANGE - 1);
            let began = Instant::now();
            let read =
                answer(content.account.request(Method::GET, &path).header("range", range)).await?;
            times.push(began.elapsed());
            if read.len() as u64 != RANGE {
                return Err(format!("{} bytes instead of {RANGE}", read.len()).into());
            }
        }
        Ok(times)
    })
    .await?;
    print_rate("ranged downloads", clients, bytes as f64 / 1024.0 / 1024.0, "MiB", took);
    print_times("ranged downloads: 1 MiB", clients, times.concat());
    Ok(())
}
