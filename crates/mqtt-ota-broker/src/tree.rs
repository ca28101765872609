use std::collections::{BTreeMap, HashMap};

use rumqttc::v5::mqttbytes::QoS;

/// Number that the broker gives to a session.
pub(crate) type SessionId = u64;

/// Options of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) qos: QoS,
    /// True if the client does not receive its own messages.
    pub(crate) no_local: bool,
    /// True if the client is told that a message was published to be retained.
    pub(crate) retain_as_published: bool,
}

/// Subscriptions, as a tree of the levels of their filters. Levels that are no longer needed are removed.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    levels: HashMap<Box<[u8]>, Box<Node>>,
    /// Subtree of the level `+`.
    any: Option<Box<Node>>,
    /// Sessions whose filter ends with this level.
    here: BTreeMap<SessionId, Options>,
    /// Sessions whose filter has `#` after this level.
    below: BTreeMap<SessionId, Options>,
}

impl Tree {
    /// Subscribes a session to a valid filter. Returns the options of its previous subscription to the filter.
    pub(crate) fn insert(&mut self, filter: &[u8], session: SessionId, options: Options) -> Option<Options> {
        let mut node = &mut self.root;
        for level in filter.split(|byte| *byte == b'/') {
            node = match level {
                b"#" => return node.below.insert(session, options),
                b"+" => node.any.get_or_insert_default(),
                level => {
                    if !node.levels.contains_key(level) {
                        node.levels.insert(level.into(), Box::default());
                    }
                    node.levels.get_mut(level)?
                }
            };
        }
        node.here.insert(session, options)
    }

    /// Ends a session's subscription to a filter. Returns false if there was none.
    pub(crate) fn remove(&mut self, filter: &[u8], session: SessionId) -> bool {
        self.root.remove(&mut filter.split(|byte| *byte == b'/'), session)
    }

    /// Calls `found` for each subscription that matches the topic. A session with overlapping filters is found once
    /// for each of them.
    pub(crate) fn each(&self, topic: &[u8], mut found: impl FnMut(SessionId, Options)) {
        let levels: Vec<&[u8]> = topic.split(|byte| *byte == b'/').collect();
        self.root.each(&levels, &mut found);
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.root.is_empty()
    }
}

impl Node {
    /// Removes a subscription below this level. Recurses at most [`LEVELS`](crate::limits::LEVELS) calls deep.
    fn remove<'a>(&mut self, levels: &mut impl Iterator<Item = &'a [u8]>, session: SessionId) -> bool {
        match levels.next() {
            None => self.here.remove(&session).is_some(),
            Some(b"#") => self.below.remove(&session).is_some(),
            Some(b"+") => {
                let removed = self.any.as_mut().is_some_and(|node| node.remove(levels, session));
                self.any.take_if(|node| node.is_empty());
                removed
            }
            Some(level) => {
                let Some(node) = self.levels.get_mut(level) else { return false };
                let removed = node.remove(levels, session);
                if node.is_empty() {
                    self.levels.remove(level);
                    if self.levels.len() < self.levels.capacity() / 4 {
                        self.levels.shrink_to_fit();
                    }
                }
                removed
            }
        }
    }

    fn each(&self, levels: &[&[u8]], found: &mut impl FnMut(SessionId, Options)) {
        self.below.iter().for_each(|(session, options)| found(*session, *options));
        match levels.split_first() {
            None => self.here.iter().for_each(|(session, options)| found(*session, *options)),
            Some((level, rest)) => {
                if let Some(node) = self.levels.get(*level) {
                    node.each(rest, found);
                }
                if let Some(node) = &self.any {
                    node.each(rest, found);
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.levels.is_empty() && self.any.is_none() && self.here.is_empty() && self.below.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic;

    const OPTIONS: Options = Options { qos: QoS::AtLeastOnce, no_local: false, retain_as_published: false };

    #[test]
    fn every_filter_that_takes_a_topic_is_found_and_no_other() {
        let words = ["a", "b", "+", ""];
        let mut filters = vec!["#".to_owned()];
        for one in words {
            filters.extend([one.to_owned(), format!("{one}/#")]);
            for two in words {
                filters.extend([format!("{one}/{two}"), format!("{one}/{two}/#")]);
            }
        }
        filters.retain(|filter| topic::is_filter(filter.as_bytes()));
        let mut tree = Tree::default();
        for (filter, session) in filters.iter().zip(0..) {
            assert_eq!(tree.insert(filter.as_bytes(), session, OPTIONS), None);
            assert_eq!(tree.insert(filter.as_bytes(), session, OPTIONS), Some(OPTIONS));
        }
        for topic in ["a", "a/b", "b/a", "a/", "/", "/a", "c", "a/b/c", "c/c"] {
            let mut found = Vec::new();
            tree.each(topic.as_bytes(), |session, _| found.push(session));
            found.sort_unstable();
            let takes = |(filter, _): &(&String, u64)| topic::takes(filter.as_bytes(), topic.as_bytes());
            let expected: Vec<_> =
                filters.iter().zip(0..).filter(takes).map(|(_, session)| session).collect();
            assert_eq!(found, expected, "{topic}");
        }
        for (filter, session) in filters.iter().zip(0..) {
            assert!(tree.remove(filter.as_bytes(), session));
            assert!(!tree.remove(filter.as_bytes(), session));
        }
        assert!(tree.is_empty());
    }
}
