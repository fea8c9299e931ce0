//! What user space knows of this kernel and of what is wanted, as numbers in instructions.
//!
//! Wherever such a number belongs the object has a mark, and user space puts the number there before it
//! loads the object (`probe/object.rs`), as CO-RE relocations do, which rustc does not emit. So a field is one
//! instruction that loads it, where a constant in memory would be four; and the verifier, which sees numbers,
//! takes out what they make unreachable.

use core::arch::asm;

use socktrace_common::config::{LOAD_MARK, NUMBER_MARK, STRIDE};

/// Where something is, in bytes from the start of its struct.
pub(crate) trait Place: Copy {
    /// What a load has as its offset.
    const OFFSET: i16;

    /// The same as a number.
    fn number(self) -> u32;
}

/// A field of the running kernel's, by its number, and so many bytes further.
#[derive(Clone, Copy)]
pub(crate) struct At<const FIELD: u32, const FURTHER: u32 = 0>;

impl<const FIELD: u32, const FURTHER: u32> Place for At<FIELD, FURTHER> {
    const OFFSET: i16 = {
        assert!(FURTHER < STRIDE);
        (LOAD_MARK + FIELD * STRIDE + FURTHER) as i16
    };

    #[inline(always)]
    fn number(self) -> u32 {
        number::<FIELD>() + FURTHER
    }
}

/// Where the kernel's ABI has it.
#[derive(Clone, Copy)]
pub(crate) struct Fixed<const OFFSET: i16>;

impl<const OFFSET: i16> Place for Fixed<OFFSET> {
    const OFFSET: i16 = OFFSET;

    #[inline(always)]
    fn number(self) -> u32 {
        OFFSET as u32
    }
}

/// The constant with this number.
#[inline(always)]
pub(crate) fn number<const CONSTANT: u32>() -> u32 {
    let number: u64;
    // SAFETY: it sets a register.
    unsafe {
        asm!(
            "{0} = {1}",
            out(reg) number,
            const NUMBER_MARK + CONSTANT,
            options(pure, nomem, nostack),
        );
    }
    number as u32
}

/// Loads what is there, by an instruction.
///
/// # Safety
///
/// The verifier refuses the program unless it knows what `base` points to, and that it has something
/// of this size at this place.
#[inline(always)]
pub(crate) unsafe fn load<T: Copy, P: Place>(base: *const u8, _: P) -> T {
    let value: u64;
    // SAFETY: the caller's. What is loaded is an integer or a pointer, the lowest bytes of a register.
    unsafe {
        match size_of::<T>() {
            1 => asm!("{0} = *(u8 *)({1} + {2})", out(reg) value, in(reg) base, const P::OFFSET),
            2 => asm!("{0} = *(u16 *)({1} + {2})", out(reg) value, in(reg) base, const P::OFFSET),
            4 => asm!("{0} = *(u32 *)({1} + {2})", out(reg) value, in(reg) base, const P::OFFSET),
            8 => asm!("{0} = *(u64 *)({1} + {2})", out(reg) value, in(reg) base, const P::OFFSET),
            _ => unreachable!("no register has room for it"),
        }
        core::mem::transmute_copy(&value)
    }
}

/// A field of [`Config`](socktrace_common::config::Config).
macro_rules! config {
    ($field:ident) => {
        $crate::constant::number::<
            {
                socktrace_common::config::config_number(core::mem::offset_of!(
                    socktrace_common::config::Config,
                    $field
                ))
            },
        >()
    };
}

/// The place of a field of [`Offsets`](socktrace_common::config::Offsets).
macro_rules! offset {
    ($field:ident) => {
        $crate::constant::offset!($field[0] + 0)
    };
    ($field:ident + $further:literal) => {
        $crate::constant::offset!($field[0] + $further)
    };
    ($field:ident[$index:literal]) => {
        $crate::constant::offset!($field[$index] + 0)
    };
    ($field:ident[$index:literal] + $further:literal) => {
        $crate::constant::At::<
            {
                socktrace_common::config::offset_number(core::mem::offset_of!(
                    socktrace_common::config::Offsets,
                    $field
                )) + $index
            },
            $further,
        >
    };
}
pub(crate) use {config, offset};
