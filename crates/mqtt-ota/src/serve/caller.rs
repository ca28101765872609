use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::confirmed::Confirms;
use super::drop_cause::{DropCause, End};
use super::event::RangeEvent;
use super::outflow::Outflow;
use super::register::{Register, Stay};
use super::served::Served;
use crate::wire::{Ask, Request};

/// Client of a shared port, in a task of its own.
pub(super) struct Caller {
    pub(super) peer: SocketAddr,
    pub(super) stay: Stay,
    pub(super) register: Arc<Register>,
}

impl Caller {
    /// Reads which offer the client came for, and answers its requests.
    pub(super) async fn serve(self, mut stream: TcpStream, patience: Duration) {
        let Self { peer, stay: (place, sent_away), register } = self;
        let mut received = BytesMut::with_capacity(Request::MAX_LEN);
        let first = tokio::select! {
            first = first(&mut stream, &mut received, patience) => first,
            _ = sent_away => Err(DropCause::Crowded),
        };
        let known = first.and_then(|first| {
            let known = register.known(place, first.id).ok_or(DropCause::Stranger);
            known.map(|(served, stay)| (first, served, stay))
        });
        let (first, served, (place, sent_away)) = match known {
            Ok(known) => known,
            Err(cause) => {
                drop(stream);
                if let Some(events) = register.forget(place) {
                    let _ = events.send(RangeEvent::Dropped { peer, known: false, cause }).await;
                }
                return;
            }
        };
        let _ = served.events.send(RangeEvent::Connected { peer }).await;
        let (mut reader, mut writer) = stream.into_split();
        let ended = tokio::select! {
            ended = answer((&mut reader, &mut writer), peer, &served, received, first) => ended,
            _ = sent_away => Err(End::Dropped(DropCause::Crowded)),
        };
        writer.forget();
        drop(reader);
        register.leave(place, served.id);
        let last = match ended {
            Err(End::Spoilt(error)) => RangeEvent::Spoilt(error),
            Err(End::Dropped(cause)) => RangeEvent::Dropped { peer, known: true, cause },
            Ok(never) => match never {},
        };
        let _ = served.events.send(last).await;
    }
}

/// Type without a value.
enum Never {}

/// Answers one request after the other, until the client goes or does what no device does.
///
/// The time between requests is not limited, because a device that knows the offer hashes its files.
async fn answer<R: AsyncRead + Unpin, W: AsyncWrite + Confirms + Unpin>(
    (reader, writer): (&mut R, &mut W),
    peer: SocketAddr,
    served: &Served,
    mut received: BytesMut,
    mut request: Request,
) -> Result<Never, End> {
    let mut outflow = Outflow::new(writer, peer, served);
    loop {
        if request.id != served.id {
            return Err(End::Dropped(DropCause::Stranger));
        }
        let is_offered = match &request.ask {
            Ask::Range { first, last, offset } => {
                let begins = served.items.get(*first).is_some_and(|item| *offset <= item.payload.len());
                begins && last.is_none_or(|last| last <= served.items.last())
            }
            Ask::Missing(item) => served.dry_run && *item > 0 && served.items.get(*item).is_some(),
            Ask::Deletes(_) => served.dry_run,
        };
        if !is_offered {
            return Err(End::Dropped(DropCause::NotOffered));
        }
        let _ = served.events.send(RangeEvent::Asked { peer, ask: request.ask.clone() }).await;
        if let Ask::Range { first, last, offset } = request.ask {
            let last = last.unwrap_or_else(|| served.items.last());
            send(&mut outflow, served, first..=last, offset).await?;
        }
        request = outflow.during(next(reader, &mut received)).await?.map_err(End::Dropped)?;
    }
}

/// Reads the first request, which has to come within `patience`.
async fn first<S: AsyncRead + Unpin>(
    stream: &mut S,
    received: &mut BytesMut,
    patience: Duration,
) -> Result<Request, DropCause> {
    match timeout(patience, next(stream, received)).await {
        Ok(read) => read,
        Err(_) => Err(DropCause::Silent(patience)),
    }
}

/// Reads the next request.
async fn next<S: AsyncRead + Unpin>(stream: &mut S, received: &mut BytesMut) -> Result<Request, DropCause> {
    loop {
        match Request::take(received) {
            Ok(Some(request)) => return Ok(request),
            Ok(None) => {}
            Err(error) => return Err(DropCause::NoRequest(error)),
        }
        match stream.read_buf(received).await {
            Ok(0) => return Err(DropCause::Closed),
            Ok(_) => {}
            Err(error) => return Err(DropCause::Broke(error.kind())),
        }
    }
}

/// Sends the items of `range`, the first of them from `offset` on.
async fn send<W: AsyncWrite + Confirms + Unpin>(
    outflow: &mut Outflow<'_, W>,
    served: &Served,
    range: RangeInclusive<u32>,
    mut offset: u64,
) -> Result<(), End> {
    let mut spent = Vec::new();
    // The next file is opened and read while the current one is sent, so that many small files go as fast as a large
    // one.
    let start = |number: u32, offset| {
        served.items.get(number).map(|item| (number, item.payload.chunks(item.digest, offset)))
    };
    let last = *range.end();
    let mut ahead = start(*range.start(), offset);
    while let Some((number, mut chunks)) = ahead.take() {
        ahead = if number < last { start(number + 1, 0) } else { None };
        let mut is_whole = false;
        while let Some(chunk) = outflow.wait_for(chunks.next(spent)).await? {
            if outflow.has_no_room(&chunk) {
                outflow.send().await?;
            }
            offset += chunk.len() as u64;
            spent = outflow.put(chunk);
            is_whole = !chunks.is_more();
            outflow.mark(number, offset, is_whole);
            if outflow.is_full() {
                spent = outflow.send().await?;
            }
        }
        // An empty file has no chunk.
        if !is_whole {
            outflow.mark(number, offset, true);
        }
        (spent, offset) = (Vec::new(), 0);
    }
    outflow.finish(last).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::items::Items;
    use crate::payload::Payload;
    use crate::wire::{Algorithm, Digest};
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    const IDLE: Duration = Duration::from_secs(5);
    const ID: &str = "0123456789abcdef";

    fn item(path: &str, bytes: &'static [u8]) -> (crate::wire::DevicePath, Payload, Digest) {
        let digest = Digest::of(Algorithm::Sha1, bytes);
        (path.parse().unwrap(), Payload::from_bytes(path, bytes), digest)
    }

    /// Serves a manifest "manifest" and the files "one", "" and "three" over a pipe of eight bytes.
    async fn through_a_narrow_pipe<T>(
        dry_run: bool,
        act: impl AsyncFnOnce(DuplexStream) -> T,
    ) -> (DropCause, T, Vec<RangeEvent>) {
        let (events, mut told) = mpsc::channel(1000);
        let files = [item("a", b"one"), item("b", b""), item("c", b"three")];
        let items = Items::set(item("set", b"manifest"), files);
        let id = ID.parse().unwrap();
        let served = Served { items, id, dry_run, idle: IDLE, events, tally: Arc::default() };
        let (ours, theirs) = duplex(8);
        let (mut reader, mut writer) = tokio::io::split(ours);
        let serving = async {
            let (peer, mut received) = ("192.0.2.1:1".parse().unwrap(), BytesMut::new());
            let ended = match first(&mut reader, &mut received, IDLE).await {
                Ok(first) => answer((&mut reader, &mut writer), peer, &served, received, first).await,
                Err(cause) => Err(End::Dropped(cause)),
            };
            drop((reader, writer));
            ended
        };
        let (ended, acted) = tokio::join!(serving, act(theirs));
        let Err(End::Dropped(cause)) = ended else { panic!("the file is spoilt") };
        drop(served);
        let mut events = Vec::new();
        while let Some(event) = told.recv().await {
            events.push(event);
        }
        (cause, acted, events)
    }

    async fn asks(client: &mut DuplexStream, request: &str, count: usize) -> String {
        client.write_all(format!("{ID} {request}\n").as_bytes()).await.unwrap();
        let mut read = vec![0; count];
        client.read_exact(&mut read).await.unwrap();
        String::from_utf8(read).unwrap()
    }

    #[tokio::test]
    async fn any_range_is_answered_with_exactly_its_bytes_and_the_connection_stays() {
        let (cause, (), events) = through_a_narrow_pipe(false, async |mut client| {
            assert_eq!(asks(&mut client, "0-0 0", 8).await, "manifest");
            assert_eq!(asks(&mut client, "1-3 0", 8).await, "onethree");
            assert_eq!(asks(&mut client, "1-3 2", 6).await, "ethree");
            assert_eq!(asks(&mut client, "3-3 5", 0).await, "");
            assert_eq!(asks(&mut client, "2-2 0", 0).await, "");
            assert_eq!(asks(&mut client, "0-1 7", 4).await, "tone");
            assert_eq!(asks(&mut client, "0- 3", 13).await, "ifestonethree");
        })
        .await;
        assert_eq!(cause, DropCause::Closed);
        let asked = events.iter().filter(|event| matches!(event, RangeEvent::Asked { .. })).count();
        let sent = events.iter().filter(|event| matches!(event, RangeEvent::Sent { .. })).count();
        assert_eq!((asked, sent), (7, 7));
    }

    #[tokio::test]
    async fn what_no_device_sends_ends_the_connection_and_gets_no_byte() {
        let oversized = "x".repeat(200);
        for (bytes, expected) in [
            ("fedcba9876543210 0-0 0\n", DropCause::Stranger),
            ("0123456789abcdef 4-4 0\n", DropCause::NotOffered),
            ("0123456789abcdef 0-4 0\n", DropCause::NotOffered),
            ("0123456789abcdef 4- 0\n", DropCause::NotOffered),
            ("0123456789abcdef 1-1 4\n", DropCause::NotOffered),
            ("0123456789abcdef 1\n", DropCause::NotOffered),
            ("0123456789abcdef - a\n", DropCause::NotOffered),
            ("0123456789abcdef 0-0", DropCause::Closed),
            ("", DropCause::Closed),
        ] {
            let (cause, read, _) = through_a_narrow_pipe(false, async |mut client| {
                let _ = client.write_all(bytes.as_bytes()).await;
                let _ = client.shutdown().await;
                let mut read = Vec::new();
                let _ = client.read_to_end(&mut read).await;
                read
            })
            .await;
            assert_eq!((cause, read.as_slice()), (expected, &b""[..]), "{bytes:?}");
        }
        for bytes in ["GET / HTTP/1.1\r\n\r\n", "\n", "0123456789abcdef 2-1 0\n", &oversized] {
            let (cause, (), events) = through_a_narrow_pipe(false, async |mut client| {
                let _ = client.write_all(bytes.as_bytes()).await;
            })
            .await;
            assert!(matches!(cause, DropCause::NoRequest(_)), "{bytes:?}: {cause:?}");
            assert_eq!(events.len(), 0);
        }
    }

    #[tokio::test]
    async fn a_dry_run_hears_what_would_be_done() {
        let (_, (), events) = through_a_narrow_pipe(true, async |mut client| {
            asks(&mut client, "1", 0).await;
            asks(&mut client, "3", 0).await;
            asks(&mut client, "- old.py", 0).await;
        })
        .await;
        let asked: Vec<_> = events
            .into_iter()
            .filter_map(|event| match event {
                RangeEvent::Asked { ask, .. } => Some(ask),
                _ => None,
            })
            .collect();
        assert_eq!(asked, [Ask::Missing(1), Ask::Missing(3), Ask::Deletes("old.py".parse().unwrap())]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_say_who_it_is_has_the_idle_time_and_a_drip_does_not_renew_it() {
        let started = Instant::now();
        let (cause, (), _) = through_a_narrow_pipe(false, async |mut client| {
            while client.write_all(b"0").await.is_ok() {
                tokio::time::sleep(IDLE / 4).await;
            }
        })
        .await;
        assert_eq!(cause, DropCause::Silent(IDLE));
        assert!(started.elapsed() < 2 * IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn the_device_may_think_but_not_stall_in_the_middle_of_what_it_asked_for() {
        let (cause, _client, _) = through_a_narrow_pipe(false, async |mut client| {
            asks(&mut client, "1-1 0", 3).await;
            tokio::time::sleep(10 * IDLE).await;
            asks(&mut client, "0-3 0", 3).await;
            client
        })
        .await;
        assert_eq!(cause, DropCause::Stalled(IDLE));
    }
}
