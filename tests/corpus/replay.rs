//! Replays the corpus of the fuzz targets, so that what a fuzzer found once is tried in every run of the tests.

use std::path::Path;

/// Feeds each target with every file of its corpus. A target without one is an error: it was never run.
pub(crate) fn replay(targets: &[super::Target]) {
    for (name, target) in targets {
        let folder = corpus().join(name);
        let files = std::fs::read_dir(&folder);
        let files = files.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut count = 0;
        for file in files {
            let path = file.expect("a corpus can be listed").path();
            let input = std::fs::read(&path).expect("a corpus can be read");
            let outcome = std::panic::catch_unwind(|| target(&input));
            assert!(outcome.is_ok(), "{name} does not take {}", path.display());
            count += 1;
        }
        assert!(count > 0, "{} is empty", folder.display());
    }
}

fn corpus() -> std::path::PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let roots = package.ancestors().map(|folder| folder.join("fuzz/corpus"));
    roots.into_iter().find(|folder| folder.is_dir()).expect("fuzz/corpus is in the repository")
}
