use std::collections::HashSet;
use std::future::{pending, ready};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use tokio::sync::Notify;

use super::*;
use crate::mqtt::played::played;
use crate::wire::MAX_MESSAGE;

const TOPIC: &str = "LAMP/OTA/status";

async fn linked(broker: &Broker) -> Link {
    let config = LinkConfig { client_id: "test".to_owned(), protocol: Some(Protocol::V311) };
    Link::connect(broker, config).await.unwrap()
}

#[tokio::test]
async fn a_broker_in_this_process_that_has_stopped_is_an_error_that_says_so() {
    let broker = Broker::in_process(|| ready(Err(io::ErrorKind::NotConnected.into())));
    let config = LinkConfig { client_id: "test".to_owned(), protocol: None };
    let error = Link::connect(&broker, config).await.err().unwrap();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("stopped"));
}

#[tokio::test]
async fn a_flood_of_large_messages_that_nobody_reads_does_not_fill_the_memory() {
    let (broker, playing) = played(async |mut client| {
        client.subscribed().await;
        for _ in 0..2 * BACKLOG {
            client.tell(TOPIC, vec![b'.'; 50 * MAX_MESSAGE]).await;
        }
        let after = client.published().await;
        client.acknowledge(&after).await;
        client
    })
    .await;
    let link = linked(&broker).await;
    let mut subscription = link.subscribe(&[(TOPIC, Qos::AtLeastOnce)], BACKLOG).await.unwrap();
    // Its acknowledgement comes behind the flood: then all of that has been taken in.
    assert_eq!(link.publish("after", "", Lasting::Session).await, Ok(Ack::Accepted));
    let mut kept = 0;
    while let Some(Incoming::Message(message)) = subscription.try_next() {
        // A slice of the packet would not be the only one to hold it, or would hold all of it.
        let own = message.payload.try_into_mut().unwrap();
        assert!(own.capacity() <= MAX_MESSAGE + 1, "{} bytes", own.capacity());
        kept += 1;
    }
    assert_eq!(kept, BACKLOG);
    drop(playing.await.unwrap());
}

#[tokio::test]
async fn who_is_sent_messages_is_subscribed_though_the_answer_was_lost() {
    let (broker, playing) = played(async |mut client| {
        client.subscribes().await;
        client.tell_kept(TOPIC, "kept").await;
        client.subscribed().await;
        client
    })
    .await;
    let link = linked(&broker).await;
    let filters = [(TOPIC, Qos::AtLeastOnce), ("another", Qos::AtLeastOnce)];
    let mut subscription = link.subscribe(&filters, BACKLOG).await.unwrap();
    assert!(matches!(subscription.try_next(), Some(Incoming::Message(message)) if message.topic == TOPIC));
    drop(playing.await.unwrap());
}

/// How long it takes to find out about a request that the broker never answers, when messages for it come each second
/// for so long.
async fn found_out_after(messages: u64) -> (Result<bool, LinkError>, Duration) {
    let heard = AtomicUsize::new(0);
    let (_done, granted) = oneshot::channel();
    let started = Instant::now();
    let speaking = async {
        for _ in 0..messages {
            sleep(Duration::from_secs(1)).await;
            heard.fetch_add(1, Ordering::Relaxed);
        }
        pending().await
    };
    tokio::select! {
        found = is_granted(granted, &heard) => (found, started.elapsed()),
        () = speaking => unreachable!(),
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_never_answered_finds_out_though_the_devices_do_not_stop_speaking() {
    for (messages, found, longest) in [
        (0, Err(LinkError::Lost), PATIENCE),
        (10, Ok(true), Duration::from_secs(10) + 2 * OWED),
        (u64::MAX, Ok(true), FLOOD),
    ] {
        let (is_found, time) = found_out_after(messages).await;
        assert_eq!(is_found, found, "{messages}");
        assert!(time <= longest + OWED, "{messages}: {time:?}");
    }
}

#[tokio::test]
async fn more_requests_than_the_link_can_hold_are_all_done_in_the_end() {
    const MESSAGES: usize = 500;
    static NO_ROOM: Notify = Notify::const_new();
    let (broker, playing) = played(async |mut client| {
        let mut held = Vec::new();
        let mut published = HashSet::new();
        // It acknowledges nothing until requests have been turned away.
        loop {
            tokio::select! {
                publish = client.published() => held.push(publish),
                () = NO_ROOM.notified() => break,
            }
        }
        let at_once = held.len();
        for publish in held {
            client.acknowledge(&publish).await;
            published.insert(publish.payload);
        }
        while published.len() < MESSAGES {
            let publish = client.published().await;
            client.acknowledge(&publish).await;
            published.insert(publish.payload);
        }
        (client, at_once)
    })
    .await;
    let link = linked(&broker).await;
    let asked = AtomicUsize::new(0);
    let requests = (0..MESSAGES).map(|number| {
        let (link, asked) = (&link, &asked);
        patiently(move || {
            // One that asks again was turned away.
            if asked.fetch_add(1, Ordering::Relaxed) == MESSAGES {
                NO_ROOM.notify_one();
            }
            link.publish("LAMP/OTA", number.to_string(), Lasting::Session)
        })
    });
    let answers = join_all(requests).await;
    assert!(answers.iter().all(|answer| *answer == Ok(Ack::Accepted)), "{answers:?}");
    let (_client, at_once) = playing.await.unwrap();
    assert!(at_once < MESSAGES / 2, "{at_once} messages in flight");
}
