//! What the kernel told: a record, checked and typed.

use socktrace_common::event::{
    AcceptEvent, CallEvent, CloseEvent, ConnectEvent, DescriptorsEvent, DestroyEvent, EventKind,
    ExecEvent, ForkEvent, Header, NameEvent, ProcessEvent, SocketEvent, StateEvent,
};

/// One record from the kernel side. Made by [`decode`](crate::decode::decode), which vouches for
/// the numbers in it that name states and causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "each is documented as the kind of the same name"
)]
pub enum Event {
    Socket(SocketEvent),
    Bind(CallEvent),
    Listen(CallEvent),
    Connect(ConnectEvent),
    Accept(AcceptEvent),
    State(StateEvent),
    Close(CloseEvent),
    Destroy(DestroyEvent),
    Process(ProcessEvent),
    Fork(ForkEvent),
    Exec(ExecEvent),
    Exit(Header),
    Descriptors(DescriptorsEvent),
    Name(NameEvent),
}

impl Event {
    /// First part of the record.
    pub fn header(&self) -> &Header {
        match self {
            Self::Socket(event) => &event.header,
            Self::Bind(event) | Self::Listen(event) => &event.header,
            Self::Connect(event) => &event.header,
            Self::Accept(event) => &event.header,
            Self::State(event) => &event.header,
            Self::Close(event) => &event.header,
            Self::Destroy(event) => &event.header,
            Self::Process(event) => &event.header,
            Self::Fork(event) => &event.header,
            Self::Exec(event) => &event.header,
            Self::Exit(header) => header,
            Self::Descriptors(event) => &event.header,
            Self::Name(event) => &event.header,
        }
    }

    /// The kind of the record.
    pub fn kind(&self) -> EventKind {
        match self {
            Self::Socket(_) => EventKind::Socket,
            Self::Bind(_) => EventKind::Bind,
            Self::Listen(_) => EventKind::Listen,
            Self::Connect(_) => EventKind::Connect,
            Self::Accept(_) => EventKind::Accept,
            Self::State(_) => EventKind::State,
            Self::Close(_) => EventKind::Close,
            Self::Destroy(_) => EventKind::Destroy,
            Self::Process(_) => EventKind::Process,
            Self::Fork(_) => EventKind::Fork,
            Self::Exec(_) => EventKind::Exec,
            Self::Exit(_) => EventKind::Exit,
            Self::Descriptors(_) => EventKind::Descriptors,
            Self::Name(_) => EventKind::Name,
        }
    }

    /// Did the running process do this, so that it is worth knowing?
    pub fn acts(&self) -> bool {
        match self {
            Self::Socket(_)
            | Self::Bind(_)
            | Self::Listen(_)
            | Self::Connect(_)
            | Self::Accept(_)
            | Self::Close(_)
            | Self::Exec(_) => true,
            Self::State(_)
            | Self::Destroy(_)
            | Self::Process(_)
            | Self::Fork(_)
            | Self::Exit(_)
            | Self::Descriptors(_)
            | Self::Name(_) => false,
        }
    }
}

/// A change of state, as the kernel announces it: what a [`StateEvent`] says besides who and when, and of
/// which socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Old [`TcpState`](socktrace_common::socket::TcpState) number.
    pub old: u8,
    /// New one.
    pub new: u8,
    /// [`STATE_FIN_RECEIVED`](socktrace_common::event::STATE_FIN_RECEIVED), or 0.
    pub flags: u16,
    /// `sk_err`, a positive errno or 0.
    pub error: i32,
    /// Has the socket a local port?
    pub is_bound: bool,
    /// `tcp_sock.bytes_acked`, on the way to CLOSE only.
    pub bytes_acked: u64,
    /// `tcp_sock.bytes_received`, likewise.
    pub bytes_received: u64,
}

impl From<&StateEvent> for Announced {
    fn from(event: &StateEvent) -> Self {
        Self {
            old: event.old,
            new: event.new,
            flags: event.flags,
            error: event.error,
            is_bound: event.socket.lport != 0,
            bytes_acked: event.bytes_acked,
            bytes_received: event.bytes_received,
        }
    }
}
