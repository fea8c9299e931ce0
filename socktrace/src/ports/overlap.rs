//! When two sockets cannot have the same port because of their local addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the kernel takes for the IPv4 address of an IPv6 socket (`LOOPBACK4_IPV6`,
/// include/net/ipv6.h).
const STAND_IN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);

/// A local address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Local {
    /// IPv4-mapped addresses are IPv4 addresses.
    pub address: IpAddr,
    /// No IPv4 through this IPv6 socket: `IPV6_V6ONLY`, or bound to one IPv6 address.
    pub only_ipv6: bool,
}

impl From<IpAddr> for Local {
    /// A socket without `IPV6_V6ONLY` that is bound to the address: to one of IPv6 means to that
    /// alone.
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self {
            address,
            only_ipv6: address.is_ipv6() && !address.is_unspecified(),
        }
    }
}

impl Local {
    /// What a socket of the same family has that was never bound.
    #[must_use]
    pub fn wildcard(self) -> Self {
        let address = match self.address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Self {
            address,
            only_ipv6: false,
        }
    }

    /// Would a socket that is about to be bound to this address meet `other`, which is bound?
    /// `inet_rcv_saddr_equal()` with wildcards (`net/ipv4/inet_connection_sock.c`).
    pub fn overlaps(self, other: Self) -> bool {
        match (self.address, other.address) {
            (IpAddr::V4(new), IpAddr::V4(old)) => {
                new == old || new.is_unspecified() || old.is_unspecified()
            }
            (IpAddr::V4(new), IpAddr::V6(old)) => {
                !other.only_ipv6
                    && (old.is_unspecified() || new.is_unspecified() || new == STAND_IN)
            }
            (IpAddr::V6(new), IpAddr::V4(_)) => new.is_unspecified() && !self.only_ipv6,
            (IpAddr::V6(new), IpAddr::V6(old)) => {
                new == old || new.is_unspecified() || old.is_unspecified()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(address: &str) -> Local {
        Local::from(address.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn wildcards_meet_everything_that_they_take_traffic_of() {
        let only = Local {
            only_ipv6: true,
            ..local("::")
        };
        let connected = Local {
            only_ipv6: false,
            ..local("::1")
        };
        for (new, old, meet) in [
            (local("127.0.0.1"), local("127.0.0.1"), true),
            (local("127.0.0.1"), local("127.0.0.9"), false),
            (local("127.0.0.1"), local("0.0.0.0"), true),
            (local("0.0.0.0"), local("127.0.0.1"), true),
            (local("127.0.0.1"), local("::"), true),
            (local("127.0.0.1"), only, false),
            (local("127.0.0.1"), local("::1"), false),
            (local("0.0.0.0"), local("::1"), false),
            // It was never bound to ::1, connect() chose it: the kernel still minds it.
            (local("0.0.0.0"), connected, true),
            (local("127.0.0.1"), connected, false),
            (local("::"), local("127.0.0.1"), true),
            (only, local("127.0.0.1"), false),
            (only, local("::1"), true),
            (local("::1"), local("::1"), true),
            (local("::1"), local("::2"), false),
            (local("::1"), only, true),
            (local("::1"), local("0.0.0.0"), false),
            (local("::ffff:127.0.0.1"), local("127.0.0.1"), true),
            (local("::ffff:127.0.0.1"), local("::"), true),
        ] {
            assert_eq!(new.overlaps(old), meet, "{new:?} and {old:?}");
        }
    }
}
