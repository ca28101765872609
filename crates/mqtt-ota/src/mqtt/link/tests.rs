use std::collections::HashSet;
use std::future::{pending, ready};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use tokio::sync::Notify;

use super::*;
use crate::mqtt::mock_broker::{played, played_for};
use crate::wire::MAX_MESSAGE;

const TOPIC: &str = "LAMP/OTA/status";

async fn linked(broker: &Broker) -> Link {
    let broker = broker.clone().with_protocol(Protocol::V311);
    Link::connect(&broker, LinkConfig::default()).await.unwrap()
}

#[tokio::test]
async fn a_broker_in_this_process_that_has_stopped_is_an_error_that_says_so() {
    let broker = Broker::in_process(|| ready(Err(io::ErrorKind::NotConnected.into())));
    let error = Link::connect(&broker, LinkConfig::default()).await.err().unwrap();
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
    // The acknowledgement comes behind the flood. By then, all of the flood has been taken in.
    assert_eq!(link.publish("after", "", Retention::Session).await, Ok(Ack::Accepted));
    let mut kept = 0;
    while let Some(Incoming::Message(message)) = subscription.try_next() {
        // A slice of the packet would not be its only owner, or would hold all of it.
        let own = message.payload.try_into_mut().unwrap();
        assert!(own.capacity() <= MAX_MESSAGE + 1, "{} bytes", own.capacity());
        kept += 1;
    }
    assert_eq!(kept, BACKLOG);
    drop(playing.await.unwrap());
}

#[tokio::test]
async fn a_filter_that_is_not_needed_and_forbidden_stops_no_other() {
    let (broker, playing) = played(async |mut client| {
        let id = client.subscribes().await;
        client.refuse(id).await;
        client.subscribed().await;
        client.tell_kept(TOPIC, "kept").await;
        // The needed filter is forbidden too.
        let id = client.subscribes().await;
        client.refuse(id).await;
        client
    })
    .await;
    let link = linked(&broker).await;
    let filters = [("LAMP/OTA/crash", Qos::AtMostOnce), (TOPIC, Qos::AtLeastOnce)];
    let needed = |topic: &str| topic.ends_with("/status");
    let mut subscription = link.subscribe_as_allowed(&filters, needed, BACKLOG).await.unwrap();
    assert!(matches!(subscription.next().await, Some(Incoming::Message(message)) if message.topic == TOPIC));
    let only = [("HALL/OTA/status", Qos::AtLeastOnce)];
    let refused = link.subscribe_as_allowed(&only, needed, BACKLOG).await.err();
    assert!(matches!(refused, Some(LinkError::SubscribeRefused { .. })), "{refused:?}");
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

#[tokio::test]
async fn a_request_to_subscribe_whose_answer_was_lost_is_made_again() {
    let (broker, playing) = played(async |mut client| {
        client.subscribes().await;
        client.subscribed().await;
        client.tell_kept(TOPIC, "kept").await;
        client
    })
    .await;
    let link = linked(&broker).await;
    let mut subscription = link.subscribe(&[(TOPIC, Qos::AtLeastOnce)], BACKLOG).await.unwrap();
    assert!(matches!(subscription.next().await, Some(Incoming::Message(message)) if message.topic == TOPIC));
    assert!(subscription.try_next().is_none(), "it has subscribed once");
    drop(playing.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_answers_no_request_to_subscribe_is_named() {
    let (broker, playing) = played(async |mut client| client.answer_pings().await).await;
    let link = linked(&broker).await;
    let started = Instant::now();
    let answer = link.subscribe(&[(TOPIC, Qos::AtLeastOnce)], BACKLOG).await.map(drop);
    assert_eq!(answer, Err(LinkError::Unanswered));
    assert!(started.elapsed() <= PATIENCE + OWED, "{:?}", started.elapsed());
    drop(link);
    playing.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_answers_late_is_waited_for() {
    let (broker, playing) = played(async |mut client| {
        let id = client.subscribes().await;
        sleep(2 * OWED - Duration::from_millis(1)).await;
        client.grant(id).await;
        client
    })
    .await;
    let link = linked(&broker).await;
    link.subscribe(&[(TOPIC, Qos::AtLeastOnce)], BACKLOG).await.unwrap();
    drop(playing.await.unwrap());
}

/// Returns the answer to a request that the broker never answers, and the time it took, if a message for it comes each
/// second for `messages` seconds.
async fn found_out_after(messages: u64) -> (Result<(), LinkError>, Duration) {
    let heard = AtomicUsize::new(0);
    let (_done, granted) = oneshot::channel();
    let mut answers = FuturesUnordered::from_iter([granted]);
    let started = Instant::now();
    let speaking = async {
        for _ in 0..messages {
            sleep(Duration::from_secs(1)).await;
            heard.fetch_add(1, Ordering::Relaxed);
        }
        pending().await
    };
    tokio::select! {
        found = granted_within(&mut answers, &heard) => (found, started.elapsed()),
        () = speaking => unreachable!(),
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_never_answered_finds_out_though_the_devices_do_not_stop_speaking() {
    for (messages, found, longest) in [
        (0, Err(LinkError::Unanswered), Duration::ZERO),
        (10, Ok(()), Duration::from_secs(10) + 2 * OWED),
        (u64::MAX, Ok(()), FLOOD),
    ] {
        let (is_found, time) = found_out_after(messages).await;
        assert_eq!(is_found, found, "{messages}");
        assert!(time <= longest + OWED, "{messages}: {time:?}");
    }
}

#[tokio::test]
async fn more_requests_than_the_link_can_hold_are_all_done_in_the_end() {
    const MESSAGES: usize = 500;
    static ALL_ASKED: Notify = Notify::const_new();
    let (broker, playing) = played(async |mut client| {
        let mut held = Vec::new();
        let mut published = HashSet::new();
        // The broker acknowledges nothing until every request has been made.
        loop {
            tokio::select! {
                publish = client.published() => held.push(publish),
                () = ALL_ASKED.notified() => break,
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
    let requests = (0..MESSAGES).map(|number| {
        let link = &link;
        async move {
            if number == MESSAGES - 1 {
                ALL_ASKED.notify_one();
            }
            link.publish("LAMP/OTA", number.to_string(), Retention::Session).await
        }
    });
    let answers = join_all(requests).await;
    // Requests wait for a full queue, and do not fail as if the connection were lost.
    assert!(answers.iter().all(|answer| *answer == Ok(Ack::Accepted)), "{answers:?}");
    let (_client, at_once) = playing.await.unwrap();
    assert!(at_once < MESSAGES / 2, "{at_once} messages in flight");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_acknowledges_nothing_is_named_and_not_a_lost_connection() {
    let (broker, playing) = played(async |mut client| {
        let _held = client.published().await;
        client.answer_pings().await;
    })
    .await;
    let link = linked(&broker).await;
    let answer = link.patiently(|| link.publish("LAMP/OTA", "x", Retention::Session)).await;
    assert_eq!(answer, Err(LinkError::Unanswered));
    drop(link);
    playing.await.unwrap();
}

#[tokio::test]
async fn a_reader_that_is_late_hears_of_each_loss_however_full_its_queue_is() {
    let (broker, playing) = played_for(2, async |mut client| {
        client.subscribed().await;
        for _ in 0..20 {
            client.tell(TOPIC, "x").await;
        }
        // The subscription exists by the time that the connection is lost.
        let after = client.published().await;
        client.acknowledge(&after).await;
        drop(client);
    })
    .await;
    let link = linked(&broker).await;
    let mut subscription = link.subscribe(&[(TOPIC, Qos::AtLeastOnce)], 8).await.unwrap();
    for _ in 0..2 {
        let publish = || link.publish("after", "", Retention::Session);
        assert_eq!(link.patiently(publish).await, Ok(Ack::Accepted));
    }
    playing.await.unwrap();
    let mut states = Vec::new();
    while !states.contains(&"Lost".to_owned()) {
        match subscription.next().await.unwrap() {
            Incoming::Message(_) => {}
            state => states.push(format!("{state:?}")),
        }
    }
    assert!(states[0].starts_with("Missed"), "{states:?}");
}
