use std::fs;

use super::faulty::FaultyDisk;
use super::memory::{Folder, Memory, bytes};
use super::tree::Tree;
use crate::receiver::failure::Failure;
use crate::receiver::set::{OfferedSet, Taken};
use crate::receiver::store::{Store, name};
use crate::receiver::supply::Items;
use crate::wire::{Algorithm, Delete, Digest, Manifest, Reason, SetTerms};

fn device(files: &[(&str, Vec<u8>)]) -> Store<FaultyDisk> {
    let disk = FaultyDisk::new(&Tree::of(files), None);
    let root = disk.root();
    Store::new(disk, root)
}

/// Offers any text as a manifest.
fn offer(store: &Store<FaultyDisk>, text: &[u8], algorithm: Algorithm) -> Result<Taken, Failure> {
    let digest = Digest::of(algorithm, text);
    let terms = SetTerms::default();
    let set = OfferedSet { digest, size: text.len() as u64, terms, max_size: 1 << 20 };
    let items = vec![text.to_vec(), b"x".to_vec(), b"x".to_vec()];
    store.take_set(&set, &mut Items::new(Memory::of(items), 1), &mut |_| {})
}

fn line(path: &str) -> String {
    format!("{} 1 {path}\n", Digest::of(Algorithm::Sha256, b"x"))
}

#[track_caller]
fn assert_refused(store: &Store<FaultyDisk>, text: &str, expected: Reason, words: &str) {
    let before = Tree::read(&store.root).device();
    let failure = offer(store, text.as_bytes(), Algorithm::Sha256).unwrap_err();
    assert_eq!(failure.reason, expected, "{}", failure.text);
    assert!(failure.text.contains(words), "{}", failure.text);
    assert_eq!(Tree::read(&store.root).device(), before);
    assert!(!store.there(name::COMMIT) && !store.there(name::TRIAL) && !store.there("1"));
}

#[test]
fn a_manifest_that_breaks_a_rule_is_refused_before_any_file() {
    let store = device(&[("main.py", b"old".to_vec())]);
    let x = Digest::of(Algorithm::Sha256, b"x");
    for (text, reason, words) in [
        (line("../x"), Reason::BadName, "'..'"),
        (line("/etc/x"), Reason::BadName, "relative"),
        (line(".mqtt-ota/commit"), Reason::BadName, "belongs to its client"),
        (line(".MQTT-OTA/commit"), Reason::BadName, "belongs to its client"),
        (line("b") + &line("a"), Reason::BadOffer, "greater"),
        (line("a") + &line("a"), Reason::BadOffer, "twice"),
        (line("a") + &line("a/b"), Reason::BadOffer, "folder"),
        (line("a").trim_end().to_owned(), Reason::BadOffer, "end"),
        (format!("{x} 99999999999999999999 a\n"), Reason::BadOffer, "size"),
        (format!("{x} 18446744073709551615 a\n"), Reason::NoSpace, "over "),
        ("<html>\n".to_owned(), Reason::BadOffer, "HASH SIZE PATH"),
        (format!("{} 1 a\n", Digest::of(Algorithm::Sha1, b"x")), Reason::BadOffer, "another function"),
    ] {
        assert_refused(&store, &text, reason, words);
    }
    let failure = offer(&store, b"\xff\n", Algorithm::Sha256).unwrap_err();
    assert_eq!(failure.reason, Reason::BadOffer);
    let failure = offer(&store, line("a").as_bytes(), Algorithm::Sha1).unwrap_err();
    assert!(failure.text.contains("SHA-256"), "{}", failure.text);
    let long = vec![b'x'; Manifest::MAX_LEN + 1];
    assert_eq!(offer(&store, &long, Algorithm::Sha256).unwrap_err().reason, Reason::BadOffer);
    assert_eq!(Tree::read(&store.root).state().len(), 0);
}

#[test]
fn what_cannot_be_a_file_is_refused_before_any_file() {
    let store = device(&[("lib/a.py", b"old".to_vec()), ("main.py", b"old".to_vec())]);
    assert_refused(&store, &line("lib"), Reason::BadName, "no file");
    assert_refused(&store, &line("main.py/x"), Reason::BadName, "is a file");
    assert_refused(&store, &line("main.py/x/y"), Reason::BadName, "is a file");
}

#[cfg(unix)]
#[test]
fn a_link_leads_neither_out_of_the_root_nor_into_the_folder_of_the_client() {
    use std::os::unix::fs::symlink;

    let store = device(&[("real/a", b"old".to_vec())]);
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("x"), b"not theirs").unwrap();
    let to = |to: &std::path::Path, name: &str| symlink(to, store.root.join(name)).unwrap();
    to(outside.path(), "out");
    to(std::path::Path::new(".mqtt-ota"), "state");
    to(std::path::Path::new("nowhere"), "dangling");
    to(&outside.path().join("x"), "file");
    to(std::path::Path::new("real"), "alias");
    for (path, words) in [
        ("out/x", "leaves the root"),
        ("out/new/x", "leaves the root"),
        ("state/commit", "folder of the client"),
        ("dangling/x", "leads nowhere"),
        ("file", "leaves the root"),
    ] {
        let failure = offer(&store, line(path).as_bytes(), Algorithm::Sha256).unwrap_err();
        assert_eq!(failure.reason, Reason::BadName, "{path}: {}", failure.text);
        assert!(failure.text.contains(words), "{path}: {}", failure.text);
    }
    let twice = line("alias/a") + &line("real/a");
    let failure = offer(&store, twice.as_bytes(), Algorithm::Sha256).unwrap_err();
    assert!(failure.text.contains("another file of the set"), "{}", failure.text);
    assert_eq!(fs::read(outside.path().join("x")).unwrap(), b"not theirs");

    // A link that stays below the root is followed. Files that lie behind a link are not deleted.
    let mut set = Folder::of(&[("alias/a", bytes(1, 9))]);
    set.terms.delete = Delete::Everything;
    set.sync(&store).0.unwrap();
    assert_eq!(fs::read(store.root.join("real/a")).unwrap(), bytes(1, 9));
    assert!(outside.path().join("x").exists() && store.root.join("file").is_symlink());
}

#[test]
fn a_manifest_shorter_or_longer_than_it_was_offered_is_refused() {
    let store = device(&[]);
    let text = line("a");
    for size in [0, 1, text.len() as u64 - 1] {
        let digest = Digest::of(Algorithm::Sha256, text.as_bytes());
        let set = OfferedSet { digest, size, terms: SetTerms::default(), max_size: 1 << 20 };
        let mut items = Items::new(Memory::of(vec![text.as_bytes()[..size as usize].to_vec()]), 1);
        let failure = store.take_set(&set, &mut items, &mut |_| {}).unwrap_err();
        assert_eq!(failure.reason, Reason::HashMismatch, "{size}");
    }
}
