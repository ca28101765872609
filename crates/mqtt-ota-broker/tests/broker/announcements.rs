use std::fs;
use std::path::{Path, PathBuf};

use mqtt_ota_broker::{Broker, BrokerConfig, BrokerError};
use rumqttc::{Incoming, LastWill, QoS};
use tempfile::TempDir;

use crate::peer::{Peer, assert_alive, config};

/// A folder, and in it the file that is not there yet.
fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("announcements");
    (folder, file)
}

async fn start(file: &Path) -> Broker {
    let announcements = Some(file.to_owned());
    Broker::start(BrokerConfig { announcements, ..config() }).await.unwrap()
}

/// What the broker has retained for a filter, sorted.
async fn retained(broker: &Broker, filter: &str) -> Vec<(String, String)> {
    let mut peer = Peer::connect(broker, "reader").await;
    let mut found = Vec::new();
    // One by one: then the second answer comes behind what is retained for the first.
    for (filter, qos) in [(filter, QoS::AtMostOnce), ("fence", QoS::AtLeastOnce)] {
        peer.client.try_subscribe(filter, qos).unwrap();
        loop {
            match peer.next().await {
                Incoming::Publish(message) => {
                    assert!(message.retain);
                    found.push((message.topic, String::from_utf8(message.payload.to_vec()).unwrap()));
                }
                Incoming::SubAck(_) => break,
                _ => {}
            }
        }
    }
    found.sort();
    found
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(topic, message)| ((*topic).to_owned(), (*message).to_owned())).collect()
}

#[tokio::test]
async fn announcements_are_there_after_a_restart_and_nothing_else_is() {
    let (_folder, file) = place();
    let broker = start(&file).await;
    let mut device = Peer::connect(&broker, "device").await;
    device.publish("LAMP/OTA/device", true, "v=1|free=1").await;
    device.publish("LAMP/OTA/device", true, "v=1|free=2").await;
    device.publish("été 100%/OTA/device", true, "v=1|error=größe\n").await;
    device.publish("HALL/OTA/device", false, "not retained").await;
    device.publish("LAMP/OTA/status", true, "other").await;
    broker.stop().await;
    assert_eq!(fs::read_to_string(&file).unwrap(), "LAMP v=1|free=2\nété%20100%25 v=1|error=größe%0A\n");
    let broker = start(&file).await;
    let expected = [("LAMP/OTA/device", "v=1|free=2"), ("été 100%/OTA/device", "v=1|error=größe\n")];
    assert_eq!(retained(&broker, "#").await, pairs(&expected));
}

#[tokio::test]
async fn an_announcement_that_was_cleared_goes_from_the_file() {
    let (_folder, file) = place();
    fs::write(&file, "HALL v=1\nLAMP v=1\nPLUG v=1\nROOF v=1\n").unwrap();
    let broker = start(&file).await;
    let mut device = Peer::connect(&broker, "device").await;
    device.publish("LAMP/OTA/device", true, "").await;
    // Only a message that is to be retained ends what is.
    device.publish("PLUG/OTA/device", false, "").await;
    device.publish("ROOF/OTA/device", true, &"x".repeat(1_025)).await;
    broker.stop().await;
    assert_eq!(fs::read_to_string(&file).unwrap(), "HALL v=1\nPLUG v=1\n");
}

#[tokio::test]
async fn a_last_will_that_announces_is_kept() {
    let (_folder, file) = place();
    let broker = start(&file).await;
    let mut options = Peer::options(&broker, "device");
    options.set_last_will(LastWill::new("LAMP/OTA/device", "v=1|gone", QoS::AtLeastOnce, true));
    let mut watcher = Peer::connect(&broker, "watcher").await;
    watcher.subscribe("+/OTA/device").await;
    drop(Peer::with(options).await.unwrap());
    watcher.message().await;
    broker.stop().await;
    assert_eq!(fs::read_to_string(&file).unwrap(), "LAMP v=1|gone\n");
}

#[tokio::test]
async fn a_torn_file_gives_what_is_whole_and_a_copy_of_it_stays() {
    let (folder, file) = place();
    let torn = b"\0\0\0\0HALL v=1\nLAMP v=1\nno-message\nPLUG v=1\nROOF v=1|fre";
    fs::write(&file, torn).unwrap();
    let broker = start(&file).await;
    let expected = [("LAMP/OTA/device", "v=1"), ("PLUG/OTA/device", "v=1")];
    assert_eq!(retained(&broker, "#").await, pairs(&expected));
    assert_eq!(fs::read(folder.path().join("announcements.damaged")).unwrap(), torn);
}

#[tokio::test]
async fn a_file_of_anything_at_all_does_not_keep_the_broker_from_starting() {
    let (_folder, file) = place();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..20 {
        let length = random.usize(..20_000);
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
        fs::write(&file, bytes).unwrap();
        assert_alive(&start(&file).await).await;
    }
    let mut long = vec![b'x'; 100_000];
    long.extend_from_slice(b" v=1\nLAMP v=1\n");
    fs::write(&file, long).unwrap();
    assert_eq!(retained(&start(&file).await, "#").await, pairs(&[("LAMP/OTA/device", "v=1")]));
}

#[tokio::test]
async fn a_half_written_file_beside_it_means_nothing() {
    let (folder, file) = place();
    fs::write(&file, "LAMP v=1\n").unwrap();
    fs::write(folder.path().join("announcements.new"), "HALL v=1\nPLU").unwrap();
    let broker = start(&file).await;
    assert_eq!(retained(&broker, "#").await, pairs(&[("LAMP/OTA/device", "v=1")]));
    Peer::connect(&broker, "device").await.publish("HALL/OTA/device", true, "v=2").await;
    broker.stop().await;
    assert_eq!(fs::read_to_string(&file).unwrap(), "HALL v=2\nLAMP v=1\n");
}

#[tokio::test]
async fn a_path_that_cannot_be_a_file_is_an_error_with_a_hint() {
    let (folder, file) = place();
    for path in [folder.path().to_owned(), file.join("missing")] {
        let announcements = Some(path.clone());
        let error = Broker::start(BrokerConfig { announcements, ..config() }).await.unwrap_err();
        assert!(matches!(&error, BrokerError::Announcements { .. }), "{error:?}");
        assert!(error.to_string().contains(&path.display().to_string()));
        assert!(error.hint().contains("folder that exists"));
    }
}

#[tokio::test]
async fn more_devices_than_are_kept_are_served_all_the_same() {
    let (_folder, file) = place();
    let lines: String = (0..65_536).map(|n| format!("D{n:05} v=1\n")).collect();
    fs::write(&file, &lines).unwrap();
    let broker = start(&file).await;
    let mut device = Peer::connect(&broker, "device").await;
    device.publish("ONEMORE/OTA/device", true, "v=1").await;
    device.publish("D00007/OTA/device", true, "v=2").await;
    assert_eq!(retained(&broker, "ONEMORE/OTA/device").await, []);
    assert_eq!(retained(&broker, "+/OTA/device").await.len(), 65_536);
    broker.stop().await;
    assert_eq!(fs::read_to_string(&file).unwrap(), lines.replace("D00007 v=1", "D00007 v=2"));
}
