//! Devices that note an offer, reboot, and fetch it before their application takes the memory.

use std::time::Duration;

use mqtt_ota_integration::{Client, Endpoint, House, RawDevice, RawOffer, Scene, sha1_hex, thorough};

const LAMP: &str = "NIGHTLAMP";
const PLAIN: &str = "v=1|client=new 1|addr=127.0.0.1|hash=sha1|answers=1";
const FILES: &str = "v=1|client=new 1|addr=127.0.0.1|hash=sha1|answers=1|extended=1";
const SETS: &str = "v=1|client=new 1|addr=127.0.0.1|hash=sha1|answers=1|extended=1|set=-";
/// Limits that a boot exceeds.
const SHORT: [&str; 4] = ["--connect-timeout", "500ms", "--confirm-timeout", "500ms"];
/// Longer than both of them.
const LONG: Duration = Duration::from_millis(1500);

/// A device that is at the broker, or boots.
struct Board<'a, B> {
    broker: &'a B,
    announcement: &'static str,
    device: Option<RawDevice>,
}

impl<'a, B: Endpoint> Board<'a, B> {
    fn boot(broker: &'a B, announcement: &'static str) -> Self {
        let mut board = Self { broker, announcement, device: None };
        board.connects();
        board.device().announce_as(announcement);
        board
    }

    fn device(&self) -> &RawDevice {
        self.device.as_ref().expect("it is at the broker")
    }

    /// Notes the offer that comes next, and reboots.
    fn notes_the_offer(&mut self) -> RawOffer {
        let offer = self.device().offer();
        self.says("receiving", &offer, "at-boot");
        self.device = None;
        offer
    }

    /// Fetches a file, or a set of one, before its application runs.
    fn fetches(&self, offer: &RawOffer) {
        let mut link = offer.connect();
        if !offer.text.contains("|id=") {
            assert_eq!(sha1_hex(&link.read_to_end()), offer.hash);
        } else if offer.file == "set" {
            link.write(format!("{} 0-0 0\n", offer.id()).as_bytes());
            let size = offer.text.split('|').find_map(|field| field.strip_prefix("size=")).unwrap();
            let manifest = String::from_utf8(link.read(size.parse().unwrap())).unwrap();
            let bytes = manifest.split(' ').nth(1).unwrap().parse().unwrap();
            link.write(format!("{} 1-1 0\n", offer.id()).as_bytes());
            link.read(bytes);
        } else {
            link.write(format!("{} 0-0 0\n", offer.id()).as_bytes());
            link.read(6);
        }
    }

    /// Its application runs, and has connected to the broker.
    fn connects(&mut self) {
        self.device = Some(RawDevice::join(self.broker, LAMP));
    }

    fn announces(&self, keys: &str) {
        self.device().announce_as(&format!("{}{keys}", self.announcement));
    }

    fn says(&self, state: &str, offer: &RawOffer, detail: &str) {
        let id = if offer.text.contains("|answers=1") { format!("id={}", offer.id()) } else { String::new() };
        let gap = if detail.is_empty() || id.is_empty() { "" } else { " " };
        self.device().report(state, offer, &format!("{detail}{gap}{id}"));
    }
}

/// Nothing comes from the device for so long.
fn nothing_for(scene: &Scene, time: Duration) {
    let listener = Client::connect(&scene.broker, "listener");
    listener.subscribe("NIGHTLAMP/OTA/status");
    assert!(listener.hears_nothing_for(time).is_none());
}

#[test]
fn a_device_that_fetches_at_its_boot_is_waited_for_however_slow_it_is() {
    for (announcement, is_slow) in
        [(PLAIN, true), (PLAIN, false), (FILES, true), (FILES, false), (SETS, true)]
    {
        let scene = Scene::new();
        let mut board = Board::boot(&scene.broker, announcement);
        let file = scene.file("main.py", "x = 1\n");
        let (sending, _home) = scene.send(&file, LAMP).args(SHORT).arg("--wait-boot").start();
        let offer = board.notes_the_offer();
        sending.stderr().wait_for("NIGHTLAMP fetches it at its boot");
        if is_slow {
            nothing_for(&scene, LONG);
        }
        board.fetches(&offer);
        if is_slow {
            nothing_for(&scene, LONG);
        }
        board.connects();
        board.says("installed", &offer, "");
        board.announces("");
        let sent = sending.wait();
        sent.assert_status(0).assert_mentions("installed").assert_mentions("back online");
        assert_eq!(sent.stdout.lines().count(), 1, "{announcement}: {sent:?}");
    }
}

#[test]
fn a_set_that_is_fetched_at_a_boot_is_on_trial_when_the_device_is_back_and_confirmed_then() {
    // Its word may be lost, and its announcement come first.
    for has_word in [true, false] {
        let scene = Scene::new();
        let mut board = Board::boot(&scene.broker, SETS);
        std::fs::create_dir(scene.folder().join("src")).unwrap();
        scene.file("src/main.py", "x = 1\n");
        let sync = scene.command("sync").args(["src", "--to", LAMP, "--wait-boot", "--json"]).args(SHORT);
        let (syncing, _home) = sync.start();
        let offer = board.notes_the_offer();
        nothing_for(&scene, LONG);
        board.fetches(&offer);
        nothing_for(&scene, LONG);
        board.connects();
        if has_word {
            board.says("installed", &offer, "");
        }
        let has = SETS.replace("set=-", &format!("set={}", offer.hash));
        board.device().announce_as(&format!("{has}|boots=1"));
        board.device().announce_as(&has);
        let synced = syncing.wait();
        let result = synced.assert_status(0).result();
        assert_eq!(
            (&result["outcome"], &result["at_boot"]),
            (&"installed".into(), &true.into()),
            "{synced:?}"
        );
        assert!(result["back_online_after"].is_number(), "{synced:?}");
        assert!(synced.stdout.contains(r#""event":"at-boot""#), "{synced:?}");
    }
}

#[test]
fn a_set_that_does_not_work_after_its_boot_is_told_of() {
    let scene = Scene::new();
    let mut board = Board::boot(&scene.broker, SETS);
    std::fs::create_dir(scene.folder().join("src")).unwrap();
    scene.file("src/main.py", "x = 1\n");
    let (syncing, _home) = scene.command("sync").args(["src", "--to", LAMP]).args(SHORT).start();
    let offer = board.notes_the_offer();
    board.fetches(&offer);
    board.connects();
    board.announces(&format!("|rolled-back={}|error=ImportError: no module", offer.hash));
    syncing.wait().assert_status(1).assert_error("rolled back").assert_error("ImportError");
}

#[test]
fn boots_in_between_are_no_reboot_after_an_installation() {
    for announcement in [PLAIN, FILES] {
        let scene = Scene::new();
        let mut board = Board::boot(&scene.broker, announcement);
        let file = scene.file("main.py", "x = 1\n");
        let (sending, _home) = scene.send(&file, LAMP).args(SHORT).arg("--wait-boot").start();
        let offer = board.notes_the_offer();
        // It had no network at its boot, and its application runs.
        board.connects();
        board.announces("|boots=1");
        let again = board.notes_the_offer();
        assert_eq!(again, offer, "the offer is the same, with the same id");
        board.fetches(&offer);
        // It loses its power before it can say anything, and its connection after it.
        nothing_for(&scene, LONG);
        board.connects();
        board.announces("");
        board.says("installed", &offer, "");
        let sent = sending.wait();
        sent.assert_status(0).assert_mentions("back online");
    }
}

#[test]
fn what_went_wrong_at_the_boot_is_told_and_offered_again() {
    let scene = Scene::new();
    let mut board = Board::boot(&scene.broker, FILES);
    let file = scene.file("main.py", "x = 1\n");
    let (sending, _home) = scene.send(&file, LAMP).args(SHORT).args(["--retries", "1"]).start();
    let offer = board.notes_the_offer();
    board.connects();
    board.says("failed", &offer, "connect at boot: no Wi-Fi");
    board.announces("");
    sending.stderr().wait_for("connect (at boot: no Wi-Fi)");
    // The older one may come once more.
    let next =
        std::iter::repeat_with(|| board.device().offer()).find(|next| next.id() != offer.id()).unwrap();
    board.says("failed", &next, "no-space 10 bytes free");
    sending.wait().assert_status(1).assert_error("no-space");
}

#[test]
fn a_keeper_waits_for_a_device_that_fetches_at_its_boot_and_offers_it_nothing_twice() {
    for (announcement, word_first) in [(FILES, true), (FILES, false), (SETS, true), (SETS, false)] {
        let house = House::new();
        let mut board = Board::boot(&house.scene.broker, announcement);
        house.has("NIGHTLAMP/main.py", "x = 1\n");
        let keeper = house.keeper(&["--connect-timeout", "500ms", "--confirm-timeout", "500ms"]);
        let offer = board.notes_the_offer();
        nothing_for(&house.scene, LONG);
        board.fetches(&offer);
        nothing_for(&house.scene, LONG);
        board.connects();
        let announces = || {
            let set = format!("set={}", offer.hash);
            board.device().announce_as(&announcement.replace("set=-", &set));
        };
        if word_first {
            board.says("installed", &offer, "");
        }
        announces();
        if !word_first {
            board.says("installed", &offer, "");
        }
        keeper.says("fetched at its boot");
        while house.status().status() != Some(0) {}
        assert_eq!(keeper.process.stderr().text().matches("sending set").count(), 1, "{announcement}");
        if word_first {
            board.device().assert_no_offer();
        }
    }
}

#[test]
fn a_device_that_never_comes_back_from_its_boot_is_named() {
    // It takes two minutes.
    if !thorough() {
        return;
    }
    let scene = Scene::new();
    let mut board = Board::boot(&scene.broker, FILES);
    let (sending, _home) =
        scene.send(scene.file("main.py", "x = 1\n"), LAMP).args(["--retries", "2"]).start();
    board.notes_the_offer();
    let sent = sending.wait_for(Duration::from_secs(150));
    sent.assert_status(1).assert_error("rebooted to fetch it").assert_hint("console");
}
