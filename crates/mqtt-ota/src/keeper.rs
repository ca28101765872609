//! Folders that devices follow.
//!
//! The desired state is a folder, with one folder in it for each device; the actual state is what the devices
//! announce. There is nothing else to lose: what a keeper remembers beyond them is retained at the broker.
//!
//! - `folders`: the tree, with `settings` for each device; `root`: where that is.
//! - `watch`: what the system tells of its changes; `rest`: when they are over; `writers`: who has files open;
//!   `checkout`: what git is doing to them; `lookout`: what of a look counts therefore.
//! - `ear`: what all devices say; `memory`: what a keeper remembers of them.
//! - `duty`: what is to be done for one device; `rollout`: who may be given anything now, in its `window`. No
//!   socket and no clock.
//! - `delivery`: one device being given its files; `slots`: those that are; `queue`: those that wait for it.
//! - `lease`: which keeper is at work, and `role`: how that is told; `others`: the same of keepers of other names.
//! - `outbox`: what is to be retained at the broker.
//! - `keeping`: all of it together.

mod checkout;
mod delivery;
mod device;
mod duty;
mod ear;
mod echo;
mod error;
mod folders;
mod keeping;
mod lease;
mod lookout;
mod memory;
mod options;
mod others;
mod outbox;
mod queue;
mod rest;
mod role;
mod roll_call;
mod rollout;
mod root;
mod settings;
mod slots;
mod standing;
mod status;
mod touched;
mod watch;
mod window;
mod words;
mod writers;

use std::convert::Infallible;
use std::path::{self, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use self::keeping::Keeping;
use self::lease::Lease;
use self::lookout::Lookout;
use self::outbox::Outbox;
use crate::mqtt::Retention;
use crate::sender::Sender;
use crate::wire::{Algorithm, Digest};

pub use error::KeeperError;
pub use folders::FolderError;
pub use options::KeeperOptions;
pub use role::{Role, Roles};
pub use settings::{SETTINGS_FILE, SettingsError};
pub use standing::Standing;
pub use status::{DeviceStatus, FolderStatus, status};
pub use window::{Window, WindowError, ZoneError};

/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// Gives the devices of a broker the files in their folders: now, or when they wake.
///
/// Of several keepers with one name one is at work, and another takes over when it is gone: at once if it was
/// stopped, after 15 s if it was killed. One that is killed and started again is at work at once.
pub struct Keeper {
    sender: Arc<Sender>,
    keeping: Keeping,
    outbox: Outbox,
}

impl Keeper {
    /// Begins to watch `root`, which has one folder for each device in it. What is put in
    /// its place later on, such as another target of a link, is followed.
    ///
    /// # Errors
    /// The folder cannot be read or watched, or has a keeper on this machine already. There is a window, and the time
    /// zone is not known.
    ///
    /// Cancellation: nothing is left behind.
    pub async fn start(
        sender: Sender,
        root: impl AsRef<Path>,
        options: KeeperOptions,
    ) -> Result<Self, KeeperError> {
        let (sender, path) = (Arc::new(sender), root.as_ref());
        let unreadable = |source| FolderError::Unreadable { path: path.to_owned(), source };
        // Without a slash at its end, which is no other folder.
        let path: PathBuf = path::absolute(path).map_err(unreadable)?.components().collect();
        if let Some(window) = options.window {
            tracing::info!("devices are updated from {window}, in the time zone {}", window::local_time()?);
        }
        // What changes from here on is seen, so it is watched before it is looked at.
        let lookout = Lookout::start(&path, options.quiet())?;
        let name = options.name.clone().unwrap_or_else(|| name_of(&path));
        let outbox = Outbox::new(name);
        let lease = Lease::new(identity(&path), Instant::now());
        let keeping = Keeping::new(Arc::clone(&sender), options, lookout, lease, outbox.clone());
        Ok(Self { sender, keeping, outbox })
    }

    /// Keeps the devices until the future is dropped.
    ///
    /// # Errors
    /// The folder cannot be read at first. The broker's access list forbids what a keeper cannot do without. What else
    /// goes wrong is waited out.
    ///
    /// Cancellation: deliveries go on until the keeper is stopped or dropped; nothing new begins.
    pub async fn run(&mut self) -> Result<Infallible, KeeperError> {
        let Self { sender, keeping, outbox } = self;
        tokio::select! {
            kept = keeping.run() => kept,
            refused = outbox.write_down(sender.link()) => refused.map_err(KeeperError::from),
        }
    }

    /// What it becomes while it runs: at work, or standing by for another one.
    #[must_use]
    pub fn roles(&self) -> Roles {
        self.keeping.roles()
    }

    /// Gives up every delivery that is under way, whose device keeps what it has, and leaves the work to another
    /// keeper, if there is one.
    pub async fn stop(self) {
        let Self { sender, keeping, outbox } = self;
        let was_at_work = keeping.is_at_work();
        let _lookout = keeping.give_up();
        if was_at_work {
            let giving_up = sender.link().publish(outbox.lease_topic(), "", Retention::Retained);
            let _ = timeout(GOODBYE, giving_up).await;
        }
        if let Some(sender) = Arc::into_inner(sender) {
            sender.close().await;
        }
    }
}

/// What keepers of the folder at this path are called where nothing is said: as it is, or the link to it.
fn name_of(path: &Path) -> String {
    let real = path.canonicalize().unwrap_or_default();
    // Where the path ends in `..`, that is no name.
    let name = path.file_name().or(real.file_name()).unwrap_or_default().to_string_lossy();
    name.replace(|c: char| matches!(c, '/' | '+' | '#' | '|') || c.is_control(), "-")
}

/// What is the same for a keeper of the folder at this path on this machine, whenever it is started and wherever a link
/// leads, and what is not: machines that were set up alike are called alike.
fn identity(path: &Path) -> String {
    let machine = gethostname::gethostname();
    let text = format!("{} {}", machine.to_string_lossy(), path.display());
    let digest = Digest::of(Algorithm::Sha256, text.as_bytes()).to_string();
    format!("{digest:.16}.{:08x}", fastrand::u32(..))
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    #[test]
    fn where_a_link_leads_does_not_change_what_a_keeper_is_called() {
        let home = tempfile::tempdir().unwrap();
        let link = home.path().join("devices");
        let mut called = Vec::new();
        for release in ["1", "2"] {
            std::fs::create_dir(home.path().join(release)).unwrap();
            let _ = std::fs::remove_file(&link);
            std::os::unix::fs::symlink(release, &link).unwrap();
            let identity = identity(&link);
            called.push((name_of(&link), identity.split_once('.').unwrap().0.to_owned()));
        }
        assert_eq!(called[0], called[1]);
        assert_eq!(called[0].0, "devices");
        assert_eq!(name_of(&link.join("..")), name_of(home.path()), "it has a name all the same");
    }
}
