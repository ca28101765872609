use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use crate::message::Message;
use crate::{announcements, limits, topic};

/// Messages that new subscribers receive, by topic.
#[derive(Debug, Default)]
pub(crate) struct Retained {
    messages: BTreeMap<Bytes, Arc<Message>>,
    announcements: usize,
    others: usize,
    /// Cost in bytes of the messages that are not announcements.
    others_cost: usize,
}

/// Position of a subscriber in the retained messages that match its filter.
#[derive(Debug)]
pub(crate) struct Cursor {
    filter: Box<[u8]>,
    /// Topic that was examined last.
    last: Option<Bytes>,
}

/// Result of one step of a [`Cursor`].
#[derive(Debug)]
pub(crate) enum Step {
    Found(Arc<Message>),
    /// No match among the messages of this step. Others have their turn before the next step.
    Pause,
    End,
}

impl Retained {
    /// Retains a message in place of the previous one of its topic. Returns false if there is no room for it.
    pub(crate) fn insert(&mut self, message: &Arc<Message>) -> bool {
        let old = self.messages.get(&message.topic).map(|old| (is_announcement(old), old.cost()));
        let (announcements, others, others_cost) = match old {
            Some((true, _)) => (self.announcements - 1, self.others, self.others_cost),
            Some((false, cost)) => (self.announcements, self.others - 1, self.others_cost - cost),
            None => (self.announcements, self.others, self.others_cost),
        };
        let (announcements, others, others_cost) = if is_announcement(message) {
            (announcements + 1, others, others_cost)
        } else {
            (announcements, others + 1, others_cost + message.cost())
        };
        if announcements > limits::ANNOUNCEMENTS
            || others > limits::RETAINED
            || others_cost > limits::RETAINED_BYTES
        {
            return false;
        }
        (self.announcements, self.others, self.others_cost) = (announcements, others, others_cost);
        self.messages.insert(message.topic.clone(), Arc::clone(message));
        true
    }

    /// Removes the retained message of a topic.
    pub(crate) fn remove(&mut self, topic: &[u8]) {
        let Some(old) = self.messages.remove(topic) else { return };
        if is_announcement(&old) {
            self.announcements -= 1;
        } else {
            self.others -= 1;
            self.others_cost -= old.cost();
        }
    }

    /// Removes expired messages.
    pub(crate) fn expire(&mut self, now: Instant) {
        let expired: Vec<Bytes> = self
            .messages
            .values()
            .filter(|message| message.is_expired(now))
            .map(|message| message.topic.clone())
            .collect();
        expired.iter().for_each(|topic| self.remove(topic));
    }

    /// Returns a cursor for a new subscriber. `None` if no retained message can match.
    pub(crate) fn cursor(&self, filter: &[u8]) -> Option<Cursor> {
        let may_be = topic::has_wildcard(filter) || self.messages.contains_key(filter);
        may_be.then(|| Cursor { filter: filter.into(), last: None })
    }

    /// Searches for the next message that matches the cursor's filter.
    pub(crate) fn step(&self, cursor: &mut Cursor, now: Instant) -> Step {
        if !topic::has_wildcard(&cursor.filter) {
            if cursor.last.is_some() {
                return Step::End;
            }
            cursor.last = Some(Bytes::new());
            let found = self.messages.get(&*cursor.filter).filter(|message| !message.is_expired(now));
            return found.map_or(Step::End, |message| Step::Found(Arc::clone(message)));
        }
        let from = cursor.last.take().map_or(Bound::Unbounded, Bound::Excluded);
        let mut last = None;
        for (topic, message) in self.messages.range::<Bytes, _>((from, Bound::Unbounded)).take(limits::SCAN) {
            last = Some(topic);
            if topic::takes(&cursor.filter, topic) && !message.is_expired(now) {
                cursor.last = Some(topic.clone());
                return Step::Found(Arc::clone(message));
            }
        }
        match last {
            Some(topic) => {
                cursor.last = Some(topic.clone());
                Step::Pause
            }
            None => Step::End,
        }
    }
}

impl Cursor {
    pub(crate) fn filter(&self) -> &[u8] {
        &self.filter
    }
}

fn is_announcement(message: &Message) -> bool {
    announcements::device_of(&message.topic, &message.payload).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttc::v5::mqttbytes::{QoS, v5};

    fn message(topic: &str, payload: &str) -> Arc<Message> {
        let publish = v5::Publish::new(topic, QoS::AtMostOnce, payload.to_owned(), None);
        Arc::new(Message::new(&publish, Instant::now()))
    }

    fn found(retained: &Retained, filter: &str) -> Vec<String> {
        let mut topics = Vec::new();
        let Some(mut cursor) = retained.cursor(filter.as_bytes()) else { return topics };
        loop {
            match retained.step(&mut cursor, Instant::now()) {
                Step::Found(message) => topics.push(String::from_utf8(message.topic.to_vec()).unwrap()),
                Step::Pause => {}
                Step::End => return topics,
            }
        }
    }

    #[test]
    fn a_subscriber_finds_each_message_that_its_filter_takes_once() {
        let mut retained = Retained::default();
        for n in 0..3 * limits::SCAN {
            assert!(retained.insert(&message(&format!("d{n:05}/OTA/device"), "v=1")));
        }
        assert!(retained.insert(&message("x/y", "z")));
        assert_eq!(found(&retained, "x/y"), ["x/y"]);
        assert_eq!(found(&retained, "+/y"), ["x/y"]);
        assert_eq!(found(&retained, "+/OTA/device").len(), 3 * limits::SCAN);
        assert_eq!(found(&retained, "#").len(), 3 * limits::SCAN + 1);
        assert_eq!(found(&retained, "y"), [""; 0]);
    }

    #[test]
    fn what_is_retained_has_bounds_in_number_and_in_bytes_and_they_come_back() {
        let mut retained = Retained::default();
        for n in 0..limits::RETAINED {
            assert!(retained.insert(&message(&n.to_string(), "x")));
        }
        assert!(!retained.insert(&message("more", "x")));
        assert!(retained.insert(&message("7", "y")));
        assert!(retained.insert(&message("LAMP/OTA/device", "v=1")));
        (0..limits::RETAINED).for_each(|n| retained.remove(n.to_string().as_bytes()));
        let long = "x".repeat(60_000);
        let fit = (0..1_000).take_while(|n| retained.insert(&message(&n.to_string(), &long))).count();
        assert_eq!(fit, limits::RETAINED_BYTES / message("7", &long).cost());
        (0..1_000).for_each(|n| retained.remove(n.to_string().as_bytes()));
        retained.remove(b"LAMP/OTA/device");
        assert_eq!((retained.announcements, retained.others, retained.others_cost), (0, 0, 0));
    }
}
