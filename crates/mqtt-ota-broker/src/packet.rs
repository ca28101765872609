use bytes::{Buf, Bytes, BytesMut};
use rumqttc::mqttbytes::{self as v311, v4};
use rumqttc::v5::mqttbytes::{Error, QoS, v5};

pub(crate) use rumqttc::v5::mqttbytes::v5::Packet;

/// Version of MQTT that a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V311,
    V5,
}

/// Error for bytes that are not a valid packet from a client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("the client's packet has {0} bytes, which is too many")]
    TooLong(usize),
    #[error("the client speaks version {0} of the protocol")]
    Version(u8),
    #[error("the client does not speak MQTT")]
    NotMqtt,
    #[error("the client does not follow MQTT")]
    Packet(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Session expiry interval that stands for "never", in seconds.
pub(crate) const FOR_EVER: u32 = u32::MAX;

const CONNECT: u8 = 1;
const DISCONNECT: u8 = 14;

/// Takes the next complete packet off the buffer. Returns `None` if more bytes are needed.
///
/// Packets of MQTT 3.1.1 are returned as the equivalent packets of MQTT 5.
pub(crate) fn decode(
    buffer: &mut BytesMut,
    version: Version,
    max_packet: usize,
) -> Result<Option<Packet>, Malformed> {
    let Some((first, header, length)) = frame(buffer, max_packet)? else { return Ok(None) };
    let mut frame = buffer.split_to(length);
    // SUBSCRIBE, UNSUBSCRIBE and PUBREL have a flag set, which the parsers do not check.
    let flags_are_valid = match first >> 4 {
        3 => true,
        6 | 8 | 10 => first & 0xf == 2,
        _ => first & 0xf == 0,
    };
    if !flags_are_valid {
        return Err(Malformed::Packet("a packet with wrong flags".into()));
    }
    let packet = match version {
        Version::V311 => v4::Packet::read(&mut frame, usize::MAX).map_err(malformed).and_then(from_v311)?,
        // rumqttc takes a short DISCONNECT for malformed.
        Version::V5 if first >> 4 == DISCONNECT && length - header < 2 => {
            let code = frame.get(header).copied().unwrap_or_default();
            Packet::Disconnect(v5::Disconnect::new(code.try_into().map_err(malformed)?))
        }
        Version::V5 => Packet::read(&mut frame, None).map_err(malformed)?,
    };
    Ok(Some(packet))
}

/// Returns the version that a client's first packet asks for. `None` if more bytes are needed.
pub(crate) fn version(buffer: &[u8], max_packet: usize) -> Result<Option<Version>, Malformed> {
    if buffer.first().is_some_and(|first| first >> 4 != CONNECT) {
        return Err(Malformed::NotMqtt);
    }
    let Some((_, header, length)) = frame(buffer, max_packet)? else { return Ok(None) };
    let body = buffer.get(header..length).unwrap_or_default();
    match body {
        [0, 4, b'M', b'Q', b'T', b'T', 4, ..] => Ok(Some(Version::V311)),
        [0, 4, b'M', b'Q', b'T', b'T', 5, ..] => Ok(Some(Version::V5)),
        [0, 4, b'M', b'Q', b'T', b'T', level, ..] => Err(Malformed::Version(*level)),
        [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', ..] => Err(Malformed::Version(3)),
        _ => Err(Malformed::NotMqtt),
    }
}

/// Returns the first byte, and the lengths of the fixed header and of the whole packet.
fn frame(buffer: &[u8], max_packet: usize) -> Result<Option<(u8, usize, usize)>, Malformed> {
    let Some((first, rest)) = buffer.split_first() else { return Ok(None) };
    let mut remaining = 0;
    for (index, byte) in rest.iter().take(4).enumerate() {
        remaining |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let header = index + 2;
            let length = header + remaining;
            if length > max_packet {
                return Err(Malformed::TooLong(length));
            }
            return Ok((buffer.len() >= length).then_some((*first, header, length)));
        }
    }
    if rest.len() >= 4 {
        return Err(Malformed::Packet("a length of more than four bytes".into()));
    }
    Ok(None)
}

fn malformed(error: impl std::error::Error + Send + Sync + 'static) -> Malformed {
    Malformed::Packet(Box::new(error))
}

/// Appends a packet to the buffer in the client's version. Packets without an equivalent in MQTT 3.1.1 are left out.
pub(crate) fn encode(packet: Packet, version: Version, buffer: &mut BytesMut) -> Result<(), Error> {
    match (version, packet) {
        // rumqttc writes a wrong length.
        (Version::V5, Packet::Disconnect(goodbye)) => {
            buffer.extend_from_slice(&[DISCONNECT << 4, 2, goodbye.reason_code as u8, 0]);
            Ok(())
        }
        (Version::V5, packet) => packet.write(buffer, None).map(drop),
        (Version::V311, packet) => match to_v311(packet) {
            Some(packet) => packet.write(buffer, usize::MAX).map(drop).map_err(|_| Error::MalformedPacket),
            None => Ok(()),
        },
    }
}

fn from_v311(packet: v4::Packet) -> Result<Packet, Malformed> {
    Ok(match packet {
        v4::Packet::Connect(connect) => {
            let mut properties = v5::ConnectProperties::new();
            properties.session_expiry_interval = Some(if connect.clean_session { 0 } else { FOR_EVER });
            let will = connect.last_will.map(|will| v5::LastWill {
                topic: will.topic.into(),
                message: will.message,
                qos: qos_from_v311(will.qos),
                retain: will.retain,
                properties: None,
            });
            let login = connect.login.map(|login| v5::Login::new(login.username, login.password));
            let connect = v5::Connect {
                keep_alive: connect.keep_alive,
                client_id: connect.client_id,
                clean_start: connect.clean_session,
                properties: Some(properties),
            };
            Packet::Connect(connect, will, login)
        }
        v4::Packet::Publish(publish) => Packet::Publish(v5::Publish {
            dup: publish.dup,
            qos: qos_from_v311(publish.qos),
            retain: publish.retain,
            topic: publish.topic.into(),
            pkid: publish.pkid,
            payload: publish.payload,
            properties: None,
        }),
        v4::Packet::Subscribe(subscribe) => Packet::Subscribe(v5::Subscribe {
            pkid: subscribe.pkid,
            filters: subscribe
                .filters
                .into_iter()
                .map(|filter| v5::Filter::new(filter.path, qos_from_v311(filter.qos)))
                .collect(),
            properties: None,
        }),
        v4::Packet::Unsubscribe(unsubscribe) => Packet::Unsubscribe(v5::Unsubscribe {
            pkid: unsubscribe.pkid,
            filters: unsubscribe.topics,
            properties: None,
        }),
        v4::Packet::PubAck(ack) => Packet::PubAck(v5::PubAck::new(ack.pkid, None)),
        v4::Packet::PubRec(ack) => Packet::PubRec(v5::PubRec::new(ack.pkid, None)),
        v4::Packet::PubRel(ack) => Packet::PubRel(v5::PubRel::new(ack.pkid, None)),
        v4::Packet::PubComp(ack) => Packet::PubComp(v5::PubComp::new(ack.pkid, None)),
        v4::Packet::PingReq => Packet::PingReq(v5::PingReq),
        v4::Packet::Disconnect => {
            Packet::Disconnect(v5::Disconnect::new(v5::DisconnectReasonCode::NormalDisconnection))
        }
        _ => return Err(Malformed::Packet("a packet that only a broker sends".into())),
    })
}

/// Converts a packet to MQTT 3.1.1. Returns `None` if that version has no equivalent.
fn to_v311(packet: Packet) -> Option<v4::Packet> {
    Some(match packet {
        Packet::Connect(connect, _, login) => {
            let mut packet = v4::Connect::new(connect.client_id);
            packet.keep_alive = connect.keep_alive;
            packet.clean_session = connect.clean_start;
            packet.login = login.map(|login| v4::Login::new(login.username, login.password));
            v4::Packet::Connect(packet)
        }
        Packet::ConnAck(ack) => {
            use v5::ConnectReturnCode as Code;
            let code = match ack.code {
                Code::Success => v4::ConnectReturnCode::Success,
                Code::UnsupportedProtocolVersion => v4::ConnectReturnCode::RefusedProtocolVersion,
                Code::ClientIdentifierNotValid => v4::ConnectReturnCode::BadClientId,
                Code::NotAuthorized => v4::ConnectReturnCode::NotAuthorized,
                _ => v4::ConnectReturnCode::ServiceUnavailable,
            };
            v4::Packet::ConnAck(v4::ConnAck::new(code, ack.session_present))
        }
        Packet::Publish(publish) => v4::Packet::Publish(v4::Publish {
            dup: publish.dup,
            qos: qos_to_v311(publish.qos),
            retain: publish.retain,
            topic: String::from_utf8(publish.topic.into()).ok()?,
            pkid: publish.pkid,
            payload: publish.payload,
        }),
        Packet::SubAck(ack) => {
            let code = |code| match code {
                v5::SubscribeReasonCode::Success(qos) => v4::SubscribeReasonCode::Success(qos_to_v311(qos)),
                _ => v4::SubscribeReasonCode::Failure,
            };
            let codes = ack.return_codes.into_iter().map(code).collect();
            v4::Packet::SubAck(v4::SubAck::new(ack.pkid, codes))
        }
        Packet::UnsubAck(ack) => v4::Packet::UnsubAck(v4::UnsubAck::new(ack.pkid)),
        Packet::PubAck(ack) => v4::Packet::PubAck(v4::PubAck::new(ack.pkid)),
        Packet::PubRec(ack) => v4::Packet::PubRec(v4::PubRec::new(ack.pkid)),
        Packet::PubRel(ack) => v4::Packet::PubRel(v4::PubRel::new(ack.pkid)),
        Packet::PubComp(ack) => v4::Packet::PubComp(v4::PubComp::new(ack.pkid)),
        Packet::PingResp(_) => v4::Packet::PingResp,
        _ => return None,
    })
}

fn qos_from_v311(qos: v311::QoS) -> QoS {
    match qos {
        v311::QoS::AtMostOnce => QoS::AtMostOnce,
        v311::QoS::AtLeastOnce => QoS::AtLeastOnce,
        v311::QoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}

fn qos_to_v311(qos: QoS) -> v311::QoS {
    match qos {
        QoS::AtMostOnce => v311::QoS::AtMostOnce,
        QoS::AtLeastOnce => v311::QoS::AtLeastOnce,
        QoS::ExactlyOnce => v311::QoS::ExactlyOnce,
    }
}

/// Returns a copy that does not keep the original packet in memory.
pub(crate) fn own(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes.chunk())
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
            assert!(decode(&mut buffer, Version::V311, LIMIT).unwrap().is_none());
        }
        buffer.extend_from_slice(b"x");
        let Some(Packet::Publish(publish)) = decode(&mut buffer, Version::V311, LIMIT).unwrap() else {
            panic!("no publish");
        };
        assert_eq!((&publish.topic[..], &publish.payload[..], publish.pkid), (&b"t"[..], &b"x"[..], 7));
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_packet_above_the_limit_is_refused_before_it_is_there() {
        for version in [Version::V311, Version::V5] {
            let mut buffer = BytesMut::from(&[0x30, 0xff, 0xff, 0x7f][..]);
            assert!(matches!(decode(&mut buffer, version, LIMIT), Err(Malformed::TooLong(_))));
        }
        // The limit is that of the whole packet, as MQTT counts it.
        let ping = [0xc0, 0x00];
        assert!(matches!(
            decode(&mut BytesMut::from(&ping[..]), Version::V5, 2),
            Ok(Some(Packet::PingReq(_)))
        ));
        assert!(matches!(decode(&mut BytesMut::from(&ping[..]), Version::V5, 1), Err(Malformed::TooLong(2))));
    }

    #[test]
    fn the_first_packet_says_the_version() {
        let connect = |name: &str, level: u8| {
            let mut body = vec![0, u8::try_from(name.len()).unwrap()];
            body.extend_from_slice(name.as_bytes());
            body.push(level);
            [&[0x10, u8::try_from(body.len()).unwrap()], &body[..]].concat()
        };
        assert_eq!(version(&connect("MQTT", 4), LIMIT).unwrap(), Some(Version::V311));
        assert_eq!(version(&connect("MQTT", 5), LIMIT).unwrap(), Some(Version::V5));
        assert_eq!(version(&connect("MQTT", 5)[..8], LIMIT).unwrap(), None);
        assert!(matches!(version(&connect("MQTT", 6), LIMIT), Err(Malformed::Version(6))));
        assert!(matches!(version(&connect("MQIsdp", 3), LIMIT), Err(Malformed::Version(3))));
        assert!(matches!(version(b"GET / HTTP/1.1", LIMIT), Err(Malformed::NotMqtt)));
    }

    #[test]
    fn a_short_goodbye_of_mqtt_5_is_one() {
        for (bytes, code) in [
            (&b"\xe0\x00"[..], v5::DisconnectReasonCode::NormalDisconnection),
            (b"\xe0\x01\x04", v5::DisconnectReasonCode::DisconnectWithWillMessage),
            (b"\xe0\x02\x04\x00", v5::DisconnectReasonCode::DisconnectWithWillMessage),
        ] {
            let packet = decode(&mut BytesMut::from(bytes), Version::V5, LIMIT).unwrap();
            assert_eq!(packet, Some(Packet::Disconnect(v5::Disconnect::new(code))));
        }
    }

    #[test]
    fn bytes_that_are_no_packet_are_an_error_and_no_panic() {
        for version in [Version::V311, Version::V5] {
            for first in 0..=u8::MAX {
                for length in 0..12 {
                    for fill in [0, 1, 2, 17, 38, 0x7f, 0x80, 0xff] {
                        let mut buffer = BytesMut::from(&[first, length][..]);
                        buffer.extend_from_slice(&vec![fill; usize::from(length)]);
                        let _ = decode(&mut buffer, version, LIMIT);
                    }
                }
            }
            let mut random = fastrand::Rng::with_seed(5);
            for _ in 0..100_000 {
                let length = random.u8(0..60);
                let kind = random.u8(1..15) << 4;
                let mut buffer = BytesMut::from(&[kind | [0, 2][random.usize(0..2)], length][..]);
                buffer.extend(
                    (0..length).map(|_| if random.bool() { random.u8(0..45) } else { random.u8(..) }),
                );
                let _ = decode(&mut buffer, version, LIMIT);
            }
        }
    }
}
