use core::fmt;

use bytes::BytesMut;

use crate::fields::decimal;
use crate::{DevicePath, IdError, OfferId, PathError};

/// A device's request on the stream of an extended offer, one per line: `ID`, a space, the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Offer that the request belongs to.
    pub id: OfferId,
    /// Bytes that the device asks for, or result of a dry run that it reports.
    pub ask: Ask,
}

/// Content of a request's line behind the id.
///
/// Item 0 is the object that the offer's hash names. Item `n` is the file in line `n` of the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// `FIRST-LAST OFFSET`: send the items from `first` to `last` one after the other, the first of them from `offset`
    /// on.
    ///
    /// Without a last item, `FIRST- OFFSET`: send all items to the end.
    Range {
        /// First item.
        first: u32,
        /// Last item, not before the first. `None` asks for all that follow.
        last: Option<u32>,
        /// Offset in the first item, in bytes.
        offset: u64,
    },
    /// `NUMBER`: in a dry run, the device would fetch this item.
    Missing(u32),
    /// `- PATH`: in a dry run, the device would delete this file.
    Deletes(DevicePath),
}

impl Request {
    /// Longest line, in bytes, including the line feed.
    pub const MAX_LEN: usize = 160;

    /// Removes the first whole line from the received bytes and reads it. `None` if no line is complete yet.
    ///
    /// # Errors
    /// Returns an error if the line breaks a rule, or does not end within [`Request::MAX_LEN`]. The bytes behind it are
    /// no longer requests.
    pub fn take(received: &mut BytesMut) -> Result<Option<Self>, RequestError> {
        match received.iter().take(Self::MAX_LEN).position(|byte| *byte == b'\n') {
            Some(end) => {
                let line = received.split_to(end + 1);
                Self::parse(line.get(..end).unwrap_or_default()).map(Some)
            }
            None if received.len() >= Self::MAX_LEN => Err(RequestError::TooLong),
            None => Ok(None),
        }
    }

    /// Reads a line without its line feed.
    ///
    /// # Errors
    /// Returns the first rule that the line breaks, with the part concerned.
    pub fn parse(line: &[u8]) -> Result<Self, RequestError> {
        if line.len() >= Self::MAX_LEN {
            return Err(RequestError::TooLong);
        }
        let line = core::str::from_utf8(line).map_err(|_| RequestError::NotText)?;
        let (id, ask) = line.split_once(' ').ok_or(RequestError::Unknown)?;
        let id = id.parse().map_err(RequestError::Id)?;
        let ask = match ask.split_once(' ') {
            None => Ask::Missing(decimal(ask).ok_or(RequestError::Unknown)?),
            Some(("-", path)) => Ask::Deletes(path.parse().map_err(RequestError::Path)?),
            Some((items, offset)) => {
                let (first, last) = items.split_once('-').ok_or(RequestError::Unknown)?;
                let (Some(first), Some(offset)) = (decimal(first), decimal(offset)) else {
                    return Err(RequestError::Unknown);
                };
                let last = match last {
                    "" => None,
                    last => Some(decimal(last).ok_or(RequestError::Unknown)?),
                };
                if let Some(last) = last.filter(|last| first > *last) {
                    return Err(RequestError::Backwards { first, last });
                }
                Ask::Range { first, last, offset }
            }
        };
        Ok(Self { id, ask })
    }
}

impl fmt::Display for Request {
    /// Writes the line without its line feed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.id)?;
        match &self.ask {
            Ask::Range { first, last: Some(last), offset } => write!(f, "{first}-{last} {offset}"),
            Ask::Range { first, last: None, offset } => write!(f, "{first}- {offset}"),
            Ask::Missing(item) => write!(f, "{item}"),
            Ask::Deletes(path) => write!(f, "- {path}"),
        }
    }
}

/// Error returned for a line that is not a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Line that does not end within [`Request::MAX_LEN`].
    #[error("a request has at most {} bytes, this one has more", Request::MAX_LEN)]
    TooLong,
    /// Line that is not UTF-8.
    #[error("a request is UTF-8 text")]
    NotText,
    /// Invalid id at the beginning.
    #[error("the request's id is not valid")]
    Id(#[source] IdError),
    /// Unknown kind of request.
    #[error("a request is ID and FIRST-LAST OFFSET, FIRST- OFFSET, NUMBER or - PATH")]
    Unknown,
    /// Last item before the first.
    #[error("the request's items run backwards, from {first} to {last}")]
    Backwards {
        /// First item.
        first: u32,
        /// Last item.
        last: u32,
    },
    /// Invalid path of a file to delete.
    #[error("the request's path is not valid")]
    Path(#[source] PathError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "0123456789abcdef";

    #[test]
    fn each_kind_is_read_and_written_alike() {
        for (ask, expected) in [
            ("0-0 0", Ask::Range { first: 0, last: Some(0), offset: 0 }),
            ("3-1000 123456", Ask::Range { first: 3, last: Some(1000), offset: 123_456 }),
            ("0- 7", Ask::Range { first: 0, last: None, offset: 7 }),
            ("17", Ask::Missing(17)),
            ("- lib/a b.py", Ask::Deletes("lib/a b.py".parse().unwrap())),
        ] {
            let line = format!("{ID} {ask}");
            let request = Request::parse(line.as_bytes()).unwrap();
            assert_eq!((request.ask.clone(), request.to_string()), (expected, line));
        }
        let longest = format!("{ID} - {}\n", "x".repeat(DevicePath::MAX_LEN));
        assert!(longest.len() <= Request::MAX_LEN);
    }

    #[test]
    fn what_is_no_request_is_an_error() {
        for bad in [
            "",
            ID,
            "GET / HTTP/1.1",
            "0123456789abcde 0-0 0",
            "0123456789ABCDEF 0-0 0",
            &format!("{ID} "),
            &format!("{ID} 2-1 0"),
            &format!("{ID} 0-0 -1"),
            &format!("{ID} 0 0"),
            &format!("{ID} -0 0"),
            &format!("{ID} 0-0  0"),
            &format!("{ID} 0-0 0 "),
            &format!("{ID} 1-"),
            &format!("{ID} 1--2 0"),
            &format!("{ID} - ../x"),
            &format!("{ID} - "),
            &format!("{ID}  1"),
            &format!("{ID} 0-4294967296 0"),
            &format!("{ID} 1\r"),
            &format!("{ID} {}1", "0".repeat(160)),
        ] {
            assert!(Request::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert_eq!(Request::parse(b"\xff"), Err(RequestError::NotText));
    }

    #[test]
    fn lines_are_taken_one_by_one_as_they_come() {
        let text = format!("{ID} 0-0 0\n{ID} 1\n{ID} - a");
        let (mut received, mut taken) = (BytesMut::new(), Vec::new());
        for byte in text.bytes() {
            received.extend_from_slice(&[byte]);
            taken.extend(Request::take(&mut received).unwrap().map(|request| request.ask));
        }
        assert_eq!(taken, [Ask::Range { first: 0, last: Some(0), offset: 0 }, Ask::Missing(1)]);
        assert_eq!(received.len(), ID.len() + 4);
    }

    #[test]
    fn a_line_that_does_not_end_is_an_error_and_not_a_growing_buffer() {
        let mut received = BytesMut::from(&[b'x'; Request::MAX_LEN - 1][..]);
        assert_eq!(Request::take(&mut received), Ok(None));
        received.extend_from_slice(b"x");
        assert_eq!(Request::take(&mut received), Err(RequestError::TooLong));
        received.extend_from_slice(b"\n");
        assert_eq!(Request::take(&mut received), Err(RequestError::TooLong));
    }

    fn any_request() -> impl Strategy<Value = Request> {
        let range = (any::<u32>(), any::<Option<u32>>(), any::<u64>()).prop_map(|(one, other, offset)| {
            let first = other.map_or(one, |other| one.min(other));
            Ask::Range { first, last: other.map(|other| one.max(other)), offset }
        });
        let path = "[a-zé -]{0,8}[a-zé-](/[a-z.]{2,8}[a-z]){0,3}"
            .prop_map(|path| Ask::Deletes(path.parse().unwrap()));
        let ask = prop_oneof![range, any::<u32>().prop_map(Ask::Missing), path];
        (any::<[u8; 8]>(), ask).prop_map(|(id, ask)| Request { id: OfferId::from_bytes(id), ask })
    }

    proptest! {
        #[test]
        fn property_a_request_round_trips(request in any_request()) {
            let line = request.to_string();
            prop_assert!(line.len() < Request::MAX_LEN);
            prop_assert_eq!(Request::parse(line.as_bytes()), Ok(request));
        }

        #[test]
        fn property_requests_do_not_depend_on_the_pieces_that_they_come_in(
            requests in proptest::collection::vec(any_request(), 0..4), cuts in proptest::collection::vec(1usize..40, 1..6)
        ) {
            let text: String = requests.iter().map(|request| format!("{request}\n")).collect();
            let (mut rest, mut received, mut taken) = (text.as_bytes(), BytesMut::new(), Vec::new());
            for cut in cuts.iter().cycle() {
                let (piece, left) = rest.split_at((*cut).min(rest.len()));
                received.extend_from_slice(piece);
                while let Some(request) = Request::take(&mut received).unwrap() { taken.push(request) }
                rest = left;
                if rest.is_empty() { break }
            }
            prop_assert_eq!(taken, requests);
        }

        #[test]
        fn property_any_bytes_are_a_request_or_an_error(bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "0123456789abcdef [-0-9 ]{0,20}".prop_map(String::into_bytes),
        ]) {
            if let Ok(request) = Request::parse(&bytes) {
                prop_assert_eq!(Request::parse(request.to_string().as_bytes()), Ok(request));
            }
        }
    }
}
