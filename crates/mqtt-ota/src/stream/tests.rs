use tokio::time::sleep;

use super::*;
use crate::address::{Listen, Why};
use crate::feed::News;
use crate::mqtt::{Post, inbox};
use crate::payload::Payload;
use crate::serve::Ports;
use crate::wire::DevicePath;
use crate::wire::{Algorithm, Announcement, Digest, Status};

const CONNECT: Duration = Duration::from_secs(30);
/// Pause before each message, slightly shorter than [`CONNECT`].
const LATE: Duration = Duration::from_secs(25);

fn announced(device: &Post<News>) {
    let announcement = Box::new(Announcement::parse(b"v=1|set=-").unwrap());
    device.message(News::Announcement { announcement, retained: false }).unwrap();
}

fn digest() -> Digest {
    Digest::of(Algorithm::Sha256, b"x")
}

fn fetches_at_boot(device: &Post<News>) {
    let text = format!("receiving|main.py|{}|at-boot id=0123456789abcdef", digest());
    device.message(News::Status(Box::new(Status::parse(text.as_bytes()).unwrap()))).unwrap();
}

/// Returns the time for which a device that never connects is waited for while it sends these messages, with a pause
/// before each.
async fn waited(heard: &[fn(&Post<News>)]) -> Duration {
    let (waited, outcome) = outcome(heard).await;
    assert!(matches!(outcome, Outcome::NobodyConnected { .. }), "{outcome}");
    waited
}

/// Returns the time like [`waited`], and the outcome.
async fn outcome(heard: &[fn(&Post<News>)]) -> (Duration, Outcome) {
    let device: DeviceName = "LAMP".parse().unwrap();
    let digest = digest();
    let path: DevicePath = "main.py".parse().unwrap();
    let items = Items::file(path.clone(), Payload::from_bytes("main.py", &b"x"[..]), digest);
    let offer = format!("127.0.0.1|4000|{path}|{digest}|0|id=0123456789abcdef|size=1");
    let offer = ExtendedOffer::parse(offer.as_bytes()).unwrap();
    let advertised = Advertised {
        host: "127.0.0.1".parse().unwrap(),
        port: 4000.try_into().unwrap(),
        why: Why::DefaultRoute,
    };
    let options = SendOptions { connect_timeout: CONNECT, ..SendOptions::default() };
    let link = Link::accepting();
    let (link, device, items, offer) = (&link, &device, &items, &offer);
    let stream =
        Stream { link, device, items, offer, advertised: &advertised, options: &options, earlier: &[] };
    let port = Ports::new(Listen::default(), false).shared(None).await.unwrap();
    let (says, news) = inbox(1);
    let mut feed = Feed::routed(news, None);
    let begun = Instant::now();
    let saying = async {
        for say in heard {
            sleep(LATE).await;
            say(&says);
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = saying => unreachable!("it has no end"),
        delivery = stream.run(&port, &mut feed) => (begun.elapsed(), delivery.unwrap().outcome),
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_that_announces_itself_late_has_the_whole_time_from_then_on() {
    assert_eq!(waited(&[]).await.as_secs(), 30);
    assert_eq!(waited(&[announced]).await.as_secs(), 25 + 30);
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_of_ours_gives_the_device_no_more_time() {
    assert_eq!(waited(&[Post::reconnected]).await.as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_device_that_announces_itself_again_and_again_and_never_comes_is_not_waited_for_without_end() {
    assert_eq!(waited(&[announced as fn(&Post<News>); 20]).await.as_secs(), 3 * 25 + 30);
}

#[tokio::test(start_paused = true)]
async fn a_device_that_fetches_at_its_boot_has_the_time_of_a_boot_for_it_and_no_more() {
    let (waited, outcome) = outcome(&[fetches_at_boot]).await;
    assert_eq!(waited.as_secs(), 25 + 120);
    assert!(matches!(outcome, Outcome::NotFetchedAtBoot { .. }), "{outcome}");
    // The device boots again and again.
    let boots: Vec<fn(&Post<News>)> = [fetches_at_boot as fn(&Post<News>), announced].repeat(9);
    let (waited, outcome) = self::outcome(&boots).await;
    assert_eq!(waited, 9 * LATE);
    assert!(matches!(outcome, Outcome::NotFetchedAtBoot { .. }), "{outcome}");
}
