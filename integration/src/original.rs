use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use sha1::{Digest as _, Sha1};
use tokio::task::JoinHandle;

use crate::endpoint::Endpoint;
use crate::runtime::{GUARD, runtime};

/// Length of the shortest offer, in bytes. The device ignores shorter messages.
const SHORTEST_OFFER: usize = 45;
/// Number of bytes that the device reads at a time.
const CHUNK: usize = 1024;

/// Step of an [`OriginalDevice`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The device is subscribed, after a boot.
    Booted,
    /// A message was too short to be an offer.
    Ignored,
    /// The device has this file now.
    Installed(String),
    /// The hash was another one. The file is as it was.
    Mismatched,
    /// The message was malformed, or the transfer broke. The device then can only boot.
    Crashed,
}

/// Firmware of 2018 that senders must go on serving. It announces nothing, reports nothing, and subscribes with QoS 0.
#[derive(Debug)]
pub struct OriginalDevice {
    steps: Receiver<Step>,
    task: JoinHandle<()>,
}

impl OriginalDevice {
    /// Boots a device called `name`, whose flash is the folder `root`, and returns when it is subscribed.
    pub fn boot(broker: &impl Endpoint, name: &str, root: &Path) -> Self {
        let address = broker.address();
        let mut options = MqttOptions::new(name, address.ip().to_string(), address.port());
        if let Some((user, password)) = broker.login() {
            options.set_credentials(user, password);
        }
        let (told, steps) = channel();
        let task = runtime().spawn(live(options, format!("{name}/OTA"), root.to_owned(), told));
        let device = Self { steps, task };
        assert_eq!(device.next_step(), Step::Booted);
        device
    }

    /// Waits for the next step of the device.
    pub fn next_step(&self) -> Step {
        self.steps.recv_timeout(GUARD).expect("the original device does something")
    }
}

impl Drop for OriginalDevice {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn live(options: MqttOptions, topic: String, root: PathBuf, told: Sender<Step>) {
    // Each turn is one boot.
    loop {
        let (client, mut events) = AsyncClient::new(options.clone(), 16);
        if client.subscribe(&topic, QoS::AtMostOnce).await.is_err() {
            return;
        }
        loop {
            let step = match events.poll().await {
                Ok(Event::Incoming(Packet::SubAck(_))) => Step::Booted,
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    let (message, root) = (publish.payload.to_vec(), root.clone());
                    match tokio::task::spawn_blocking(move || handle(&message, &root)).await {
                        Ok((step, boots)) => {
                            if told.send(step).is_err() {
                                return;
                            }
                            if boots {
                                break;
                            }
                            continue;
                        }
                        Err(_) => return,
                    }
                }
                Ok(_) => continue,
                Err(_) => return,
            };
            if told.send(step).is_err() {
                return;
            }
        }
    }
}

/// Handles a message like the firmware's callback. Returns true if the device resets at the end.
fn handle(message: &[u8], root: &Path) -> (Step, bool) {
    if message.len() < SHORTEST_OFFER {
        return (Step::Ignored, false);
    }
    match fetch(message, root) {
        Ok((step, boots)) => (step, boots),
        Err(_) => (Step::Crashed, true),
    }
}

fn fetch(message: &[u8], root: &Path) -> io::Result<(Step, bool)> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let text = std::str::from_utf8(message).map_err(|_| malformed())?;
    let fields: Vec<&str> = text.split('|').collect();
    let &[host, port, file, hash, ref rest @ ..] = fields.as_slice() else { return Err(malformed()) };
    // Six and more fields count as no fifth field.
    let boots = !matches!(rest, ["0"]);

    let mut stream = TcpStream::connect((host, port.parse::<u16>().map_err(|_| malformed())?))?;
    stream.set_read_timeout(Some(GUARD))?;
    let mut temporary = fs::File::create(root.join("tmp"))?;
    let mut sum = Sha1::new();
    let mut chunk = [0; CHUNK];
    loop {
        let got = stream.read(&mut chunk)?;
        if got == 0 {
            break;
        }
        sum.update(&chunk[..got]);
        temporary.write_all(&chunk[..got])?;
    }
    drop(temporary);
    let sum: String = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if sum != hash {
        return Ok((Step::Mismatched, false));
    }
    fs::rename(root.join("tmp"), root.join(file))?;
    Ok((Step::Installed(file.to_owned()), boots))
}
