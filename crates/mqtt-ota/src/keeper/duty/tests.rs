use super::*;
use crate::wire::Algorithm;
use proptest::prelude::*;

const LIMIT: u32 = 3;

fn set(number: u8) -> Digest {
    Digest::of(Algorithm::Sha256, &[number])
}

fn announces(text: &str, anew: bool) -> Input {
    Input::Announced { announcement: Announcement::parse(text.as_bytes()).unwrap(), anew }
}

fn has(number: u8) -> Input {
    announces(&format!("v=1|set={}", set(number)), true)
}

fn nothing() -> Input {
    announces("v=1|set=-", true)
}

fn taken_back(number: u8) -> Input {
    announces(&format!("v=1|set=-|rolled-back={}|error=boom", set(number)), true)
}

fn ended(number: u8, result: Ended) -> Input {
    Input::Ended(End { set: set(number), result, advanced: false, booted: false })
}

const TAKING: Input = Input::Taking { installed: false };
const TAKEN: Input = Input::Taking { installed: true };

fn failed() -> Ended {
    Ended::Failed { why: "weak".to_owned(), may_pass: true }
}

fn after(now: Instant, inputs: impl IntoIterator<Item = Input>) -> Duty {
    let mut duty = Duty::new(LIMIT);
    inputs.into_iter().for_each(|input| duty.step(input, now));
    duty
}

#[tokio::test(start_paused = true)]
async fn a_device_that_differs_is_due_and_one_that_does_not_is_in_step() {
    let now = Instant::now();
    assert_eq!(after(now, [Input::Wanted(Some(set(1)))]).due(now), Due::Never, "it was never heard of");
    assert_eq!(after(now, [nothing()]).due(now), Due::Never, "there is nothing to send");
    assert_eq!(after(now, [Input::Wanted(Some(set(1))), nothing()]).due(now), Due::Now);
    let in_step = after(now, [Input::Wanted(Some(set(1))), has(1)]);
    assert_eq!((in_step.due(now), in_step.standing()), (Due::Never, Standing::InStep));
    let retained = after(now, [announces("v=1|set=-", false), Input::Wanted(Some(set(1)))]);
    assert_eq!(retained.due(now), Due::Now, "it may be awake");
}

#[tokio::test(start_paused = true)]
async fn what_was_installed_is_not_sent_again_while_the_device_reboots() {
    let now = Instant::now();
    let start = [Input::Wanted(Some(set(1))), nothing(), Input::Started, ended(1, Ended::Installed)];
    let mut duty = after(now, start);
    assert_eq!((duty.due(now), duty.standing()), (Due::At(now + LONG_BOOT), Standing::Rebooting));
    duty.step(has(1), now);
    assert_eq!(duty.standing(), Standing::InStep);
}

#[tokio::test(start_paused = true)]
async fn a_device_that_is_back_before_its_word_is_understood_is_not_waited_for() {
    let now = Instant::now();
    let plain = || announces("v=1", true);
    let start = || [Input::Wanted(Some(set(1))), plain(), Input::Started, TAKING];
    let back = after(now, start().into_iter().chain([plain(), ended(1, Ended::Installed)]));
    assert_eq!((back.due(now), back.standing()), (Due::Never, Standing::InStep));
    // The device had lost its connection, and goes on.
    let lost = [plain(), TAKING, ended(1, Ended::Installed)];
    let mut lost = after(now, start().into_iter().chain(lost));
    assert_eq!((lost.due(now), lost.standing()), (Due::At(now + LONG_BOOT), Standing::Rebooting));
    lost.step(plain(), now);
    assert_eq!((lost.due(now), lost.standing()), (Due::Never, Standing::InStep));
    // The device had lost its connection here too, and reports the rest at once.
    let rest = [plain(), TAKING, TAKING, ended(1, Ended::Installed)];
    let rest = after(now, start().into_iter().chain(rest));
    assert_eq!(rest.standing(), Standing::Rebooting);
}

#[tokio::test(start_paused = true)]
async fn a_device_of_single_files_that_fetched_them_at_its_boot_does_not_boot_again() {
    let now = Instant::now();
    let plain = || announces("v=1", true);
    let start = || [Input::Wanted(Some(set(1))), plain(), Input::Started, TAKING];
    let booted =
        || Input::Ended(End { set: set(1), result: Ended::Installed, advanced: false, booted: true });
    // The status message comes with the first connection, before the announcement or after it.
    for inputs in [vec![TAKEN, booted()], vec![TAKEN, booted(), plain()], vec![plain(), TAKEN, booted()]] {
        let duty = after(now, start().into_iter().chain(inputs));
        assert_eq!((duty.due(now), duty.standing()), (Due::Never, Standing::InStep));
    }
}

#[tokio::test(start_paused = true)]
async fn a_set_that_is_replaced_is_put_back_at_once_but_not_for_ever() {
    let mut now = Instant::now();
    let mut duty = after(now, [Input::Wanted(Some(set(1))), has(1)]);
    let mut pauses = Vec::new();
    for _ in 0..12 {
        duty.step(has(2), now);
        if let Due::At(at) = duty.due(now) {
            pauses.push((at - now).as_secs());
            now = at;
        }
        assert_eq!(duty.due(now), Due::Now);
        for input in [Input::Started, ended(1, Ended::Installed), has(1)] {
            duty.step(input, now);
        }
        assert_eq!(duty.standing(), Standing::InStep);
    }
    assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 600, 600, 600, 600]);
    // After a while without replacements, a new one is put right at once again.
    now += 2 * LONGEST_PAUSE;
    duty.step(has(2), now);
    assert_eq!(duty.due(now), Due::Now);
}

fn postponed(seconds: u64) -> Ended {
    Ended::Postponed { after: Duration::from_secs(seconds), why: "asks to wait".to_owned() }
}

#[tokio::test(start_paused = true)]
async fn a_device_that_postpones_its_set_is_asked_again_then_for_as_long_as_it_does_and_has_not_failed() {
    let mut now = Instant::now();
    let mut duty = after(now, [Input::Wanted(Some(set(1))), nothing()]);
    for _ in 0..LIMIT + 2 {
        for input in [Input::Started, ended(1, postponed(60))] {
            duty.step(input, now);
        }
        assert_eq!(duty.standing(), Standing::Postponed { why: "asks to wait".to_owned() });
        assert!(!duty.standing().is_failure());
        assert_eq!(duty.due(now), Due::At(now + Duration::from_secs(60)));
        // The device is awake, and has said what it wants.
        duty.step(nothing(), now);
        duty.step(Input::Missed, now);
        assert_eq!(duty.due(now), Due::At(now + Duration::from_secs(60)));
        now += Duration::from_secs(60);
        assert_eq!(duty.due(now), Due::Now);
    }
    for input in [Input::Started, ended(1, postponed(1))] {
        duty.step(input, now);
    }
    assert_eq!(duty.due(now), Due::At(now + FIRST_PAUSE), "nobody is asked all the time");
    duty.step(Input::Wanted(Some(set(2))), now);
    assert_eq!((duty.due(now), duty.standing()), (Due::Now, Standing::Pending), "it may want that now");
    duty.step(Input::Started, now);
    duty.step(ended(1, postponed(60)), now);
    assert_eq!(duty.due(now), Due::Now, "that was another set");
}

#[tokio::test(start_paused = true)]
async fn a_device_that_does_not_come_back_is_told_of_before_it_is_offered_its_files_again() {
    let now = Instant::now();
    let start = [Input::Wanted(Some(set(1))), nothing(), Input::Started, ended(1, Ended::Installed)];
    let mut duty = after(now, start);
    assert!(!duty.grows_late(now));
    let late = now + LONG_BOOT;
    assert!(duty.grows_late(late) && !duty.grows_late(late), "it is told once");
    assert_eq!(duty.standing(), Standing::Failing { why: NOT_BACK.to_owned() });
    assert_eq!(duty.due(late), Due::At(now + LONGEST_BOOT));
    assert_eq!(duty.due(now + LONGEST_BOOT), Due::Now);
    duty.step(has(1), late);
    assert_eq!(duty.standing(), Standing::InStep);
}

#[tokio::test(start_paused = true)]
async fn a_device_that_did_not_come_back_is_not_in_step_because_it_is_offered_its_files_once_more() {
    let now = Instant::now();
    let start = || [Input::Wanted(Some(set(1))), nothing(), Input::Started, ended(1, Ended::Installed)];
    for (result, expected) in [(Ended::NotThere, Standing::Asleep), (Ended::GaveWay, Standing::Pending)] {
        let mut duty = after(now, start());
        let later = now + LONGEST_BOOT;
        assert!(duty.grows_late(later));
        for input in [Input::Started, ended(1, result)] {
            duty.step(input, later);
        }
        assert_eq!(duty.standing(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn one_of_single_files_that_takes_a_file_from_somebody_else_is_looked_at_once_it_is_back() {
    let mut now = Instant::now();
    let plain = || announces("v=1", true);
    let start =
        [Input::Wanted(Some(set(1))), plain(), Input::Started, TAKING, TAKEN, ended(1, Ended::Unchanged)];
    let mut duty = after(now, start);
    assert_eq!(duty.standing(), Standing::InStep, "that was our file");
    duty.step(TAKING, now);
    assert_eq!(duty.standing(), Standing::InStep, "it has not taken it yet");
    duty.step(TAKEN, now);
    assert_eq!((duty.due(now), duty.standing()), (Due::At(now + FIRST_PAUSE), Standing::Rebooting));
    duty.step(plain(), now);
    assert_eq!(duty.due(now), Due::Now, "it is back");
    let mut pauses = Vec::new();
    for _ in 0..5 {
        for input in [Input::Started, ended(1, Ended::Unchanged), TAKEN] {
            duty.step(input, now);
        }
        let Due::At(at) = duty.due(now) else { panic!("{duty:?}") };
        pauses.push((at - now).as_secs());
        now = at;
        assert_eq!(duty.due(now), Due::Now, "it needs no reboot for everything");
    }
    assert_eq!(pauses, [10, 10, 20, 40, 80]);
    // A device that announces its set says in its next announcement what it has.
    let mut knows_sets = after(now, [Input::Wanted(Some(set(1))), has(1), TAKEN]);
    assert_eq!(knows_sets.standing(), Standing::InStep);
    knows_sets.step(nothing(), now);
    assert_eq!(knows_sets.standing(), Standing::Pending);
}

#[tokio::test(start_paused = true)]
async fn a_device_that_forgets_what_it_installs_is_left_alone_in_the_end() {
    let mut now = Instant::now();
    let mut duty = after(now, [Input::Wanted(Some(set(1))), nothing()]);
    let mut deliveries = 0;
    while duty.due(now) != Due::Never {
        if let Due::At(at) = duty.due(now) {
            now = at;
        }
        deliveries += 1;
        for input in [Input::Started, ended(1, Ended::Installed), nothing()] {
            duty.step(input, now);
        }
        assert!(deliveries <= 100, "it is updated for ever");
    }
    assert!(matches!(duty.standing(), Standing::LeftAlone { .. }), "{duty:?}");
}

#[tokio::test(start_paused = true)]
async fn a_device_that_is_not_heard_of_after_its_reboot_is_asked_a_few_times() {
    let mut now = Instant::now();
    let mut duty = after(now, [Input::Wanted(Some(set(1))), nothing()]);
    let mut deliveries = 0;
    while duty.due(now) != Due::Never {
        if let Due::At(at) = duty.due(now) {
            now = at;
            if duty.grows_late(now) {
                continue;
            }
        }
        deliveries += 1;
        assert!(deliveries <= LIMIT + 1, "it reboots for ever");
        duty.step(Input::Started, now);
        duty.step(ended(1, Ended::Installed), now);
    }
    assert_eq!(duty.standing(), Standing::Failing { why: NOT_BACK.to_owned() });
    duty.step(has(1), now);
    assert_eq!(duty.standing(), Standing::InStep);
}

#[tokio::test(start_paused = true)]
async fn a_device_with_another_set_on_trial_is_asked_again_though_it_says_nothing() {
    let now = Instant::now();
    let start = [Input::Wanted(Some(set(1))), nothing(), Input::Started, ended(1, Ended::Busy)];
    let mut duty = after(now, start);
    assert_eq!(duty.due(now), Due::At(now + LONGEST_PAUSE));
    assert_eq!(duty.due(now + LONGEST_PAUSE), Due::Now);
    duty.step(nothing(), now);
    assert_eq!(duty.due(now), Due::Now);
}

#[tokio::test(start_paused = true)]
async fn a_set_that_was_taken_back_is_sent_only_after_the_folder_has_changed() {
    let now = Instant::now();
    let mut duty = after(now, [Input::Wanted(Some(set(1))), taken_back(1)]);
    assert_eq!(duty.standing(), Standing::RolledBack { why: "boom".to_owned() });
    assert_eq!(duty.due(now), Due::Never);
    duty.step(taken_back(1), now);
    assert_eq!(duty.due(now), Due::Never);
    duty.step(Input::Wanted(Some(set(2))), now);
    assert_eq!(duty.due(now), Due::Now);
}

#[tokio::test(start_paused = true)]
async fn failures_make_ever_longer_pauses_and_an_end() {
    let mut now = Instant::now();
    let mut duty = after(now, [Input::Wanted(Some(set(1))), nothing()]);
    for pause in [10, 20] {
        duty.step(Input::Started, now);
        duty.step(ended(1, failed()), now);
        let Due::At(at) = duty.due(now) else { panic!("{duty:?}") };
        assert_eq!(at - now, Duration::from_secs(pause));
        duty.step(nothing(), now);
        assert_eq!(duty.due(now), Due::At(at), "that it is awake does not mend it");
        now = at;
        assert_eq!(duty.due(now), Due::Now);
    }
    duty.step(Input::Started, now);
    duty.step(ended(1, failed()), now);
    assert_eq!(duty.standing(), Standing::LeftAlone { why: "weak".to_owned() });
    duty.step(nothing(), now);
    assert_eq!(duty.due(now), Due::Never);
}

#[tokio::test(start_paused = true)]
async fn what_hinders_a_delivery_on_this_side_makes_ever_longer_pauses_and_no_end() {
    let mut now = Instant::now();
    let hindered = || ended(1, Ended::Hindered { why: "no port".to_owned() });
    let mut duty = after(now, [Input::Wanted(Some(set(1))), nothing()]);
    for pause in [10, 20, 40, 80, 160, 320, 600, 600, 600] {
        duty.step(Input::Started, now);
        duty.step(hindered(), now);
        assert_eq!(duty.due(now), Due::At(now + Duration::from_secs(pause)));
        assert!(!duty.standing().is_failure());
        assert_eq!(duty.hindrance(), Some("no port"));
        now += Duration::from_secs(pause);
    }
    duty.step(nothing(), now);
    duty.step(Input::Started, now);
    duty.step(hindered(), now);
    duty.step(nothing(), now);
    assert_ne!(duty.due(now), Due::Now, "it would be in vain once more");
    duty.step(Input::Started, now + LONGEST_PAUSE);
    duty.step(ended(1, failed()), now + LONGEST_PAUSE);
    assert_eq!((duty.hindrance(), duty.failures), (None, 1), "none of it was the device's");
}

#[tokio::test(start_paused = true)]
async fn a_device_that_announces_itself_is_tried_at_once_after_a_hindrance_or_two() {
    let now = Instant::now();
    let mut duty = after(now, [Input::Wanted(Some(set(1))), nothing()]);
    for _ in 1..LIMIT {
        duty.step(Input::Started, now);
        duty.step(ended(1, Ended::Hindered { why: "no broker".to_owned() }), now);
        assert_ne!(duty.due(now), Due::Now);
        duty.step(nothing(), now);
        assert_eq!(duty.due(now), Due::Now);
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_one_wake_goes_on_in_the_next() {
    let now = Instant::now();
    let mut duty = after(now, [Input::Wanted(Some(set(1))), nothing()]);
    for _ in 0..20 {
        duty.step(Input::Started, now);
        duty.step(Input::Ended(End { set: set(1), result: failed(), advanced: true, booted: false }), now);
        assert_ne!(duty.due(now), Due::Now);
        duty.step(nothing(), now);
        assert_eq!(duty.due(now), Due::Now);
    }
}

#[tokio::test(start_paused = true)]
async fn a_sleeping_device_is_no_failure_and_is_due_when_it_wakes() {
    let now = Instant::now();
    let nobody = || Ended::NobodyCame { why: "nobody connected".to_owned() };
    for result in [Ended::NotThere, nobody()] {
        let mut duty = after(now, [announces("v=1|set=-", false), Input::Wanted(Some(set(1)))]);
        for _ in 0..20 {
            duty.step(Input::Started, now);
            duty.step(ended(1, result.clone()), now);
            assert_eq!((duty.standing(), duty.due(now)), (Standing::Asleep, Due::Never));
            duty.step(Input::Wanted(None), now);
            duty.step(Input::Wanted(Some(set(1))), now);
            assert_eq!(duty.due(now), Due::Now, "it may have woken");
        }
        duty.step(Input::Started, now);
        duty.step(ended(1, result), now);
        duty.step(nothing(), now);
        assert_eq!(duty.due(now), Due::Now);
    }
    // A device that is awake and does not come has another reason.
    let mut duty = after(now, [Input::Wanted(Some(set(1))), nothing(), Input::Started]);
    duty.step(ended(1, nobody()), now + Duration::from_secs(30));
    assert!(matches!(duty.standing(), Standing::Failing { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_changes_during_a_delivery_is_delivered_next() {
    let now = Instant::now();
    let hindered = Ended::Hindered { why: String::new() };
    for result in
        [Ended::Installed, failed(), Ended::Failed { why: String::new(), may_pass: false }, hindered]
    {
        let start = [Input::Wanted(Some(set(1))), nothing(), Input::Started, Input::Wanted(Some(set(2)))];
        let mut duty = after(now, start);
        assert_eq!(duty.due(now), Due::Never);
        duty.step(ended(1, result), now);
        assert_eq!(duty.due(now), Due::Now, "{duty:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_without_sets_is_in_step_by_its_word() {
    let now = Instant::now();
    let plain = || announces("v=1|client=x", true);
    let mut duty = after(now, [Input::Wanted(Some(set(1))), plain(), Input::Started]);
    duty.step(ended(1, Ended::Installed), now);
    assert_eq!(duty.standing(), Standing::Rebooting);
    duty.step(plain(), now);
    assert_eq!(duty.standing(), Standing::InStep);
    duty.step(plain(), now);
    assert_eq!(duty.standing(), Standing::InStep);
}

#[tokio::test(start_paused = true)]
async fn what_another_keeper_left_alone_is_left_alone() {
    let now = Instant::now();
    let remembered = || Input::Remembered { set: set(1), why: "full".to_owned() };
    let mut duty = after(now, [nothing(), Input::Wanted(Some(set(1))), remembered()]);
    assert_eq!(duty.standing(), Standing::LeftAlone { why: "full".to_owned() });
    duty.step(Input::Wanted(Some(set(2))), now);
    duty.step(remembered(), now);
    assert_eq!(duty.due(now), Due::Now);
}

#[tokio::test(start_paused = true)]
async fn a_device_that_wakes_while_the_broker_says_that_it_is_not_there_is_due_at_once() {
    let now = Instant::now();
    let mut duty = after(now, [announces("v=1|set=-", false), Input::Wanted(Some(set(1))), Input::Started]);
    let later = now + Duration::from_millis(1);
    duty.step(nothing(), later);
    duty.step(ended(1, Ended::NotThere), later);
    assert_eq!(duty.due(later), Due::Now);
    duty.step(Input::Started, later);
    duty.step(ended(1, Ended::NotThere), later);
    assert_eq!(duty.standing(), Standing::Asleep, "it says nothing new");
}

#[tokio::test(start_paused = true)]
async fn a_device_that_wakes_before_it_is_understood_that_it_broke_off_goes_on_at_once() {
    let now = Instant::now();
    for (advanced, due) in [(true, Due::Now), (false, Due::At(now + Duration::from_millis(10_001)))] {
        let mut duty = after(now, [Input::Wanted(Some(set(1))), nothing(), Input::Started]);
        let later = now + Duration::from_millis(1);
        duty.step(nothing(), later);
        duty.step(Input::Ended(End { set: set(1), result: failed(), advanced, booted: false }), later);
        assert_eq!(duty.due(later), due);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_device_has_on_trial_is_not_confirmed() {
    let now = Instant::now();
    let on_trial = announces(&format!("v=1|set={}|boots=1", set(1)), true);
    let mut duty = after(now, [Input::Wanted(Some(set(1))), on_trial]);
    assert_eq!((duty.standing(), duty.due(now)), (Standing::Rebooting, Due::Never));
    duty.step(has(1), now);
    assert_eq!(duty.standing(), Standing::InStep);
}

/// Returns an announcement of a set taken back for want of a network.
fn taken_back_offline(number: u8) -> Input {
    announces(&format!("v=1|set=-|rolled-back={}|error=no-network in 3 boots", set(number)), true)
}

#[tokio::test(start_paused = true)]
async fn a_set_that_was_taken_back_for_want_of_a_network_is_given_once_more() {
    let now = Instant::now();
    let start = [Input::Wanted(Some(set(1))), nothing(), Input::Started, ended(1, Ended::Installed)];
    let mut duty = after(now, start);
    duty.step(taken_back_offline(1), now);
    assert_eq!(duty.due(now), Due::Now);
    assert!(!duty.standing().is_failure());
    let why = "no-network in 3 boots: taken back, and sent once more";
    assert_eq!(duty.standing(), Standing::Failing { why: why.to_owned() });
    // The device has gone again, and that attempt does not count.
    for input in [Input::Started, ended(1, Ended::NotThere)] {
        duty.step(input, now);
    }
    assert_eq!((duty.standing(), duty.due(now)), (Standing::Asleep, Due::Never));
    duty.step(taken_back_offline(1), now);
    for input in [Input::Started, TAKING, ended(1, failed())] {
        duty.step(input, now);
    }
    assert!(matches!(duty.due(now), Due::At(_)) && !duty.was_given_again(set(1)), "its link broke");
    for input in [Input::Started, TAKING, TAKEN] {
        duty.step(input, now);
    }
    assert!(duty.was_given_again(set(1)), "it is noted at once");
    duty.step(ended(1, Ended::Installed), now);
    assert_eq!(duty.standing(), Standing::Rebooting, "what it has announced is older");
    let mut works = after(now, []);
    std::mem::swap(&mut works, &mut duty);
    works.step(has(1), now);
    assert_eq!(works.standing(), Standing::InStep);
    let again = [Input::Wanted(Some(set(1))), taken_back_offline(1), Input::Started, TAKING, TAKEN];
    let mut duty = after(now, again);
    duty.step(ended(1, Ended::Installed), now);
    // The device may have lost its network again, and reports itself if it has not.
    let late = now + LONG_BOOT;
    assert_eq!(duty.due(now), Due::At(late));
    assert!(duty.grows_late(late));
    assert_eq!(duty.due(now + LONGEST_BOOT), Due::Never);
    duty.step(taken_back_offline(1), now);
    assert!(matches!(duty.standing(), Standing::RolledBack { .. }));
    assert_eq!(duty.due(now), Due::Never);
}

#[tokio::test(start_paused = true)]
async fn what_was_given_once_more_is_remembered_and_what_was_taken_back_otherwise_is_not_given() {
    let now = Instant::now();
    let given = Input::GivenAgain { set: set(1) };
    let duty = after(now, [given, Input::Wanted(Some(set(1))), taken_back_offline(1)]);
    assert_eq!(duty.due(now), Due::Never);
    let duty = after(now, [Input::Wanted(Some(set(1))), taken_back(1)]);
    assert_eq!(duty.due(now), Due::Never);
    // The rollback may be reported at the end of the first delivery, and of the second.
    let offline = || Ended::RolledBack { why: "no-network in 3 boots".to_owned() };
    let first = [Input::Wanted(Some(set(1))), nothing(), Input::Started, taken_back_offline(1)];
    let mut duty = after(now, first);
    duty.step(ended(1, offline()), now);
    assert_eq!(duty.due(now), Due::Now);
    duty.step(Input::Started, now);
    duty.step(ended(1, offline()), now);
    assert_eq!(duty.due(now), Due::Never);
    // A device that does not announce the rollback is not given the set without end.
    let mut duty = after(now, [Input::Wanted(Some(set(1))), nothing(), Input::Started]);
    duty.step(ended(1, offline()), now);
    assert_eq!(duty.due(now), Due::Never);
}

#[tokio::test(start_paused = true)]
async fn after_the_connection_was_lost_a_device_may_be_awake_or_back() {
    let now = Instant::now();
    let mut duty = after(now, [nothing(), Input::Wanted(Some(set(1))), Input::Started]);
    duty.step(ended(1, Ended::NotThere), now);
    duty.step(Input::Missed, now);
    assert_eq!(duty.due(now), Due::Now);
    let plain = || announces("v=1|client=x", false);
    let mut duty = after(now, [Input::Wanted(Some(set(1))), plain(), Input::Started]);
    duty.step(ended(1, Ended::Installed), now);
    duty.step(Input::Missed, now);
    assert_eq!(duty.standing(), Standing::InStep);
}

/// Generates inputs. `None`: time passes.
fn any_input() -> impl Strategy<Value = Option<Input>> {
    let number = || 1_u8..4;
    let result = prop_oneof![
        Just(Ended::Installed),
        Just(Ended::Unchanged),
        Just(Ended::RolledBack { why: String::new() }),
        Just(Ended::NotThere),
        Just(Ended::NobodyCame { why: String::new() }),
        Just(Ended::Busy),
        Just(Ended::GaveWay),
        any::<bool>().prop_map(|may_pass| Ended::Failed { why: String::new(), may_pass }),
        Just(Ended::Hindered { why: String::new() }),
    ];
    let input = prop_oneof![
        proptest::option::of(number()).prop_map(|number| Input::Wanted(number.map(set))),
        number().prop_map(has),
        number().prop_map(taken_back),
        number().prop_map(taken_back_offline),
        number().prop_map(|number| Input::GivenAgain { set: set(number) }),
        Just(nothing()),
        Just(announces("v=1|set=-", false)),
        Just(announces("v=1", true)),
        number().prop_map(|number| Input::Remembered { set: set(number), why: String::new() }),
        Just(Input::Missed),
        Just(Input::Withdrawn),
        any::<bool>().prop_map(|installed| Input::Taking { installed }),
        Just(Input::Started),
        (number(), result, any::<[bool; 2]>()).prop_map(|(number, result, [advanced, booted])| {
            Input::Ended(End { set: set(number), result, advanced, booted })
        }),
    ];
    prop_oneof![1 => Just(None), 12 => input.prop_map(Some)]
}

proptest! {
    #[test]
    fn property_nothing_is_sent_that_is_there_or_was_taken_back_and_failures_come_to_an_end(
        inputs in proptest::collection::vec(any_input(), 0..60)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let _guard = runtime.enter();
        let mut now = Instant::now();
        let mut duty = Duty::new(LIMIT);
        let (mut wanted, mut said, mut receiving) = (None, None::<Announcement>, false);
        for input in inputs {
            let Some(input) = input else {
                now += Duration::from_secs(90);
                duty.grows_late(now);
                continue;
            };
            // A delivery begins only where one is due, and ends only where one has begun.
            match &input {
                Input::Started if duty.due(now) == Due::Never || receiving => continue,
                Input::Ended(_) if !receiving => continue,
                Input::Started => receiving = true,
                Input::Ended(_) => receiving = false,
                Input::Wanted(set) => wanted = *set,
                Input::Announced { announcement, .. } => said = Some(announcement.clone()),
                Input::Withdrawn => said = None,
                Input::GivenAgain { .. }
                | Input::Taking { .. }
                | Input::Remembered { .. }
                | Input::Told { .. }
                | Input::Missed => {}
            }
            duty.step(input, now);
            if duty.due(now) != Due::Never {
                let said = said.as_ref().expect("a device that was never heard of is due");
                prop_assert!(wanted.is_some() && !receiving);
                prop_assert_ne!(said.set.and_then(InstalledSet::digest), wanted);
                // A device that is waited for is due for a look at the clock.
                let is_again = duty.given_again == wanted && duty.standing() != Standing::Rebooting;
                prop_assert!(said.rolled_back != wanted || said.had_no_network() && !is_again);
            }
            prop_assert!(duty.failures <= LIMIT, "{:?}", duty);
        }
    }
}
