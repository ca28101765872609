use bytes::{Buf, BufMut, Bytes, BytesMut};
use rumqttd::protocol::valid_filter;

/// In the router every topic has an empty level before it. rumqttd takes the first *byte* of a topic for its
/// first character, and its thread ends at a topic like `été`; so the first character is always this one.
const ROOT: u8 = b'/';

/// A client's topic as the router's; `None` where a message cannot have it.
pub(crate) fn into_router(topic: &[u8]) -> Option<Bytes> {
    let text = std::str::from_utf8(topic).ok()?;
    if text.is_empty() || text.contains(['+', '#', '\0']) {
        return None;
    }
    let mut inner = BytesMut::with_capacity(topic.len() + 1);
    if !is_reserved(topic) {
        inner.put_u8(ROOT);
    }
    inner.put_slice(topic);
    Some(inner.freeze())
}

/// The router's topic as the client's.
pub(crate) fn from_router(mut topic: Bytes) -> Bytes {
    if topic.first() == Some(&ROOT) {
        topic.advance(1);
    }
    topic
}

/// A client's filter as the router's; `None` where it is not one, or one for shared or reserved topics.
pub(crate) fn filter_into_router(filter: &str) -> Option<String> {
    let valid = valid_filter(filter) && !filter.contains('\0') && !is_reserved(filter.as_bytes());
    valid.then(|| format!("{}{filter}", char::from(ROOT)))
}

/// Topics of the broker's own, which clients cannot use to talk to each other. The router matches none.
pub(crate) fn is_reserved(topic: &[u8]) -> bool {
    topic.first() == Some(&b'$')
}

/// A client's name as the router's, which has no room for four characters.
pub(crate) fn client_id_into_router(client_id: &str) -> String {
    let mut inner = String::with_capacity(client_id.len());
    for character in client_id.chars() {
        match character {
            '%' | '/' | '+' | '#' | '$' => inner.push_str(&format!("%{:02X}", u32::from(character))),
            _ => inner.push(character),
        }
    }
    inner
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_comes_back_as_it_went() {
        for topic in ["desk/OTA", "été/OTA", "/", "//x", " "] {
            let inner = into_router(topic.as_bytes()).unwrap();
            assert!(inner.starts_with(b"/"));
            assert_eq!(from_router(inner), topic);
        }
    }

    #[test]
    fn a_topic_with_a_wildcard_or_broken_text_is_none() {
        for topic in [&b""[..], b"a/+", b"#", b"a\0", b"\xff"] {
            assert_eq!(into_router(topic), None);
        }
    }

    #[test]
    fn shared_reserved_and_broken_filters_are_none() {
        assert_eq!(filter_into_router("+/OTA").as_deref(), Some("/+/OTA"));
        for filter in ["", "$share/g/x", "$SYS/#", "a#", "a/#/b", "a+", "a\0"] {
            assert_eq!(filter_into_router(filter), None, "{filter:?}");
        }
    }

    #[test]
    fn every_client_id_has_a_name_of_its_own_that_the_router_takes() {
        let names = ["a", "a/b", "a%2Fb", "+", "#", "$SYS", "%", "é"].map(client_id_into_router);
        for (i, name) in names.iter().enumerate() {
            assert!(!name.contains(['/', '+', '#', '$']), "{name:?}");
            assert!(!names[..i].contains(name), "{name:?}");
        }
    }
}
