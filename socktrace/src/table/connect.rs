//! When is the outcome of an active open known, and what is it?
//!
//! A blocking `connect()` says so when it returns; a non-blocking one returns EINPROGRESS and the
//! state changes tell; one through `io_uring` or TCP Fast Open makes no such call at all; and one
//! that fails at once may change no state. Each outcome is told once.

use socktrace_common::socket::TcpState::{self, Close, SynRecv};

use crate::errno::{EADDRNOTAVAIL, EALREADY, EINPROGRESS, EINTR, EISCONN, ERESTARTSYS};

/// An active open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    /// When `SYN_SENT` was entered.
    started: u64,
    /// Whether the call that began it has returned, or there was none.
    returned: bool,
    /// Its outcome has been told: 0 or a positive errno.
    told: Option<i32>,
}

/// An outcome: how long it took, where that is known, and the errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) error: Option<i32>,
    pub(super) latency_ns: Option<u64>,
}

/// `SYN_SENT` is entered; `in_call` if by `connect()`.
pub(super) fn begin(now: u64, in_call: bool) -> Attempt {
    Attempt {
        started: now,
        returned: !in_call,
        told: None,
    }
}

/// The socket leaves `SYN_SENT`. `bound` tells whether it had a local port.
pub(super) fn left_syn_sent(
    attempt: &mut Option<Attempt>,
    now: u64,
    new: TcpState,
    error: i32,
    bound: bool,
) -> Option<Told> {
    let open = attempt.as_mut().filter(|open| open.told.is_none())?;
    let error = match (new, error) {
        // SYN_RECV: both sides opened at once, and the answer is on its way.
        (SynRecv, _) => return None,
        (Close, 0) if open.returned && !bound => {
            // Only the search for a local port fails between the two states without an errno,
            // and no call will return it.
            EADDRNOTAVAIL
        }
        // Either the call returns the errno, or somebody closed the socket before there was an
        // outcome: then there is none.
        (Close, 0) => return None,
        (_, error) => error,
    };
    open.told = Some(error);
    let told = Told {
        error: (error != 0).then_some(error),
        latency_ns: Some(now.saturating_sub(open.started)),
    };
    if error == 0 && open.returned {
        *attempt = None;
    }
    Some(told)
}

/// `connect()` returns `ret`: 0 or a negative errno. `established` is what the table knew before.
pub(super) fn returned(
    attempt: &mut Option<Attempt>,
    now: u64,
    established: bool,
    ret: i32,
) -> Option<Told> {
    let error = -ret;
    if matches!(error, EALREADY | EISCONN) {
        return None;
    }
    if matches!(error, EINPROGRESS | EINTR | ERESTARTSYS) {
        // Nothing is decided by the call.
        if let Some(open) = attempt {
            open.returned = true;
            if open.told == Some(0) {
                *attempt = None;
            }
        }
        return None;
    }
    let open = attempt.take();
    match open {
        // Told when the state changed; a non-blocking socket says it again to whoever asks by a
        // second connect().
        Some(open) if open.told == Some(error) => None,
        // The same question, of an open that succeeded.
        None if error == 0 && established => None,
        open => Some(Told {
            error: (error != 0).then_some(error),
            latency_ns: open
                .filter(|open| open.told.is_none())
                .map(|open| now.saturating_sub(open.started)),
        }),
    }
}

#[cfg(test)]
mod tests {
    use socktrace_common::socket::TcpState::Established;

    use super::*;
    use crate::errno::ECONNREFUSED;

    const ENETUNREACH: i32 = 101;

    #[expect(
        clippy::unnecessary_wraps,
        reason = "it stands beside what may be None"
    )]
    fn told(error: Option<i32>, latency_ns: Option<u64>) -> Option<Told> {
        Some(Told { error, latency_ns })
    }

    #[test]
    fn a_blocking_open_is_told_when_it_is_established_and_once() {
        let mut attempt = Some(begin(100, true));
        let first = left_syn_sent(&mut attempt, 150, Established, 0, true);
        assert_eq!(first, told(None, Some(50)));
        assert_eq!(returned(&mut attempt, 160, true, 0), None);
        assert_eq!(attempt, None);
    }

    #[test]
    fn a_refusal_is_told_once() {
        let mut attempt = Some(begin(100, true));
        let first = left_syn_sent(&mut attempt, 150, Close, ECONNREFUSED, true);
        assert_eq!(first, told(Some(ECONNREFUSED), Some(50)));
        assert_eq!(returned(&mut attempt, 160, false, -ECONNREFUSED), None);
        assert_eq!(attempt, None);
    }

    #[test]
    fn a_non_blocking_open_is_judged_at_its_outcome() {
        let mut attempt = Some(begin(100, true));
        assert_eq!(returned(&mut attempt, 110, false, -EINPROGRESS), None);
        let outcome = left_syn_sent(&mut attempt, 400, Established, 0, true);
        assert_eq!(outcome, told(None, Some(300)));
        // connect() again, to ask.
        assert_eq!(returned(&mut attempt, 500, true, 0), None);
        assert_eq!(returned(&mut attempt, 600, true, -EISCONN), None);
    }

    #[test]
    fn a_non_blocking_refusal_is_not_told_again_to_who_asks() {
        let mut attempt = Some(begin(100, true));
        assert_eq!(returned(&mut attempt, 110, false, -EINPROGRESS), None);
        let outcome = left_syn_sent(&mut attempt, 400, Close, ECONNREFUSED, true);
        assert_eq!(outcome, told(Some(ECONNREFUSED), Some(300)));
        assert_eq!(returned(&mut attempt, 500, false, -ECONNREFUSED), None);
        // Another failure is another outcome.
        assert_eq!(
            returned(&mut attempt, 600, false, -ENETUNREACH),
            told(Some(ENETUNREACH), None)
        );
    }

    #[test]
    fn established_before_the_call_is_back_is_told_once() {
        let mut attempt = Some(begin(100, true));
        assert!(left_syn_sent(&mut attempt, 105, Established, 0, true).is_some());
        assert_eq!(returned(&mut attempt, 110, true, -EINPROGRESS), None);
        assert_eq!(attempt, None);
    }

    #[test]
    fn no_port_left_is_told_by_the_call() {
        let mut attempt = Some(begin(100, true));
        assert_eq!(left_syn_sent(&mut attempt, 300, Close, 0, false), None);
        assert_eq!(
            returned(&mut attempt, 310, false, -EADDRNOTAVAIL),
            told(Some(EADDRNOTAVAIL), Some(210))
        );
    }

    #[test]
    fn no_port_left_for_io_uring_is_told_by_the_state() {
        let mut attempt = Some(begin(100, false));
        assert_eq!(
            left_syn_sent(&mut attempt, 300, Close, 0, false),
            told(Some(EADDRNOTAVAIL), Some(200))
        );
    }

    #[test]
    fn no_route_changes_no_state_and_is_told_by_the_call() {
        let mut attempt = None;
        assert_eq!(
            returned(&mut attempt, 310, false, -ENETUNREACH),
            told(Some(ENETUNREACH), None)
        );
    }

    #[test]
    fn closed_while_it_opens_has_no_outcome() {
        let mut attempt = Some(begin(100, true));
        assert_eq!(returned(&mut attempt, 110, false, -EINPROGRESS), None);
        assert_eq!(left_syn_sent(&mut attempt, 300, Close, 0, true), None);
    }

    #[test]
    fn a_second_try_on_the_same_socket_is_told_too() {
        let mut attempt = Some(begin(100, true));
        assert!(left_syn_sent(&mut attempt, 150, Close, ECONNREFUSED, true).is_some());
        assert_eq!(returned(&mut attempt, 160, false, -ECONNREFUSED), None);
        attempt = Some(begin(200, true));
        assert!(left_syn_sent(&mut attempt, 250, Established, 0, true).is_some());
    }
}
