use super::*;
use crate::mqtt::Protocol;
use crate::mqtt::mock_broker::{played, played_for};
use crate::sender::Config;

async fn connect(broker: crate::Broker) -> Sender {
    Sender::connect(broker.with_protocol(Protocol::V311), Config::default()).await.unwrap()
}

/// Plays a broker that retains this announcement of LAMP, and lets the client subscribe.
async fn subscribed(client: &mut crate::mqtt::mock_broker::Client, announcement: &str) {
    client.subscribed().await;
    client.tell_kept("LAMP/OTA/device", announcement).await;
    client.subscribed().await;
    client.subscribed().await;
}

fn lamp() -> [DeviceName; 1] {
    ["LAMP".parse().unwrap()]
}

/// Reads events until there is one of this kind.
async fn until(log: &mut DeviceLog<'_>, mut wanted: impl FnMut(&LogEvent) -> bool) -> LogEvent {
    loop {
        let event = log.next().await.unwrap();
        if wanted(&event) {
            return event;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_is_asked_each_20_seconds_and_told_when_nobody_listens_any_more() {
    let (broker, playing) = played(async |mut client| {
        subscribed(&mut client, "v=1|log=1").await;
        let (mut heard, begun) = (Vec::new(), Instant::now());
        for _ in 0..2 {
            let request = client.published().await;
            client.acknowledge(&request).await;
            heard.push((request.payload, begun.elapsed().as_secs()));
        }
        client.tell("LAMP/OTA/log", "enough").await;
        let request = client.published().await;
        client.acknowledge(&request).await;
        heard.push((request.payload, begun.elapsed().as_secs()));
        heard
    })
    .await;
    let sender = connect(broker).await;
    let mut log = sender.log(&lamp()).await.unwrap();
    until(&mut log, |event| matches!(event, LogEvent::Line { .. })).await;
    log.stop().await;
    let heard = playing.await.unwrap();
    assert_eq!(heard, [("log|60".into(), 0), ("log|60".into(), 20), ("log|0".into(), 20)]);
}

#[tokio::test]
async fn after_a_reconnect_the_device_is_asked_again_and_its_crash_is_told_once() {
    let (broker, playing) = played_for(2, async |mut client| {
        subscribed(&mut client, "v=1|log=1").await;
        client.tell_kept("LAMP/OTA/crash", "OSError").await;
        let request = client.published().await;
        assert_eq!(request.payload, "log|60");
        client.tell("LAMP/OTA/log", "one").await;
    })
    .await;
    let sender = connect(broker).await;
    let mut log = sender.log(&lamp()).await.unwrap();
    let mut crashes = 0;
    for _ in 0..2 {
        until(&mut log, |event| {
            crashes += usize::from(matches!(event, LogEvent::Crash { .. }));
            matches!(event, LogEvent::Line { .. })
        })
        .await;
    }
    assert_eq!(crashes, 1);
    playing.await.unwrap();
}
