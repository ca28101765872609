use std::collections::{BTreeMap, BTreeSet};

use super::faulty::{FaultyDisk, Loss, Stop};
use super::memory::{Folder, bytes};
use super::tree::Tree;
use crate::receiver::failure::Failure;
use crate::receiver::journal::{Journal, Kind};
use crate::receiver::set::Taken;
use crate::receiver::single::Single;
use crate::receiver::store::{Store, name};
use crate::receiver::supply::Items;
use crate::wire::{Algorithm, Digest, STATE_FOLDER, Trial};

type Device = Store<FaultyDisk>;
type Script<'a> = &'a dyn Fn(&Device) -> Result<(), Failure>;

/// Contents of a device, and the set that it reports as installed.
type State = (Tree, Option<Digest>);

fn device(tree: &Tree, stop: Option<(usize, Stop)>) -> Device {
    let disk = FaultyDisk::new(tree, stop);
    let root = disk.root();
    Store::new(disk, root)
}

fn state(device: &Device) -> State {
    (Tree::read(&device.root).device(), device.installed())
}

fn first() -> Folder {
    Folder::of(&[
        ("gone.py", bytes(1, 900)),
        ("lib/a.py", bytes(2, 1500)),
        ("main.py", bytes(3, 1200)),
        ("mqtt_ota.py", bytes(4, 800)),
        ("old/only.py", bytes(5, 100)),
        ("same.bin", bytes(6, 2000)),
    ])
}

fn second() -> Folder {
    Folder::of(&[
        ("empty", Vec::new()),
        ("lib/a.py", bytes(12, 1600)),
        ("main.py", bytes(13, 700)),
        ("mqtt_ota.py", bytes(14, 900)),
        ("new/deep/b.py", bytes(15, 1450)),
        ("same.bin", bytes(6, 2000)),
    ])
}

fn third() -> Folder {
    Folder::of(&[("lib/a.py", bytes(22, 10)), ("main.py", bytes(13, 700)), ("other/c", bytes(23, 720))])
}

/// Returns a device that has the first set, confirmed, and a file of the user's.
fn settled() -> Tree {
    let before = Tree::of(&[("main.py", b"first of all".to_vec()), ("notes.txt", b"mine".to_vec())]);
    after(&before, &|device| {
        installed(first().sync(device).0)?;
        device.boot()?;
        device.confirm()?;
        Ok(())
    })
}

fn after(tree: &Tree, script: Script<'_>) -> Tree {
    let device = device(tree, None);
    script(&device).unwrap();
    device.disk.survivors(Loss::Everything)
}

fn installed(taken: Result<Taken, Failure>) -> Result<(), Failure> {
    taken.map(|taken| assert!(matches!(taken, Taken::Installed(_)), "{taken:?}"))
}

/// Findings after power cuts at every call of a script, and at every call of the boot that follows.
#[derive(Default)]
struct Explored {
    cuts: usize,
    second_cuts: usize,
    refusals: usize,
    violations: Vec<String>,
    /// Number of times that the device ended in each state.
    ended: BTreeMap<&'static str, usize>,
}

struct Explorer<'a> {
    start: &'a Tree,
    script: Script<'a>,
    /// Allowed states, with their names.
    allowed: Vec<(&'static str, State)>,
    ignores_syncs: bool,
}

impl Explorer<'_> {
    fn explore(&self) -> Explored {
        let mut found = Explored::default();
        let uncut = self.device(self.start, None);
        (self.script)(&uncut).unwrap();
        let calls = uncut.disk.calls();
        let mut known = BTreeSet::new();
        for at in 0..calls {
            for (index, loss) in Loss::all(at as u64).into_iter().enumerate() {
                let cut = self.device(self.start, Some((at, Stop::Cut)));
                let _ = (self.script)(&cut);
                let left = cut.disk.survivors(loss);
                found.cuts += 1;
                self.recover(&left, &format!("cut at {at}, {loss:?}"), &mut found);
                if known.insert(left.clone()) {
                    self.cut_again(&left, at + index, &mut found);
                }
            }
            let refused = self.device(self.start, Some((at, Stop::Refusal)));
            let _ = (self.script)(&refused);
            found.refusals += 1;
            let is_done = !refused.there(name::COMMIT) && !refused.there(name::UNDO);
            if is_done && !self.allowed.iter().any(|(_, allowed)| *allowed == state(&refused)) {
                found.violations.push(format!("refused at {at}, before a boot: {:?}", state(&refused)));
            }
            self.recover(&refused.disk.survivors(Loss::Nothing), &format!("refused at {at}"), &mut found);
        }
        found
    }

    fn device(&self, tree: &Tree, stop: Option<(usize, Stop)>) -> Device {
        let mut device = device(tree, stop);
        device.disk.ignores_syncs = self.ignores_syncs;
        device
    }

    /// Cuts the boot that follows a cut, at every call.
    fn cut_again(&self, left: &Tree, seed: usize, found: &mut Explored) {
        let uncut = self.device(left, None);
        let _ = uncut.boot();
        for at in 0..uncut.disk.calls() {
            let again = self.device(left, Some((at, Stop::Cut)));
            let _ = again.boot();
            let loss = Loss::all((seed * 1000 + at) as u64)[(seed + at) % 4];
            found.second_cuts += 1;
            let how = format!("from seed {seed}, cut again at {at}, {loss:?}");
            self.recover(&again.disk.survivors(loss), &how, found);
        }
    }

    /// Boots what is left, and checks all promises.
    fn recover(&self, left: &Tree, how: &str, found: &mut Explored) {
        let device = self.device(left, None);
        let mut violation = |what: String| found.violations.push(format!("{how}: {what}"));
        if let Err(error) = device.boot() {
            return violation(format!("it does not boot: {error}"));
        }
        let now = state(&device);
        let Some((ending, _)) = self.allowed.iter().find(|(_, allowed)| *allowed == now) else {
            return violation(format!("mixed: {now:?}"));
        };
        if let Some(litter) = litter(&device) {
            violation(format!("litter: {litter}"));
        }
        device.confirm().unwrap();
        match third().sync(&device).0 {
            Ok(Taken::Installed(_)) => {}
            other => return violation(format!("the next set: {other:?}")),
        }
        device.boot().unwrap();
        device.confirm().unwrap();
        let has_third = third()
            .files
            .iter()
            .all(|(path, bytes)| std::fs::read(device.root.join(path)).is_ok_and(|there| there == *bytes));
        let tree = Tree::read(&device.root);
        let copies = copies(&device, name::LAST);
        let expected: BTreeSet<_> =
            ["last", "set"].into_iter().chain(copies.iter().map(String::as_str)).collect();
        if !has_third || tree.state() != expected {
            violation(format!("after the next set: {:?}", tree.state()));
        }
        *found.ended.entry(*ending).or_default() += 1;
    }
}

fn copies(device: &Device, journal: &str) -> BTreeSet<String> {
    let lines = device.journal(journal).unwrap().into_iter().flat_map(|journal| journal.lines);
    lines.filter(|line| line.kind != Kind::New).map(|line| line.copy()).collect()
}

/// Returns a file in the client's folder that nothing refers to.
fn litter(device: &Device) -> Option<String> {
    let tree = Tree::read(&device.root);
    let names = tree.state();
    let mut meant: BTreeSet<_> = ["set", "trial", "last", "back"].map(str::to_owned).into();
    meant.extend([name::TRIAL, name::LAST].iter().flat_map(|journal| copies(device, journal)));
    if names.contains("trial") {
        meant.insert("boots".to_owned());
    }
    if names.contains("back") {
        meant.insert("error".to_owned());
    }
    if !names.contains("set") {
        meant.insert("was".to_owned());
    }
    if names.contains("part") {
        meant.extend(["part", "part.of"].map(str::to_owned));
    }
    if names.contains("0") {
        // Staged files wait for the next offer of the set.
        meant.extend((0..=6).map(|number| number.to_string()));
    }
    names.into_iter().find(|name| !meant.contains(*name)).map(str::to_owned)
}

#[allow(clippy::print_stderr, reason = "how much was searched is a result")]
fn print(what: &str, found: &Explored) {
    let Explored { cuts, second_cuts, refusals, violations, ended } = found;
    let broken = violations.len();
    eprintln!(
        "{what}: {cuts} cuts, {second_cuts} second cuts, {refusals} refusals, {broken} broken; {ended:?}"
    );
}

fn assert_kept(what: &str, found: &Explored, endings: &[&str]) {
    print(what, found);
    assert!(found.violations.is_empty(), "{:#?}", &found.violations[..found.violations.len().min(10)]);
    assert_eq!(found.ended.keys().copied().collect::<BTreeSet<_>>(), endings.iter().copied().collect());
}

fn explore(start: &Tree, script: Script<'_>, allowed: Vec<(&'static str, State)>) -> Explored {
    Explorer { start, script, allowed, ignores_syncs: false }.explore()
}

fn as_it_is(tree: &Tree) -> State {
    state(&device(tree, None))
}

/// Returns the second set, with a trial that lasts longer than there are cuts.
fn lasting() -> Folder {
    let mut folder = second();
    folder.terms.trial = Trial::new(999);
    folder
}

#[test]
fn a_set_is_wholly_there_or_not_at_all_wherever_the_power_goes() {
    let start = settled();
    let script: Script<'_> = &|device| {
        installed(lasting().sync(device).0)?;
        device.boot()?;
        device.confirm()?;
        Ok(())
    };
    let allowed = vec![("old", as_it_is(&start)), ("new", as_it_is(&after(&start, script)))];
    assert_kept("install and confirm", &explore(&start, script, allowed), &["old", "new"]);
}

#[test]
fn an_interrupted_transfer_goes_on_wherever_the_power_goes() {
    let start = after(&settled(), &|device| {
        let broken = second().supply().breaking_after(2_900);
        let (taken, _) = {
            let mut items = Items::new(broken, 1);
            (device.take_set(&second().offered(), &mut items, &mut |_| {}), ())
        };
        assert!(taken.is_err());
        Ok(())
    });
    let script: Script<'_> = &|device| installed(lasting().sync(device).0);
    let allowed = vec![("old", as_it_is(&start)), ("new", as_it_is(&after(&start, script)))];
    assert_kept("resume", &explore(&start, script, allowed), &["old", "new"]);
}

#[test]
fn a_set_that_was_changed_on_the_device_is_wholly_repaired_wherever_the_power_goes() {
    let mut start = settled();
    start.files.insert("main.py".to_owned(), b"by hand".to_vec());
    start.files.remove("gone.py");
    let script: Script<'_> = &|device| installed(first().sync(device).0);
    let allowed = vec![("old", as_it_is(&start)), ("new", as_it_is(&after(&start, script)))];
    assert_kept("repair", &explore(&start, script, allowed), &["old", "new"]);
}

#[test]
fn a_set_that_is_not_confirmed_is_wholly_taken_back_wherever_the_power_goes() {
    let old = settled();
    let start = after(&old, &|device| installed(second().sync(device).0));
    let script: Script<'_> = &|device| {
        for _ in 0..3 {
            device.boot()?;
        }
        Ok(())
    };
    assert_eq!(as_it_is(&after(&start, script)), as_it_is(&old));
    let allowed = vec![("old", as_it_is(&old)), ("new", as_it_is(&start))];
    assert_kept("three boots", &explore(&start, script, allowed), &["old", "new"]);
}

#[test]
fn a_rollback_is_whole_wherever_the_power_goes() {
    let old = settled();
    let start = after(&old, &|device| {
        installed(second().sync(device).0)?;
        device.boot()?;
        device.confirm()?;
        Ok(())
    });
    let script: Script<'_> = &|device| {
        assert!(device.take_back(second().offered().digest)?);
        Ok(())
    };
    assert_eq!(as_it_is(&after(&start, script)), as_it_is(&old));
    let allowed = vec![("old", as_it_is(&old)), ("new", as_it_is(&start))];
    assert_kept("rollback", &explore(&start, script, allowed), &["old", "new"]);
}

#[test]
fn a_file_that_comes_by_itself_is_whole_wherever_the_power_goes() {
    let start = settled();
    let new = bytes(30, 2_500);
    let path = "lib/new/a.py".parse().unwrap();
    let single = Single { path: &path, digest: Digest::of(Algorithm::Sha256, &new), size: 2_500 };
    let script: Script<'_> = &|device| {
        let mut items = Items::new(super::memory::Memory::of(vec![new.clone()]), 3);
        device.take_single(&single, &mut items, &mut |_| {})
    };
    let end = after(&start, script);
    // In between, the device no longer reports the set, or already has a folder for the file.
    let (old, new) = (as_it_is(&start), as_it_is(&end));
    let mut with_folder = old.0.clone();
    with_folder.folders.insert("lib/new".to_owned());
    let allowed = vec![
        ("old", old.clone()),
        ("altered", (old.0, None)),
        ("with its folder", (with_folder, None)),
        ("new", new),
    ];
    assert_kept("one file", &explore(&start, script, allowed), &["old", "altered", "with its folder", "new"]);
}

#[test]
fn the_search_finds_a_set_that_is_put_in_place_without_its_journal() {
    let start = settled();
    let script: Script<'_> = &|device| {
        // All steps of `take_set` except the commit.
        let mut items = Items::new(lasting().supply(), 3);
        let set = lasting().offered();
        let manifest = lasting().manifest();
        device.manifest(&set, &mut items, &mut |_| {})?;
        let plan = device.plan(&manifest, set.terms.delete, set.max_size, true)?;
        device.stage(&manifest, &plan, &mut items, &mut |_| {})?;
        let journal = device.keep(&set, &manifest, &plan)?;
        device.put(&journal)?;
        device.write(name::PLAN, journal.to_string().as_bytes())?;
        Ok(device.rename(name::PLAN, name::TRIAL)?)
    };
    let allowed = vec![("old", as_it_is(&start)), ("new", as_it_is(&after(&start, script)))];
    let found = explore(&start, script, allowed);
    print("mutant without a journal", &found);
    assert!(found.violations.iter().any(|violation| violation.contains("mixed")));
}

#[test]
fn the_search_finds_a_set_that_is_not_brought_to_the_disk() {
    let start = settled();
    let script: Script<'_> = &|device| installed(lasting().sync(device).0);
    let allowed = vec![("old", as_it_is(&start)), ("new", as_it_is(&after(&start, script)))];
    let found = Explorer { start: &start, script, allowed, ignores_syncs: true }.explore();
    print("mutant without syncs", &found);
    assert!(found.violations.iter().any(|violation| violation.contains("mixed")));
}

#[test]
fn a_journal_that_cannot_be_read_does_not_keep_a_device_from_its_next_set() {
    for journal in [name::COMMIT, name::UNDO, name::TRIAL, name::LAST] {
        let mut tree = settled();
        tree.files.insert(format!("{STATE_FOLDER}/{journal}"), b"\xff\0".to_vec());
        let device = device(&tree, None);
        device.boot().unwrap();
        assert_eq!(device.installed(), None, "{journal}");
        installed(second().sync(&device).0).unwrap();
        assert!(Journal::parse(&std::fs::read_to_string(device.state(name::TRIAL)).unwrap()).is_some());
    }
}
