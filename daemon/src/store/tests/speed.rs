//! Figures, not promises: `cargo test --release -p miaofs-daemon speed -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use super::*;

const COUNT: u32 = 20_000;

fn tell(what: &str, count: u32, took: Duration) {
    let each = took / count;
    println!("{what}: {each:?} each, {:.0} a second", f64::from(count) / took.as_secs_f64());
}

fn timed(what: &str, count: u32, mut operation: impl FnMut(u32)) {
    let start = Instant::now();
    (0..count).for_each(&mut operation);
    tell(what, count, start.elapsed());
}

#[test]
#[ignore = "prints figures"]
fn speed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let block = bytes(1, 4096);
    timed("create, write 4 KiB, close", COUNT, |index| {
        write_file(&store, &format!("{index}"), &block);
    });
    timed("look up and stat, cached", COUNT, |index| {
        let name = format!("{index}");
        store
            .view(|view| {
                let ino = view.entry(Ino::ROOT, name.as_bytes())?.expect("created above");
                view.node(ino)
            })
            .unwrap();
    });
    timed("open and close", COUNT, |index| {
        let ino = Ino(u64::from(index) + 2);
        drop(store.open_content(ino, Access::Read).unwrap());
    });
    let content = create(&store, "large");
    timed("write 4 KiB", COUNT, |index| {
        content.write_at(u64::from(index) * 4096, &block, 1).unwrap();
    });
    let mut buffer = vec![0; 4096];
    timed("read 4 KiB", COUNT, |index| {
        content.read_at(u64::from(index) * 4096, &mut buffer).unwrap();
    });
    timed("unlink", COUNT, |index| {
        let name = format!("{index}");
        store.change(|change| change.unlink(Ino::ROOT, name.as_bytes())).unwrap();
    });
}
