use tokio::sync::watch;

/// What a keeper is, among those of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// It gives devices their files.
    AtWork,
    /// Another one is at work, and this one follows it.
    StandingBy,
}

/// What a [`Keeper`](super::Keeper) has become, as it becomes it; it may outlive the keeper.
#[derive(Debug)]
pub struct Roles(watch::Receiver<Option<Role>>);

impl Roles {
    /// Those that this sender tells.
    pub(super) fn of(sender: &watch::Sender<Option<Role>>) -> Self {
        let mut receiver = sender.subscribe();
        // What it has become already is told as well.
        receiver.mark_changed();
        Self(receiver)
    }

    /// Waits for the next role; the first comes when the folder has been looked at and it is known who is at
    /// work. `None`: the keeper is gone.
    ///
    /// Only while [`Keeper::run`](super::Keeper::run) runs is there anything to wait for.
    ///
    /// Cancellation: safe. Of roles that nobody waited for, the last one is told.
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
