//! The kernel side, as the running kernel can take it.

use std::borrow::Cow;

use aya::include_bytes_aligned;
use object::{Object as _, ObjectSection as _, SectionKind, read::elf::ElfFile64};
use socktrace_common::config::HAVE_FETCH_ADD;

/// As `cargo xtask bpf` compiled it.
static OBJECT: &[u8] = include_bytes_aligned!("../../bpf/socktrace.bpf.o");

/// An instruction's bytes: its code first, a number of its own in the last four.
const INSTRUCTION: usize = 8;
/// Loads a number of 64 bits: the only instruction that is twice as long.
const LOAD_64: u8 = 0x18;
/// An atomic operation on 64 bits; which one is in its number.
const ATOMIC_64: u8 = 0xdb;
/// `BPF_ADD | BPF_FETCH`: adds, and returns what was there (5.12).
const FETCH_ADD: [u8; 4] = [1, 0, 0, 0];
/// `BPF_ADD`: just adds.
const ADD: [u8; 4] = [0; 4];

/// The object for a kernel with these helpers.
///
/// Before 5.12 the kernel refuses a program with an instruction that it does not know even where it is
/// never reached (`resolve_pseudo_ldimm64()`, kernel/bpf/verifier.c), so there it is made one that is
/// known. The programs have another way then, by `HAVE_FETCH_ADD`.
pub(super) fn object(helpers: u32) -> Cow<'static, [u8]> {
    if helpers & HAVE_FETCH_ADD != 0 {
        return Cow::Borrowed(OBJECT);
    }
    let mut bytes = OBJECT.to_vec();
    for at in fetching(OBJECT) {
        if let Some(number) = bytes.get_mut(at + INSTRUCTION - 4..at + INSTRUCTION) {
            number.copy_from_slice(&ADD);
        }
    }
    Cow::Owned(bytes)
}

/// Where the instructions are that add and return what was there.
fn fetching(bytes: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    // It is our own: where it cannot be read, it does not load either, and that is told.
    let Ok(file) = ElfFile64::<object::Endianness>::parse(bytes) else {
        return found;
    };
    for section in file.sections() {
        let (SectionKind::Text, Some((from, size))) = (section.kind(), section.file_range()) else {
            continue;
        };
        let (Ok(from), Ok(size)) = (usize::try_from(from), usize::try_from(size)) else {
            continue;
        };
        let mut at = from;
        while let Some(instruction) = bytes.get(at..at + INSTRUCTION)
            && at < from + size
        {
            if instruction[0] == ATOMIC_64 && instruction[4..] == FETCH_ADD {
                found.push(at);
            }
            let length = if instruction[0] == LOAD_64 { 2 } else { 1 };
            at += length * INSTRUCTION;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_kernel_gets_no_instruction_that_it_does_not_know() {
        assert!(!fetching(OBJECT).is_empty());
        assert_eq!(object(HAVE_FETCH_ADD), OBJECT);
        let old = object(0);
        assert!(fetching(&old).is_empty());
        let changed = old.iter().zip(OBJECT).filter(|(old, new)| old != new);
        assert_eq!(changed.count(), fetching(OBJECT).len());
    }
}
