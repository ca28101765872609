use crate::limits;

/// Returns true if a message can have this topic.
pub(crate) fn is_topic(topic: &[u8]) -> bool {
    is_text(topic) && !topic.iter().any(|byte| matches!(byte, b'+' | b'#'))
}

/// Returns true if a client can subscribe to this filter.
pub(crate) fn is_filter(filter: &[u8]) -> bool {
    let mut levels = filter.split(|byte| *byte == b'/').peekable();
    let mut valid = is_text(filter);
    while let Some(level) = levels.next() {
        let alone = level.len() == 1;
        valid &= !level.contains(&b'+') || alone;
        valid &= !level.contains(&b'#') || alone && levels.peek().is_none();
    }
    valid
}

/// Returns true if the filter has a wildcard, and so may match more than one topic.
pub(crate) fn has_wildcard(filter: &[u8]) -> bool {
    filter.iter().any(|byte| matches!(byte, b'+' | b'#'))
}

/// Returns true if a valid filter matches a valid topic.
pub(crate) fn takes(filter: &[u8], topic: &[u8]) -> bool {
    let (mut filter, mut topic) = (filter.split(|byte| *byte == b'/'), topic.split(|byte| *byte == b'/'));
    loop {
        match (filter.next(), topic.next()) {
            (None, None) | (Some(b"#"), _) => return true,
            (Some(level), Some(found)) if level == b"+" || level == found => {}
            _ => return false,
        }
    }
}

/// Returns true for a topic of the broker's own, which clients cannot use to talk to each other.
pub(crate) fn is_reserved(topic: &[u8]) -> bool {
    topic.first() == Some(&b'$')
}

/// Returns true for a subscription that several clients share (MQTT 5, 4.8.2).
pub(crate) fn is_shared(filter: &[u8]) -> bool {
    filter.starts_with(b"$share/")
}

fn is_text(text: &[u8]) -> bool {
    let levels = text.iter().filter(|byte| **byte == b'/').count() + 1;
    (1..=limits::TOPIC).contains(&text.len())
        && levels <= limits::LEVELS
        && !text.contains(&0)
        && std::str::from_utf8(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_with_a_wildcard_or_broken_text_is_none() {
        for topic in ["desk/OTA", "été/OTA", "/", "//x", " "] {
            assert!(is_topic(topic.as_bytes()), "{topic}");
        }
        let long = [b'x'; limits::TOPIC + 1];
        let deep = [b'/'; limits::LEVELS];
        for topic in [&b""[..], b"a/+", b"#", b"a\0", b"\xff", &long, &deep] {
            assert!(!is_topic(topic), "{topic:?}");
        }
    }

    #[test]
    fn a_wildcard_has_its_level_to_itself() {
        for filter in ["+/OTA", "#", "+/+/#", "/", "a//b"] {
            assert!(is_filter(filter.as_bytes()), "{filter}");
        }
        for filter in ["", "a#", "a/#/b", "a+", "+a/b", "##", "a\0"] {
            assert!(!is_filter(filter.as_bytes()), "{filter}");
        }
    }

    #[test]
    fn a_filter_takes_its_topics_and_no_others() {
        for (filter, topic) in
            [("a/b", "a/b"), ("+/b", "/b"), ("#", "a/b"), ("a/#", "a"), ("a/#", "a/b/c"), ("été/+", "été/")]
        {
            assert!(takes(filter.as_bytes(), topic.as_bytes()), "{filter} {topic}");
        }
        for (filter, topic) in [("a/b", "a/b/c"), ("a/b", "a"), ("+", "a/b"), ("a/#", "ab"), ("+/+", "a")] {
            assert!(!takes(filter.as_bytes(), topic.as_bytes()), "{filter} {topic}");
        }
    }
}
