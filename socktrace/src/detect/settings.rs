//! The thresholds, each with why it is what it is. A section of the configuration for each kind.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::Kind;

/// Declares a section: its fields with their defaults.
macro_rules! sections {
    ($($(#[$doc:meta])* $name:ident {
        $($(#[$why:meta])* $field:ident: $kind:ty = $default:expr,)+
    })+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
            #[serde(default, deny_unknown_fields)]
            pub struct $name {
                $($(#[$why])* pub $field: $kind,)+
            }

            impl Default for $name {
                fn default() -> Self {
                    Self { $($field: $default,)+ }
                }
            }
        )+
    };
}

/// The thresholds of all detectors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How far apart looks are. Ports fill within minutes, and a look costs what a walk through all
    /// descriptors does. Less than a second makes no difference: looks are never closer.
    pub every: Text,
    /// The part of one CPU that looks may take: they are farther apart if they must.
    pub share: f64,
    /// `close_wait`
    pub close_wait: CloseWait,
    /// `dead_open`
    pub dead_open: DeadOpen,
    /// `never_connected`
    pub never_connected: NeverConnected,
    /// `idle_growth` and `udp_growth`
    pub idle_growth: IdleGrowth,
    /// `syn_sent`
    pub syn_sent: SynSent,
    /// `orphan`
    pub orphan: Orphan,
    /// `accept_queue`
    pub accept_queue: AcceptQueue,
    /// `inherited_listener`
    pub inherited_listener: InheritedListener,
    /// `unix_half_dead`
    pub unix_half_dead: UnixHalfDead,
    /// `pipe`
    pub pipe: Pipe,
    /// `in_flight_fd`
    pub in_flight_fd: InFlightFd,
    /// `time_wait`
    pub time_wait: TimeWait,
    /// `fd_limit`
    pub fd_limit: FdLimit,
    /// `file_table`
    pub file_table: FileTable,
    /// `conntrack`
    pub conntrack: Conntrack,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            every: Text(Duration::from_secs(5)),
            share: 0.005,
            close_wait: CloseWait::default(),
            dead_open: DeadOpen::default(),
            never_connected: NeverConnected::default(),
            idle_growth: IdleGrowth::default(),
            syn_sent: SynSent::default(),
            orphan: Orphan::default(),
            accept_queue: AcceptQueue::default(),
            inherited_listener: InheritedListener::default(),
            unix_half_dead: UnixHalfDead::default(),
            pipe: Pipe::default(),
            in_flight_fd: InFlightFd::default(),
            time_wait: TimeWait::default(),
            fd_limit: FdLimit::default(),
            file_table: FileTable::default(),
            conntrack: Conntrack::default(),
        }
    }
}

impl Settings {
    /// Does what this kind goes by differ?
    pub fn differs(&self, other: &Self, kind: Kind) -> bool {
        match kind {
            Kind::CloseWait => self.close_wait != other.close_wait,
            Kind::DeadOpen => self.dead_open != other.dead_open,
            Kind::NeverConnected => self.never_connected != other.never_connected,
            Kind::IdleGrowth | Kind::UdpGrowth => self.idle_growth != other.idle_growth,
            Kind::SynSent => self.syn_sent != other.syn_sent,
            Kind::Orphan => self.orphan != other.orphan,
            Kind::AcceptQueue => self.accept_queue != other.accept_queue,
            Kind::InheritedListener => self.inherited_listener != other.inherited_listener,
            Kind::UnixHalfDead => self.unix_half_dead != other.unix_half_dead,
            Kind::Pipe => self.pipe != other.pipe,
            Kind::InFlightFd => self.in_flight_fd != other.in_flight_fd,
            Kind::TimeWait => self.time_wait != other.time_wait,
            Kind::FdLimit => self.fd_limit != other.fd_limit,
            Kind::FileTable => self.file_table != other.file_table,
            Kind::Conntrack => self.conntrack != other.conntrack,
            // The kernel's rules have no thresholds.
            Kind::PortExhaustion | Kind::ListenerInEphemeralRange => false,
        }
    }

    /// How long it takes to see that something only accumulates: the windows, and the one that is
    /// not over.
    pub fn growth_takes(&self) -> Duration {
        let windows = u32::try_from(self.close_wait.windows).unwrap_or(u32::MAX);
        self.close_wait
            .window
            .0
            .saturating_mul(windows.saturating_add(1))
    }
}

sections! {
    /// Sockets in `CLOSE_WAIT`, which no timer of the kernel ends.
    CloseWait {
        /// Fewer are a pool that notices late: its connections go at the next checkout.
        count: u64 = 10,
        /// A program that will close does it sooner.
        age: Text = Text(Duration::from_mins(5)),
        /// How long a window is whose lowest count must not sink: longer than most bursts.
        window: Text = Text(Duration::from_mins(5)),
        /// Over so many windows in a row it must have risen.
        windows: usize = 3,
        /// A single one that is this old and was read to its end is forgotten.
        alone: Text = Text(Duration::from_hours(1)),
        /// Younger ones are not even mentioned: they may be on their way.
        shown: Text = Text(Duration::from_secs(3)),
        /// Sent something so recently: a peer that is done talking and still listens.
        sending: Text = Text(Duration::from_mins(1)),
    }

    /// Descriptors of connections that are over.
    DeadOpen {
        /// As for `close_wait`.
        count: u64 = 10,
        /// A program that looks at its errors closes sooner.
        age: Text = Text(Duration::from_mins(5)),
        /// As for `close_wait`.
        window: Text = Text(Duration::from_mins(5)),
        /// As for `close_wait`.
        windows: usize = 3,
    }

    /// Sockets that were never connected.
    NeverConnected {
        /// Fewer are kept for later use by some programs.
        count: u64 = 10,
        /// Time to use one after it was created.
        age: Text = Text(Duration::from_mins(1)),
        /// As for `close_wait`.
        window: Text = Text(Duration::from_mins(5)),
        /// As for `close_wait`.
        windows: usize = 3,
    }

    /// Sockets that grow older than their kind usually does.
    IdleGrowth {
        /// Looked at so often; a simulated day of stationary traffic raised nothing at this pace.
        every: Text = Text(Duration::from_mins(5)),
        /// No younger socket is suspect.
        age: Text = Text(Duration::from_mins(10)),
        /// Nor is one younger than so many times what 99 of 100 of its kind live.
        lifetimes: u32 = 5,
        /// That, where too few have ended to know: the 99th of 100.
        usual: Text = Text(Duration::from_mins(12)),
        /// Nor one that was used so recently, where that is known.
        idle: Text = Text(Duration::from_mins(10)),
        /// Nothing is said before there is so much history.
        history: Text = Text(Duration::from_hours(1)),
        /// So many more must be suspect than at the least within the history.
        growth: u64 = 10,
        /// In so many looks in a row.
        looks: u32 = 2,
    }

    /// Destinations that do not answer.
    SynSent {
        /// The first retransmission has been sent by then.
        age: Text = Text(Duration::from_secs(3)),
        /// Fewer are ordinary losses.
        count: u64 = 20,
    }

    /// TCP sockets that nobody holds.
    Orphan {
        /// The kernel counts some twice or four times and kills from there.
        warning: f64 = 0.25,
        /// Likewise.
        critical: f64 = 0.5,
        /// Data that the peer does not take for so long is stuck.
        stuck: Text = Text(Duration::from_mins(1)),
        /// So many of them to one destination are mentioned.
        count: u64 = 10,
    }

    /// Accept queues.
    AcceptQueue {
        /// Full to this part.
        ratio: f64 = 0.7,
        /// In so many looks in a row: a burst that drains is none.
        looks: u32 = 3,
        /// Somebody waits and nobody accepts for so long: the acceptor is stuck.
        stuck: Text = Text(Duration::from_secs(30)),
    }

    /// Listeners that a process inherited and does not use.
    InheritedListener {
        /// A server that takes over a listener accepts sooner.
        age: Text = Text(Duration::from_secs(30)),
    }

    /// Unix sockets whose peer is gone.
    UnixHalfDead {
        /// As for `close_wait`.
        count: u64 = 10,
        /// As for `close_wait`.
        age: Text = Text(Duration::from_mins(5)),
        /// As for `close_wait`.
        window: Text = Text(Duration::from_mins(5)),
        /// As for `close_wait`.
        windows: usize = 3,
    }

    /// Pipes of which one end is gone.
    Pipe {
        /// Fewer are helpers that ended.
        count: u64 = 10,
        /// A program that waits for the end of its input has closed by then.
        age: Text = Text(Duration::from_mins(5)),
        /// As for `close_wait`.
        window: Text = Text(Duration::from_mins(5)),
        /// As for `close_wait`.
        windows: usize = 3,
    }

    /// Descriptors in messages that nobody receives.
    InFlightFd {
        /// A receiver takes them at once.
        age: Text = Text(Duration::from_mins(1)),
        /// As for `close_wait`, but shorter: nothing should be there at all.
        window: Text = Text(Duration::from_mins(1)),
        /// As for `close_wait`.
        windows: usize = 3,
    }

    /// Ports kept by connections that are over.
    TimeWait {
        /// Of the ports that a destination could use.
        warning: f64 = 0.3,
        /// Likewise.
        critical: f64 = 0.6,
        /// Of `net.ipv4.tcp_max_tw_buckets`.
        buckets: f64 = 0.8,
    }

    /// Descriptors of a process.
    FdLimit {
        /// Of its soft limit.
        warning: f64 = 0.7,
        /// Likewise.
        critical: f64 = 0.9,
        /// It will be reached so soon if it goes on: time to do something about it.
        soon: Text = Text(Duration::from_hours(1)),
    }

    /// Open files of the machine.
    FileTable {
        /// Of `fs.file-max`.
        warning: f64 = 0.7,
        /// Likewise.
        critical: f64 = 0.9,
    }

    /// Tracked connections.
    Conntrack {
        /// Of `net.netfilter.nf_conntrack_max`.
        warning: f64 = 0.8,
        /// Likewise.
        critical: f64 = 0.95,
    }
}

/// A time in settings: `30s`, `5m`, `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text(pub Duration);

impl Text {
    /// In nanoseconds.
    pub(super) fn ns(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Serialize for Text {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let duration = jiff::SignedDuration::try_from(self.0).map_err(|_| fmt::Error)?;
        write!(f, "{duration:#}")
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let duration: jiff::SignedDuration = text.parse().map_err(|_| {
            serde::de::Error::custom("a time is a number with a unit, like 30s, 5m or 1h30m")
        })?;
        let duration = Duration::try_from(duration);
        duration
            .map(Self)
            .map_err(|_| serde::de::Error::custom("a time cannot be negative"))
    }
}
