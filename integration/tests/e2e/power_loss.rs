//! The power lost at every block write of an update, by the client's own code on real file systems.
//!
//! `micropython/power_loss.py` does it; `cargo test -p mqtt-ota-integration power_loss:: -- --nocapture` shows its counts.
//! The thorough tier cuts every operation, and a third of those twice; otherwise some of the longest updates are cut at
//! every few.

use std::path::Path;
use std::process::{Command, Stdio};

use mqtt_ota_integration::{Interpreter, sized};

use crate::power_loss_set::Kit;

const SMALL: &str = "3891";
const LARGE: &str = "102400";

/// What one run of the script counted.
struct Counts(String);

impl Counts {
    fn of(arguments: &[&str]) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        // Compiled, as each boot imports the client anew, and each update most of its modules.
        let kit = Kit::new();
        let output = Command::new(Interpreter::MicroPython.program())
            .args(["-X", "heapsize=8m"])
            .arg(here.join("micropython/power_loss.py"))
            .args(arguments)
            .env("MICROPYPATH", kit.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {stdout}{stderr}");
        println!("{}", stdout.trim_end());
        let counts = Self(stdout);
        let outcomes = ["old", "new", "missing", "damaged", "not mountable"].map(|name| counts.get(name));
        assert_eq!(outcomes.iter().sum::<u32>(), counts.cuts(), "{}", counts.0);
        counts
    }

    fn get(&self, name: &str) -> u32 {
        let (_, counts) = self.0.trim_end().split_once(": ").unwrap();
        let mut counts = counts.split(", ").map(|count| count.split_once(' ').unwrap());
        let (count, _) =
            counts.find(|count| count.1 == name).unwrap_or_else(|| panic!("no {name:?}: {}", self.0));
        count.parse().unwrap()
    }

    fn cuts(&self) -> u32 {
        self.get("clean cuts") + self.get("torn cuts") + self.get("second cuts")
    }

    #[track_caller]
    fn has(&self, name: &str) -> &Self {
        self.has_at_least(1, name)
    }

    #[track_caller]
    fn has_at_least(&self, number: u32, name: &str) -> &Self {
        assert!(self.get(name) >= number, "fewer than {number} {name}: {}", self.0);
        self
    }

    #[track_caller]
    fn has_none(&self, name: &str) -> &Self {
        assert_eq!(self.get(name), 0, "some {name}: {}", self.0);
        self
    }

    /// Asserts that each of `updates` was cut before and after each operation, and `torn` times in it.
    #[track_caller]
    fn are_of_all(&self, updates: u32, torn: u32) -> &Self {
        self.are_of(1, updates, torn)
    }

    /// The same, where one of `every` operations was cut.
    #[track_caller]
    fn are_of(&self, every: u32, updates: u32, torn: u32) -> &Self {
        let cut = (self.get("clean cuts") - updates) * every;
        let all = self.get("operations");
        assert!((all..all + updates * every).contains(&cut), "{}", self.0);
        assert_eq!(self.get("torn cuts"), (self.get("clean cuts") - updates) * torn, "{}", self.0);
        self
    }

    /// Asserts that each cut left the old file or the new one, and nothing that stays.
    #[track_caller]
    fn are_harmless(&self) -> &Self {
        self.has_none("missing").has_none("damaged").has_none("not mountable");
        self.has_none("damaged by the next boot").has_none("other files damaged").has_none("litter");
        self.has_none("next update failed").has_none("space lost");
        self.has("old").has("temporary file left")
    }
}

/// Of how many operations one is cut, where there are thousands.
fn every() -> u32 {
    sized(1, 9)
}

/// Of how many operations one is cut, each of which is followed by a second cut at every operation.
fn every_first_of_two() -> u32 {
    sized(3, 9)
}

/// Fifty files, of which most fit into a block or two: then a folder's block is full soon, and rewritten.
fn fifty_updates(file_system: &str) -> Counts {
    let sizes = [60, 12_000, 300, 4_000, 900, 9_000, 2_000].into_iter().cycle();
    let sizes: Vec<String> = sizes.zip(0..50).map(|(size, more)| (size + 7 * more).to_string()).collect();
    let every = format!("--every={}", every());
    let arguments: Vec<&str> =
        [every.as_str(), file_system].into_iter().chain(sizes.iter().map(String::as_str)).collect();
    Counts::of(&arguments)
}

/// The same tests on each LittleFS, with the operations that a small update takes on it at least.
macro_rules! on_littlefs {
    ($($module:ident: $name:literal $operations:literal,)*) => {
        $(mod $module {
            use super::{Counts, LARGE, SMALL, every, every_first_of_two, fifty_updates};

            #[test]
            fn a_small_file_is_wholly_the_old_or_the_new_one() {
                let counts = Counts::of(&[$name, SMALL]);
                counts.are_harmless().are_of_all(1, 3).has("new").has_at_least($operations, "operations");
            }

            #[test]
            fn a_large_file_is_wholly_the_old_or_the_new_one() {
                let counts = Counts::of(&[&format!("--every={}", every()), $name, LARGE]);
                counts.are_harmless().are_of(every(), 1, 3).has("new").has_at_least(10 * $operations, "operations");
            }

            #[test]
            fn a_second_cut_in_the_next_boot_and_update_does_no_harm_either() {
                let every = every_first_of_two();
                let counts = Counts::of(&["--twice", &format!("--every={every}"), $name, SMALL]);
                counts.are_harmless().are_of(every, 1, 3).has("new");
                counts.has_at_least(4 * $operations * $operations / every, "second cuts");
            }

            #[test]
            fn cuts_in_fifty_updates_in_a_row_do_no_harm_either() {
                let counts = fifty_updates($name);
                counts.are_harmless().are_of(every(), 50, 1).has("new").has("root folder rewritten");
                counts.has_at_least(20 * $operations, "operations");
            }

            #[test]
            fn a_cut_after_the_sender_was_lost_leaves_the_old_file() {
                let counts = Counts::of(&["--short", $name, SMALL]);
                counts.are_harmless().are_of_all(1, 3).has_none("new").has_at_least($operations / 2, "operations");
            }

            #[test]
            fn a_client_that_removes_the_old_file_first_is_found_out() {
                Counts::of(&["--break=remove-first", $name, SMALL]).has("missing").has_none("damaged");
            }

            #[test]
            fn a_client_that_writes_over_the_old_file_is_found_out() {
                Counts::of(&["--break=in-place", $name, SMALL]).has("damaged").has_none("missing");
            }
        })*
    };
}

on_littlefs! {
    lfs2_with_programs_of_32_bytes: "lfs2-32" 30,
    lfs2_with_programs_of_256_bytes: "lfs2-256" 10,
    lfs1: "lfs1" 25,
}

#[test]
fn on_fat_on_flash_a_cut_can_take_the_file_and_others_with_it() {
    for size in [SMALL, LARGE] {
        let counts = Counts::of(&["fat-flash", size]);
        counts.are_of_all(1, 3).has("old").has("new").has("missing");
        counts.has("other files damaged").has("next update failed").has("space lost");
    }
}

#[test]
fn on_fat_on_a_card_a_cut_can_take_the_file() {
    for size in [SMALL, LARGE] {
        let counts = Counts::of(&["fat-sd", size]);
        counts.are_of_all(1, 0).has("old").has("new").has("missing").has("space lost");
        counts.has_none("damaged").has_none("other files damaged").has_none("next update failed");
    }
}
