use std::net::TcpStream;

use crate::client::Message;
use crate::link::Link;

/// Offer as it stood on the wire, split at `|` and nothing more. Tests do not read it with the library's parser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawOffer {
    /// Whole text of the offer.
    pub text: String,
    /// Address to connect to.
    pub host: String,
    /// Port to connect to.
    pub port: u16,
    /// Name of the file on the device.
    pub file: String,
    /// Hash of the file, in hex.
    pub hash: String,
    /// Fifth field, if there is one.
    pub reboot: Option<String>,
    /// True if the broker had retained the offer, which it never should.
    pub retained: bool,
}

impl RawOffer {
    pub(crate) fn of(message: &Message) -> Option<Self> {
        let text = message.text();
        let fields: Vec<&str> = text.split('|').collect();
        let &[host, port, file, hash, ref rest @ ..] = fields.as_slice() else { return None };
        Some(Self {
            host: host.to_owned(),
            port: port.parse().ok()?,
            file: file.to_owned(),
            hash: hash.to_owned(),
            reboot: rest.first().map(|&field| field.to_owned()),
            retained: message.retained,
            text: text.clone(),
        })
    }

    /// Connects as the offer says.
    pub fn connect(&self) -> Link {
        Link::to(&self.host, self.port)
    }

    /// Connects as the offer says, from the address 127.0.0.`last` of this machine.
    pub fn connect_from(&self, last: u8) -> Link {
        Link::from([127, 0, 0, last].into(), &self.host, self.port)
    }

    /// Connects as the offer says, with a small receive buffer.
    pub fn connect_narrowly(&self) -> Link {
        Link::narrow(&self.host, self.port)
    }

    /// Returns the id of an extended offer.
    ///
    /// # Panics
    ///
    /// Panics if the offer has none.
    pub fn id(&self) -> &str {
        let id = self.text.split('|').find_map(|field| field.strip_prefix("id="));
        id.unwrap_or_else(|| panic!("a plain offer: {self:?}"))
    }

    /// Returns true if nobody takes connections there any more.
    pub fn is_withdrawn(&self) -> bool {
        TcpStream::connect((self.host.as_str(), self.port)).is_err()
    }
}
