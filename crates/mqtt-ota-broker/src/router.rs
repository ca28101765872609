use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{self, PubAckReason, RetainForwardRule, SubscribeReasonCode as Code};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use crate::archive::Archive;
use crate::engine::{Engine, EngineGone, Reader};
use crate::message::Message;
use crate::retained::{Cursor, Retained};
use crate::seat::Name;
use crate::session::{Away, Delivery, Session, Terms};
use crate::tree::{Options, SessionId, Tree};
use crate::{limits, topic};

/// Subscriptions and retained messages. Messages in transit are in the [`Engine`].
///
/// Everything that is known of a client is freed with its session.
#[derive(Debug)]
pub(crate) struct Router {
    state: Mutex<State>,
    archive: Option<Arc<Archive>>,
    /// Maximum number of sessions that are kept for disconnected clients.
    max_away: usize,
    /// Notified when something becomes due earlier than expected.
    due: Notify,
}

#[derive(Debug)]
pub(crate) struct State {
    sessions: HashMap<SessionId, Session>,
    names: HashMap<Name, SessionId>,
    /// Sessions of disconnected clients, the longest disconnected first.
    away: BTreeSet<(Instant, SessionId)>,
    /// Time at which the next session or will is due. `None` before the first check.
    next_due: Option<Instant>,
    tree: Tree,
    pub(crate) retained: Retained,
    last: SessionId,
    /// Cost in bytes of all messages in transit.
    queued: usize,
    /// Cost in bytes of all subscriptions.
    subscribed: usize,
    engine: Engine,
    /// Origin of the timestamps in the logs.
    pub(crate) epoch: Instant,
}

/// Session that a client was attached to.
pub(crate) struct Attached {
    pub(crate) id: SessionId,
    pub(crate) wake: Arc<Notify>,
    /// Returned to the session by [`Router::detach`].
    pub(crate) reader: Reader,
    /// True if the session existed before.
    pub(crate) is_resumed: bool,
}

impl Router {
    /// Starts rumqttd's router for `clients` connected and `max_away` disconnected clients.
    ///
    /// The returned reader reports when rumqttd's router is gone.
    pub(crate) fn start(
        clients: usize,
        max_away: usize,
        archive: Option<Arc<Archive>>,
    ) -> Result<(Self, Reader), EngineGone> {
        let (engine, gone) = Engine::start(clients.saturating_add(max_away))?;
        let state = State {
            sessions: HashMap::new(),
            names: HashMap::new(),
            away: BTreeSet::new(),
            next_due: None,
            tree: Tree::default(),
            retained: Retained::default(),
            last: SessionId::default(),
            queued: 0,
            subscribed: 0,
            engine,
            epoch: Instant::now(),
        };
        Ok((Self { state: Mutex::new(state), archive, max_away, due: Notify::new() }, gone))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Attaches a client to its session, or to a new one. `clean` ends an earlier session first.
    pub(crate) fn attach(&self, name: Name, clean: bool, terms: Terms) -> Result<Attached, EngineGone> {
        let mut state = self.state();
        let known = state.names.get(&name).copied();
        let will = match known {
            Some(id) if clean => state.end(id),
            _ => None,
        };
        if let Some(will) = will {
            self.publish_in(&mut state, None, &will);
        }
        let resumed = known.filter(|_| !clean);
        let State { sessions, away, names, engine, last, .. } = &mut *state;
        let (id, reader, wake) = match resumed.and_then(|id| Some((id, sessions.get_mut(&id)?))) {
            Some((id, session)) => {
                if let Some(was) = &session.away {
                    away.remove(&(was.since, id));
                }
                session.resume(terms);
                (id, session.reader.take().ok_or(EngineGone)?, Arc::clone(&session.wake))
            }
            None => {
                let (log, reader) = engine.open(terms.is_inside)?;
                *last += 1;
                let session = Session::new(name.clone(), terms, log);
                let wake = Arc::clone(&session.wake);
                names.insert(name, *last);
                sessions.insert(*last, session);
                (*last, reader, wake)
            }
        };
        Ok(Attached { id, wake, reader, is_resumed: resumed.is_some() })
    }

    /// Ends a connection.
    ///
    /// The session lives on for `life`, or for the agreed time if `life` is `None`. The will is published after its
    /// delay, or at the end of the session if that comes first.
    pub(crate) fn detach(
        &self,
        id: SessionId,
        reader: Option<Reader>,
        life: Option<Duration>,
        will: Option<(v5::Publish, Duration)>,
    ) {
        let mut state = self.state();
        let Some(session) = state.sessions.get_mut(&id) else { return };
        session.reader = reader;
        let life = life.unwrap_or(session.terms.life);
        let now = Instant::now();
        if life.is_zero() {
            state.end(id);
            if let Some((will, _)) = will {
                self.publish_in(&mut state, Some(id), &will);
            }
            return;
        }
        let (will, delayed) = match will {
            Some((will, delay)) if delay.is_zero() => (Some(will), None),
            Some((will, delay)) => (None, Some((will, now + delay.min(life)))),
            None => (None, None),
        };
        let until = now.checked_add(life);
        let due = delayed.as_ref().map(|(_, at)| *at).into_iter().chain(until).min();
        session.away = Some(Away { since: now, until, will: delayed });
        state.away.insert((now, id));
        if let Some(will) = will {
            self.publish_in(&mut state, Some(id), &will);
        }
        while state.away.len() > self.max_away {
            let Some(&(_, oldest)) = state.away.first() else { break };
            if let Some(will) = state.end(oldest) {
                self.publish_in(&mut state, None, &will);
            }
        }
        if due.is_some_and(|due| state.next_due.is_some_and(|next| due < next)) {
            self.due.notify_one();
        }
    }

    /// Delivers a message to all subscribers, and retains it if its RETAIN flag is set.
    pub(crate) fn publish(&self, from: Option<SessionId>, publish: &v5::Publish) -> PubAckReason {
        self.publish_in(&mut self.state(), from, publish)
    }

    fn publish_in(&self, state: &mut State, from: Option<SessionId>, publish: &v5::Publish) -> PubAckReason {
        if topic::is_reserved(&publish.topic) {
            return PubAckReason::NoMatchingSubscribers;
        }
        let message = Arc::new(Message::new(publish, Instant::now()));
        let is_kept = !publish.retain || self.retain(state, &message);
        let found = state.deliver(from, publish.retain, &message);
        match (is_kept, found) {
            (false, _) => PubAckReason::QuotaExceeded,
            (true, false) => PubAckReason::NoMatchingSubscribers,
            (true, true) => PubAckReason::Success,
        }
    }

    /// Retains a message, or removes the retained one if the payload is empty. Returns false if there is no room.
    fn retain(&self, state: &mut State, message: &Arc<Message>) -> bool {
        let is_kept = if message.payload.is_empty() {
            state.retained.remove(&message.topic);
            true
        } else {
            state.retained.insert(message)
        };
        if !is_kept {
            tracing::debug!("a message is not retained: there are too many");
        } else if let Some(archive) = &self.archive {
            archive.take(&message.topic, &message.payload);
        }
        is_kept
    }

    /// Publishes wills and ends sessions when they are due. Runs until dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            let next = self.expire(Instant::now());
            tokio::select! {
                () = sleep_until(next) => {}
                () = self.due.notified() => {}
            }
        }
    }

    /// Makes rumqttd's router pass ended connections in its queue, a moment after each end. Runs until dropped.
    pub(crate) async fn pass_closed(self: Arc<Self>) {
        let closing = self.state().engine.closing();
        loop {
            closing.notified().await;
            // More connections may be about to end.
            sleep(limits::PASS_CLOSED).await;
            // The readers report that the router is gone.
            let _ = self.state().engine.pass_closed();
        }
    }

    /// Publishes wills, ends sessions and removes retained messages that are due. Returns the time of the next check.
    fn expire(&self, now: Instant) -> Instant {
        let mut state = self.state();
        let mut next = now + limits::SWEEP;
        let (mut ended, mut wills) = (Vec::new(), Vec::new());
        let State { away, sessions, retained, .. } = &mut *state;
        for (_, id) in &*away {
            let Some(away) = sessions.get_mut(id).and_then(|session| session.away.as_mut()) else { continue };
            let due = [away.until, away.will.as_ref().map(|(_, at)| *at)];
            next = due.into_iter().flatten().filter(|at| *at > now).fold(next, Instant::min);
            wills.extend(away.will.take_if(|(_, at)| *at <= now));
            if away.until.is_some_and(|until| until <= now) {
                ended.push(*id);
            }
        }
        retained.expire(now);
        let wills = wills.into_iter().map(|(will, _)| will);
        let wills: Vec<_> = wills.chain(ended.into_iter().filter_map(|id| state.end(id))).collect();
        for will in wills {
            self.publish_in(&mut state, None, &will);
        }
        state.next_due = Some(next);
        next
    }
}

impl State {
    /// Returns a session, and the cost of the messages of all sessions.
    pub(crate) fn session(&mut self, id: SessionId) -> Option<(&mut Session, &mut usize)> {
        Some((self.sessions.get_mut(&id)?, &mut self.queued))
    }

    /// Subscribes a session. Returns the reason code, and a cursor if retained messages are to be sent.
    pub(crate) fn subscribe(&mut self, id: SessionId, filter: &v5::Filter) -> (Code, Option<Cursor>) {
        let path = filter.path.as_bytes();
        let Self { sessions, tree, subscribed, retained, .. } = self;
        let Some(session) = sessions.get_mut(&id) else { return (Code::Unspecified, None) };
        if topic::is_shared(path) {
            return (Code::SharedSubscriptionsNotSupported, None);
        }
        if !topic::is_filter(path) {
            return (Code::TopicFilterInvalid, None);
        }
        if topic::is_reserved(path) {
            return (Code::NotAuthorized, None);
        }
        let is_new = !session.subscriptions.contains_key(path);
        if is_new {
            let levels = path.iter().filter(|byte| **byte == b'/').count() + 1;
            let cost = limits::LEVEL * levels + 2 * path.len();
            let count = session.subscriptions.len() + 1;
            let has_share = count <= limits::SUBSCRIPTIONS_SHARE
                && session.subscribed + cost <= limits::SUBSCRIPTIONS_SHARE_BYTES;
            if count > limits::SUBSCRIPTIONS || !has_share && *subscribed + cost > limits::SUBSCRIPTIONS_BYTES
            {
                return (Code::QuotaExceeded, None);
            }
            session.subscriptions.insert(path.into(), cost);
            session.subscribed += cost;
            *subscribed += cost;
        }
        let options = Options {
            qos: filter.qos,
            no_local: filter.nolocal,
            retain_as_published: filter.preserve_retain,
        };
        tree.insert(path, id, options);
        let wants = match filter.retain_forward_rule {
            RetainForwardRule::OnEverySubscribe => true,
            RetainForwardRule::OnNewSubscribe => is_new,
            RetainForwardRule::Never => false,
        };
        (Code::Success(filter.qos), if wants { retained.cursor(path) } else { None })
    }

    /// Ends a subscription. Returns false if there was none.
    pub(crate) fn unsubscribe(&mut self, id: SessionId, filter: &[u8]) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        let Some(cost) = session.subscriptions.remove(filter) else { return false };
        session.subscribed -= cost;
        self.subscribed -= cost;
        self.tree.remove(filter, id)
    }

    /// Writes a message to the logs of its subscribers. Returns false if it matches no subscription.
    fn deliver(&mut self, from: Option<SessionId>, retain: bool, message: &Arc<Message>) -> bool {
        let mut takers: Vec<(SessionId, QoS, bool)> = Vec::new();
        self.tree.each(&message.topic, |id, options| {
            if !(options.no_local && from == Some(id)) {
                takers.push((id, options.qos, options.retain_as_published));
            }
        });
        // A client with overlapping subscriptions gets the message once, with the highest QoS that it asked for.
        takers.sort_unstable_by_key(|(id, ..)| *id);
        takers.dedup_by(|(id, qos, as_published), (kept, best, kept_as_published)| {
            let same = id == kept;
            if same {
                *kept_as_published |= *as_published;
                if *qos as u8 > *best as u8 {
                    *best = *qos;
                }
            }
            same
        });
        // All clients that receive the message in the same way share one copy in memory.
        let mut written: Vec<(QoS, bool, Bytes)> = Vec::new();
        for (id, granted, as_published) in &takers {
            let Some(session) = self.sessions.get_mut(id) else { continue };
            let qos = if message.qos as u8 <= *granted as u8 { message.qos } else { *granted };
            // A disconnected client only gets messages with QoS 1 or 2.
            if session.away.is_some() && qos == QoS::AtMostOnce {
                continue;
            }
            let retain = retain && *as_published;
            let same =
                written.iter().find(|(as_qos, as_retained, _)| (*as_qos, *as_retained) == (qos, retain));
            let bytes = match same {
                Some((_, _, bytes)) => bytes.clone(),
                None => {
                    let delivery = Delivery { message: Arc::clone(message), qos, retain };
                    let Some(bytes) = delivery.write(self.epoch) else { continue };
                    written.push((qos, retain, bytes.clone()));
                    bytes
                }
            };
            if session.push(bytes.len(), &mut self.queued) {
                self.engine.write(&session.log, bytes);
            }
        }
        !takers.is_empty()
    }

    /// Removes a session with everything that was kept for it. Returns its last will if that was not published yet.
    fn end(&mut self, id: SessionId) -> Option<v5::Publish> {
        let session = self.sessions.remove(&id)?;
        if let Some(away) = &session.away {
            self.away.remove(&(away.since, id));
        }
        self.names.remove(&session.name);
        for filter in session.subscriptions.keys() {
            self.tree.remove(filter, id);
        }
        self.subscribed -= session.subscribed;
        self.queued = self.queued.saturating_sub(session.queued());
        self.engine.close(session.log);
        shrink(&mut self.sessions);
        shrink(&mut self.names);
        session.away.and_then(|away| away.will).map(|(will, _)| will)
    }

    /// Returns true if nothing is known of any client.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
            && self.names.is_empty()
            && self.away.is_empty()
            && self.tree.is_empty()
            && (self.queued, self.subscribed) == (0, 0)
    }
}

/// Frees memory after a crowd of clients has left.
fn shrink<K: std::hash::Hash + Eq, V>(map: &mut HashMap<K, V>) {
    if map.capacity() > 64 && map.len() < map.capacity() / 4 {
        map.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Link;
    use crate::session::tests::name;

    fn router() -> Arc<Router> {
        Arc::new(Router::start(10_000, 3, None).unwrap().0)
    }

    fn attach(router: &Arc<Router>, id: &str, life: u64) -> Link {
        let terms =
            Terms { life: Duration::from_secs(life), window: 10, max_packet: usize::MAX, is_inside: false };
        Link::attach(router, name(id), false, terms).unwrap().0
    }

    fn message(topic: &str, qos: QoS) -> v5::Publish {
        v5::Publish::new(topic, qos, "x", None)
    }

    fn count(link: &mut Link) -> usize {
        packets(link).len()
    }

    fn packets(link: &mut Link) -> Vec<crate::packet::Packet> {
        link.router().state().engine.settle();
        std::iter::from_fn(|| link.next()).collect()
    }

    #[tokio::test]
    async fn all_that_is_known_of_a_client_goes_with_it() {
        let router = router();
        for life in [0, 1_000] {
            let mut link = attach(&router, "desk", life);
            for filter in ["a", "a/+", "#", "a/b/c/d", "a"] {
                link.subscribe(&v5::Filter::new(filter, QoS::ExactlyOnce));
            }
            link.unsubscribe("a/+");
            for _ in 0..20 {
                router.publish(None, &message("a", QoS::ExactlyOnce));
            }
            assert_eq!(count(&mut link), 10);
            link.acknowledged(1);
            link.publish_once(&v5::Publish { pkid: 7, ..message("z", QoS::ExactlyOnce) });
            link.end(Some(Duration::ZERO), None);
            assert!(router.state().is_empty(), "{router:?}");
        }
    }

    #[tokio::test]
    async fn a_client_gets_a_message_once_with_the_best_of_its_overlapping_subscriptions() {
        let router = router();
        let mut link = attach(&router, "desk", 0);
        for (filter, qos) in [("a", QoS::AtMostOnce), ("+", QoS::ExactlyOnce), ("#", QoS::AtLeastOnce)] {
            link.subscribe(&v5::Filter::new(filter, qos));
        }
        router.publish(None, &message("a", QoS::ExactlyOnce));
        let packets = packets(&mut link);
        let [crate::packet::Packet::Publish(publish)] = &packets[..] else { panic!("{packets:?}") };
        assert_eq!(publish.qos, QoS::ExactlyOnce);
    }

    #[tokio::test]
    async fn more_clients_that_are_away_than_are_kept_end_the_session_of_who_is_away_for_longest() {
        let router = router();
        for id in ["a", "b", "c", "d"] {
            let link = attach(&router, id, 1_000);
            link.subscribe(&v5::Filter::new(id, QoS::AtLeastOnce));
            link.end(None, None);
        }
        for (id, expected) in [("a", 0), ("b", 1), ("c", 1), ("d", 1)] {
            router.publish(None, &message(id, QoS::AtLeastOnce));
            let mut link = attach(&router, id, 0);
            assert_eq!(count(&mut link), expected, "{id}");
        }
        assert!(router.state().is_empty());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_crowd_that_leaves_with_messages_waiting_holds_nobody_up() {
        let router = router();
        tokio::spawn(Arc::clone(&router).pass_closed());
        let filter = v5::Filter::new("a", QoS::AtLeastOnce);
        for _ in 0..5 {
            let crowd: Vec<_> = (0..1_000).map(|n| attach(&router, &n.to_string(), 0)).collect();
            let mut last = attach(&router, "last", 0);
            crowd.iter().chain([&last]).for_each(|link| drop(link.subscribe(&filter)));
            router.publish(None, &message("a", QoS::AtLeastOnce));
            drop(crowd);
            // A late client attaches right after them.
            drop(attach(&router, "late", 0));
            let woken = tokio::time::timeout(Duration::from_secs(2), last.woken());
            woken.await.expect("it is held up").unwrap();
            assert!(last.next().is_some());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_ends_when_its_time_is_over_and_a_delayed_will_comes_before_that() {
        let router = router();
        tokio::spawn(Arc::clone(&router).run());
        let mut watcher = attach(&router, "watcher", 0);
        watcher.subscribe(&v5::Filter::new("will/+", QoS::AtLeastOnce));
        let will = |id: &str, delay| {
            Some((message(&format!("will/{id}"), QoS::AtLeastOnce), Duration::from_secs(delay)))
        };
        tokio::task::yield_now().await;
        attach(&router, "lost", 100).end(None, will("lost", 20));
        attach(&router, "short", 10).end(None, will("short", 90));
        attach(&router, "back", 100).end(None, will("back", 15));
        let back = attach(&router, "back", 100);
        let began = Instant::now();
        let mut came = Vec::new();
        while came.len() < 2 {
            tokio::time::advance(Duration::from_secs(1)).await;
            tokio::task::yield_now().await;
            for packet in packets(&mut watcher) {
                let crate::packet::Packet::Publish(publish) = packet else { panic!("{packet:?}") };
                watcher.acknowledged(publish.pkid);
                came.push((String::from_utf8(publish.topic.to_vec()).unwrap(), began.elapsed().as_secs()));
            }
        }
        assert_eq!(came, [("will/short".to_owned(), 10), ("will/lost".to_owned(), 20)]);
        tokio::time::sleep(Duration::from_secs(200)).await;
        assert_eq!(router.state().sessions.len(), 2);
        drop((back, watcher));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_has_expired_is_not_delivered_to_who_wakes_late() {
        let router = router();
        attach(&router, "desk", 1_000).subscribe(&v5::Filter::new("a", QoS::AtLeastOnce));
        let mut publish = message("a", QoS::AtLeastOnce);
        publish.properties = Some(v5::PublishProperties {
            message_expiry_interval: Some(30),
            ..v5::PublishProperties::default()
        });
        router.publish(None, &publish);
        tokio::time::advance(Duration::from_secs(10)).await;
        router.publish(None, &publish);
        tokio::time::advance(Duration::from_secs(25)).await;
        let mut link = attach(&router, "desk", 0);
        let packets = packets(&mut link);
        let [crate::packet::Packet::Publish(publish)] = &packets[..] else { panic!("{packets:?}") };
        assert_eq!(publish.properties.as_ref().unwrap().message_expiry_interval, Some(5));
        drop(link);
        assert!(router.state().is_empty());
    }

    #[tokio::test]
    async fn subscriptions_have_a_bound_over_all_and_a_share_for_each() {
        let router = router();
        let mut links = Vec::new();
        let long = "x".repeat(900);
        let mut granted = 0;
        for client in 0..20 {
            let link = attach(&router, &client.to_string(), 0);
            for n in 0..limits::SUBSCRIPTIONS {
                let filter = v5::Filter::new(format!("{n}/{long}"), QoS::AtMostOnce);
                granted += usize::from(matches!(link.subscribe(&filter).0, Code::Success(_)));
            }
            links.push(link);
        }
        let last = attach(&router, "last", 0);
        let filter = v5::Filter::new("one/more", QoS::AtMostOnce);
        assert!(matches!(last.subscribe(&filter).0, Code::Success(_)));
        drop(last);
        let subscribed = router.state().subscribed;
        let share = links.len() * limits::SUBSCRIPTIONS_SHARE_BYTES;
        assert!((1..=limits::SUBSCRIPTIONS_BYTES + share).contains(&subscribed), "{subscribed}");
        assert!(granted < 20 * limits::SUBSCRIPTIONS);
        drop(links);
        assert!(router.state().is_empty());
    }

    /// Asserts that the totals equal the sums over all sessions.
    fn assert_sound(state: &State) {
        let sum = |of: fn(&Session) -> usize| state.sessions.values().map(of).sum::<usize>();
        assert_eq!(state.queued, sum(Session::queued));
        assert_eq!(state.subscribed, sum(|session| session.subscribed));
        assert_eq!(state.subscribed, sum(|session| session.subscriptions.values().sum()));
        assert_eq!(state.away.len(), sum(|session| usize::from(session.away.is_some())));
        assert_eq!(state.names.len(), state.sessions.len());
        assert!(state.away.len() <= 3);
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_clients_do_the_totals_are_right_and_nothing_is_left_of_them() {
        const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
        const FILTERS: [&str; 6] = ["x", "y", "x/+", "#", "+/y", "x/y/#"];
        const QUALITIES: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
        let mut random = fastrand::Rng::with_seed(14);
        for _ in 0..30 {
            let router = router();
            let mut links = HashMap::new();
            for _ in 0..1_000 {
                let name_of = NAMES[random.usize(..NAMES.len())];
                let filter = FILTERS[random.usize(..FILTERS.len())];
                let qos = QUALITIES[random.usize(..3)];
                let id = random.u16(1..20);
                match (links.get_mut(name_of), random.u8(0..12)) {
                    (None, _) => {
                        let life = Duration::from_secs(random.u64(0..3) * 30);
                        let terms =
                            Terms { life, window: 5, max_packet: 50 + random.usize(..100), is_inside: false };
                        let (link, _) = Link::attach(&router, name(name_of), random.bool(), terms).unwrap();
                        links.insert(name_of, link);
                    }
                    (Some(link), 0..=2) => drop(link.subscribe(&v5::Filter::new(filter, qos))),
                    (Some(link), 3) => drop(link.unsubscribe(filter)),
                    (Some(link), 4..=5) => {
                        let payload = "x".repeat(random.usize(..120));
                        let mut publish =
                            v5::Publish::new(["x", "y", "x/y"][random.usize(..3)], qos, payload, None);
                        (publish.pkid, publish.retain) = (id, random.bool());
                        let seconds = random.u32(..40);
                        publish.properties = random.bool().then(|| v5::PublishProperties {
                            message_expiry_interval: Some(seconds),
                            ..v5::PublishProperties::default()
                        });
                        if qos == QoS::ExactlyOnce {
                            link.publish_once(&publish);
                        } else {
                            link.publish(&publish);
                        }
                    }
                    (Some(link), 6) => drop(link.next()),
                    (Some(link), 7) => link.acknowledged(id),
                    (Some(link), 8) => drop(link.received(id)),
                    (Some(link), 9) => drop(link.release(id)),
                    (Some(_), 10) => {
                        let link = links.remove(name_of).unwrap();
                        let will =
                            random.bool().then(|| (message("x", qos), Duration::from_secs(random.u64(..60))));
                        link.end(None, will);
                    }
                    _ => {
                        tokio::time::advance(Duration::from_secs(random.u64(..20))).await;
                        router.expire(Instant::now());
                    }
                }
                assert_sound(&router.state());
            }
            links.drain().for_each(|(_, link)| link.end(Some(Duration::ZERO), None));
            for id in NAMES {
                let clean = Terms { life: Duration::ZERO, window: 5, max_packet: 100, is_inside: false };
                drop(Link::attach(&router, name(id), true, clean).unwrap());
            }
            assert!(router.state().is_empty());
        }
    }
}
