use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::board::{Board, FileSystem};
use crate::client::Client;
use crate::command::MqttOta;
use crate::companion::{companion, copy_template, install_companion};
use crate::process::Process;
use crate::scene::Scene;

const NAME: &str = "NIGHTLAMP";
const APPLICATION: &str = "micropython/apps/simple.py";
/// Number of boots in a row after which the board must be up. A set without a network has ten.
const BOOTS: usize = 13;

/// Device `NIGHTLAMP`, which takes sets, with its broker, a client that listens to it, and the folder that it is sent.
#[derive(Debug)]
pub struct Lamp {
    /// Broker, and the commands pointed at it.
    pub scene: Scene,
    /// Board, which runs.
    pub board: Board,
    /// Client that is subscribed to all that comes from the device.
    pub listener: Client,
    /// Folder that the user sends.
    pub folder: PathBuf,
}

impl Lamp {
    /// Boots a lamp with the tests' application as its `main.py`, and this `boot.py`.
    pub fn with_boot(boot: &str) -> Self {
        let scene = Scene::new();
        let board = Board::flash(FileSystem::Lfs2, APPLICATION, &scene.broker, NAME, "");
        board.put("boot.py", boot);
        let folder = scene.folder().join("nightlamp");
        fs::create_dir_all(&folder).expect("a folder");
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(APPLICATION), folder.join("main.py"))
            .expect("a file");
        Self::comes_up(scene, board, folder)
    }

    /// Boots a lamp made from the template, with some changes. Each names a file, a text in it, and the replacement.
    pub fn of_template(changes: &[(&str, &str, &str)]) -> Self {
        let scene = Scene::new();
        let folder = scene.folder().join("nightlamp");
        copy_template(&folder, &scene.broker, NAME);
        for (file, old, new) in changes {
            change(&folder.join(file), old, new);
        }
        let files = tempfile::tempdir().expect("a temporary folder");
        install_companion(&files.path().join("lib"));
        for entry in fs::read_dir(&folder).expect("the folder") {
            let path = entry.expect("an entry").path();
            fs::copy(&path, files.path().join(path.file_name().expect("a file"))).expect("a file");
        }
        let board = Board::flash_folder(FileSystem::Lfs2, files.path());
        Self::comes_up(scene, board, folder)
    }

    fn comes_up(scene: Scene, mut board: Board, folder: PathBuf) -> Self {
        let listener = listener(&scene);
        board.boot();
        let lamp = Self { scene, board, listener, folder };
        assert!(lamp.heard("/OTA/device").contains("|set=-"));
        lamp
    }

    /// Waits for the next message on a topic that ends with `topic`, and returns its text.
    pub fn heard(&self, topic: &str) -> String {
        let messages = std::iter::repeat_with(|| self.listener.next());
        messages.into_iter().find(|message| message.topic.ends_with(topic)).expect("there is no end").text()
    }

    /// Waits for an announcement of which `is` is true, and returns it.
    pub fn announces(&self, is: impl Fn(&str) -> bool) -> String {
        std::iter::repeat_with(|| self.heard("/OTA/device")).find(|text| is(text)).expect("there is no end")
    }

    /// Waits until the device has a set that is confirmed.
    pub fn confirms(&self) {
        self.announces(|text| {
            text.contains("|set=") && !text.contains("|set=-") && !text.contains("|boots=")
        });
    }

    /// Replaces a text in one of the user's files.
    #[track_caller]
    pub fn changes(&self, file: &str, old: &str, new: &str) {
        change(&self.folder.join(file), old, new);
    }

    /// Writes one of the user's files.
    pub fn writes(&self, file: &str, text: &str) {
        let path = self.folder.join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    /// Inserts a text at the beginning of one of the user's files.
    pub fn begins(&self, file: &str, text: &str) {
        let source = fs::read_to_string(self.folder.join(file)).expect("a file");
        self.writes(file, &(text.to_owned() + &source));
    }

    /// Restores one of the user's files from the template.
    pub fn restores(&self, file: &str) {
        fs::copy(companion().join("template").join(file), self.folder.join(file)).expect("a file");
    }

    /// Prepares `mqtt-ota send` of a file.
    pub fn send(&self, file: &str) -> MqttOta {
        self.scene.send(self.folder.join(file), NAME).arg("--wait-boot")
    }

    /// Prepares `mqtt-ota sync` of the folder.
    pub fn sync(&self) -> MqttOta {
        let sync = self.scene.command("sync").arg(&self.folder).args(["--to", NAME, "--wait-boot"]);
        sync.env("MQTT_OTA_RETRIES", "0")
    }

    /// Starts to send a file.
    pub fn sends(&self, file: &str) -> (Process, TempDir) {
        self.send(file).start()
    }

    /// Starts to send the folder.
    pub fn syncs(&self) -> (Process, TempDir) {
        self.sync().start()
    }

    /// Turns the power on, and again after each reset, until the board prints these words. Returns what the board
    /// printed in each boot that ended in a reset.
    #[track_caller]
    pub fn boots_until(&mut self, words: &str) -> Vec<String> {
        let mut printed = Vec::new();
        while !self.board.tries_to_come_up(words) {
            printed.push(self.board.resets());
            assert!(printed.len() < BOOTS, "it resets itself again and again: {printed:?}");
        }
        printed
    }

    /// Stops the broker.
    pub fn loses_its_broker(&mut self) {
        self.scene.broker.stop();
    }

    /// Starts the broker again. What was retained is lost.
    pub fn has_its_broker_again(&mut self) {
        self.scene.broker.start_again();
        self.listener = listener(&self.scene);
    }
}

fn listener(scene: &Scene) -> Client {
    let listener = Client::connect(&scene.broker, "listener");
    listener.subscribe("NIGHTLAMP/#");
    listener
}

#[track_caller]
fn change(path: &Path, old: &str, new: &str) {
    let source = fs::read_to_string(path).expect("a file");
    assert!(source.contains(old), "{}: no {old:?}", path.display());
    fs::write(path, source.replace(old, new)).expect("a file");
}
