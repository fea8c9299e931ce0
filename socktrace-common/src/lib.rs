//! The ABI of socktrace: everything that crosses the line between the kernel side and the user
//! side, and nothing else.
//!
//! Every type is `repr(C)` with its padding spelled out, so that a record is the same bytes for
//! both compilers; `tests/layout.rs` holds the sizes and offsets. Numbers are in the byte order of
//! the machine unless a field says otherwise. No type here carries a kernel pointer.

#![no_std]

pub mod config;
pub mod counters;
pub mod event;
pub mod holder;
pub mod shelf;
pub mod socket;
pub mod stack;

/// Derives the checked byte casts of `zerocopy` on the user side only.
macro_rules! wire {
    ($($item:item)+) => {
        $(
            #[cfg_attr(
                feature = "user",
                derive(
                    zerocopy::FromBytes,
                    zerocopy::IntoBytes,
                    zerocopy::Immutable,
                    zerocopy::KnownLayout
                )
            )]
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            #[repr(C)]
            $item
        )+
    };
}
pub(crate) use wire;
