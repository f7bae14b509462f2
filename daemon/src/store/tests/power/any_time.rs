//! Random work on one file, and the power lost at any time.

use std::ops::Range;

use super::super::random::Random;
use super::super::torture::Torture;
use super::*;

/// States of a file that are remembered; then it is synced.
const STATES_MAX: usize = 16;

/// A file with what it is now, and what of it a loss of power must leave.
struct Written {
    content: Content,
    bytes: Vec<u8>,
    /// All that it was since it was last made safe, with fsync or by the server, that first.
    states: Vec<Vec<u8>>,
    /// Contents that the server has.
    served: Vec<u8>,
}

impl Written {
    fn new(store: &Arc<Store>) -> Self {
        let content = create(store, "file");
        let all = bytes(8, SIZE);
        content.write_at(0, &all, 1).unwrap();
        content.sync().unwrap();
        Self { content, bytes: all.clone(), states: vec![all], served: Vec::new() }
    }

    fn note_safe(&mut self) {
        self.states = vec![self.bytes.clone()];
    }

    fn sync(&mut self) {
        self.content.sync().unwrap();
        self.note_safe();
    }

    /// Does what may need bytes that are not here.
    fn complete(&self, operation: impl Fn(&Content) -> Availability<()>) {
        while let Availability::Missing(_range) = operation(&self.content) {
            fetch(&self.content.store, self.content.ino(), &self.served);
        }
    }

    fn change(&mut self, range: Range<u64>, fill: impl FnOnce(&mut [u8])) {
        let size = (self.bytes.len() as u64).max(range.end);
        self.bytes.resize(size as usize, 0);
        fill(&mut self.bytes[range.start as usize..range.end as usize]);
        self.note_change();
    }

    fn note_change(&mut self) {
        self.states.push(self.bytes.clone());
        if self.states.len() == STATES_MAX {
            self.sync();
        }
    }

    fn write(&mut self, random: &mut Random) {
        let start = random.below(self.bytes.len() as u64 + 9000);
        let part = bytes(random.below(1 << 32), 1 + random.below(9000));
        self.complete(|content| content.write_at(start, &part, 2).unwrap());
        self.change(start..start + part.len() as u64, |there| there.copy_from_slice(&part));
    }

    fn punch(&mut self, random: &mut Random) {
        let size = self.bytes.len() as u64;
        let start = random.below(size + 1);
        let start = if random.below(2) == 0 { start } else { start / CHUNK_SIZE * CHUNK_SIZE };
        let end = size.min(start + random.below(2 * CHUNK_SIZE));
        self.complete(|content| content.punch(start..end, 2).unwrap());
        self.change(start..end, |there| there.fill(0));
    }

    fn resize(&mut self, size: u64) {
        self.complete(|content| content.resize(size, 2).unwrap());
        self.bytes.resize(size as usize, 0);
        self.note_change();
    }

    /// Has the server take it as it is.
    fn push(&mut self, store: &Arc<Store>, version: u64) {
        let ino = self.content.ino();
        if store.dirty_node(ino).unwrap().is_some() {
            fetch_if_known(store, ino, &self.served);
            push(store, ino, version);
            self.served.clone_from(&self.bytes);
            store.sync_tree().unwrap();
            self.note_safe();
        }
    }

    /// True of the sizes since it was safe, and of growth that came to the disk in part: block by block, as the disk below writes.
    fn may_have_size(&self, size: u64) -> bool {
        let sizes: Vec<u64> = self.states.iter().map(|state| state.len() as u64).collect();
        let in_part = |sizes: &[u64]| sizes[0] < size && size < sizes[1];
        sizes.contains(&size) || size.is_multiple_of(BLOCK) && sizes.windows(2).any(in_part)
    }

    /// True of a content if this state was the last one that it was cut to: behind its end there are blocks of later states, or
    /// zeros where those have not come to the disk.
    fn may_have_been_cut_to(&self, number: usize, found: &[u8]) -> bool {
        let block_is_right = |(block, found): (usize, &[u8])| {
            let start = block * BLOCK as usize;
            let is_in = |states: &[Vec<u8>]| {
                states.iter().any(|it| it.get(start..start + found.len()) == Some(found))
            };
            let state = &self.states[number];
            let kept = state.get(start..).unwrap_or_default();
            let length = kept.len().min(found.len());
            is_in(if length == found.len() { &self.states } else { &self.states[number..] })
                || kept[..length] == found[..length]
                    && found[length..].iter().all(|byte| *byte == 0)
        };
        found.chunks(BLOCK as usize).enumerate().all(block_is_right)
    }

    /// Compares with what is there after a loss of power.
    fn check(&self, after: &Arc<Store>) {
        let ino = self.content.ino();
        assert_eq!(entry(after, Ino::ROOT, "file"), Some(ino));
        let found_size = size(after, ino);
        let sizes: Vec<usize> = self.states.iter().map(Vec::len).collect();
        assert!(self.may_have_size(found_size), "{found_size} is none of {sizes:?}");
        fetch_if_known(after, ino, &self.served);
        let found = read_all(after, ino);
        if after.dirty_node(ino).unwrap().is_none() {
            assert!(found == self.served, "it counts as what the server has and is not");
        }
        let may_have_been = |number| self.may_have_been_cut_to(number, &found);
        let is_right = (0..self.states.len()).any(may_have_been);
        assert!(is_right, "{found_size} bytes are a mixture that was never there: {sizes:?}");
    }
}

/// Fetches what is missing of a file that the server has.
fn fetch_if_known(store: &Store, ino: Ino, served: &[u8]) {
    if store.content_of(ino).unwrap().is_some() {
        fetch(store, ino, served);
    }
}

/// One disk, and many losses of its power.
fn lose_power_often(torture: &mut Torture) {
    let disk = Disk::new();
    let store = open(&disk.path());
    let mut file = Written::new(&store);
    for step in 0..60 {
        let random = &mut torture.random;
        let mut is_lost = false;
        match random.below(13) {
            0..4 => file.write(random),
            4 => file.punch(random),
            5 => file.resize(random.below(3 * CHUNK_SIZE)),
            6 => file.sync(),
            7 => file.push(&store, step + 1),
            8 => drop(store.evict(file.content.ino()).unwrap()),
            9 => write_metadata(&disk),
            10 => write_bytes(&store, file.content.ino()),
            11 => {
                file.resize(random.below(3) * CHUNK_SIZE);
                write_metadata(&disk);
                is_lost = true;
            }
            _ => reuse_log(&disk),
        }
        torture.report.acknowledged += 1;
        if is_lost || torture.random.below(4) == 0 {
            torture.report.kills += 1;
            let after = disk.without_power();
            // Whatever is found wrong panics.
            torture.report.corrupted += 1;
            file.check(&open(&after.path()));
            torture.report.corrupted -= 1;
        }
    }
    torture.report.rounds += 1;
}

#[test]
fn a_loss_of_power_at_any_time_takes_only_what_was_changed_since_it_was_safe() {
    let mut torture = Torture::begin("power");
    while torture.report.rounds < 2 || torture.is_asked_for() && torture.goes_on() {
        lose_power_often(&mut torture);
    }
    torture.end();
}
