use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::region::RESTLESS;
use super::*;

const QUIET: Quiet = Quiet { one: Duration::from_millis(100), more: Duration::from_millis(250) };
const ROOT: &str = "/root";

fn path(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}

fn rest() -> Rest {
    let mut rest = Rest::of(ROOT.into(), QUIET);
    rest.looking(Instant::now());
    rest
}

/// Returns the time so many milliseconds after another one.
fn after(time: Instant, milliseconds: u64) -> Instant {
    time + Duration::from_millis(milliseconds)
}

fn verdict(rest: &Rest, place: &str, began: Instant, now: Instant) -> Verdict {
    rest.verdict(&path(place), &path(place), began, now)
}

#[test]
fn a_file_that_is_closed_is_at_rest_sooner_than_several_are() {
    let (mut rest, now) = (rest(), Instant::now());
    let (main, other) = (path("LAMP/main.py"), path("LAMP/other.py"));
    for told in [Told::Written(main.clone()), Told::Closed(main.clone())] {
        rest.hear(&told, now);
    }
    assert_eq!(rest.next(), Some(after(now, 50)), "it is looked at ahead");
    assert_eq!(verdict(&rest, "LAMP", after(now, 99), after(now, 99)), Verdict::Moving);
    assert_eq!(verdict(&rest, "LAMP", after(now, 100), after(now, 100)), Verdict::Still);
    assert_eq!(verdict(&rest, "HALL", now, now), Verdict::Untold);
    for told in [Told::Written(other.clone()), Told::Closed(other)] {
        rest.hear(&told, now);
    }
    assert_eq!(verdict(&rest, "LAMP", after(now, 249), after(now, 249)), Verdict::Moving);
    assert_eq!(verdict(&rest, "LAMP", after(now, 250), after(now, 250)), Verdict::Still);
}

#[test]
fn a_look_that_began_before_something_was_written_does_not_count() {
    let (mut rest, now) = (rest(), Instant::now());
    rest.hear(&Told::Closed(path("LAMP/main.py")), after(now, 1));
    assert_eq!(verdict(&rest, "LAMP", now, after(now, 1000)), Verdict::Moving);
}

#[test]
fn what_is_renamed_while_it_is_open_is_open_still() {
    let (mut rest, now) = (rest(), Instant::now());
    let (old, new) = (path("LAMP/lib"), path("LAMP/new"));
    rest.hear(&Told::Written(old.join("a.py")), now);
    rest.hear(&Told::Moved { from: old, to: new.clone() }, now);
    assert_eq!(rest.unclosed(now)[0].0, new.join("a.py"));
    rest.hear(&Told::Closed(new.join("a.py")), now);
    assert!(rest.unclosed(now).is_empty());
}

#[test]
fn what_is_put_in_the_place_of_an_open_file_or_removed_is_not_open() {
    let (mut rest, now) = (rest(), Instant::now());
    let (main, new) = (path("LAMP/main.py"), path("LAMP/main.py.new"));
    rest.hear(&Told::Written(main.clone()), now);
    rest.hear(&Told::Moved { from: new, to: main.clone() }, now);
    assert!(rest.unclosed(now).is_empty());
    rest.hear(&Told::Written(main), now);
    rest.hear(&Told::Gone(path("LAMP")), now);
    assert!(rest.unclosed(now).is_empty());
}

#[test]
fn a_file_that_is_not_sent_is_no_change_and_one_that_is_put_aside_for_a_rename_holds_for_a_while() {
    let (mut rest, now) = (rest(), Instant::now());
    let (log, temporary) = (path("LAMP/x.log"), path("LAMP/.main.py.a1B2c3"));
    rest.hear(&Told::Written(log.clone()), now);
    rest.sorted(&BTreeSet::from([log.clone()]), &BTreeSet::new());
    assert_eq!((rest.next(), rest.unclosed(now)), (None, Vec::new()));
    rest.hear(&Told::Written(log), now);
    assert_eq!(rest.next(), None);
    rest.hear(&Told::Written(temporary), now);
    assert_eq!(rest.unclosed(now).len(), 1);
    assert_eq!(rest.unclosed(now + TEMPORARY).len(), 0);
}

#[test]
fn what_goes_on_for_ever_in_one_folder_is_that_folder_s() {
    let (mut rest, mut now) = (rest(), Instant::now());
    let begun = now;
    while now < begun + RESTLESS {
        rest.hear(&Told::Closed(path("LAMP/data.json")), now);
        rest.looking(now);
        assert_eq!(verdict(&rest, "LAMP", now, now), Verdict::Moving);
        now = after(now, 40);
    }
    rest.hear(&Told::Closed(path("HALL/main.py")), after(begun, 1000));
    assert_eq!(verdict(&rest, "HALL", now, now), Verdict::Still);
    rest.looking(now);
    assert_eq!(verdict(&rest, "LAMP", now, now), Verdict::Still, "it is taken as it is in the end");
    rest.seen(now, now);
}

#[test]
fn hidden_folders_are_nothing_unless_somebody_includes_them() {
    let (mut rest, now) = (rest(), Instant::now());
    rest.hear(&Told::Closed(path(".git/index")), now);
    assert_eq!(rest.next(), None);
    rest.follow([].iter(), [path(".common")].iter().map(PathBuf::as_path));
    rest.hear(&Told::Closed(path(".common/x.py")), now);
    assert!(rest.next().is_some());
}

#[test]
fn temporary_names_are_known() {
    for name in [".main.py.a1B2c3", ".syncthing.main.py.tmp", ".x.part"] {
        assert!(is_temporary(Path::new(name)), "{name}");
    }
    for name in ["main.py", "main.a1B2c3", ".main.py.swp", ".abcdef", ".tmp", ".env.production", "x.tmp"] {
        assert!(!is_temporary(Path::new(name)), "{name}");
    }
}

/// Action on one of the files of a folder.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// Opens the file and truncates it, or creates it.
    Open,
    Write,
    Close,
    /// Moves the file to the place of the next one, open or not.
    Rename,
    Remove,
}

/// File, with its writer, and whether its bytes are a whole version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Model {
    version: u32,
    is_open: bool,
}

const FILES: usize = 3;

fn name(file: usize) -> PathBuf {
    path("LAMP").join(format!("{file}.py"))
}

/// Folder in which a process opens, writes and closes files, and the queue of the events.
#[derive(Debug, Default)]
struct Folder {
    files: BTreeMap<usize, Model>,
    queue: VecDeque<Told>,
    versions: u32,
}

impl Folder {
    fn act(&mut self, act: Act, file: usize) {
        let next = (file + 1) % FILES;
        let known = self.files.get(&file).copied();
        match (act, known) {
            (Act::Open, Some(model)) if model.is_open => {}
            (Act::Open, known) => {
                self.queue.push_back(match known {
                    Some(_) => Told::Written(name(file)),
                    None => Told::Created(name(file)),
                });
                self.change(file, true);
            }
            (Act::Write, Some(Model { is_open: true, .. })) => {
                self.queue.push_back(Told::Written(name(file)));
                self.change(file, true);
            }
            (Act::Close, Some(Model { is_open: true, .. })) => {
                self.queue.push_back(Told::Closed(name(file)));
                self.change(file, false);
            }
            (Act::Rename, Some(model)) => {
                self.files.remove(&file);
                self.files.insert(next, model);
                self.queue.push_back(Told::Moved { from: name(file), to: name(next) });
            }
            (Act::Remove, Some(_)) => {
                self.files.remove(&file);
                self.queue.push_back(Told::Gone(name(file)));
            }
            _ => {}
        }
    }

    fn change(&mut self, file: usize, is_open: bool) {
        self.versions += 1;
        self.files.insert(file, Model { version: self.versions, is_open });
    }
}

fn act() -> impl Strategy<Value = (Act, usize, u64, bool)> {
    let acts = prop_oneof![
        3 => Just(Act::Open), 4 => Just(Act::Write), 3 => Just(Act::Close), 1 => Just(Act::Rename), 1 => Just(Act::Remove)
    ];
    (acts, 0..FILES, prop_oneof![0_u64..20, 40_u64..400, 1000_u64..90_000], any::<bool>())
}

proptest! {
    /// Nothing is delivered while a writer has a file open, however long it pauses. In the end, the last version is
    /// delivered.
    #[test]
    fn property_what_counts_is_whole(acts in prop::collection::vec(act(), 1..40)) {
        let mut now = Instant::now();
        let (mut rest, mut folder) = (rest(), Folder::default());
        let mut delivered = BTreeMap::new();
        let closing = (0..FILES).map(|file| (Act::Close, file, 0, true));
        for (act, file, pause, is_prompt) in acts.into_iter().chain(closing).chain([(Act::Close, 0, 200_000, true)]) {
            folder.act(act, file);
            let end = after(now, pause);
            // The system may report the action only later on, but in order.
            if is_prompt {
                folder.queue.drain(..).for_each(|told| rest.hear(&told, now));
            }
            while let Some(next) = rest.next().filter(|next| *next <= end) {
                now = now.max(next);
                let open = rest.unclosed(now);
                rest.looking(now);
                let seen = folder.files.clone();
                // Events reported until the scan was over are heard before it is weighed.
                folder.queue.drain(..).for_each(|told| rest.hear(&told, now));
                // A created file that has bytes may have got another name. Here, no file has any before it is written
                // to.
                let is_held = seen.keys().any(|file| open.iter().any(|(path, _)| *path == name(*file)));
                if verdict(&rest, "LAMP", now, now) == Verdict::Still && !is_held {
                    prop_assert!(seen.values().all(|model| !model.is_open), "{seen:?} {rest:?}");
                    delivered = seen;
                    rest.seen(now, now);
                }
            }
            now = now.max(end);
        }
        prop_assert_eq!(delivered, folder.files);
    }
}
