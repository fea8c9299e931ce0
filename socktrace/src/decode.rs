//! Bytes → [`Event`]. The bytes may come from a recording, so nothing about them is believed.

use socktrace_common::{
    event::{ClosedBy, EventKind, Header, NameOf},
    socket::TcpState,
};
use zerocopy::FromBytes;

use crate::event::Event;

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Too short for its header, or for what the header promises.
    #[error("the record ends after {0} bytes")]
    Truncated(usize),
    /// A kind that this version does not know.
    #[error("the record is of kind {0}, which this version does not know")]
    UnknownKind(u16),
    /// A TCP state that does not exist.
    #[error("the record names the TCP state {0}, which does not exist")]
    UnknownState(u8),
    /// A cause of a close that this version does not know.
    #[error("the record names {0} as the cause of a close, which this version does not know")]
    UnknownCause(u32),
    /// A name of something that this version does not know.
    #[error("the record tells a name of the kind {0}, which this version does not know")]
    UnknownName(u16),
    /// A name longer than its room.
    #[error("the record tells a name of {0} bytes, for which it has no room")]
    LongName(u16),
    /// A life: [`unfold`](crate::unfold) reads those.
    #[error("the record tells several events at once")]
    Several,
    /// A call on a socket that returned neither 0 nor an errno.
    #[error("the record says that a call returned {0}, which is no errno")]
    NoErrno(i32),
}

/// Calls return at most this many kinds of failure (`MAX_ERRNO`, include/linux/err.h).
const MAX_ERRNO: i32 = 4095;

/// Reads one record. What follows it is left alone: later versions may add to a payload.
pub fn decode(bytes: &[u8]) -> Result<Event, DecodeError> {
    let header: Header = payload(bytes)?;
    let kind = EventKind::from_number(header.kind).ok_or(DecodeError::UnknownKind(header.kind))?;
    let event = match kind {
        EventKind::Socket => Event::Socket(payload(bytes)?),
        EventKind::Bind => Event::Bind(payload(bytes)?),
        EventKind::Listen => Event::Listen(payload(bytes)?),
        EventKind::Connect => Event::Connect(payload(bytes)?),
        EventKind::Accept => Event::Accept(payload(bytes)?),
        EventKind::State => Event::State(payload(bytes)?),
        EventKind::Close => Event::Close(payload(bytes)?),
        EventKind::Destroy => Event::Destroy(payload(bytes)?),
        EventKind::Process => Event::Process(payload(bytes)?),
        EventKind::Fork => Event::Fork(payload(bytes)?),
        EventKind::Exec => Event::Exec(payload(bytes)?),
        EventKind::Exit => Event::Exit(header),
        EventKind::Descriptors => Event::Descriptors(payload(bytes)?),
        EventKind::Name => Event::Name(payload(bytes)?),
        EventKind::Life => return Err(DecodeError::Several),
    };
    check(&event)?;
    Ok(event)
}

/// The socket that a record tells one thing of, before it is known to make sense: see
/// [`SocketInfo::id`](socktrace_common::socket::SocketInfo::id). Something else of records that are about processes.
pub(crate) fn subject(bytes: &[u8]) -> Option<u64> {
    let (header, socket) = Header::ref_from_prefix(bytes).ok()?;
    let (id, _) = u64::ref_from_prefix(socket).ok()?;
    (header.kind != EventKind::Life as u16).then_some(*id)
}

fn payload<T: FromBytes>(bytes: &[u8]) -> Result<T, DecodeError> {
    T::read_from_prefix(bytes)
        .map(|(value, _)| value)
        .map_err(|_| DecodeError::Truncated(bytes.len()))
}

/// Numbers that later stages take for granted.
fn check(event: &Event) -> Result<(), DecodeError> {
    match event {
        Event::State(event) => states([event.old, event.new]),
        Event::Bind(event) | Event::Listen(event) => returned(event.ret),
        Event::Connect(event) => returned(event.ret),
        Event::Close(event) => cause(event.by),
        Event::Descriptors(event) => cause(event.by),
        Event::Name(event) => {
            NameOf::from_number(event.of).ok_or(DecodeError::UnknownName(event.of))?;
            if usize::from(event.length) <= event.name.len() {
                Ok(())
            } else {
                Err(DecodeError::LongName(event.length))
            }
        }
        Event::Socket(_)
        | Event::Accept(_)
        | Event::Destroy(_)
        | Event::Process(_)
        | Event::Fork(_)
        | Event::Exec(_)
        | Event::Exit(_) => Ok(()),
    }
}

/// Are there such TCP states?
pub(crate) fn states(numbers: [u8; 2]) -> Result<(), DecodeError> {
    for number in numbers {
        TcpState::from_number(number).ok_or(DecodeError::UnknownState(number))?;
    }
    Ok(())
}

/// Is there such a cause of a close?
pub(crate) fn cause(number: u32) -> Result<(), DecodeError> {
    ClosedBy::from_number(number)
        .map(|_| ())
        .ok_or(DecodeError::UnknownCause(number))
}

/// Can a call return this?
pub(crate) fn returned(ret: i32) -> Result<(), DecodeError> {
    if (-MAX_ERRNO..=0).contains(&ret) {
        Ok(())
    } else {
        Err(DecodeError::NoErrno(ret))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use socktrace_common::event::{CloseEvent, ConnectEvent, NameEvent, StateEvent};
    use zerocopy::{FromZeros as _, IntoBytes as _};

    use super::*;

    fn state(old: u8, new: u8) -> StateEvent {
        let mut event = StateEvent::new_zeroed();
        event.header.kind = EventKind::State as u16;
        (event.old, event.new) = (old, new);
        event
    }

    #[test]
    fn a_record_survives_the_trip() {
        let event = state(7, 2);
        assert_eq!(decode(event.as_bytes()), Ok(Event::State(event)));
    }

    #[test]
    fn every_truncation_is_refused() {
        let event = state(7, 2);
        for length in 0..event.as_bytes().len() {
            assert_eq!(
                decode(&event.as_bytes()[..length]),
                Err(DecodeError::Truncated(length))
            );
        }
    }

    #[test]
    fn bytes_after_the_record_are_left_alone() {
        let event = state(1, 8);
        let mut bytes = event.as_bytes().to_vec();
        bytes.extend([0xff; 9]);
        assert_eq!(decode(&bytes), Ok(Event::State(event)));
    }

    #[test]
    fn numbers_that_name_nothing_are_refused() {
        assert_eq!(
            decode(state(0, 2).as_bytes()),
            Err(DecodeError::UnknownState(0))
        );
        assert_eq!(
            decode(state(7, 12).as_bytes()),
            Err(DecodeError::UnknownState(12))
        );
        let mut close = CloseEvent::new_zeroed();
        close.header.kind = EventKind::Close as u16;
        close.by = 9;
        assert_eq!(decode(close.as_bytes()), Err(DecodeError::UnknownCause(9)));
        let mut connect = ConnectEvent::new_zeroed();
        connect.header.kind = EventKind::Connect as u16;
        connect.ret = i32::MIN;
        let refused = decode(connect.as_bytes());
        assert_eq!(refused, Err(DecodeError::NoErrno(i32::MIN)));
        let mut name = NameEvent::new_zeroed();
        name.header.kind = EventKind::Name as u16;
        assert_eq!(decode(name.as_bytes()), Err(DecodeError::UnknownName(0)));
        (name.of, name.length) = (1, 109);
        assert_eq!(decode(name.as_bytes()), Err(DecodeError::LongName(109)));
        let mut header = Header::new_zeroed();
        header.kind = 999;
        assert_eq!(
            decode(header.as_bytes()),
            Err(DecodeError::UnknownKind(999))
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            _ = decode(&bytes);
        }

        #[test]
        fn no_payload_of_any_kind_makes_it_panic(
            kind in 0_u16..20,
            mut bytes in prop::collection::vec(any::<u8>(), 40..400),
        ) {
            bytes[16..18].copy_from_slice(&kind.to_ne_bytes());
            _ = decode(&bytes);
        }
    }
}
