use tokio::time::sleep;

use super::*;
use crate::address::{Listen, Why};
use crate::feed::News;
use crate::mqtt::{Post, inbox};
use crate::wire::{Algorithm, Announcement, Digest};

/// Pause before each message, slightly shorter than the time for the device to connect (30 s).
const LATE: Duration = Duration::from_secs(25);

fn announced(device: &Post<News>) {
    let announcement = Box::new(Announcement::parse(b"v=1|addr=127.0.0.1").unwrap());
    device.message(News::Announcement { announcement, retained: false }).unwrap();
}

fn fetches_at_boot(device: &Post<News>) {
    let text = format!("receiving|main.py|{}|at-boot", Digest::of(Algorithm::Sha256, b"x"));
    device.message(News::Status(Box::new(Status::parse(text.as_bytes()).unwrap()))).unwrap();
}

/// Runs an offer while the device sends these messages, with a pause before each, and no client ever connects.
///
/// Returns the time that the offer took, and its outcome.
async fn outcome(heard: &[fn(&Post<News>)]) -> (Duration, Outcome) {
    let (device, path) = ("LAMP".parse().unwrap(), "main.py".parse().unwrap());
    let payload = Payload::from_bytes("main.py", &b"x"[..]);
    let (host, port) = ("127.0.0.1".parse().unwrap(), 4000.try_into().unwrap());
    let advertised = Advertised { host, port, why: Why::DefaultRoute };
    let (host, digest) = (advertised.host.clone(), Digest::of(Algorithm::Sha256, b"x"));
    let offer = Offer { host, port, path, digest, reboot: true };
    let (link, options) = (Link::accepting(), SendOptions::default());
    let (link, device, payload, offer) = (&link, &device, &payload, &offer);
    let attempt =
        Attempt { link, device, payload, offer, advertised: &advertised, options: &options, waits: None };
    let server = Server::bind(&Listen::default(), None).await.unwrap();
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
        delivery = attempt.run(server, &mut feed) => (begun.elapsed(), delivery.unwrap().outcome),
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_that_fetches_at_its_boot_has_the_time_of_a_boot_for_it_and_no_more() {
    let (waited, _) = outcome(&[]).await;
    assert_eq!(waited.as_secs(), 30);
    let (waited, outcome) = outcome(&[fetches_at_boot]).await;
    assert_eq!(waited.as_secs(), 25 + 120);
    assert!(matches!(outcome, Outcome::NotFetchedAtBoot { .. }), "{outcome}");
    // The device boots again and again.
    let boots: Vec<fn(&Post<News>)> = [fetches_at_boot as fn(&Post<News>), announced].repeat(9);
    let (waited, outcome) = self::outcome(&boots).await;
    assert_eq!(waited.as_secs(), 5 * 25 + 120);
    assert!(matches!(outcome, Outcome::NotFetchedAtBoot { .. }), "{outcome}");
}
