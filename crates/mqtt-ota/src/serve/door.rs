//! Order in which the clients of a plain offer are served. No clock and no socket.
//!
//! A plain stream does not tell who takes it. If the device has announced its address, clients from there go first.
//! Other clients wait a moment with nothing sent to them, and never take the device's place.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// Largest number of clients served at once.
///
/// The device is one of them. The others are strangers, or a device that lost its link and connects again before the
/// old connection is known to be dead. A further client takes the place of the one that has taken the least.
pub(super) const CLIENTS: usize = 8;
/// Largest number of clients that wait. A further client takes the place of the one that came first.
const WAITING: usize = 32;
/// Time for which a client from another address than the announced one waits.
const WAITS: Duration = Duration::from_secs(2);
/// Time for a device to connect after it has reported that it takes the offer.
///
/// A device that has not come by then has another address here: it is behind a router that changes the address.
const COMES: Duration = Duration::from_millis(300);

/// Knowledge of the device that an offer is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Address that the device has announced.
    pub(crate) address: Option<IpAddr>,
    /// Time at which the device reported that it takes the offer.
    pub(crate) receiving: Option<Instant>,
    /// True if the device reports the result of the offer. The offer stands until then.
    pub(crate) reports: bool,
}

impl Known {
    /// Returns true if a client from this address may be the device. Any address may be if none is announced.
    pub(crate) fn is_device(&self, address: IpAddr) -> bool {
        self.address.is_none_or(|device| device.to_canonical() == address.to_canonical())
    }
}

/// Clients of one offer. `T` is the record of a client.
#[derive(Debug)]
pub(super) struct Door<T> {
    known: Known,
    /// True if a client has come from the announced address.
    has_come: bool,
    guests: Vec<Guest<T>>,
    next: u64,
}

#[derive(Debug)]
struct Guest<T> {
    number: u64,
    address: IpAddr,
    since: Instant,
    is_served: bool,
    kept: T,
}

impl<T> Door<T> {
    pub(super) fn new(known: Known) -> Self {
        Self { known, has_come: false, guests: Vec::new(), next: 0 }
    }

    /// Records what is known of the device now.
    pub(super) fn know(&mut self, known: Known) {
        if known.address != self.known.address {
            self.has_come = self.guests.iter().any(|guest| is_device(&known, guest.address));
        }
        self.known = known;
    }

    pub(super) fn known(&self) -> Known {
        self.known
    }

    /// Adds a client, which waits. Returns its number, and the record of the client that has to go for it, if there is
    /// one.
    pub(super) fn arrive(&mut self, kept: T, address: IpAddr, now: Instant) -> (u64, Option<T>) {
        self.has_come |= is_device(&self.known, address);
        self.next += 1;
        let (number, since) = (self.next, now);
        self.guests.push(Guest { number, address, since, is_served: false, kept });
        let mut waiting = self.guests.iter().enumerate().filter(|(_, guest)| !guest.is_served);
        let first = waiting.next().map(|(index, _)| index);
        let goes = first.filter(|_| waiting.count() >= WAITING);
        (number, goes.map(|index| self.guests.remove(index).kept))
    }

    /// Removes a client that has gone.
    pub(super) fn leave(&mut self, number: u64) {
        self.guests.retain(|guest| guest.number != number);
    }

    /// Sends the waiting clients away. Only clients that are being served by now stay.
    pub(super) fn close(&mut self) {
        self.guests.retain(|guest| guest.is_served);
    }

    /// Serves the clients that need not wait any longer. Returns the records of the clients that have to go.
    ///
    /// `serve` is called for each client that is served, and is told whether it may be the device. `taken` returns the
    /// number of bytes that a client has taken.
    pub(super) fn open(
        &mut self,
        now: Instant,
        taken: impl Fn(&T) -> u64,
        mut serve: impl FnMut(&mut T, bool),
    ) -> Vec<T> {
        let mut go = Vec::new();
        while let Some(number) = self.first(now) {
            let Some(index) = self.guests.iter().position(|guest| guest.number == number) else { break };
            let is_device = self.guests.get(index).is_some_and(|guest| is_device(&self.known, guest.address));
            if self.guests.iter().filter(|guest| guest.is_served).count() >= CLIENTS {
                let served = self.guests.iter().enumerate().filter(|(_, guest)| guest.is_served);
                // The device's own connections stay, unless all places are theirs.
                let order = |(_, guest): &(usize, &Guest<T>)| {
                    (self::is_device(&self.known, guest.address), taken(&guest.kept))
                };
                let least = served.min_by_key(order).map(|(index, guest)| (index, guest.address));
                let Some((least, address)) = least else { break };
                let may_stay = self::is_device(&self.known, address) && !is_device;
                go.push(self.guests.remove(if may_stay { index } else { least }).kept);
                if may_stay {
                    continue;
                }
            }
            let behind_a_router = self.behind_a_router().is_some_and(|since| since <= now);
            if let Some(guest) = self.guests.iter_mut().find(|guest| guest.number == number) {
                guest.is_served = true;
                serve(&mut guest.kept, behind_a_router || self.known.is_device(guest.address));
            }
        }
        go
    }

    /// Returns the time at which the next waiting client may be served.
    pub(super) fn next(&self) -> Option<Instant> {
        let waiting = self.guests.iter().filter(|guest| !guest.is_served);
        waiting.map(|guest| self.served_at(guest)).min()
    }

    /// Returns the number of the client that is served next. The device goes before all others.
    fn first(&self, now: Instant) -> Option<u64> {
        let due = |guest: &&Guest<T>| !guest.is_served && self.served_at(guest) <= now;
        let due = self.guests.iter().filter(due);
        due.min_by_key(|guest| !is_device(&self.known, guest.address)).map(|guest| guest.number)
    }

    fn served_at(&self, guest: &Guest<T>) -> Instant {
        if self.known.is_device(guest.address) {
            return guest.since;
        }
        let waited = guest.since + WAITS;
        self.behind_a_router().map_or(waited, |at| at.min(waited))
    }

    /// Returns the time from which the device is taken to have another address here than the one that it knows of.
    fn behind_a_router(&self) -> Option<Instant> {
        self.known.receiving.filter(|_| !self.has_come).map(|said| said + COMES)
    }
}

/// Returns true if the device has announced this address.
fn is_device(known: &Known, address: IpAddr) -> bool {
    known.address.is_some() && known.is_device(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(last: u8) -> IpAddr {
        [192, 168, 1, last].into()
    }

    /// Number of the device's address. All other numbers are strangers'.
    const DEVICE: u8 = 7;

    fn announced() -> Known {
        Known { address: Some(ip(DEVICE)), receiving: None, reports: true }
    }

    /// Door at which the name of each client is a number, and also the number of bytes that it has taken.
    struct Scene(Door<u64>, Instant);

    impl Scene {
        fn new(known: Known) -> Self {
            Self(Door::new(known), Instant::now())
        }

        fn at(&self, after: u64) -> Instant {
            self.1 + Duration::from_millis(after)
        }

        fn arrive(&mut self, name: u64, last: u8, after: u64) -> Option<u64> {
            let now = self.at(after);
            self.0.arrive(name, ip(last), now).1
        }

        /// Returns the clients that are served from now on, and those that have to go.
        fn open(&mut self, after: u64) -> (Vec<u64>, Vec<u64>) {
            let (now, mut served) = (self.at(after), Vec::new());
            let go = self.0.open(now, |name| *name, |name, _| served.push(*name));
            (served, go)
        }

        fn receiving(&mut self, after: u64) {
            let receiving = Some(self.at(after));
            let known = Known { receiving, ..self.0.known() };
            self.0.know(known);
        }

        fn next(&self) -> Option<u64> {
            self.0.next().map(|at| (at - self.1).as_millis() as u64)
        }
    }

    #[test]
    fn whoever_comes_is_served_at_once_where_no_address_was_announced() {
        let mut door = Scene::new(Known::default());
        door.arrive(1, 66, 0);
        door.arrive(2, DEVICE, 0);
        assert_eq!(door.open(0), (vec![1, 2], vec![]));
        assert_eq!(door.next(), None);
    }

    #[test]
    fn the_announced_address_is_served_at_once_and_another_after_two_seconds() {
        let mut door = Scene::new(announced());
        door.arrive(1, 66, 0);
        assert_eq!(door.open(0), (vec![], vec![]));
        door.arrive(2, DEVICE, 100);
        assert_eq!(door.open(100), (vec![2], vec![]));
        assert_eq!(door.next(), Some(2000));
        assert_eq!(door.open(1999), (vec![], vec![]));
        assert_eq!(door.open(2000), (vec![1], vec![]));
    }

    #[test]
    fn an_address_that_was_written_as_an_ipv6_one_is_the_same() {
        let mapped = match ip(DEVICE) {
            IpAddr::V4(address) => address.to_ipv6_mapped().into(),
            address => address,
        };
        assert!(announced().is_device(mapped));
        assert!(!announced().is_device(ip(66)));
    }

    #[test]
    fn a_device_that_said_it_takes_the_offer_and_does_not_come_from_its_address_is_behind_a_router() {
        let mut door = Scene::new(announced());
        door.arrive(1, 66, 0);
        door.receiving(50);
        assert_eq!(door.next(), Some(350));
        assert_eq!(door.open(349), (vec![], vec![]));
        assert_eq!(door.open(350), (vec![1], vec![]));
        door.arrive(2, 67, 400);
        assert_eq!(door.open(400), (vec![2], vec![]), "so whoever comes later need not wait");
    }

    #[test]
    fn a_device_that_has_come_from_its_address_is_not_behind_a_router() {
        let mut door = Scene::new(announced());
        door.arrive(1, 66, 0);
        // The device's connection may come before its report.
        door.arrive(2, DEVICE, 10);
        door.receiving(50);
        assert_eq!(door.open(1999), (vec![2], vec![]));
        assert_eq!(door.open(2000), (vec![1], vec![]));
    }

    #[test]
    fn strangers_that_have_all_places_make_room_for_the_announced_address() {
        let mut door = Scene::new(announced());
        for name in 1..=8 {
            door.arrive(name * 1000, 66, 0);
        }
        assert_eq!(door.open(2000).0.len(), 8);
        door.arrive(0, DEVICE, 2000);
        assert_eq!(door.open(2000), (vec![0], vec![1000]), "the one that has taken the least goes");
        // The device itself has taken less than all of them.
        door.arrive(9000, 67, 2000);
        assert_eq!(door.open(4000), (vec![9000], vec![2000]));
        for name in 1..=7 {
            door.arrive(name, DEVICE, 4000);
        }
        assert_eq!(door.open(4000).1.len(), 7);
        door.arrive(66, 66, 4000);
        assert_eq!(door.open(6000), (vec![], vec![66]), "all places are the device's");
        door.arrive(8, DEVICE, 6000);
        assert_eq!(door.open(6000), (vec![8], vec![0]));
    }

    #[test]
    fn the_first_of_too_many_that_wait_goes() {
        let mut door = Scene::new(announced());
        for name in 0..WAITING as u64 {
            assert_eq!(door.arrive(name, 66, 0), None);
        }
        assert_eq!(door.arrive(99, 66, 0), Some(0));
    }

    #[test]
    fn a_device_that_announces_another_address_meanwhile_need_not_wait_with_it() {
        let mut door = Scene::new(announced());
        door.arrive(1, 8, 0);
        door.0.know(Known { address: Some(ip(8)), ..announced() });
        assert_eq!(door.open(1), (vec![1], vec![]));
    }

    proptest! {
        #[test]
        fn property_the_device_is_served_at_once_and_stays_whatever_strangers_do(
            steps in proptest::collection::vec((0u8..6, 0u64..400), 1..200)
        ) {
            let mut door = Scene::new(announced());
            let (mut now, mut served, mut name) = (0, Vec::<(u64, u64, bool)>::new(), 0);
            for (what, after) in steps {
                now += after;
                name += 1;
                let last = if what == 0 { DEVICE } else { 60 + what };
                match what {
                    5 => door.receiving(now),
                    4 => served.pop().into_iter().for_each(|(number, ..)| door.0.leave(number)),
                    _ => {
                        let now = door.at(now);
                        door.0.arrive(name, ip(last), now);
                    }
                }
                let (entered, gone) = door.open(now);
                prop_assert!(what != 0 || entered.contains(&name) && !gone.contains(&name));
                // A client that has waited may have to go at once, for the next client that has waited.
                for entered in entered {
                    let guest = door.0.guests.iter().find(|guest| guest.kept == entered);
                    served.extend(guest.map(|guest| (guest.number, guest.kept, guest.address == ip(DEVICE))));
                }
                let devices = served.iter().filter(|(.., is_device)| *is_device).count();
                for gone in gone {
                    if let Some(index) = served.iter().position(|(_, kept, _)| *kept == gone) {
                        let (.., is_device) = served.remove(index);
                        prop_assert!(!is_device || devices > CLIENTS);
                    }
                }
                prop_assert!(served.len() <= CLIENTS);
                prop_assert!(door.0.guests.len() <= CLIENTS + WAITING);
                prop_assert!(door.next().is_none_or(|next| next > now));
            }
        }
    }
}
