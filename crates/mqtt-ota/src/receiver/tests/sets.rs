use std::fs;

use super::faulty::FaultyDisk;
use super::memory::{Folder, Memory, bytes};
use super::tree::Tree;
use crate::receiver::failure::Failure;
use crate::receiver::recovery::Recovery;
use crate::receiver::set::{Changes, Taken};
use crate::receiver::single::Single;
use crate::receiver::store::{Store, name};
use crate::receiver::supply::Items;
use crate::wire::{Algorithm, Announcement, Delete, Digest, InstalledSet, Reason, Trial};

fn device(files: &[(&str, Vec<u8>)]) -> Store<FaultyDisk> {
    let disk = FaultyDisk::new(&Tree::of(files), None);
    let root = disk.root();
    Store::new(disk, root)
}

fn files(store: &Store<FaultyDisk>) -> Vec<String> {
    Tree::read(&store.root).device().files.into_keys().collect()
}

fn installed(taken: Result<Taken, Failure>) -> Changes {
    match taken {
        Ok(Taken::Installed(changes)) => changes,
        other => panic!("{other:?}"),
    }
}

fn reason(taken: Result<Taken, Failure>) -> (Reason, String) {
    let failure = taken.unwrap_err();
    (failure.reason, failure.text)
}

fn folder() -> Folder {
    Folder::of(&[
        ("a", bytes(1, 3000)),
        ("b", bytes(2, 10)),
        ("c/c", Vec::new()),
        ("d", bytes(4, 900)),
        ("e", bytes(5, 5)),
    ])
}

fn described(store: &Store<FaultyDisk>) -> Announcement {
    let mut announcement = Announcement::new();
    store.describe(&mut announcement);
    announcement
}

#[test]
fn only_what_differs_is_asked_for_and_neighbours_with_one_request() {
    let store = device(&[("d", bytes(4, 900)), ("a", bytes(9, 1))]);
    let (taken, asked) = folder().sync(&store);
    assert_eq!(installed(taken), Changes { files: 4, deleted: 0, bytes: 3015 });
    assert_eq!(asked, ["0-0 0", "1-3 0", "5-5 0"]);
}

#[test]
fn a_set_that_is_there_already_costs_nothing_more() {
    let store = device(&[]);
    installed(folder().sync(&store).0);
    let calls = store.disk.calls();
    let (taken, asked) = folder().sync(&store);
    assert_eq!((taken.unwrap(), asked.len(), store.disk.calls()), (Taken::Unchanged, 0, calls));
}

#[test]
fn a_file_that_was_changed_on_the_device_is_repaired_without_the_manifest() {
    let store = device(&[]);
    installed(folder().sync(&store).0);
    store.confirm().unwrap();
    fs::write(store.root.join("b"), "by hand").unwrap();
    fs::write(store.root.join("mine"), "mine").unwrap();
    let mut all = folder();
    all.terms.delete = Delete::Everything;
    let (taken, asked) = all.sync(&store);
    assert_eq!(installed(taken), Changes { files: 1, deleted: 1, bytes: 10 });
    assert_eq!(asked, ["2-2 0"]);
    assert_eq!(fs::read(store.root.join("b")).unwrap(), bytes(2, 10));
}

#[test]
fn files_that_are_there_by_themselves_become_the_set_for_one_manifest() {
    let store = device(&folder().files);
    let (taken, asked) = folder().sync(&store);
    assert_eq!((taken.unwrap(), asked), (Taken::Unchanged, vec!["0-0 0".to_owned()]));
    assert_eq!(store.installed(), Some(folder().offered().digest));
    assert!(!store.there(name::TRIAL));
}

#[test]
fn a_transfer_that_breaks_off_again_and_again_ends_with_the_set() {
    for bytes in [1, 7, 699, 701, 2999, 3000, 3001] {
        let store = device(&[]);
        installed(folder().sync_from(&store, folder().supply().breaking_after(bytes)).0);
        assert_eq!(folder().sync(&store).0.unwrap(), Taken::Unchanged);
    }
}

#[test]
fn a_later_offer_fetches_only_what_the_one_before_left_missing() {
    let store = device(&[]);
    let manifest = folder().manifest().to_string().len();
    let mut items = Items::new(folder().supply().breaking_after(manifest + 3011), 1);
    let taken = store.take_set(&folder().offered(), &mut items, &mut |_| {});
    assert_eq!(reason(taken).0, Reason::Short);
    let (taken, asked) = folder().sync(&store);
    installed(taken);
    assert_eq!(asked, ["4-5 1"]);
}

#[test]
fn what_is_staged_for_another_set_is_not_taken_for_this_one() {
    let store = device(&[]);
    let manifest = folder().manifest().to_string().len();
    let mut items = Items::new(folder().supply().breaking_after(manifest + 1000), 1);
    store.take_set(&folder().offered(), &mut items, &mut |_| {}).unwrap_err();
    let other = Folder::of(&[("a", bytes(30, 2000))]);
    let (taken, asked) = other.sync(&store);
    installed(taken);
    assert_eq!(asked, ["0-0 0", "1-1 0"]);
}

#[test]
fn what_is_staged_and_has_been_damaged_is_fetched_once_more() {
    let store = device(&[]);
    let manifest = folder().manifest().to_string().len();
    let mut items = Items::new(folder().supply().breaking_after(manifest + 1000), 1);
    store.take_set(&folder().offered(), &mut items, &mut |_| {}).unwrap_err();
    fs::write(store.state("1"), vec![0; 1000]).unwrap();
    let (taken, asked) = folder().sync(&store);
    installed(taken);
    assert_eq!(asked, ["1-5 1000", "1-5 0"]);
}

#[test]
fn a_file_with_other_bytes_than_its_hash_says_is_refused_and_nothing_changes() {
    let store = device(&[("a", b"old".to_vec())]);
    let mut items = vec![folder().manifest().to_string().into_bytes()];
    items.extend(folder().files.into_iter().map(|(_, bytes)| bytes));
    items[2][3] ^= 1;
    let (taken, _) = folder().sync_from(&store, Memory::of(items));
    let (reason, text) = reason(taken);
    assert!(reason == Reason::HashMismatch && text.starts_with("b: "), "{text}");
    assert_eq!(
        (files(&store), fs::read(store.root.join("a")).unwrap()),
        (vec!["a".to_owned()], b"old".to_vec())
    );
}

#[test]
fn deleting_the_former_set_spares_what_no_set_has_installed() {
    let store = device(&[("mine", vec![1])]);
    installed(folder().sync(&store).0);
    store.boot().unwrap();
    store.confirm().unwrap();
    let smaller = Folder::of(&[("a", bytes(1, 3000))]);
    assert_eq!(installed(smaller.sync(&store).0), Changes { files: 0, deleted: 4, bytes: 0 });
    assert_eq!(files(&store), ["a", "mine"]);
    assert!(!store.root.join("c").exists());
}

#[test]
fn deleting_everything_spares_what_a_device_needs_to_be_updated_again() {
    let store = device(&[
        (".hidden", vec![1]),
        ("boot.py", vec![2]),
        ("lib/mqtt_ota_set.mpy", vec![3]),
        ("mine", vec![4]),
        ("x/y/z", vec![5]),
    ]);
    let mut all = folder();
    all.terms.delete = Delete::Everything;
    assert_eq!(installed(all.sync(&store).0).deleted, 3);
    assert_eq!(files(&store), ["a", "b", "boot.py", "c/c", "d", "e", "lib/mqtt_ota_set.mpy"]);
    assert!(store.there(name::TRIAL));
}

#[test]
fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let store = device(&[("mine", vec![1]), ("d", bytes(4, 900))]);
    let mut dry = folder();
    (dry.terms.delete, dry.terms.dry_run) = (Delete::Everything, true);
    let before = Tree::read(&store.root).device();
    let (taken, asked) = dry.sync(&store);
    assert_eq!(taken.unwrap(), Taken::Planned(Changes { files: 4, deleted: 1, bytes: 3015 }));
    assert_eq!(asked, ["0-0 0", "1", "2", "3", "5", "- mine"]);
    assert_eq!(Tree::read(&store.root).device(), before);
    assert_eq!(store.installed(), None);
}

#[test]
fn a_set_on_trial_keeps_another_one_out_and_answers_for_itself() {
    let store = device(&[]);
    installed(folder().sync(&store).0);
    assert_eq!(reason(Folder::of(&[("a", vec![1])]).sync(&store).0).0, Reason::Busy);
    assert_eq!(folder().sync(&store).0.unwrap(), Taken::Unchanged);
    store.confirm().unwrap();
    installed(Folder::of(&[("a", vec![1])]).sync(&store).0);
}

#[test]
fn a_set_is_taken_back_by_the_boot_that_its_trial_names() {
    for (trial, boots) in [(None, 3), (Trial::new(5), 5), (Trial::new(2), 2), (Trial::new(1), 2)] {
        let store = device(&[("a", b"old".to_vec())]);
        let mut folder = folder();
        folder.terms.trial = trial;
        installed(folder.sync(&store).0);
        assert_eq!((described(&store).boots, described(&store).rolled_back), (Some(0), None));
        for boot in 1..boots {
            assert_eq!(store.boot().unwrap(), Recovery::Nothing);
            assert_eq!(described(&store).boots, Some(boot));
        }
        store.note("cannot import |x\n").unwrap();
        let digest = folder.offered().digest;
        assert_eq!(store.boot().unwrap(), Recovery::Undone(digest));
        let now = described(&store);
        assert_eq!((now.set, now.boots), (Some(InstalledSet::Nothing), None));
        assert_eq!((now.rolled_back, now.error.as_deref()), (Some(digest), Some("cannot import  x ")));
        assert_eq!(
            (files(&store), fs::read(store.root.join("a")).unwrap()),
            (vec!["a".to_owned()], b"old".to_vec())
        );
    }
}

#[test]
fn a_set_is_taken_back_on_demand_as_long_as_its_copies_are_kept() {
    let store = device(&[]);
    let (one, other) = (folder(), Folder::of(&[("a", vec![1])]));
    assert!(!store.take_back(one.offered().digest).unwrap());
    for folder in [&one, &other] {
        installed(folder.sync(&store).0);
        store.boot().unwrap();
        store.confirm().unwrap();
    }
    assert!(!store.take_back(one.offered().digest).unwrap());
    assert!(store.take_back(other.offered().digest).unwrap());
    assert_eq!(store.installed(), Some(one.offered().digest));
    assert_eq!(files(&store), ["a", "b", "c/c", "d", "e"]);
    assert!(!store.take_back(other.offered().digest).unwrap());
}

#[test]
fn a_file_that_came_by_itself_is_not_called_part_of_a_set_again_by_an_undo() {
    let store = device(&[]);
    installed(folder().sync(&store).0);
    store.confirm().unwrap();
    let other = Folder::of(&[("a", vec![1])]);
    installed(other.sync(&store).0);
    let path = "own".parse().unwrap();
    let single = Single { path: &path, digest: Digest::of(Algorithm::Sha256, b"own"), size: 3 };
    let mut items = Items::new(Memory::of(vec![b"own".to_vec()]), 3);
    store.take_single(&single, &mut items, &mut |_| {}).unwrap();
    assert_eq!(store.installed(), None);
    assert!(store.take_back(other.offered().digest).unwrap());
    assert_eq!(store.installed(), None);
    assert_eq!(files(&store), ["a", "b", "c/c", "d", "e", "own"]);
    // The next set still knows what the one before had installed.
    assert_eq!(installed(Folder::of(&[("own", vec![2])]).sync(&store).0).deleted, 5);
}

#[test]
fn there_must_be_room_for_what_is_staged_and_for_the_copies_before_the_first_byte() {
    let mut store = device(&[("a", bytes(9, 5000))]);
    store.disk.free = Some(7 * 4096);
    let (failed, text) = reason(folder().sync(&store).0);
    let needed = (1 + 3) * 4096 + 2 * 4096 + 4 * 4096;
    assert_eq!((failed, text), (Reason::NoSpace, format!("{needed} bytes needed, {} free", 7 * 4096)));
    assert!(!store.there("1"));
    store.disk.free = Some(needed);
    installed(folder().sync(&store).0);
}

#[test]
fn the_copies_of_the_set_before_make_room_where_there_is_none() {
    let mut store = device(&[("a", bytes(9, 50_000))]);
    installed(folder().sync(&store).0);
    store.confirm().unwrap();
    store.disk.free = Some(2 * 4096);
    let big = Folder::of(&[("a", bytes(31, 20_000))]);
    let mut items = Items::new(big.supply().breaking_after(500), 1);
    assert_eq!(reason(store.take_set(&big.offered(), &mut items, &mut |_| {})).0, Reason::Short);
    assert!(!store.there(name::LAST) && !store.there("k1"));
    store.disk.free = Some(1 << 30);
    let mut items = Items::new(big.supply(), 1);
    installed(store.take_set(&big.offered(), &mut items, &mut |_| {}));
}

#[test]
fn a_transfer_that_fails_leaves_the_copies_of_the_set_before() {
    let store = device(&[("a", b"old".to_vec())]);
    installed(folder().sync(&store).0);
    store.confirm().unwrap();
    let next = Folder::of(&[("a", bytes(31, 20_000))]);
    let mut items = Items::new(next.supply().breaking_after(500), 1);
    assert_eq!(reason(store.take_set(&next.offered(), &mut items, &mut |_| {})).0, Reason::Short);
    assert!(store.take_back(folder().offered().digest).unwrap());
    assert_eq!(fs::read(store.root.join("a")).unwrap(), b"old");
}

#[test]
fn a_file_resumes_where_it_broke_off_and_only_for_the_same_digest() {
    let store = device(&[]);
    let (path, all) = ("lib/x".parse().unwrap(), bytes(40, 5000));
    let single = Single { path: &path, digest: Digest::of(Algorithm::Sha256, &all), size: 5000 };
    let supply = Memory::of(vec![all.clone()]);
    let mut broken = Items::new(supply.clone().breaking_after(1234), 1);
    assert_eq!(store.take_single(&single, &mut broken, &mut |_| {}).unwrap_err().reason, Reason::Short);
    let other = bytes(41, 5000);
    let mut received = 0;
    store.take_single(&single, &mut Items::new(supply.clone(), 1), &mut |count| received += count).unwrap();
    assert_eq!((supply.asked(), received), (vec!["0-0 0".into(), "0-0 1234".into()], 5000 - 1234));
    assert_eq!(fs::read(store.root.join("lib/x")).unwrap(), all);
    assert_eq!(Tree::read(&store.root).state().len(), 0);

    let mut broken = Items::new(Memory::of(vec![all]).breaking_after(1234), 1);
    let _ = store.take_single(&Single { size: 5000, ..single }, &mut broken, &mut |_| {});
    let supply = Memory::of(vec![other.clone()]);
    let digest = Digest::of(Algorithm::Sha256, &other);
    let mut items = Items::new(supply.clone(), 1);
    store.take_single(&Single { path: &path, digest, size: 5000 }, &mut items, &mut |_| {}).unwrap();
    assert_eq!(supply.asked(), ["0-0 0"]);
}

#[test]
fn two_hundred_random_syncs_end_with_the_last_one() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut store = device(&[("mine", vec![1])]);
    for round in 0..200 {
        let names = ["a", "b", "c/d", "c/e/f", "g/h", "i"];
        let mut some = Vec::new();
        for name in names {
            if random.bool() {
                some.push((name, bytes(random.u8(..4), random.usize(..2000))));
            }
        }
        let folder = Folder::of(&some);
        let stop = random.bool().then(|| (random.usize(..150), super::faulty::Stop::Cut));
        let disk = FaultyDisk::new(&store.disk.survivors(super::faulty::Loss::Some(round)), stop);
        let root = disk.root();
        store = Store::new(disk, root);
        let _ = store.boot().and_then(|_| store.confirm());
        if folder.sync(&store).0.is_err() {
            let disk = FaultyDisk::new(&store.disk.survivors(super::faulty::Loss::Some(round)), None);
            let root = disk.root();
            store = Store::new(disk, root);
            store.boot().unwrap();
            store.confirm().unwrap();
            folder.sync(&store).0.unwrap();
        }
        let now = Tree::read(&store.root).device();
        let expected: Vec<_> = some.iter().cloned().chain([("mine", vec![1])]).collect();
        assert_eq!(now.files, Tree::of(&expected).files, "round {round}");
    }
}
