//! Which ports the kernel may choose, and which of them a search may miss.

use std::str::FromStr;

use super::PortSet;

/// `ip_local_port_range`: both ends are in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The lowest port.
    pub low: u16,
    /// The highest.
    pub high: u16,
}

/// Who searches. The searches differ in what they skip when a range has an odd number of ports:
/// those that try ports of one parity first look at `span & ~1` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// `connect()`.
    Connect,
    /// `connect()` of a socket with `IP_LOCAL_PORT_RANGE` (6.3): one pass over all ports.
    ConnectInRange,
    /// `bind()` to port 0, and `listen()` without `bind()`.
    Bind,
    /// The same with `SO_REUSEADDR`: the lower half of the range first, then the upper.
    BindReuseAddr,
    /// UDP, which looks at all ports.
    Udp,
}

/// The ports that the kernel may choose: R.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eligible {
    range: Range,
    ports: PortSet,
    count: u32,
}

impl FromStr for Range {
    type Err = ();

    /// Two numbers with white space between, as in `/proc/sys/net/ipv4/ip_local_port_range`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut words = text.split_ascii_whitespace().map(str::parse);
        match (words.next(), words.next(), words.next()) {
            (Some(Ok(low)), Some(Ok(high)), None) if low <= high => Ok(Self { low, high }),
            _ => Err(()),
        }
    }
}

impl Range {
    /// With `IP_LOCAL_PORT_RANGE` of a socket: each bound counts only if it lies within the
    /// namespace's range, 0 never does (`inet_sk_get_local_port_range()`).
    #[must_use]
    pub fn narrowed(self, low: u16, high: u16) -> Self {
        let mut range = self;
        if (range.low..=range.high).contains(&low) {
            range.low = low;
        }
        if (range.low..=range.high).contains(&high) {
            range.high = high;
        }
        range
    }

    /// How many ports lie in it.
    pub fn span(self) -> u32 {
        u32::from(self.high) - u32::from(self.low) + 1
    }

    /// Of these two ports a search sees only one.
    ///
    /// A search starts anywhere, tries every second port and wraps around after `span & ~1`. With
    /// an odd span the ports of the low end's parity are one too many: started at the low end it
    /// stops before the high end, and started elsewhere it wraps to just behind the low end.
    fn missable(self, search: Search) -> Option<(u16, u16)> {
        let span = self.span();
        if span.is_multiple_of(2) || span == 1 {
            return None;
        }
        match search {
            Search::ConnectInRange | Search::Udp => None,
            Search::Connect | Search::Bind => Some((self.low, self.high)),
            // Too few to be halved.
            Search::BindReuseAddr if span < 4 => Some((self.low, self.high)),
            Search::BindReuseAddr => {
                // The lower half has an even number.
                let half = (span >> 2) << 1;
                Some((self.low + u16::try_from(half).unwrap_or(0), self.high))
            }
        }
    }
}

/// `ip_local_reserved_ports`: ports and ranges of ports with commas between, or nothing.
pub fn parse_reserved(text: &str) -> Option<PortSet> {
    let mut reserved = PortSet::default();
    for item in text.trim().split(',').filter(|item| !item.is_empty()) {
        let (low, high) = item.split_once('-').unwrap_or((item, item));
        let (low, high): (u16, u16) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
        for port in low..=high {
            reserved.insert(port);
        }
    }
    Some(reserved)
}

impl Eligible {
    /// The range without what is reserved.
    pub fn new(range: Range, reserved: &PortSet) -> Self {
        let ports: PortSet = (range.low..=range.high)
            .filter(|port| !reserved.contains(*port))
            .collect();
        Self {
            range,
            count: ports.len(),
            ports,
        }
    }

    /// What is left of them for a socket with `IP_LOCAL_PORT_RANGE`.
    pub(super) fn narrowed(&self, low: u16, high: u16) -> Self {
        let range = self.range.narrowed(low, high);
        let mut ports: PortSet = (range.low..=range.high).collect();
        ports.keep(&self.ports);
        Self {
            range,
            count: ports.len(),
            ports,
        }
    }

    /// How many there are: |R|.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The ports.
    pub fn ports(&self) -> &PortSet {
        &self.ports
    }

    /// Does `connect()` try odd ports first? It begins with the parity of the low end.
    pub fn prefers_odd(&self) -> bool {
        self.range.low % 2 == 1
    }

    /// May the kernel choose this one?
    pub fn contains(&self, port: u16) -> bool {
        self.ports.contains(port)
    }

    /// How many searches are sure to succeed, one after the other, when `used` of the ports are
    /// taken: those that are not, but for the one that the last search may miss.
    pub fn left(&self, search: Search, used: u32, taken: impl Fn(u16) -> bool) -> u32 {
        let free = self.count.saturating_sub(used);
        let open = |port| self.contains(port) && !taken(port);
        let missed = self
            .range
            .missable(search)
            .is_some_and(|(one, other)| open(one) || open(other));
        free.saturating_sub(u32::from(missed))
    }
}
