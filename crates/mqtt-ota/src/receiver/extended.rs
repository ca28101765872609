use std::io;
use std::sync::Arc;

use super::ReceiverEvent;
use super::device::Device;
use super::disk::SystemDisk;
use super::failure::Failure;
use super::recovery::ON_REQUEST;
use super::set::{Changes, OfferedSet, Taken};
use super::single::Single;
use super::store::{Store, name};
use super::stream::{self, Sender, TcpSupply};
use super::supply::Items;
use crate::wire::{Content, DevicePath, Digest, ExtendedOffer, Offer, Reason, SetTerms, State, Status};

impl Device {
    /// Handles one extended offer, up to its status.
    pub(super) async fn take_extended(&mut self, offer: &ExtendedOffer) {
        let taken = match &offer.content {
            Content::File(path) => self.take_file(offer, path).await,
            Content::Set(terms) => self.take_set(offer, *terms).await,
            Content::Rollback => self.take_back(offer.digest).await,
        };
        match taken {
            Ok(()) => {
                let is_dry = matches!(offer.content, Content::Set(SetTerms { dry_run: true, .. }));
                self.reboot(offer.reboot && !is_dry).await;
            }
            Err(failure) => self.failed(offer.answer(State::Failed, ""), failure).await,
        }
    }

    async fn take_file(&mut self, offer: &ExtendedOffer, path: &DevicePath) -> Result<(), Failure> {
        let (digest, size) = (offer.digest, offer.size);
        if size > self.config.max_size {
            return Err(Failure::over(self.config.max_size));
        }
        let wanted = path.clone();
        if self.root.with(move |store| store.has(&Single { path: &wanted, digest, size })).await? {
            self.have(path, digest, None, offer.named()).await;
            return Ok(());
        }
        let ExtendedOffer { host, port, reboot, .. } = offer.clone();
        let plain = Offer { host, port, path: path.clone(), digest, reboot };
        self.tell(ReceiverEvent::Receiving(plain)).await;
        let wanted = path.clone();
        self.fetching(offer, move |store, items, received| {
            store.take_single(&Single { path: &wanted, digest, size }, items, received)
        })
        .await?;
        self.have(path, digest, Some(size), offer.named()).await;
        Ok(())
    }

    async fn take_set(&mut self, offer: &ExtendedOffer, terms: SetTerms) -> Result<(), Failure> {
        let set =
            OfferedSet { digest: offer.digest, size: offer.size, terms, max_size: self.config.max_size };
        self.tell(ReceiverEvent::ReceivingSet(offer.clone())).await;
        let taken =
            self.fetching(offer, move |store, items, received| store.take_set(&set, items, received)).await?;
        let digest = offer.digest;
        match taken {
            Taken::Unchanged => {
                self.publish(offer.answer(State::Installed, Status::UNCHANGED)).await;
                // The device may have had the files without the set.
                let _ = self.announcer().announce().await;
                self.tell(ReceiverEvent::SetUnchanged { digest }).await;
            }
            Taken::Installed(Changes { files, deleted, bytes }) => {
                self.reboot_due = true;
                self.last = None;
                self.publish(offer.answer(State::Installed, "")).await;
                self.tell(ReceiverEvent::SetInstalled { digest, files, deleted, bytes }).await;
            }
            Taken::Planned(Changes { files, deleted, bytes }) => {
                self.publish(offer.answer(State::Planned, "")).await;
                self.tell(ReceiverEvent::Planned { digest, files, deleted, bytes }).await;
            }
        }
        Ok(())
    }

    async fn take_back(&mut self, digest: Digest) -> Result<(), Failure> {
        let (is_taken_back, was_before) = self
            .root
            .with(move |store| {
                store.recover()?;
                let is_taken_back = store.take_back(digest)?;
                let back = store.journal(name::BACK)?;
                Ok::<_, io::Error>((is_taken_back, back.is_some_and(|back| back.digest == digest)))
            })
            .await?;
        if is_taken_back {
            // The announcement after the reboot reports the rollback.
            self.reboot_due = true;
            self.last = None;
            self.tell(ReceiverEvent::RolledBack { digest, text: ON_REQUEST.to_owned() }).await;
        } else if was_before {
            let _ = self.online().await;
        } else {
            return Err(Failure::new(Reason::Gone, "the files before this set are not kept"));
        }
        Ok(())
    }

    /// Runs work that needs the sender in a thread, and publishes that the offer is being received.
    async fn fetching<T: Send + 'static>(
        &self,
        offer: &ExtendedOffer,
        work: impl FnOnce(&Store<SystemDisk>, &mut Items<TcpSupply>, &mut dyn FnMut(u64)) -> Result<T, Failure>
        + Send
        + 'static,
    ) -> Result<T, Failure> {
        let (supply, line) = stream::to(Sender {
            host: offer.host.clone(),
            port: offer.port.get(),
            id: offer.id,
            connect_timeout: self.config.connect_timeout,
            idle_timeout: self.config.idle_timeout,
            min_rate: self.config.min_rate,
            pause: self.config.retry_pause,
            newer: self.newer.clone(),
        });
        let mut items = Items::new(supply, self.config.attempts);
        let guard = Arc::clone(&self.busy).lock_owned().await;
        let events = self.events.clone();
        let working = self.root.with(move |store| {
            let _guard = guard;
            let mut so_far = 0;
            work(store, &mut items, &mut |count| {
                so_far += count;
                let _ = events.try_send(ReceiverEvent::Progress { received: so_far });
            })
        });
        // A sender of version 0.1 looks for the bare id.
        let detail = if offer.answers { String::new() } else { offer.id.to_string() };
        let receiving = self.publish(offer.answer(State::Receiving, detail));
        let ((), done, ()) = tokio::join!(receiving, working, line.run());
        done
    }
}
