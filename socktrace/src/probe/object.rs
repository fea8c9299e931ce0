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
//! Nor does it know where this kernel keeps things: rustc emits no CO-RE relocations. Loads and moves have marks
//! for the words of `OFFSETS` and `CONFIG`, and here they get the words.
//!
//! And aya keeps every program that it finds for as long as it keeps one, a megabyte of them. Sections of
//! programs that are not asked for are no code here, so it does not see them.

use aya::include_bytes_aligned;
use object::{Object as _, ObjectSection as _, SectionKind, elf, read::elf::ElfFile64};
use socktrace_common::config::{
    ABSENT, CAST, Config, HAVE_FETCH_ADD, LOAD_MARK, NUMBER_MARK, Offsets, STRIDE, config_number,
};
use zerocopy::IntoBytes as _;

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
/// Loads of 8, 16, 32 and 64 bits from where a register points to.
const LOADS: [u8; 4] = [0x71, 0x69, 0x61, 0x79];
/// Moves a number to a register.
const MOVE: u8 = 0xb7;
/// An offset at which nothing is: what is loaded there is refused, and is nowhere that the program gets to.
const NOWHERE: i16 = i16::MAX;
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

/// What the running kernel and the plan make of the object.
pub(super) struct Fit {
    /// `HAVE_*`.
    pub(super) helpers: u32,
    /// The BTF identity of `bpf_rdonly_cast()`, if the kernel has that.
    pub(super) cast: Option<u32>,
    pub(super) offsets: Offsets,
    pub(super) config: Config,
}

/// This part of the object, as it fits.
pub(super) fn object(part: Part, fit: &Fit) -> Vec<u8> {
    let words = Words::of(fit);
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
            && let Some(other) = instead(instruction, fit, &words)
        {
            place.copy_from_slice(&other);
        }
    }
    fitted
}

/// The words that instructions have marks for.
struct Words([u32; config_number(size_of::<Config>()) as usize]);

impl Words {
    fn of(fit: &Fit) -> Self {
        let mut words = [ABSENT; _];
        let bytes = [fit.offsets.as_bytes(), fit.config.as_bytes()].concat();
        let all = bytes.as_chunks().0;
        words
            .iter_mut()
            .zip(all)
            .for_each(|(word, bytes)| *word = u32::from_ne_bytes(*bytes));
        Self(words)
    }

    /// The word that a number stands for.
    fn number(&self, mark: u32) -> Option<u32> {
        let word = usize::try_from(mark.checked_sub(NUMBER_MARK)?).ok()?;
        self.0.get(word).copied()
    }

    /// Where to load what an offset stands for.
    fn offset(&self, mark: u16) -> Option<i16> {
        let mark = u32::from(mark).checked_sub(LOAD_MARK)?;
        let word = usize::try_from(mark / STRIDE).ok()?;
        let offset = self.0.get(word)?.checked_add(mark % STRIDE);
        Some(offset.and_then(|it| it.try_into().ok()).unwrap_or(NOWHERE))
    }
}

/// What this kernel is given instead of an instruction, if it is another.
fn instead(instruction: Instruction, fit: &Fit, words: &Words) -> Option<Instruction> {
    let [code, registers, low, high, number @ ..] = instruction;
    if LOADS.contains(&code) {
        let [low, high] = words.offset(u16::from_ne_bytes([low, high]))?.to_ne_bytes();
        let [a, b, c, d] = number;
        return Some([code, registers, low, high, a, b, c, d]);
    }
    if code == MOVE {
        let [a, b, c, d] = words.number(u32::from_ne_bytes(number))?.to_ne_bytes();
        return Some([code, registers, low, high, a, b, c, d]);
    }
    if code == ATOMIC_64 && [FETCH_ADD, COMPARE].contains(&number) {
        let known = fit.helpers & HAVE_FETCH_ADD != 0;
        // `BPF_ADD` is 0.
        return (!known).then_some([code, registers, low, high, 0, 0, 0, 0]);
    }
    if code == CALL && registers == 0 && number == CAST.to_ne_bytes() {
        return Some(fit.cast.map_or(COPY, |function| {
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
    use std::mem::offset_of;

    use zerocopy::FromZeros as _;

    use super::*;

    fn fit(helpers: u32, cast: Option<u32>) -> Fit {
        Fit {
            helpers,
            cast,
            offsets: Offsets::new_zeroed(),
            config: Config::new_zeroed(),
        }
    }

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
        let new = object(Part::Hooks, &fit(HAVE_FETCH_ADD, None));
        assert_eq!(count(&new, fetches), count(OBJECT, fetches));
        let old = object(Part::Hooks, &fit(0, None));
        assert_eq!((count(&old, fetches), count(&old, casts)), (0, 0));
        assert_eq!(old.len(), OBJECT.len());
    }

    #[test]
    fn every_call_of_the_number_becomes_one_of_the_function() {
        let before = count(OBJECT, casts);
        assert!(before > 10, "{before}");
        let fitted = object(Part::Hooks, &fit(HAVE_FETCH_ADD, Some(0x0102_0304)));
        assert_eq!(count(&fitted, casts), 0);
        let call = [CALL, KERNEL_FUNCTION, 0, 0, 4, 3, 2, 1];
        assert_eq!(count(&fitted, |it| it == call), before);
    }

    #[test]
    fn a_part_has_its_programs_and_no_others() {
        let sections = |part| -> Vec<String> {
            let bytes = object(part, &fit(HAVE_FETCH_ADD, None));
            let file = ElfFile64::<object::Endianness>::parse(bytes.as_slice()).unwrap();
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

    #[test]
    fn every_mark_gets_the_word_that_it_stands_for() {
        let marked = |bytes: &[u8]| {
            let words = Words([0; _]);
            let loads = count(bytes, |[code, _, low, high, ..]| {
                let mark = u16::from_ne_bytes([low, high]);
                LOADS.contains(&code) && words.offset(mark).is_some()
            });
            let numbers = count(bytes, |[code, _, _, _, number @ ..]| {
                code == MOVE && words.number(u32::from_ne_bytes(number)).is_some()
            });
            [loads, numbers]
        };
        let [loads, numbers] = marked(OBJECT);
        assert!(loads > 100 && numbers > 100, "{loads} {numbers}");
        assert_eq!(marked(&object(Part::Hooks, &fit(0, None))), [0, 0]);

        let mut fit = fit(0, None);
        fit.offsets.sock_cookie = 0x1234;
        fit.config.own_tgid = 0x7654_3210;
        let words = Words::of(&fit);
        let cookie = u32::try_from(offset_of!(Offsets, sock_cookie) / 4).unwrap();
        let mark = u16::try_from(LOAD_MARK + STRIDE * cookie).unwrap();
        assert_eq!(words.offset(mark + 8), Some(0x123c));
        let own = config_number(offset_of!(Config, own_tgid));
        assert_eq!(words.number(NUMBER_MARK + own), Some(0x7654_3210));
        // What this kernel has not is loaded nowhere, as is what lies too far away.
        for far in [ABSENT, 0x8000] {
            fit.offsets.sock_cookie = far;
            assert_eq!(Words::of(&fit).offset(mark), Some(NOWHERE));
        }
    }
}
