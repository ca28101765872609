use bytes::{Buf, BytesMut};
use rumqttd::protocol::v4::{V4, check};
use rumqttd::protocol::{Connect, Error, LastWill, Login, Packet, Protocol, Publish, Subscribe, Unsubscribe};

/// A packet as a client sends it.
#[derive(Debug)]
pub(crate) enum Received {
    Connect { connect: Connect, will: Option<LastWill>, login: Option<Login> },
    Publish { publish: Publish, id: Option<MessageId> },
    Subscribe(Subscribe),
    Unsubscribe(Unsubscribe),
    Acknowledged(u16),
    Released(u16),
    Ping,
    Disconnect,
}

/// The number of a message with a quality of service above 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageId {
    AtLeastOnce(u16),
    ExactlyOnce(u16),
}

/// Takes the next whole packet off the buffer; `None` where more bytes are needed.
pub(crate) fn decode(buffer: &mut BytesMut, max_packet: usize) -> Result<Option<Received>, Error> {
    match check(buffer.iter(), max_packet) {
        Ok(_) => {}
        Err(Error::InsufficientBytes(_)) => return Ok(None),
        Err(error) => return Err(error),
    }
    let id = message_id(buffer);
    Ok(Some(match V4.read_mut(buffer, max_packet)? {
        Packet::Connect(connect, _, will, _, login) => Received::Connect { connect, will, login },
        Packet::Publish(publish, _) => Received::Publish { publish, id },
        Packet::Subscribe(subscribe, _) => Received::Subscribe(subscribe),
        Packet::Unsubscribe(unsubscribe, _) => Received::Unsubscribe(unsubscribe),
        Packet::PubAck(ack, _) => Received::Acknowledged(ack.pkid),
        Packet::PubRel(release, _) => Received::Released(release.pkid),
        Packet::PingReq(_) => Received::Ping,
        Packet::Disconnect(..) => Received::Disconnect,
        _ => return Err(Error::MalformedPacket),
    }))
}

/// Appends a packet to the buffer, and tells the number of a message that wants to be acknowledged.
pub(crate) fn encode(packet: Packet, buffer: &mut BytesMut) -> Result<Option<MessageId>, Error> {
    // rumqttd panics when it is to write a packet with properties as MQTT 3.1.1.
    let packet = match packet {
        Packet::Publish(publish, _) => Packet::Publish(publish, None),
        Packet::PubAck(ack, _) => Packet::PubAck(ack, None),
        Packet::PubRec(ack, _) => Packet::PubRec(ack, None),
        Packet::PubComp(ack, _) => Packet::PubComp(ack, None),
        Packet::SubAck(ack, _) => Packet::SubAck(ack, None),
        Packet::UnsubAck(ack, _) => Packet::UnsubAck(ack, None),
        Packet::Connect(connect, _, will, _, login) => Packet::Connect(connect, None, will, None, login),
        known @ (Packet::ConnAck(..) | Packet::PingResp(_)) => known,
        _ => return Err(Error::MalformedPacket),
    };
    let start = buffer.len();
    V4.write(packet, buffer)?;
    Ok(buffer.get(start..).and_then(message_id))
}

/// rumqttd does not show these two fields of its `Publish`.
fn message_id(frame: &[u8]) -> Option<MessageId> {
    let byte = *frame.first()?;
    let header = check(frame.iter(), usize::MAX).ok()?;
    let mut rest = frame.get(header.fixed_header_len..)?;
    if byte >> 4 != 3 || byte & 0b0110 == 0 {
        return None;
    }
    let topic = usize::from(rest.try_get_u16().ok()?);
    let id = rest.get(topic..)?.try_get_u16().ok()?;
    Some(if byte & 0b0100 == 0 { MessageId::AtLeastOnce(id) } else { MessageId::ExactlyOnce(id) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1024;

    #[test]
    fn a_packet_is_read_though_it_comes_byte_by_byte() {
        let mut buffer = BytesMut::new();
        for byte in [0x32, 6, 0, 1, b't', 0, 7] {
            buffer.extend_from_slice(&[byte]);
            assert!(decode(&mut buffer, LIMIT).unwrap().is_none());
        }
        buffer.extend_from_slice(b"x");
        let Some(Received::Publish { publish, id }) = decode(&mut buffer, LIMIT).unwrap() else {
            panic!("no publish");
        };
        assert_eq!((&publish.topic[..], &publish.payload[..]), (&b"t"[..], &b"x"[..]));
        assert_eq!(id, Some(MessageId::AtLeastOnce(7)));
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_packet_above_the_limit_is_refused_before_it_is_there() {
        let mut buffer = BytesMut::from(&[0x30, 0xff, 0xff, 0x7f][..]);
        assert!(matches!(decode(&mut buffer, LIMIT), Err(Error::PayloadSizeLimitExceeded(_))));
    }

    #[test]
    fn bytes_that_are_no_packet_are_an_error_and_no_panic() {
        for first in 0..=u8::MAX {
            for length in 0..8 {
                for fill in [0, 1, 0x7f, 0xff] {
                    let mut buffer = BytesMut::from(&[first, length][..]);
                    buffer.extend_from_slice(&vec![fill; usize::from(length)]);
                    let _ = decode(&mut buffer, LIMIT);
                }
            }
        }
    }
}
