use std::net::TcpStream;

use crate::client::Message;
use crate::link::Link;

/// An offer as it stood on the wire, split at `|` and nothing more: tests look at it with other eyes
/// than the library's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawOffer {
    /// All of it.
    pub text: String,
    /// The address to connect to.
    pub host: String,
    /// The port to connect to.
    pub port: u16,
    /// What the file is to be called on the device.
    pub file: String,
    /// Its hash, in hex.
    pub hash: String,
    /// The fifth field, where there is one.
    pub reboot: Option<String>,
    /// Whether the broker had kept it. It never should.
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

    /// Connects as the offer says, from another address of this machine.
    pub fn connect_from(&self, last: u8) -> Link {
        Link::from([127, 0, 0, last].into(), &self.host, self.port)
    }

    /// Connects as the offer says, with little room for what comes.
    pub fn connect_narrowly(&self) -> Link {
        Link::narrow(&self.host, self.port)
    }

    /// The id of an extended offer.
    ///
    /// # Panics
    ///
    /// When it has none.
    pub fn id(&self) -> &str {
        let id = self.text.split('|').find_map(|field| field.strip_prefix("id="));
        id.unwrap_or_else(|| panic!("a plain offer: {self:?}"))
    }

    /// Whether nobody takes connections there any more.
    pub fn is_withdrawn(&self) -> bool {
        TcpStream::connect((self.host.as_str(), self.port)).is_err()
    }
}
