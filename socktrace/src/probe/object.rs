//! The kernel side, as the running kernel can take it: some instructions are made others.
//!
//! Before 5.12 the kernel refuses a program with an atomic addition that returns what was there, even
//! where it is never reached (`resolve_pseudo_ldimm64()`, kernel/bpf/verifier.c), so there it is made one
//! that just adds, and so is one that compares. The programs have another way then, by `HAVE_FETCH_ADD`.
//!
//! And rustc knows helpers, which have numbers, but no kernel functions, which have BTF identities. The
//! kernel side calls a number that is no helper's ([`CAST`]); here each such call becomes one of
//! `bpf_rdonly_cast()` where the kernel has it, and else a copy of a register that nothing comes to.
//!
//! And aya keeps every program that it finds for as long as it keeps one, a megabyte of them. Sections of
//! programs that are not asked for are no code here, so it does not see them.

use std::borrow::Cow;

use aya::include_bytes_aligned;
use object::{Object as _, ObjectSection as _, SectionKind, elf, read::elf::ElfFile64};
use socktrace_common::config::{CAST, HAVE_FETCH_ADD};

/// As `cargo xtask bpf` compiled it.
static OBJECT: &[u8] = include_bytes_aligned!("../../bpf/socktrace.bpf.o");

/// An instruction (`struct bpf_insn`, include/uapi/linux/bpf.h): its code, two registers, an offset of
/// two bytes, a number of four.
type Instruction = [u8; 8];
/// Loads a number of 64 bits: the only instruction that is twice as long.
const LOAD_64: u8 = 0x18;
/// An atomic operation on 64 bits; which one is in its number.
const ATOMIC_64: u8 = 0xdb;
/// `BPF_ADD | BPF_FETCH`: adds, and returns what was there (5.12).
const FETCH_ADD: [u8; 4] = [1, 0, 0, 0];
/// `BPF_CMPXCHG`: writes what is given if r0 was there (5.12).
const COMPARE: [u8; 4] = [0xf1, 0, 0, 0];
/// `BPF_JMP | BPF_CALL`; its second register is 0 for a helper, 2 for a kernel function
/// (`BPF_PSEUDO_KFUNC_CALL`).
const CALL: u8 = 0x85;
const KERNEL_FUNCTION: u8 = 2 << 4;
/// `r0 = r1`: `BPF_ALU64 | BPF_MOV | BPF_X`.
const COPY: Instruction = [0xbf, 0x10, 0, 0, 0, 0, 0, 0];

/// What the sections of iterators are called, before what they go over.
const ITERATORS: &str = "iter/";
/// Functions that programs call.
const FUNCTIONS: &str = ".text";
/// The size of a section's header, and where in it its flags are (`Elf64_Shdr`, elf(5)).
const SECTION_HEADER: usize = 64;
const SECTION_FLAGS: usize = 8;

/// Which programs of the object are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    /// What is attached.
    Hooks,
    /// The iterator in the section of this name.
    Iterator(&'static str),
}

impl Part {
    /// Has it this section?
    fn has(self, section: &str) -> bool {
        section == FUNCTIONS
            || match self {
                Self::Hooks => !section.starts_with(ITERATORS),
                Self::Iterator(wanted) => section == wanted,
            }
    }
}

/// This part of the object for a kernel with these helpers; `cast` is the BTF identity of
/// `bpf_rdonly_cast()`, if it has that.
pub(super) fn object(part: Part, helpers: u32, cast: Option<u32>) -> Cow<'static, [u8]> {
    let mut fitted = OBJECT.to_vec();
    for at in flags_of_others(OBJECT, part) {
        if let Some(flags) = fitted.get_mut(at..at + size_of::<u64>()) {
            let code = u64::from(elf::SHF_EXECINSTR).to_le_bytes();
            flags
                .iter_mut()
                .zip(code)
                .for_each(|(byte, bits)| *byte &= !bits);
        }
    }
    for at in instructions(OBJECT) {
        let Some(place) = fitted.get_mut(at..at + size_of::<Instruction>()) else {
            continue;
        };
        if let Ok(instruction) = Instruction::try_from(&*place)
            && let Some(other) = instead(instruction, helpers, cast)
        {
            place.copy_from_slice(&other);
        }
    }
    Cow::Owned(fitted)
}

/// What this kernel is given instead of an instruction, if it is another.
fn instead(instruction: Instruction, helpers: u32, cast: Option<u32>) -> Option<Instruction> {
    let [code, registers, low, high, number @ ..] = instruction;
    if code == ATOMIC_64 && [FETCH_ADD, COMPARE].contains(&number) {
        let known = helpers & HAVE_FETCH_ADD != 0;
        // `BPF_ADD` is 0.
        return (!known).then_some([code, registers, low, high, 0, 0, 0, 0]);
    }
    if code == CALL && registers == 0 && number == CAST.to_ne_bytes() {
        return Some(cast.map_or(COPY, |function| {
            let [a, b, c, d] = function.to_ne_bytes();
            [CALL, KERNEL_FUNCTION, 0, 0, a, b, c, d]
        }));
    }
    None
}

/// Where the flags of the sections of other programs are.
fn flags_of_others(bytes: &[u8], part: Part) -> Vec<usize> {
    let Ok(file) = ElfFile64::<object::Endianness>::parse(bytes) else {
        return Vec::new();
    };
    let headers = file.elf_header().e_shoff.get(file.endian());
    let Ok(headers) = usize::try_from(headers) else {
        return Vec::new();
    };
    let others = file.sections().filter(|section| {
        section.kind() == SectionKind::Text && section.name().is_ok_and(|name| !part.has(name))
    });
    others
        .map(|section| headers + section.index().0 * SECTION_HEADER + SECTION_FLAGS)
        .collect()
}

/// Where the instructions are.
fn instructions(bytes: &[u8]) -> Vec<usize> {
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
        while at < from + size {
            found.push(at);
            let long = bytes.get(at) == Some(&LOAD_64);
            at += size_of::<Instruction>() * if long { 2 } else { 1 };
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many instructions of the object are so; of all its parts.
    fn count(bytes: &[u8], holds: impl Fn(Instruction) -> bool) -> usize {
        let all = instructions(OBJECT).into_iter();
        let all = all.map(|at| Instruction::try_from(&bytes[at..at + 8]).unwrap());
        all.filter(|instruction| holds(*instruction)).count()
    }

    fn fetches(instruction: Instruction) -> bool {
        let returns = instruction[4..] == FETCH_ADD || instruction[4..] == COMPARE;
        instruction[0] == ATOMIC_64 && returns
    }

    fn casts(instruction: Instruction) -> bool {
        instruction[..2] == [CALL, 0] && instruction[4..] == CAST.to_ne_bytes()
    }

    #[test]
    fn an_old_kernel_gets_no_instruction_that_it_does_not_know() {
        assert!(count(OBJECT, fetches) > 0);
        let new = object(Part::Hooks, HAVE_FETCH_ADD, None);
        assert_eq!(count(&new, fetches), count(OBJECT, fetches));
        let old = object(Part::Hooks, 0, None);
        assert_eq!((count(&old, fetches), count(&old, casts)), (0, 0));
        assert_eq!(old.len(), OBJECT.len());
    }

    #[test]
    fn every_call_of_the_number_becomes_one_of_the_function() {
        let before = count(OBJECT, casts);
        assert!(before > 10, "{before}");
        let fitted = object(Part::Hooks, HAVE_FETCH_ADD, Some(0x0102_0304));
        assert_eq!(count(&fitted, casts), 0);
        let call = [CALL, KERNEL_FUNCTION, 0, 0, 4, 3, 2, 1];
        assert_eq!(count(&fitted, |it| it == call), before);
    }

    #[test]
    fn a_part_has_its_programs_and_no_others() {
        let sections = |part| -> Vec<String> {
            let bytes = object(part, HAVE_FETCH_ADD, None);
            let file = ElfFile64::<object::Endianness>::parse(&*bytes).unwrap();
            let code = file.sections().filter(|it| it.kind() == SectionKind::Text);
            code.map(|it| it.name().unwrap().to_owned()).collect()
        };
        assert_eq!(
            sections(Part::Iterator("iter/tcp")),
            [FUNCTIONS, "iter/tcp"]
        );
        let hooks = sections(Part::Hooks);
        assert!(
            hooks.len() > 10 && !hooks.iter().any(|it| it.starts_with(ITERATORS)),
            "{hooks:?}"
        );
    }
}
