use sha1::{Digest as _, Sha1};

use crate::client::Client;
use crate::endpoint::Endpoint;
use crate::offer::RawOffer;

/// Device that does nothing by itself. The test announces, connects and reports for it, in any order, well or badly.
#[derive(Debug)]
pub struct RawDevice {
    name: String,
    client: Client,
}

impl RawDevice {
    /// Connects to `broker` and subscribes to the offers for `name`. Announces nothing.
    pub fn join(broker: &impl Endpoint, name: &str) -> Self {
        let device = Self { name: name.to_owned(), client: Client::connect(broker, &format!("raw-{name}")) };
        device.client.subscribe(&device.topic(""));
        device
    }

    /// Like [`Self::join`], and announces the device.
    pub fn announced(broker: &impl Endpoint, name: &str) -> Self {
        let device = Self::join(broker, name);
        device.announce();
        device
    }

    /// Announces a device on this machine that knows SHA-1 and nothing else.
    pub fn announce(&self) -> &Self {
        self.announce_as("v=1|client=raw 0|sys=test 0|addr=127.0.0.1|free=100000000|hash=sha1")
    }

    /// Announces the device as after a boot that followed the installation of `offer`.
    pub fn boot(&self, offer: &RawOffer) -> &Self {
        self.announce().report("running", offer, "")
    }

    /// Announces `payload`, retained.
    pub fn announce_as(&self, payload: &str) -> &Self {
        self.client.publish_retained(&self.topic("/device"), payload);
        self
    }

    /// Waits for the next offer.
    ///
    /// # Panics
    ///
    /// Panics if no message comes, or if it is no offer.
    pub fn offer(&self) -> RawOffer {
        let message = self.client.next();
        RawOffer::of(&message).unwrap_or_else(|| panic!("not an offer: {message:?}"))
    }

    /// Waits for the next message on the device's topic, which must not be an offer.
    ///
    /// # Panics
    ///
    /// Panics if no message comes, or if it is an offer.
    pub fn request(&self) -> String {
        let message = self.client.next();
        assert!(RawOffer::of(&message).is_none(), "an offer: {message:?}");
        message.text()
    }

    /// Asserts that nothing has come since the last offer, and that the broker has nothing more.
    #[track_caller]
    pub fn assert_no_offer(&self) -> &Self {
        // The broker delivers whatever it has for this device before this message.
        self.client.publish(&self.topic(""), "end");
        let message = self.client.next();
        assert_eq!(message.text(), "end");
        self
    }

    /// Publishes a status with the file and the hash of `offer`.
    pub fn report(&self, state: &str, offer: &RawOffer, detail: &str) -> &Self {
        self.say(format!("{state}|{}|{}|{detail}", offer.file, offer.hash))
    }

    /// Takes `offer`, and fails with `detail`.
    pub fn fail(&self, offer: &RawOffer, detail: &str) -> &Self {
        self.report("receiving", offer, "").report("failed", offer, detail)
    }

    /// Publishes any text as a status.
    pub fn say(&self, payload: impl Into<Vec<u8>>) -> &Self {
        self.client.publish(&self.topic("/status"), payload);
        self
    }

    /// Takes, checks and reports `offer`, as a good device does. Returns the file.
    ///
    /// # Panics
    ///
    /// Panics if the bytes do not match the offer's hash.
    pub fn install(&self, offer: &RawOffer) -> Vec<u8> {
        self.report("receiving", offer, "");
        let bytes = offer.connect().read_to_end();
        assert_eq!(sha1_hex(&bytes), offer.hash, "{offer:?}");
        self.report("installed", offer, "");
        bytes
    }

    fn topic(&self, end: &str) -> String {
        format!("{}/OTA{end}", self.name)
    }
}

/// Returns the SHA-1 of `bytes` in lower-case hex.
pub fn sha1_hex(bytes: &[u8]) -> String {
    Sha1::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
