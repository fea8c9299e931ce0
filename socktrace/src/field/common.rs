//! The keys that every row has.

use super::Field;

/// Takes keys one after the other.
pub trait Put {
    /// The next one.
    fn put(&mut self, field: Field);
}

macro_rules! common {
    ($($variant:ident,)+) => {
        /// Keys that every row has, in their order.
        pub const COMMON: &[Field] = &[$(Field::$variant,)+];

        /// The same, one call for each: where it is inlined, nothing is left to be decided for a key.
        #[inline]
        pub fn put_common(to: &mut impl Put) {
            $(to.put(Field::$variant);)+
        }
    };
}

common! {
    Schema,
    Ts,
    MonoNs,
    Event,
    Cookie,
    Inode,
    Netns,
    Proto,
    Family,
    Laddr,
    Lport,
    Raddr,
    Rport,
    Pid,
    Tid,
    Comm,
    Owner,
    Fd,
    Container,
    Cgroup,
}
