//! From what one `recv()` brought to rows. The kernel writes it, yet nothing about it is believed.

use netlink_packet_core::{
    NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN, NetlinkBuffer,
};

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// A row, without the netlink header.
    Row {
        /// Its struct and attributes.
        bytes: &'a [u8],
        /// `NLM_F_DUMP_INTR`.
        interrupted: bool,
    },
    /// The dump is over.
    End {
        /// `NLM_F_DUMP_INTR`.
        interrupted: bool,
    },
    /// There is no dump, or no more of it: positive errno.
    Failed(i32),
    /// The kernel had no room for all.
    Overrun,
    /// The rest makes no sense.
    Malformed,
}

/// The messages in a buffer that answer one request.
pub(super) struct Parts<'a> {
    rest: &'a [u8],
    sequence: u32,
}

impl<'a> Parts<'a> {
    pub(super) fn new(bytes: &'a [u8], sequence: u32) -> Self {
        Self {
            rest: bytes,
            sequence,
        }
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let Ok(message) = NetlinkBuffer::new_checked(self.rest) else {
                self.rest = &[];
                return Some(Part::Malformed);
            };
            let length = message.length() as usize;
            let (head, payload) = (message, self.rest.get(HEADER..length).unwrap_or_default());
            // Each begins at a multiple of 4; the last may end before one.
            let next = length.next_multiple_of(4).max(HEADER);
            self.rest = self.rest.get(next..).unwrap_or_default();
            // Another number answers an earlier request, of which somebody lost patience.
            if head.sequence_number() != self.sequence {
                continue;
            }
            let interrupted = head.flags() & NLM_F_DUMP_INTR != 0;
            return Some(match head.message_type() {
                NLMSG_NOOP => continue,
                // A dump that fails in its course ends with a negative errno.
                NLMSG_DONE => match errno(payload) {
                    0 => Part::End { interrupted },
                    errno => Part::Failed(errno),
                },
                NLMSG_ERROR => Part::Failed(errno(payload)),
                NLMSG_OVERRUN => Part::Overrun,
                _ => Part::Row {
                    bytes: payload,
                    interrupted,
                },
            });
        }
    }
}

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;

/// Positive errno from the negative one at the beginning; 0 where there is none.
fn errno(payload: &[u8]) -> i32 {
    payload.first_chunk().map_or(0, |bytes| {
        i32::from_ne_bytes(*bytes).checked_neg().unwrap_or(0).max(0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: u16 = 20;

    fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + payload.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn parts(bytes: &[u8]) -> Vec<Part<'_>> {
        Parts::new(bytes, 7).collect()
    }

    #[test]
    fn rows_of_our_request_are_taken_and_others_passed_over() {
        let bytes = [
            message(DUMP, NLM_F_DUMP_INTR, 7, b"one and "),
            message(DUMP, 0, 6, b"somebody else's"),
            message(DUMP, 0, 7, b"two"),
            message(NLMSG_DONE, 0, 7, &[0; 4]),
        ]
        .concat();
        let row = |bytes, interrupted| Part::Row { bytes, interrupted };
        let end = Part::End { interrupted: false };
        assert_eq!(
            parts(&bytes),
            [row(&b"one and "[..], true), row(b"two", false), end]
        );
    }

    #[test]
    fn an_error_carries_its_number() {
        let refused = message(NLMSG_ERROR, 0, 7, &(-2_i32).to_ne_bytes());
        assert_eq!(parts(&refused), [Part::Failed(2)]);
        let broken_off = message(NLMSG_DONE, 0, 7, &(-105_i32).to_ne_bytes());
        assert_eq!(parts(&broken_off), [Part::Failed(105)]);
        assert_eq!(errno(&i32::MIN.to_ne_bytes()), 0);
    }

    #[test]
    fn a_length_that_lies_ends_the_buffer() {
        let mut bytes = message(DUMP, 0, 7, b"row");
        for length in [0_u32, 15, 21, u32::MAX] {
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(parts(&bytes), [Part::Malformed], "{length}");
        }
        assert_eq!(parts(&bytes[..7]), [Part::Malformed]);
        assert_eq!(parts(&[]), []);
    }
}
