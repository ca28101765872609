//! Which offer a device's answer is about: an earlier one may be answered late.

use std::thread;

use mqtt_ota_integration::{
    DemoDevice, GUARD, Interpreter, RawDevice, RawOffer, Scene, SetDevice, SilentPort, thorough,
};

const NAME: &str = "NIGHTLAMP";
const PLAIN: &str = "v=1|client=raw 0|sys=test 0|addr=127.0.0.1|free=1000000|hash=sha1";

/// What a device of one kind answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It takes plain offers.
    Plain,
    /// It takes extended offers, and names none in its answers, as version 0.1.
    Nameless,
    /// It names the offer.
    Naming,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Plain, Self::Nameless, Self::Naming];

    fn device(self, scene: &Scene) -> RawDevice {
        let device = RawDevice::join(&scene.broker, NAME);
        device.announce_as(&format!("{PLAIN}{}", if self == Self::Plain { "" } else { "|set=-" }));
        device
    }

    fn says(self, device: &RawDevice, state: &str, offer: &RawOffer, detail: &str) {
        let gap = if detail.is_empty() { "" } else { " " };
        let detail = match self {
            Self::Plain => detail.to_owned(),
            Self::Nameless if state == "receiving" => offer.id().to_owned(),
            Self::Nameless => detail.to_owned(),
            Self::Naming => format!("{detail}{gap}id={}", offer.id()),
        };
        device.report(state, offer, &detail);
    }

    fn installs(self, device: &RawDevice, offer: &RawOffer) {
        self.says(device, "receiving", offer, "");
        let mut link = offer.connect();
        if self == Self::Plain {
            assert_eq!(link.read_to_end(), b"x = 1\n");
        } else {
            link.write(format!("{} 0-0 0\n", offer.id()).as_bytes());
            assert_eq!(link.read(6), b"x = 1\n");
        }
        drop(link);
        self.says(device, "installed", offer, "");
    }
}

#[test]
fn the_failure_of_an_offer_that_was_given_up_is_not_the_answer_to_the_right_one() {
    for kind in Kind::ALL {
        let scene = Scene::new();
        let device = kind.device(&scene);
        let file = scene.file("main.py", "x = 1\n");
        let (wrong, _home) = scene.send(&file, NAME).args(["--advertise", "10.9.9.9:9"]).start();
        let old = device.offer();
        kind.says(&device, "receiving", &old, "");
        wrong.interrupt();
        wrong.wait().assert_status(130);

        let (right, _home) = scene.send(&file, NAME).args(["--retries", "2", "--json"]).start();
        let new = device.offer();
        // It has just found out.
        kind.says(&device, "failed", &old, "connect 10.9.9.9:9 ETIMEDOUT");
        kind.installs(&device, &new);
        let sent = right.wait();
        let result = sent.assert_status(0).result();
        assert_eq!(
            (&result["outcome"], &result["attempts"]),
            (&"installed".into(), &1.into()),
            "{kind:?} {sent:?}"
        );
        device.assert_no_offer();
    }
}

#[test]
fn the_failure_of_one_of_two_senders_is_not_that_of_the_other() {
    for kind in [Kind::Nameless, Kind::Naming] {
        let scene = Scene::new();
        let device = kind.device(&scene);
        let file = scene.file("main.py", "x = 1\n");
        let (one, _home) = scene.send(&file, NAME).start();
        let first = device.offer();
        let (two, _home) = scene.send(&file, NAME).start();
        let second = device.offer();
        kind.says(&device, "receiving", &first, "");
        kind.says(&device, "failed", &first, "short after 3 bytes");
        one.wait().assert_status(1).assert_error("short");
        kind.installs(&device, &second);
        two.wait().assert_status(0).assert_mentions("installed");
    }
}

#[test]
fn an_answer_to_an_earlier_try_of_the_same_delivery_counts_and_its_failure_does_not() {
    let scene = Scene::new();
    let device = Kind::Naming.device(&scene);
    let file = scene.file("main.py", "x = 1\n");
    let (sending, _home) = scene.send(&file, NAME).args(["--retries", "1"]).start();
    let first = device.offer();
    Kind::Naming.says(&device, "failed", &first, "timeout after 3 bytes");
    device.offer();
    Kind::Naming.says(&device, "failed", &first, "short after 3 bytes");
    Kind::Naming.says(&device, "installed", &first, "");
    sending.wait().assert_status(0).assert_mentions("installed");
}

/// It takes as long as the client waits for a connection: ten seconds; and three times as long where it takes extended
/// offers, as it tries more than once.
#[test]
fn a_real_device_that_still_tries_the_wrong_address_gets_the_right_offer_next() {
    let scene = Scene::new();
    let roots = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let _plain = DemoDevice::boot(Interpreter::MicroPython, &scene.broker, "PLAIN", roots[0].path());
    let _extended = thorough()
        .then(|| SetDevice::boot(Interpreter::MicroPython, &scene.broker, "EXTENDED", roots[1].path()));
    let file = scene.file("data.txt", "x = 1\n");
    let nowhere = SilentPort::take();
    let advertise = format!("127.0.0.1:{}", nowhere.port());
    let names = if thorough() { &["PLAIN", "EXTENDED"][..] } else { &["PLAIN"] };
    thread::scope(|scope| {
        for name in names {
            scope.spawn(|| {
                let (wrong, _home) =
                    scene.send(&file, name).args(["--advertise", &advertise, "--json"]).start();
                wrong.stdout().wait_for("\"receiving\"");
                wrong.interrupt();
                wrong.wait().assert_status(130);
                let right = scene.send(&file, name).args(["--retries", "2", "--json", "--no-reboot"]);
                let right = right.args(["--connect-timeout", "2m", "--advertise", "127.0.0.1"]);
                let right = right.finish_within(GUARD * 2);
                let result = right.assert_status(0).result();
                let got = (&result["outcome"], &result["attempts"]);
                assert_eq!(got, (&"installed".into(), &1.into()), "{right:?}");
            });
        }
    });
}
