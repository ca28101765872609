//! What a device says that has taken a set back, and what follows.

use mqtt_ota_integration::{House, Keeper, RawDevice, RawOffer};

const LAMP: &str = "NIGHTLAMP";
const SETS: &str = "v=1|client=new 1|addr=127.0.0.1|hash=sha1|set=-|extended=1|answers=1";

#[test]
fn a_device_that_gets_an_offer_again_whose_set_it_has_taken_back_ends_the_wait() {
    let house = House::new();
    house.has("NIGHTLAMP/main.py", "x = 1\n");
    let device = house.device(LAMP, SETS);
    // It would be waited for, and tried, for longer than the test may take.
    let patient = ["--connect-timeout", "5m", "--retries", "5", "--wait-boot"];
    let sync = house.scene.command("sync").arg(house.folder().join(LAMP)).args(["--to", LAMP]).args(patient);
    let (syncing, _home) = sync.start();
    let offer = device.offer();
    device.report("rolled-back", &offer, &format!("ImportError: no module named lamp id={}", offer.id()));
    let synced = syncing.wait();
    synced.assert_status(1).assert_error("rolled back").assert_error("(ImportError: no module named lamp)");
    device.assert_no_offer();

    let keeper = house.keeper(&[]);
    let offer = device.offer();
    device.report("rolled-back", &offer, &format!("ImportError: no module named lamp id={}", offer.id()));
    keeper.says("rolled back");
    house.status().assert_status(1).assert_mentions("no module named lamp");
    device.assert_no_offer();
}

/// Takes a set.
fn installs(device: &RawDevice, offer: &RawOffer) {
    device.report("receiving", offer, &format!("id={}", offer.id()));
    device.report("installed", offer, &format!("id={}", offer.id()));
}

/// Takes a set, which the keeper knows by then, and takes it back again after boots of its own.
fn keeps_not(keeper: &Keeper, times: usize, device: &RawDevice, offer: &RawOffer, why: &str) {
    installs(device, offer);
    let knows = |said: &str| (said.matches("rebooting").count() == times).then_some(());
    keeper.process.stderr().wait_until("it is installed", knows);
    device.announce_as(&format!("{SETS}|rolled-back={}|error={why}", offer.hash));
}

/// Takes a set, and takes it back again.
fn takes_back(device: &RawDevice, offer: &RawOffer, why: &str) {
    installs(device, offer);
    device.announce_as(&format!("{SETS}|rolled-back={}|error={why}", offer.hash));
}

#[test]
fn a_set_that_was_taken_back_for_want_of_a_network_is_sent_once_more_and_no_third_time() {
    let house = House::new();
    house.has("NIGHTLAMP/main.py", "x = 1\n");
    let device = house.device(LAMP, SETS);
    let keeper = house.keeper(&["--stop-after", "1"]);
    let first = device.offer();
    keeps_not(&keeper, 1, &device, &first, "no-network in 2 boots");
    keeper.says("it is sent once more, as the device had no network");
    let second = device.offer();
    assert!(second.hash == first.hash && second.id() != first.id(), "{second:?}");
    house.status().assert_status(1).assert_mentions("no-network in 2 boots: taken back, and sent once more");
    // A keeper that is killed meanwhile knows what it has done, once that is done.
    keeps_not(&keeper, 2, &device, &second, "no-network in 2 boots");
    let again = "no-network in 2 boots, when it was sent once more as well";
    while !house.status().stdout.contains(again) {}
    keeper.process.kill();
    let keeper = house.keeper(&["--stop-after", "1"]);
    keeper.says("nobody is given anything");
    device.announce_as(&format!("{SETS}|rolled-back={}|error=no-network in 2 boots", first.hash));
    house.status().assert_status(1).assert_mentions(again);
    device.assert_no_offer();
    // Another set has nothing to do with it.
    house.has("NIGHTLAMP/main.py", "x = 2\n");
    assert_ne!(device.offer().hash, first.hash);
}

#[test]
fn who_waits_for_a_set_is_told_that_it_was_taken_back_for_want_of_a_network() {
    let house = House::new();
    house.has("NIGHTLAMP/main.py", "x = 1\n");
    let device = house.device(LAMP, SETS);
    let sync = house.scene.command("sync").arg(house.folder().join(LAMP)).args(["--to", LAMP]);
    let (syncing, _home) = sync.arg("--wait-boot").start();
    takes_back(&device, &device.offer(), "no-network in 2 boots");
    let synced = syncing.wait();
    synced.assert_status(1).assert_error("(no-network in 2 boots)").assert_hint("need not be at fault");
}

#[test]
fn who_waits_for_a_set_waits_until_it_is_confirmed() {
    for (becomes, status, words) in [
        ("set={}", 0, "back online"),
        ("set=-|rolled-back={}|error=it crashed", 1, "rolled back"),
        ("", 1, "has not confirmed the set yet"),
    ] {
        let house = House::new();
        house.has("NIGHTLAMP/main.py", "x = 1\n");
        let device = house.device(LAMP, SETS);
        let sync = house.scene.command("sync").arg(house.folder().join(LAMP)).args(["--to", LAMP]);
        // Only the last case waits for so long.
        let (syncing, _home) = sync.args(["--wait-boot", "--boot-timeout", "4s"]).start();
        let offer = device.offer();
        installs(&device, &offer);
        let announces =
            |set: &str| device.announce_as(&SETS.replace("set=-", &set.replace("{}", &offer.hash)));
        announces("set={}|boots=1");
        if !becomes.is_empty() {
            announces(becomes);
        }
        let synced = syncing.wait();
        synced.assert_status(status);
        assert!((synced.stdout.clone() + &synced.stderr).contains(words), "{synced:?}");
    }
}

#[test]
fn who_waits_for_a_set_that_is_on_trial_already_waits_until_it_is_confirmed() {
    let house = House::new();
    house.has("NIGHTLAMP/main.py", "x = 1\n");
    let device = house.device(LAMP, SETS);
    let sync = || house.scene.command("sync").arg(house.folder().join(LAMP)).args(["--to", LAMP]);
    let (syncing, _home) = sync().start();
    let offer = device.offer();
    installs(&device, &offer);
    syncing.wait().assert_status(0);
    let announces = |set: &str| device.announce_as(&SETS.replace("set=-", &set.replace("{}", &offer.hash)));
    announces("set={}|boots=1");
    let (syncing, _home) = sync().arg("--wait-boot").start();
    let again = device.offer();
    device.report("installed", &again, &format!("unchanged id={}", again.id()));
    announces("set=-|rolled-back={}|error=it crashed");
    syncing.wait().assert_status(1).assert_error("rolled back");
}
