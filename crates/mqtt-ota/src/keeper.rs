//! Folders that devices follow.
//!
//! The desired state is a folder, with one folder in it for each device; the actual state is what the devices
//! announce. There is nothing else to lose: what a keeper remembers beyond them is retained at the broker.
//!
//! - `folders`: the tree, with `settings` for each device, and `watch` for its changes.
//! - `ear`: what all devices say; `memory`: what a keeper remembers of them.
//! - `duty`: what is to be done for one device; `rollout`: who may be given anything now, in its `window`. No
//!   socket and no clock.
//! - `delivery`: one device being given its files; `queue`: those that wait for it.
//! - `keeping`: all of it together, at work.

mod delivery;
mod duty;
mod ear;
mod error;
mod folders;
mod keeping;
mod memory;
mod options;
mod queue;
mod rollout;
mod settings;
mod status;
mod watch;
mod window;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;

use self::ear::Ear;
use self::keeping::{Keeping, Remembered};
use self::watch::Watch;
use crate::sender::Sender;

pub use duty::Standing;
pub use error::KeeperError;
pub use folders::FolderError;
pub use options::KeeperOptions;
pub use settings::{SETTINGS_FILE, SettingsError};
pub use status::{DeviceStatus, status};
pub use window::{Window, WindowError};

/// Gives the devices of a broker the files in their folders: now, or when they wake.
pub struct Keeper {
    sender: Arc<Sender>,
    keeping: Keeping,
    remembered: mpsc::UnboundedReceiver<Remembered>,
}

impl Keeper {
    /// Looks at `root`, which has one folder for each device in it, and begins to watch it and to listen to the
    /// devices.
    ///
    /// # Errors
    /// The folder cannot be read or watched, or the broker forbids to subscribe.
    ///
    /// Cancellation: nothing is left behind.
    pub async fn start(
        sender: Sender,
        root: impl AsRef<Path>,
        options: KeeperOptions,
    ) -> Result<Self, KeeperError> {
        let (sender, root) = (Arc::new(sender), root.as_ref());
        // What changes from here on is seen, so it is watched first.
        let watch = match std::fs::read_dir(root) {
            Ok(_) => Watch::start(root, options.settle)
                .map_err(|source| KeeperError::Watch { path: root.to_owned(), source })?,
            Err(source) => return Err(FolderError::Unreadable { path: root.to_owned(), source }.into()),
        };
        let ear = Ear::open(sender.link()).await?;
        let (memories, remembered) = mpsc::unbounded_channel();
        let keeping = Keeping::new(Arc::clone(&sender), root.to_owned(), options, (ear, watch), memories);
        Ok(Self { sender, keeping, remembered })
    }

    /// Keeps the devices until the future is dropped.
    ///
    /// # Errors
    /// The folder cannot be read at first. What goes wrong later on is waited out.
    ///
    /// Cancellation: every delivery that is under way is given up, and its device keeps what it has.
    pub async fn run(self) -> Result<Infallible, KeeperError> {
        let Self { sender, keeping, remembered } = self;
        tokio::select! {
            kept = keeping.run() => kept,
            never = write_down(&sender, remembered) => match never {},
        }
    }
}

/// Retains what is to be remembered at the broker, one device after the other. What was overtaken need not be
/// said.
async fn write_down(sender: &Sender, mut remembered: mpsc::UnboundedReceiver<Remembered>) -> Infallible {
    let mut waiting = BTreeMap::new();
    loop {
        if waiting.is_empty() {
            match remembered.recv().await {
                Some((device, memory)) => drop(waiting.insert(device, memory)),
                None => return std::future::pending().await,
            }
        }
        while let Ok((device, memory)) = remembered.try_recv() {
            waiting.insert(device, memory);
        }
        let Some((device, memory)) = waiting.pop_first() else { continue };
        let text = memory.as_ref().map(ToString::to_string).unwrap_or_default();
        if let Err(error) = sender.link().publish(&device.memory_topic(), text, true).await {
            tracing::warn!(%device, %error, "what is remembered of a device could not be kept at the broker");
        }
    }
}
