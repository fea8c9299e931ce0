//! `struct unix_sock`: what a Unix socket is called, and its peer.

use super::{Memory as _, Probed, present, sock::Sock};
use crate::constant::{Place as _, offset};

/// Bytes of `sun_family`, which come before a name (include/uapi/linux/un.h).
const FAMILY_BYTES: u32 = 2;

/// Where a name is, and how long: in the kernel's memory or in that of the running process.
///
/// Not an `Option`: the compiler would copy the fields of none, and the verifier refuses what was
/// never written.
#[derive(Clone, Copy)]
pub(crate) struct Name {
    pub(crate) at: *const u8,
    /// Without `sun_family`; 0 where there is no name.
    pub(crate) length: u32,
}

impl Name {
    /// None.
    pub(crate) const NONE: Self = Self {
        at: core::ptr::null(),
        length: 0,
    };

    /// One that begins where a `sockaddr_un` of this length has it. A socket without a name has a
    /// length of no more than the family; one that is no length at all is cut off later.
    #[inline(always)]
    pub(crate) fn new(address: *const u8, length: u32) -> Self {
        Self {
            at: address.wrapping_add(FAMILY_BYTES as usize),
            length: length.saturating_sub(FAMILY_BYTES),
        }
    }
}

/// The name that a socket is bound to. It is set once (`unix_bind()`), and shared by the sockets
/// that come out of a listener.
#[inline(always)]
pub(crate) unsafe fn name(sk: Sock) -> Name {
    if !present(offset!(unix_addr)) {
        return Name::NONE;
    }
    // SAFETY: `Probed` takes any address.
    unsafe {
        let address = Probed::pointer(sk, offset!(unix_addr));
        if address.is_null() {
            return Name::NONE;
        }
        let length = Probed::read::<u32>(address, offset!(unix_address_len));
        Name::new(
            address.wrapping_add(offset!(unix_address_name).number() as usize),
            length,
        )
    }
}

/// The socket to which it is connected, null if to none.
#[inline(always)]
pub(crate) unsafe fn peer(sk: Sock) -> Sock {
    if !present(offset!(unix_peer)) {
        return core::ptr::null();
    }
    // SAFETY: `Probed` takes any address.
    unsafe { Probed::pointer(sk, offset!(unix_peer)) }
}
