//! The kernel side of socktrace: hooks that fill records.
//!
//! A hook filters first, reads little, reserves once and says how it ended ([`emit::run`] counts
//! that). Nothing here loops without a bound, and nothing here knows a struct's layout: offsets
//! come from the running kernel's BTF ([`kernel`]).

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![allow(
    clippy::inline_always,
    reason = "a program has 512 bytes of stack, and the verifier knows less across a call"
)]
#![allow(
    clippy::needless_pass_by_value,
    reason = "the macros hand a hook its context by value"
)]
#![allow(
    clippy::cast_ptr_alignment,
    reason = "records are aligned to 8 bytes, and what they are filled with is read as words"
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "registers are 64 bits wide; the type says what is kept of one"
)]

mod atomic;
mod constant;
mod emit;
mod filter;
mod hooks;
mod iterators;
mod kernel;
mod life;
mod maps;
mod process;
mod shelf;
mod stack;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// GPL-only helpers (`bpf_probe_read_kernel` among them) ask for a compatible licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
