//! The kernel side of socktrace: hooks that fill records.
//!
//! A hook filters first, reads little, reserves once and says how it ended ([`emit::run`] counts
//! that). Nothing here loops without a bound, and nothing here knows a struct's layout: offsets
//! come from the running kernel's BTF ([`kernel`]).

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod atomic;
mod emit;
mod filter;
mod hooks;
mod kernel;
mod maps;
mod process;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// GPL-only helpers (`bpf_probe_read_kernel` among them) ask for a compatible licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
