//! What people see of a socket.

use socktrace_common::socket::{SYNTHETIC_ID, SocketInfo};

use crate::{
    change::{Endpoint, Ownership, View},
    endpoint::{Family, Protocol},
};

/// The view of a socket of which only `info` is known.
#[inline]
pub(super) fn view(info: &SocketInfo) -> View {
    let known = |number: u32| (number != 0).then_some(number);
    View {
        cookie: cookie(info.id),
        inode: known(info.inode),
        netns: known(info.netns),
        protocol: Some(Protocol::of(info.family, info.proto)),
        family: Some(Family::new(info.family)),
        local: Endpoint::new(info.family, info.laddr, info.lport),
        remote: Endpoint::new(info.family, info.raddr, info.rport),
        names: None,
        owner: None,
        ownership: Ownership::Unknown,
        takes_part: false,
    }
}

/// The cookie in an identity, if it is one.
pub(super) fn cookie(id: u64) -> Option<u64> {
    (id != 0 && id < SYNTHETIC_ID).then_some(id)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use socktrace_common::socket::{FAMILY_IPV4, FAMILY_IPV6};
    use zerocopy::FromZeros as _;

    use super::*;

    #[test]
    fn what_is_not_set_is_not_shown() {
        let nothing = view(&SocketInfo::new_zeroed());
        assert_eq!(nothing.cookie, None);
        assert_eq!(nothing.local, Endpoint::default());
        let mut info = SocketInfo::new_zeroed();
        info.family = FAMILY_IPV4;
        info.lport = 80;
        let any: IpAddr = [0, 0, 0, 0].into();
        assert_eq!(
            view(&info).local,
            Endpoint {
                address: Some(any),
                port: Some(80)
            }
        );
        assert_eq!(view(&info).remote, Endpoint::default());
    }

    #[test]
    fn a_mapped_address_is_shown_as_ipv4() {
        let mut info = SocketInfo::new_zeroed();
        info.family = FAMILY_IPV6;
        info.laddr = "::ffff:10.0.0.1".parse::<Ipv6Addr>().unwrap().octets();
        assert_eq!(view(&info).local.address, Some([10, 0, 0, 1].into()));
    }

    #[test]
    fn a_made_up_identity_is_no_cookie() {
        assert_eq!(cookie(SYNTHETIC_ID | 7), None);
        assert_eq!(cookie(7), Some(7));
    }
}
