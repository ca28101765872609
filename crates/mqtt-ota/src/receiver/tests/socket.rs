use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};

use super::memory::bytes;
use crate::receiver::failure::Failure;
use crate::receiver::stream::{self, Line, Sender, TcpSupply};
use crate::receiver::supply::{Items, Want};
use crate::wire::{Ask, Reason};

const ID: &str = "0123456789abcdef";

fn sender(port: u16) -> Sender {
    Sender {
        host: "127.0.0.1".parse().unwrap(),
        port,
        id: ID.parse().unwrap(),
        connect_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(5),
        min_rate: 1024,
        pause: Duration::ZERO,
        newer: watch::channel(false).1,
    }
}

async fn listen() -> (TcpListener, Sender) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sender = sender(listener.local_addr().unwrap().port());
    (listener, sender)
}

/// Fetches items of these lengths one after the other in a thread, with one request.
fn fetch(supply: TcpSupply, sizes: &'static [u64]) -> JoinHandle<Result<Vec<u8>, Failure>> {
    spawn_blocking(move || {
        let mut items = Items::new(supply, 3);
        let mut all = Vec::new();
        for (index, size) in sizes.iter().enumerate() {
            let behind = sizes[index + 1..].iter().sum();
            let last = sizes.len() as u32 - 1;
            let want = Want { item: index as u32, size: *size, offset: 0, last, behind };
            items.fetch(want, |piece| {
                all.extend_from_slice(piece);
                Ok(())
            })?;
        }
        Ok(all)
    })
}

async fn line_of(stream: &mut TcpStream) -> Option<String> {
    let mut line = String::new();
    BufReader::with_capacity(1, stream).read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    Some(line)
}

/// Runs a thread's work, the line and a sender at once. Returns the result of the work.
async fn with<T>(
    line: Line,
    work: JoinHandle<Result<T, Failure>>,
    sender: impl Future<Output = ()>,
) -> Result<T, Failure> {
    let all = async {
        tokio::select! {
            ((), done) = async { tokio::join!(line.run(), work) } => done.unwrap(),
            () = async { sender.await; std::future::pending().await } => unreachable!(),
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.unwrap()
}

#[tokio::test]
async fn a_range_is_one_request_and_its_bytes_may_come_one_by_one() {
    let (listener, sender) = listen().await;
    let (supply, line) = stream::to(sender);
    let done = with(line, fetch(supply, &[5, 0, 3]), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        assert_eq!(line_of(&mut stream).await.as_deref(), Some("0123456789abcdef 0-2 0\n"));
        for byte in b"abcdefgh" {
            stream.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        // No further request comes.
        assert_eq!(line_of(&mut stream).await, None);
    });
    assert_eq!(done.await.unwrap(), b"abcdefgh");
}

#[tokio::test]
async fn a_connection_that_breaks_at_every_byte_costs_nothing_that_has_come() {
    let (listener, sender) = listen().await;
    let (supply, line) = stream::to(sender);
    let all = bytes(1, 100);
    let done = with(line, fetch(supply, &[60, 40]), async {
        for at in 0..all.len() {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (item, offset) = if at < 60 { (0, at) } else { (1, at - 60) };
            assert_eq!(line_of(&mut stream).await.unwrap(), format!("{ID} {item}-1 {offset}\n"));
            stream.write_all(&all[at..=at]).await.unwrap();
        }
    });
    assert_eq!(done.await.unwrap(), bytes(1, 100));
}

#[tokio::test]
async fn connections_in_a_row_that_bring_nothing_end_the_offer_and_any_byte_starts_anew() {
    let (listener, sender) = listen().await;
    let (supply, line) = stream::to(sender);
    let mut accepted = 0;
    let done = with(line, fetch(supply, &[10]), async {
        // Two connections bring nothing, the third a byte, and all others nothing.
        for byte in [None, None, Some(b"x"), None, None, None] {
            let (mut stream, _) = listener.accept().await.unwrap();
            accepted += 1;
            line_of(&mut stream).await.unwrap();
            if let Some(byte) = byte {
                stream.write_all(byte).await.unwrap();
            }
        }
    });
    let failure = done.await.unwrap_err();
    assert_eq!((failure.reason, accepted), (Reason::Short, 5));
}

#[tokio::test]
async fn nobody_there_is_a_failure_with_the_address_that_was_tried() {
    let (listener, sender) = listen().await;
    let port = sender.port;
    drop(listener);
    let (supply, line) = stream::to(sender);
    let failure = with(line, fetch(supply, &[10]), async {}).await.unwrap_err();
    assert_eq!(failure.reason, Reason::Connect);
    assert!(failure.text.starts_with(&format!("127.0.0.1:{port}: ")), "{}", failure.text);
}

#[tokio::test]
async fn a_sender_that_says_nothing_is_left_after_the_timeout() {
    let (listener, mut sender) = listen().await;
    sender.idle_timeout = Duration::from_millis(20);
    let (supply, line) = stream::to(sender);
    let mut silent = Vec::new();
    let done = with(line, fetch(supply, &[10]), async {
        loop {
            silent.push(listener.accept().await.unwrap());
        }
    });
    assert_eq!(done.await.unwrap_err().reason, Reason::Timeout);
    assert_eq!(silent.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_drips_is_given_up_for_good_though_it_is_connected_to_anew_for_each_byte() {
    let (listener, mut sender) = listen().await;
    (sender.idle_timeout, sender.pause) = (Duration::from_secs(3600), Duration::from_secs(1));
    let (supply, line) = stream::to(sender);
    let (mut accepted, work) = (0, fetch(supply, &[1 << 20]));
    let dripping = async {
        loop {
            // A thread is at work, so time passes only here.
            tokio::select! {
                biased;
                connected = listener.accept() => {
                    let mut stream = connected.unwrap().0;
                    line_of(&mut stream).await.unwrap();
                    stream.write_all(b"x").await.unwrap();
                    accepted += 1;
                }
                () = tokio::time::advance(Duration::from_millis(50)) => {}
            }
        }
    };
    let failure = tokio::select! {
        ((), done) = async { tokio::join!(line.run(), work) } => done.unwrap().unwrap_err(),
        () = dripping => unreachable!(),
    };
    assert_eq!(failure.reason, Reason::Timeout);
    assert!(failure.text.starts_with("0 B/s in the last 60 s"), "{}", failure.text);
    assert!(accepted > 1);
}

#[tokio::test]
async fn a_range_that_is_given_up_does_not_reach_into_the_next_one() {
    let (listener, sender) = listen().await;
    let (supply, line) = stream::to(sender);
    let work = spawn_blocking(move || {
        let mut items = Items::new(supply, 1);
        let want = Want { item: 1, size: 4, offset: 0, last: 2, behind: 1 << 20 };
        items.fetch(want, |_| Ok(()))?;
        items.reset();
        let mut all = Vec::new();
        items.fetch(Want { item: 1, size: 4, offset: 2, last: 1, behind: 0 }, |piece| {
            all.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(all)
    });
    let done = with(line, work, async {
        let (mut first, _) = listener.accept().await.unwrap();
        assert_eq!(line_of(&mut first).await.unwrap(), format!("{ID} 1-2 0\n"));
        first.write_all(b"wrong").await.unwrap();
        let (mut second, _) = listener.accept().await.unwrap();
        assert_eq!(line_of(&mut second).await.unwrap(), format!("{ID} 1-1 2\n"));
        second.write_all(b"ht").await.unwrap();
    });
    assert_eq!(done.await.unwrap(), b"ht");
}

#[tokio::test]
async fn what_a_dry_run_says_has_been_heard_when_it_ends() {
    let (listener, sender) = listen().await;
    let (supply, line) = stream::to(sender);
    let work = spawn_blocking(move || {
        let all: Vec<_> =
            (1..=1000).map(Ask::Missing).chain([Ask::Deletes("a b".parse().unwrap())]).collect();
        Items::new(supply, 3).tell(&all)
    });
    let mut heard = String::new();
    let done = with(line, work, async {
        // The first connection is lost on the way.
        let (mut first, _) = listener.accept().await.unwrap();
        line_of(&mut first).await.unwrap();
        drop(first);
        let (mut second, _) = listener.accept().await.unwrap();
        second.read_to_string(&mut heard).await.unwrap();
    });
    done.await.unwrap();
    assert_eq!(heard.lines().count(), 1001);
    assert!(heard.starts_with(&format!("{ID} 1\n{ID} 2\n")) && heard.ends_with(&format!("{ID} - a b\n")));
}

#[tokio::test]
async fn the_work_ends_with_the_receiver() {
    let (listener, sender) = listen().await;
    let (supply, line) = stream::to(sender);
    let work = fetch(supply, &[10]);
    let running = tokio::spawn(line.run());
    let (mut stream, _) = listener.accept().await.unwrap();
    line_of(&mut stream).await.unwrap();
    running.abort();
    assert!(work.await.unwrap().unwrap_err().text.contains("has ended"));
}
