//! Folders that devices follow.
//!
//! The desired state is a folder, with one folder in it for each device. The actual state is what the devices announce.
//! Nothing else can be lost: everything a keeper remembers beyond the two is retained at the broker.
//!
//! - `folders`: the tree, with `settings` for each device. `root`: the place of the tree.
//! - `watch`: the changes that the system reports. `rest`: when the changes are over. `writers`: the processes that
//!   have files open. `checkout`: the work of git in the files. `lookout`: the part of a scan that counts in view of
//!   all this.
//! - `ear`: the messages of all devices. `memory`: the notes of a keeper about each of them.
//! - `duty`: the next step for one device. `rollout`: the devices that may be given files now, in their `window`.
//!   Neither has a socket or a clock.
//! - `delivery`: the transfer of files to one device. `slots`: the deliveries under way. `queue`: the devices that wait
//!   for one.
//! - `lease`: which keeper is at work. `role`: the way the caller learns of it. `others`: the same for keepers of other
//!   names.
//! - `outbox`: the messages still to be retained at the broker.
//! - `keeping`: the loop that joins all of them.

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

/// Longest wait for the broker when a stopping keeper withdraws its lease.
const GOODBYE: Duration = Duration::from_millis(500);

/// Keeper of the devices of a broker: gives each device the files in its folder, now or when the device wakes.
///
/// Of several keepers with one name, one is at work. When it is gone, another takes over: at once if it was stopped,
/// after 15 s if it was killed. A keeper that is killed and started again is at work at once.
pub struct Keeper {
    sender: Arc<Sender>,
    keeping: Keeping,
    outbox: Outbox,
}

impl Keeper {
    /// Begins to watch `root`, which has one folder in it for each device. A folder put in its place later on, such as
    /// another target of a link, is followed.
    ///
    /// # Errors
    /// The folder cannot be read or watched, or has a keeper on this machine already. A window is set and the time zone
    /// is not known.
    ///
    /// Cancellation: nothing is left behind.
    pub async fn start(
        sender: Sender,
        root: impl AsRef<Path>,
        options: KeeperOptions,
    ) -> Result<Self, KeeperError> {
        let (sender, path) = (Arc::new(sender), root.as_ref());
        let unreadable = |source| FolderError::Unreadable { path: path.to_owned(), source };
        // A slash at the end names the same folder and is dropped.
        let path: PathBuf = path::absolute(path).map_err(unreadable)?.components().collect();
        if let Some(window) = options.window {
            tracing::info!("devices are updated from {window}, in the time zone {}", window::local_time()?);
        }
        // The folder is watched before its first scan, so that no change from here on is missed.
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
    /// The folder cannot be read at first. The broker's access list forbids something that a keeper cannot do without.
    /// Other failures are waited out.
    ///
    /// Cancellation: deliveries go on until the keeper is stopped or dropped. No new delivery begins.
    pub async fn run(&mut self) -> Result<Infallible, KeeperError> {
        let Self { sender, keeping, outbox } = self;
        tokio::select! {
            kept = keeping.run() => kept,
            refused = outbox.write_down(sender.link()) => refused.map_err(KeeperError::from),
        }
    }

    /// Returns the roles that this keeper takes while it runs: at work, or standing by for another keeper.
    #[must_use]
    pub fn roles(&self) -> Roles {
        self.keeping.roles()
    }

    /// Gives up every delivery under way and leaves the work to another keeper, if there is one. The devices keep what
    /// they have received.
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

/// Returns the default name for keepers of the folder at this path: the last component of the path as given, which may
/// be a link, or else that of its target.
fn name_of(path: &Path) -> String {
    let real = path.canonicalize().unwrap_or_default();
    // A path that ends in `..` has no file name of its own.
    let name = path.file_name().or(real.file_name()).unwrap_or_default().to_string_lossy();
    name.replace(|c: char| matches!(c, '/' | '+' | '#' | '|') || c.is_control(), "-")
}

/// Returns the identity of this keeper as `HOME.LIFE`. The home is the same for a path on this machine at every start
/// and wherever a link leads. The life is random, because machines that were set up alike have the same host name.
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
