//! The local path: what was acknowledged is there again, whatever ended the daemon.

use super::*;

#[test]
fn a_second_daemon_is_kept_off() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert!(matches!(Store::open(dir.path(), OPTIONS), Err(Error::Locked(_))));
    drop(store);
    open(dir.path());
}

#[test]
fn a_killed_daemon_loses_nothing_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let folder = make(&store, Ino::ROOT, "folder", Kind::Directory);
    let content = create(&store, "file");
    content.write_at(10, b"hello", 5_000).unwrap();
    content.write_at(15, b" again", 6_000).unwrap();
    let (_copy, after) = crashed(dir.path());
    assert_eq!(entry(&after, Ino::ROOT, "folder"), Some(folder));
    assert_eq!(entry(&after, Ino::ROOT, "file"), Some(content.ino()));
    assert_eq!(read_all(&after, content.ino()), b"\0\0\0\0\0\0\0\0\0\0hello again");
}

#[test]
fn what_a_daemon_has_done_is_known_also_when_the_next_one_dies_before_it_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    working_for(2, || make(&first, Ino::ROOT, "first", Kind::Directory));
    let (of_second, second) = taken_over(dir.path());
    assert!(second.has_done(2) && !second.has_done(4));
    working_for(4, || make(&second, Ino::ROOT, "second", Kind::Directory));
    let (of_third, third) = taken_over(of_second.path());
    assert!(third.has_done(2) && third.has_done(4));
    working_for(6, || make(&third, Ino::ROOT, "third", Kind::Directory));
    working_for(8, || make(&third, Ino::ROOT, "fourth", Kind::Directory));
    let (_copy, last) = taken_over(of_third.path());
    assert!(!last.has_done(6), "its thread answered it before it took the next one");
    assert!([2, 4, 8].into_iter().all(|request| last.has_done(request)));
    let (_copy, another_session) = crashed(of_third.path());
    assert!(![2, 4, 8].into_iter().any(|request| another_session.has_done(request)));
}

#[test]
fn the_time_of_a_write_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let content = create(&store, "file");
    content.write_at(0, b"hello", 5_000).unwrap();
    let mut attributes = store.view(|view| view.node(content.ino())).unwrap().attributes;
    assert_eq!((attributes.mtime, attributes.size), (5_000, 5));
    attributes.mtime = 7_000;
    store.change(|change| change.set_attributes(content.ino(), &attributes)).unwrap();
    let (_copy, after) = crashed(dir.path());
    let found = after.view(|view| view.node(content.ino())).unwrap().attributes;
    assert_eq!((found.mtime, found.size), (7_000, 5));
    content.write_at(5, b"more", 8_000).unwrap();
    assert_eq!(store.view(|view| view.node(content.ino())).unwrap().attributes.mtime, 8_000);
    let (_copy, after) = crashed(dir.path());
    let found = after.view(|view| view.node(content.ino())).unwrap().attributes;
    assert!(found.mtime > 8_000, "the time of the data file");
    assert_eq!(found.size, 9);
}

#[test]
fn a_file_is_as_long_as_it_was_cut_or_extended_to() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let content = create(&store, "file");
    content.write_at(0, &[7; 100_000], 1).unwrap();
    content.resize(10, 2).unwrap();
    content.resize(20, 3).unwrap();
    let expected = [[7; 10], [0; 10]].concat();
    assert_eq!(read_all(&store, content.ino()), expected);
    let (_copy, after) = crashed(dir.path());
    assert_eq!(read_all(&after, content.ino()), expected);
}

#[test]
fn an_unlinked_file_lives_as_long_as_it_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let content = create(&store, "file");
    content.write_at(0, b"hello", 1).unwrap();
    let ino = content.ino();
    store.change(|change| change.unlink(Ino::ROOT, b"file")).unwrap();
    assert_eq!(read_all(&store, ino), b"hello");
    content.write_at(5, b"!", 1).unwrap();
    let (copy, after) = crashed(dir.path());
    assert!(matches!(after.view(|view| view.node(ino)), Err(Error::NoNode(_))));
    assert!(!copy.path().join("lost+found").exists(), "it was unlinked on purpose");
    drop(content);
    assert!(matches!(store.view(|view| view.node(ino)), Err(Error::NoNode(_))));
    store.sync_tree().unwrap();
    assert!(!dir.path().join(format!("data/{:02x}/{ino}", ino.0)).exists());
}

#[test]
fn a_change_that_fails_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let file = write_file(&store, "file", b"hello");
    assert_eq!(entry(&store, Ino::ROOT, "other"), None);
    let failed = store.change(|change| {
        change.unlink(Ino::ROOT, b"file")?;
        change.link(Ino::ROOT, b"other", file)?;
        let ino = change.insert(new(Kind::Directory))?;
        change.link(Ino::ROOT, b"third", ino)?;
        change.link(Ino::ROOT, b"other", ino)
    });
    assert!(matches!(failed, Err(Error::NameTaken(_))));
    assert_eq!(entry(&store, Ino::ROOT, "file"), Some(file));
    assert_eq!(entry(&store, Ino::ROOT, "other"), None);
    assert_eq!(entry(&store, Ino::ROOT, "third"), None);
    assert_eq!(store.view(|view| view.node(file)).unwrap().links, 1);
    assert_eq!(store.view(|view| view.subdirectories(Ino::ROOT)).unwrap(), 0);
}

#[test]
fn a_number_is_never_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut used = std::collections::HashSet::new();
    for _ in 0..3 {
        let store = open(dir.path());
        let ino = make(&store, Ino::ROOT, "name", Kind::Directory);
        assert!(used.insert(ino));
        store.change(|change| change.unlink(Ino::ROOT, b"name")).unwrap();
        drop(store);
        let (_copy, after) = crashed(dir.path());
        assert!(!used.contains(&make(&after, Ino::ROOT, "name", Kind::Directory)));
    }
}

#[test]
fn a_data_file_that_no_row_tells_of_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write_file(&store, "file", b"hello");
    std::fs::write(dir.path().join("data/07/999999"), b"precious").unwrap();
    let (copy, _after) = crashed(dir.path());
    assert_eq!(std::fs::read(copy.path().join("lost+found/999999")).unwrap(), b"precious");
}

#[test]
fn children_come_by_cookie_while_the_directory_changes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for index in 0..10 {
        make(&store, Ino::ROOT, &format!("{index}"), Kind::Directory);
    }
    let first = store.view(|view| view.children(Ino::ROOT, 0, 5)).unwrap();
    store.change(|change| change.unlink(Ino::ROOT, b"4")).unwrap();
    store.change(|change| change.unlink(Ino::ROOT, b"7")).unwrap();
    let rest = store.view(|view| view.children(Ino::ROOT, first[4].cookie, 100)).unwrap();
    let names: Vec<Vec<u8>> = rest.into_iter().map(|child| child.name).collect();
    assert_eq!(names, [b"5", b"6", b"8", b"9"]);
    assert_eq!(store.view(|view| view.subdirectories(Ino::ROOT)).unwrap(), 8);
}

#[test]
fn extended_attributes_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.change(|change| change.set_xattr(Ino::ROOT, b"user.a", b"\xff\0")).unwrap();
    let (_copy, after) = crashed(dir.path());
    let value = after.view(|view| view.xattr(Ino::ROOT, b"user.a")).unwrap();
    assert_eq!(value.as_deref(), Some(&b"\xff\0"[..]));
    after.change(|change| change.remove_xattr(Ino::ROOT, b"user.a")).unwrap();
    assert!(after.view(|view| view.xattr_names(Ino::ROOT)).unwrap().is_empty());
}

#[test]
fn sync_leaves_no_size_in_memory_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let content = create(&store, "file");
    content.write_at(0, b"hello", 5_000).unwrap();
    content.sync().unwrap();
    let (_copy, after) = crashed(dir.path());
    assert_eq!(after.view(|view| view.node(content.ino())).unwrap().attributes.mtime, 5_000);
    assert_eq!(size(&after, content.ino()), 5);
}

#[test]
fn a_node_is_kept_without_a_name_until_it_is_forgotten_or_the_daemon_ends() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let [one, two] = ["one", "two"].map(|name| make(&store, Ino::ROOT, name, Kind::Directory));
    push(&store, two, 1);
    let unlink = |name: &str| {
        let gone = |change: &mut Change<'_>| {
            let ino = change.unlink(Ino::ROOT, name.as_bytes())?;
            change.pin(ino);
            Ok::<_, Error>(())
        };
        store.change(gone).unwrap();
    };
    unlink("one");
    unlink("two");
    let is_there = |store: &Store, ino| store.view(|view| view.node(ino)).is_ok();
    assert!(is_there(&store, one) && is_there(&store, two));
    assert!(store.dirty_node(one).unwrap().is_none(), "the server never heard of it");
    let told = store.dirty_node(two).unwrap().expect("the server must be told at once");
    assert_eq!(told.state, None);
    let (_copy, after) = crashed(dir.path());
    assert!(!is_there(&after, one) && !is_there(&after, two));
    assert!(after.dirty_node(two).unwrap().is_some());
    push(&store, two, 2);
    assert!(is_there(&store, two));
    store.forget(two);
    store.sync_tree().unwrap();
    assert!(is_there(&store, one) && !is_there(&store, two));
    drop(store);
    assert!(!is_there(&open(dir.path()), one));
}
