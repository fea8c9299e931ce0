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
