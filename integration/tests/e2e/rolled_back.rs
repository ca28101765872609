//! What a device says that has taken a set back, and what follows.

use mqtt_ota_integration::House;

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
