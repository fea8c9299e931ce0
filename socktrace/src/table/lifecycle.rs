//! Which transition means what: the kernel's announcements, read the way it makes them.

use socktrace_common::{
    event::STATE_FIN_RECEIVED,
    socket::TcpState::{
        self, Close, CloseWait, Closing, Established, FinWait1, FinWait2, LastAck, Listen, SynRecv,
        SynSent, TimeWait,
    },
};

use crate::{
    change::{Bytes, Reason, Role},
    errno::{ECONNABORTED, ECONNREFUSED, ECONNRESET, ETIMEDOUT},
    event::Announced,
};

/// A transition, with the state that the port is in afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transition {
    pub(super) old: TcpState,
    pub(super) new: TcpState,
    /// `sk_err`, positive.
    pub(super) error: i32,
    fin_received: bool,
}

impl Transition {
    /// `None` for numbers that name no state; [`decode`](crate::decode) refuses those.
    pub(super) fn of(event: &Announced) -> Option<Self> {
        let old = TcpState::from_number(event.old)?;
        let mut new = TcpState::from_number(event.new)?;
        // TIME_WAIT is never announced: the kernel puts a timewait socket in the place of the
        // full one, which goes to CLOSE (tcp_time_wait(), net/ipv4/tcp_minisocks.c).
        if new == Close && matches!(old, FinWait2 | Closing) && event.error == 0 {
            new = TimeWait;
        }
        Some(Self {
            old,
            new,
            error: event.error,
            fin_received: event.flags & STATE_FIN_RECEIVED != 0,
        })
    }

    /// Does only a system call of the running process make this transition? Every other runs in
    /// softirq, a timer or the socket's backlog, under whoever is there.
    pub(super) fn by_caller(self) -> bool {
        match (self.old, self.new) {
            (Close, SynSent | Listen)
            | (Listen, Close)
            | (Established | SynRecv, FinWait1)
            | (CloseWait, LastAck) => true,
            // Closed with unread data or SO_LINGER 0, or disconnected.
            (Established | CloseWait, Close) => self.error == 0,
            _ => false,
        }
    }

    /// Is it the first of a listener's child? That is another socket, which begins as its copy.
    pub(super) fn begins_child(self) -> bool {
        self.old == Listen && self.new == SynRecv
    }

    /// Is the connection over, as far as this socket goes?
    pub(super) fn ends_connection(self) -> bool {
        matches!(self.new, Close | TimeWait) && self.old != Listen
    }

    /// Why the connection is over.
    pub(super) fn reason(self) -> Reason {
        match self.error {
            0 => match self.old {
                Established | CloseWait => Reason::Aborted,
                // Given up before it was there, by close() or for want of a port.
                SynSent | SynRecv => Reason::Aborted,
                Listen | LastAck | FinWait2 | Closing => Reason::Closed,
                // Our FIN was never acknowledged, and no error says why.
                FinWait1 => Reason::Aborted,
                Close | TimeWait => Reason::Unknown,
            },
            ECONNRESET => Reason::Reset,
            ETIMEDOUT => Reason::Timeout,
            ECONNREFUSED => Reason::Refused,
            ECONNABORTED => Reason::Aborted,
            _ => Reason::Unknown,
        }
    }

    /// Payload, from counters in which SYN and FIN are a byte each.
    pub(super) fn bytes(self, event: &Announced, role: Role, established: bool) -> Bytes {
        let syn = u64::from(role == Role::Client && established);
        // Our FIN is acknowledged in these states, and on the way out of the last two.
        let fin = u64::from(
            matches!(self.old, FinWait2)
                || matches!((self.old, self.error), (LastAck | Closing, 0)),
        );
        Bytes {
            sent: event.bytes_acked.saturating_sub(syn + fin),
            received: event
                .bytes_received
                .saturating_sub(u64::from(self.fin_received)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(old: TcpState, new: TcpState, error: i32) -> Announced {
        Announced {
            old: old as u8,
            new: new as u8,
            flags: 0,
            error,
            is_bound: true,
            bytes_acked: 0,
            bytes_received: 0,
        }
    }

    fn transition(old: TcpState, new: TcpState, error: i32) -> Transition {
        Transition::of(&announced(old, new, error)).unwrap()
    }

    #[test]
    fn a_timewait_socket_takes_over_after_an_orderly_close() {
        assert_eq!(transition(FinWait2, Close, 0).new, TimeWait);
        assert_eq!(transition(Closing, Close, 0).new, TimeWait);
        assert_eq!(transition(FinWait2, Close, ECONNRESET).new, Close);
        assert_eq!(transition(LastAck, Close, 0).new, Close);
    }

    #[test]
    fn only_calls_name_an_actor() {
        assert!(transition(Close, SynSent, 0).by_caller());
        assert!(transition(Established, FinWait1, 0).by_caller());
        assert!(transition(Established, Close, 0).by_caller());
        assert!(!transition(Established, Close, ECONNRESET).by_caller());
        assert!(!transition(SynSent, Established, 0).by_caller());
        assert!(!transition(Listen, SynRecv, 0).by_caller());
        assert!(!transition(FinWait1, FinWait2, 0).by_caller());
    }

    #[test]
    fn the_errno_says_why_it_ended() {
        assert_eq!(
            transition(Established, Close, ECONNRESET).reason(),
            Reason::Reset
        );
        assert_eq!(
            transition(SynSent, Close, ETIMEDOUT).reason(),
            Reason::Timeout
        );
        assert_eq!(
            transition(SynSent, Close, ECONNREFUSED).reason(),
            Reason::Refused
        );
        assert_eq!(transition(Established, Close, 0).reason(), Reason::Aborted);
        assert_eq!(transition(LastAck, Close, 0).reason(), Reason::Closed);
        assert_eq!(transition(FinWait2, Close, 0).reason(), Reason::Closed);
    }

    #[test]
    fn syn_and_fin_are_no_payload() {
        let mut event = announced(FinWait2, Close, 0);
        event.flags = STATE_FIN_RECEIVED;
        (event.bytes_acked, event.bytes_received) = (7, 4);
        let bytes = Transition::of(&event)
            .unwrap()
            .bytes(&event, Role::Client, true);
        assert_eq!(
            bytes,
            Bytes {
                sent: 5,
                received: 3
            }
        );
    }
}
