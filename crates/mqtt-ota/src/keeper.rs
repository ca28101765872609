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
mod watch;
mod window;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
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
pub use window::{Window, WindowError};

/// Gives the devices of a broker the files in their folders: now, or when they wake.
pub struct Keeper {
    sender: Arc<Sender>,
    root: PathBuf,
    options: Arc<KeeperOptions>,
}

impl Keeper {
    /// Keeps the devices that have a folder in `root`.
    pub fn new(sender: Sender, root: impl AsRef<Path>, options: KeeperOptions) -> Self {
        Self { sender: Arc::new(sender), root: root.as_ref().to_owned(), options: Arc::new(options) }
    }

    /// Keeps them until the future is dropped.
    ///
    /// # Errors
    /// The folder cannot be read or watched at the start, or the broker forbids to subscribe. What goes wrong
    /// later on is waited out.
    ///
    /// Cancellation: every delivery that is under way is given up, and its device keeps what it has.
    pub async fn run(&self) -> Result<Infallible, KeeperError> {
        let watch = Watch::start(&self.root, self.options.settle)
            .map_err(|source| KeeperError::Watch { path: self.root.clone(), source })?;
        let ear = Ear::open(self.sender.link()).await?;
        let (memories, remembered) = mpsc::unbounded_channel();
        let (sender, options) = (Arc::clone(&self.sender), Arc::clone(&self.options));
        let keeping = Keeping::new(sender, self.root.clone(), options, (ear, watch), memories);
        tokio::select! {
            kept = keeping.run() => kept,
            never = write_down(&self.sender, remembered) => match never {},
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
