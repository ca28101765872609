use tokio::sync::watch;

/// Role of a keeper among those of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// At work: gives devices their files.
    AtWork,
    /// Standing by: follows another keeper, which is at work.
    StandingBy,
}

/// Receiver of the roles that a [`Keeper`](super::Keeper) takes. It may outlive the keeper.
#[derive(Debug)]
pub struct Roles(watch::Receiver<Option<Role>>);

impl Roles {
    /// Creates a receiver for the roles of this sender.
    pub(super) fn of(sender: &watch::Sender<Option<Role>>) -> Self {
        let mut receiver = sender.subscribe();
        // A role taken before now is reported as well.
        receiver.mark_changed();
        Self(receiver)
    }

    /// Waits for the next role, or `None` once the keeper is gone. The first role comes when the folder has been
    /// scanned and the keeper at work is known.
    ///
    /// A role comes only while [`Keeper::run`](super::Keeper::run) runs.
    ///
    /// Cancellation: safe. Of roles that nobody waited for, the last one is returned.
    pub async fn next(&mut self) -> Option<Role> {
        loop {
            self.0.changed().await.ok()?;
            let role = *self.0.borrow_and_update();
            if role.is_some() {
                return role;
            }
        }
    }
}
