//! Trees of files: everything that a file is survives the trip, and many small ones travel together.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::fixture::{Pair, Single, run};
use crate::harness::command::output;
use crate::harness::random::Seed;
use crate::harness::tree::{difference, expect_arrived, plant};
use crate::harness::wait::{seconds, wait_until};

#[test]
fn a_source_tree_is_equal_on_the_other_device() {
    let fixture = Pair::new();
    let source = fixture.directory.path().join("tree");
    plant(&source, Seed::of_this_run(), 3000);
    let target = fixture.one.path("tree");
    output(Command::new("rsync").args(["-aH"]).arg(source.join("")).arg(target.join("")));
    assert_eq!(difference(&source, &target), "", "where it was written");
    fixture.one.sync();
    expect_arrived(&source, &fixture.two.path("tree"));
}

#[test]
fn two_thousand_small_files_take_few_requests() {
    let fixture = Single::new();
    let (seed, source) = (Seed::of_this_run(), fixture.directory.path().join("small"));
    fs::create_dir(&source).unwrap();
    for number in 0..2000 {
        fs::write(source.join(format!("file-{number}")), seed.bytes(&number.to_string(), 4096))
            .unwrap();
    }
    let requests = || {
        let of = |route: &str| {
            let label = format!("route=\"/file/{route}");
            fixture.server.metric_where("miaofs_requests_total", &label).unwrap_or(0)
        };
        ["fastupload", "multipart", "known", "batch", "upload"].map(of).iter().sum::<u64>()
    };
    let before = requests();
    run("cp", &[Path::new("-r"), &source, &fixture.one.path("small")]);
    fixture.one.sync();
    let count = requests() - before;
    println!("content requests for 2,000 files: {count}");
    // How many there are depends on how fast the files come: what is ready is not kept waiting for more.
    assert!(count <= 200, "{count} content requests for 2,000 files");
    let two = fixture.another_device("two");
    wait_until("all files are seen", seconds(30), || {
        fs::read_dir(two.path("small")).is_ok_and(|entries| entries.count() == 2000)
    });
    run("diff", &[Path::new("-rq"), &source, &two.path("small")]);
}
