use std::sync::Arc;

use bytes::Bytes;
use mqtt_ota::wire::{AnyOffer, Content, ExtendedOffer, State, Status};
use mqtt_ota::{Offer, Reason};

use super::awake::{Awake, Due, End};
use super::behaviour::{Ending, Rhythm};
use super::device::Device;
use super::ledger::FleetDevice;
use super::supply::{Failure, take_plain};

impl Device {
    /// Handles one offer, up to its status.
    pub(super) async fn answer(&mut self, awake: &mut Awake, message: &Bytes) -> Option<End> {
        let taken = match AnyOffer::parse(message) {
            Ok(AnyOffer::Plain(offer)) => self.answer_plain(awake, &offer).await,
            Ok(AnyOffer::Extended(_)) if self.behaviour.is_plain => {
                Ok(Err(Failure::new(Reason::BadOffer, "it takes plain offers")))
            }
            Ok(AnyOffer::Extended(offer)) => self.answer_extended(awake, &offer).await,
            Err(error) => Ok(Err(Failure::new(Reason::BadOffer, error))),
        };
        let failure = match taken {
            Ok(Ok(())) => return None,
            Ok(Err(failure)) => failure,
            Err(end) => return Some(end),
        };
        let detail = format!("{} {}", failure.reason, failure.text);
        self.change(|device| device.failures.push(detail.clone()));
        let (path, digest) = Offer::fields_of_invalid(message);
        let (path, digest) = (path.to_owned(), digest.to_owned());
        let status = Status { state: State::Failed, path, digest, detail, offer: None };
        self.say(awake, status.answering(ExtendedOffer::id_to_name(message)));
        None
    }

    async fn answer_plain(&mut self, awake: &mut Awake, offer: &Offer) -> Result<Result<(), Failure>, End> {
        let status = |state, detail: &str| Status::new(state, &offer.path, &offer.digest, detail);
        if self.see(|device| device.files.get(&offer.path) == Some(&offer.digest)) {
            self.say(awake, status(State::Installed, Status::UNCHANGED));
            return Ok(Ok(()));
        }
        if self.behaviour.ending == Ending::NoSpace {
            return Ok(Err(no_space()));
        }
        self.say(awake, status(State::Receiving, ""));
        let (ground, index, from, is_cut) =
            (Arc::clone(&self.ground), self.index, self.interface, self.is_cut());
        let taking = async {
            let _one = ground.taking.acquire().await;
            take_plain(offer, from, &|bytes| ground.received(index, bytes)).await
        };
        if let Err(failure) = awake.during(is_cut, || ground.heard(index), taking).await? {
            return Ok(Err(failure));
        }
        self.change(|device| {
            device.put(offer.path.clone(), offer.digest);
            device.is_to_reboot |= offer.reboot;
        });
        self.say(awake, status(State::Installed, ""));
        if offer.reboot {
            awake.due = Some(Due { digest: offer.digest, is_set: false, former: None });
        }
        Ok(Ok(()))
    }

    async fn answer_extended(
        &mut self,
        awake: &mut Awake,
        offer: &ExtendedOffer,
    ) -> Result<Result<(), Failure>, End> {
        let status = |state, detail: &str| offer.answer(state, detail);
        let has_it = self.see(|device| match &offer.content {
            Content::File(path) => device.files.get(path) == Some(&offer.digest),
            _ => device.set == Some(offer.digest),
        });
        let is_on_trial = awake.due.as_ref().is_some_and(|due| due.is_set);
        match &offer.content {
            Content::Set(terms) if terms.dry_run => {
                return Ok(Err(Failure::new(Reason::BadOffer, "the fleet runs nothing dry")));
            }
            Content::Set(_) | Content::File(_) if has_it => {
                self.say(awake, status(State::Installed, Status::UNCHANGED));
                return Ok(Ok(()));
            }
            _ if is_on_trial => return Ok(Err(Failure::new(Reason::Busy, "a set is on trial"))),
            Content::Set(_) | Content::File(_) => {}
            _ => return Ok(Err(Failure::new(Reason::Gone, "the fleet keeps no copies"))),
        }
        if self.behaviour.ending == Ending::NoSpace {
            return Ok(Err(no_space()));
        }
        let bare = if offer.answers { String::new() } else { offer.id.to_string() };
        self.say(awake, status(State::Receiving, &bare));
        let files = self.see(|device| device.files.clone());
        let (ground, index, from, is_cut) =
            (Arc::clone(&self.ground), self.index, self.interface, self.is_cut());
        let staging = &mut self.staging;
        let taking = async {
            let _one = ground.taking.acquire().await;
            staging.take(offer, from, &files, &|bytes| ground.received(index, bytes)).await
        };
        let taken = awake.during(is_cut, || ground.heard(index), taking).await?;
        let taken = match taken {
            Ok(taken) => taken,
            Err(failure) => return Ok(Err(failure)),
        };
        let is_new = taken.as_ref().is_none_or(|(_, is_new)| *is_new);
        let former = (self.behaviour.ending == Ending::RollsBack).then(|| self.see(FleetDevice::clone));
        self.change(|device| {
            match (&taken, &offer.content) {
                (Some((manifest, _)), Content::Set(terms)) => {
                    device.install(offer.digest, manifest, terms.delete);
                }
                _ => device.put(offer.path(), offer.digest),
            }
            device.is_to_reboot = is_new && offer.reboot;
        });
        self.say(awake, status(State::Installed, if is_new { "" } else { Status::UNCHANGED }));
        if is_new && offer.reboot {
            let is_set = matches!(offer.content, Content::Set(_));
            awake.due =
                Some(Due { digest: offer.digest, is_set, former: former.filter(|_| is_set).map(Box::new) });
        }
        Ok(Ok(()))
    }

    fn say(&self, awake: &mut Awake, status: Status) {
        let Some(session) = &mut awake.session else { return };
        if session.publish(self.name.status_topic(), status.to_string(), false).is_err() {
            awake.session = None;
        }
    }

    fn is_cut(&self) -> bool {
        matches!(self.behaviour.rhythm, Rhythm::Sleeps { is_cut: true, .. })
    }
}

fn no_space() -> Failure {
    Failure::new(Reason::NoSpace, "4096 bytes needed, 0 free")
}
