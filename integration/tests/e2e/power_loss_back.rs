//! The power lost at every block write of an update at boot, and of safe mode, on real file systems.
//!
//! `micropython/power_loss_back.py` does it; `cargo test -p mqtt-ota-integration power_loss_back:: -- --nocapture` shows its
//! counts. The tiers are those of `power_loss_set.rs`.

use mqtt_ota_integration::sized;

use crate::power_loss_set::{Counts, Kit};

const SCRIPT: &str = "power_loss_back.py";
const STORIES: [&str; 7] = ["file", "set", "row", "mend", "sync", "same", "trial"];

/// Cuts every story; `second` is of how many lives one is cut again: ordinarily, thoroughly and exhaustively. `thorough`
/// says of how many operations one is cut thoroughly.
fn every_cut(file_system: &str, thorough: u32, second: [u32; 3], operations: u32) {
    let exhaustive = std::env::var_os("MQTT_OTA_EXHAUSTIVE").is_some();
    let every = if exhaustive { 1 } else { sized(thorough, 13) };
    let (torn, second) = if exhaustive { (3, second[2]) } else { (1, sized(second[1], second[0])) };
    let arguments = [format!("--torn={torn}"), format!("--second={second}"), format!("--every={every}")];
    let stdout = Kit::new().run_script(SCRIPT, file_system, &arguments.each_ref().map(String::as_str));
    for story in STORIES {
        Counts::of(&stdout, story).are_harmless(torn, every);
    }
    let set = Counts::of(&stdout, "set");
    set.has_at_least(operations, "operations");
    for name in ["old", "new", "fetches", "recoveries cut", "second cuts"] {
        set.has_at_least(1, name);
    }
    for (story, name) in
        [("file", "fetches"), ("row", "old"), ("mend", "new"), ("sync", "new"), ("trial", "new")]
    {
        Counts::of(&stdout, story).has_at_least(1, name);
    }
}

#[test]
fn on_lfs2_with_programs_of_32_bytes_a_board_comes_back() {
    every_cut("lfs2-32", 1, [12, 52, 10], 100);
}

#[test]
fn on_lfs2_with_programs_of_256_bytes_a_board_comes_back() {
    every_cut("lfs2-256", 3, [8, 52, 10], 50);
}

#[test]
fn on_lfs1_a_board_comes_back() {
    every_cut("lfs1", 1, [40, 400, 100], 300);
}

/// Asserts that a mistake in the client is found out.
#[track_caller]
fn is_found_out(story: &str, module: &str, right: &str, wrong: &str, harm: &str) {
    let kit = Kit::broken(module, right, wrong);
    let stdout = kit.run_script(SCRIPT, "lfs2-32", &[story, sized("--every=1", "--every=2")]);
    assert!(Counts::of(&stdout, story).get(harm) > 0, "no {harm}: {stdout}");
}

#[test]
fn an_offer_that_waits_behind_other_work_is_found_out() {
    let (right, wrong) = ("    if boot.there(\"offer\"):\n        _offered()", "");
    is_found_out("file", "mqtt_ota_recover.py", right, wrong, "fetched again");
}

#[test]
fn an_offer_that_is_forgotten_before_its_outcome_is_noted_is_found_out() {
    let (right, wrong) = ("_ends(step)", "quietly(os.remove, state(\"offer\")); _ends(step)");
    is_found_out("file", "mqtt_ota_fetch.py", right, wrong, "not told");
}

#[test]
fn an_offer_of_a_set_that_is_on_trial_is_found_out() {
    let (right, wrong) = ("if boot.there(\"offer\"):  # it is", "if False:  # it is");
    is_found_out("set", "mqtt_ota_recover.py", right, wrong, "fetched again");
}

#[test]
fn tries_that_are_kept_for_ever_are_found_out() {
    let (right, wrong) = ("for name in \"tries\", \"offer\":", "for name in (\"offer\",):");
    is_found_out("file", "mqtt_ota_fetch.py", right, wrong, "litter");
}

#[test]
fn a_count_of_crashes_that_a_cut_can_lose_is_found_out() {
    let (right, wrong) = (
        "            with open(boot.state(\"crashes\"), \"wb\")",
        "            boot.quietly(os.remove, boot.state(\"crashes\"))\n            with open(boot.state(\"crashes\"), \"wb\")",
    );
    is_found_out("row", "mqtt_ota_run.py", right, wrong, "miscounted");
}

#[test]
fn a_board_that_stays_in_safe_mode_after_its_repair_is_found_out() {
    let (right, wrong) = ("_boot.there(\"crashes\")", "_boot.there(\"nothing\")");
    is_found_out("mend", "mqtt_ota_single.py", right, wrong, "not bootable");
}
