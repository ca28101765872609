//! The template that a newcomer copies: as it is but for its settings, on a board. It is updated, by file and as a folder,
//! and comes back from what a newcomer does wrong.

use std::fs;
use std::path::PathBuf;

use mqtt_ota_integration::{
    Board, Client, FileSystem, Finished, Process, Scene, companion, copy_template, install_companion,
};
use tempfile::TempDir;

const NAME: &str = "NIGHTLAMP";

struct Home {
    scene: Scene,
    board: Board,
    client: Client,
    /// The user's copy of the template.
    folder: PathBuf,
}

impl Home {
    fn new() -> Self {
        let scene = Scene::new();
        let client = Client::connect(&scene.broker, "listener");
        client.subscribe("NIGHTLAMP/#");
        let folder = scene.folder().join("nightlamp");
        copy_template(&folder, &scene.broker, NAME);
        let files = tempfile::tempdir().unwrap();
        install_companion(&files.path().join("lib"));
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, files.path().join(path.file_name().unwrap())).unwrap();
        }
        let mut board = Board::flash_folder(FileSystem::Lfs2, files.path());
        board.boot();
        let home = Self { scene, board, client, folder };
        assert!(home.heard("/OTA/device").contains("|set=-"));
        home
    }

    /// The next message on a topic that ends so.
    fn heard(&self, topic: &str) -> String {
        let message = std::iter::repeat_with(|| self.client.next()).find(|it| it.topic.ends_with(topic));
        message.unwrap().text()
    }

    /// Changes a file of the user's.
    fn changes(&self, file: &str, old: &str, new: &str) {
        let path = self.folder.join(file);
        let source = fs::read_to_string(&path).unwrap();
        assert!(source.contains(old), "{old}");
        fs::write(&path, source.replace(old, new)).unwrap();
    }

    /// The file as the template has it.
    fn restores(&self, file: &str) {
        fs::copy(companion().join("template").join(file), self.folder.join(file)).unwrap();
    }

    fn sends(&self, file: &str) -> (Process, TempDir) {
        self.scene.send(self.folder.join(file), NAME).arg("--wait-boot").start()
    }

    fn syncs(&self) -> (Process, TempDir) {
        self.scene.command("sync").arg(&self.folder).args(["--to", NAME, "--wait-boot"]).start()
    }

    /// Boots as often as the board resets itself, until the application says this; returns what it printed before.
    fn boots_until(&mut self, words: &str) -> String {
        let mut printed = self.board.resets();
        for _ in 0..12 {
            if self.board.tries_to_come_up(words) {
                return printed;
            }
            printed += &self.board.resets();
        }
        panic!("it resets itself again and again: {printed}");
    }

    /// The set that is being sent is taken back by the board itself.
    #[track_caller]
    fn is_taken_back(&mut self, syncing: (Process, TempDir)) -> Finished {
        self.boots_until("NIGHTLAMP is ready");
        let synced = syncing.0.wait();
        synced.assert_status(1).assert_mentions("rolled back");
        synced
    }
}

const READY: &str = "print(NAME, \"is ready\")";

#[test]
fn it_runs_and_is_updated_by_file_and_as_a_folder() {
    let mut home = Home::new();
    assert!(home.heard("/free").parse::<u32>().unwrap() > 0);
    home.client.publish("NIGHTLAMP/say", "good evening");
    home.board.process().stdout().wait_for("good evening");

    home.changes("app.py", READY, "print(NAME, \"2 is ready\")");
    let (sending, _home) = home.sends("app.py");
    home.boots_until("NIGHTLAMP 2 is ready");
    sending.wait().assert_status(0).assert_mentions("app.py installed").assert_mentions("back online");

    // All files, with the board's boot.py and settings among them, as they are.
    home.changes("app.py", "2 is ready", "3 is ready");
    let (syncing, _home) = home.syncs();
    home.boots_until("NIGHTLAMP 3 is ready");
    let synced = syncing.wait();
    synced.assert_status(0).assert_mentions("back online");
    assert!(!synced.stderr.contains("warning"), "{synced:?}");
    let confirmed = |text: &String| !text.contains("|boots=") && !text.contains("|set=-");
    std::iter::repeat_with(|| home.heard("/OTA/device")).find(confirmed).unwrap();
    let (again, _home) = home.syncs();
    again.wait().assert_status(0).assert_mentions("unchanged");
}

#[test]
fn it_survives_a_broker_that_goes_away() {
    let mut home = Home::new();
    home.scene.broker.stop();
    home.board.process().stdout().wait_for("Errno");
    home.scene.broker.start_again();
    home.client = Client::connect(&home.scene.broker, "listener");
    home.client.subscribe("NIGHTLAMP/#");
    while !home.heard("/OTA/device").starts_with("v=1|") {}
    home.client.publish("NIGHTLAMP/say", "back again");
    home.board.process().stdout().wait_for("back again");
}

#[test]
fn a_mistake_in_it_is_told_and_the_next_file_repairs_the_board() {
    for (right, wrong, cause) in [
        ("import time", "import time, this is no Python", "SyntaxError"),
        ("import time", "import time, no_module", "no module named 'no_module'"),
        ("    ota.start()", "    ota.begin()", "object has no attribute 'begin'"),
        // Where the sender takes it for running.
        (READY, "print(NAME, \"lives\"); 1 / 0", "ZeroDivisionError"),
    ] {
        let mut home = Home::new();
        home.changes("app.py", right, wrong);
        let sending = home.scene.send(home.folder.join("app.py"), NAME).args(["--wait-boot", "--no-check"]);
        let (sending, _home) = sending.start();
        home.boots_until("is not run until an update comes");
        assert!(home.heard("/OTA/crash").contains(cause), "{cause}");
        while !home.heard("/OTA/device").contains("|safe=1") {}
        sending.wait().assert_mentions(if right == READY { "back online" } else { cause });
        let devices = home.scene.command("devices").finish();
        devices.assert_status(0).assert_mentions("safe mode").assert_mentions(cause);

        home.restores("app.py");
        let (sending, _home) = home.sends("app.py");
        home.boots_until("NIGHTLAMP is ready");
        sending.wait().assert_status(0).assert_mentions("back online");
        assert_eq!(home.heard("/OTA/crash"), "", "it is told no longer");
    }
}

#[test]
fn a_folder_with_a_mistake_is_taken_back_whichever_of_its_files_it_is_in() {
    for file in ["app.py", "wifi.py", "broker.py", "settings.py"] {
        let mut home = Home::new();
        let source = fs::read_to_string(home.folder.join(file)).unwrap();
        fs::write(home.folder.join(file), "1 / 0\n".to_owned() + &source).unwrap();
        let syncing = home.syncs();
        home.is_taken_back(syncing).assert_mentions("ZeroDivisionError");
    }
}

/// Nothing watches over this one but the timer that resets a board on trial.
#[test]
fn a_folder_with_a_mistake_in_its_main_py_is_taken_back_after_its_time() {
    let mut home = Home::new();
    home.changes("boot.py", "boot(connect", "boot(patience=2, connect");
    let (syncing, _home) = home.syncs();
    home.boots_until("NIGHTLAMP is ready");
    syncing.wait().assert_status(0);
    let source = fs::read_to_string(home.folder.join("main.py")).unwrap();
    fs::write(home.folder.join("main.py"), "1 / 0\n".to_owned() + &source).unwrap();
    let syncing = home.syncs();
    home.is_taken_back(syncing).assert_mentions("no-network");
}
