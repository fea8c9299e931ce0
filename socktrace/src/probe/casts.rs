//! Calls of `bpf_rdonly_cast()`, put into the object before it is loaded.
//!
//! rustc knows helpers, which have numbers, and no kernel functions, which have BTF identities. The
//! kernel side calls a number that is no helper's ([`CAST`]); here each such call becomes one of
//! the function where the kernel has it, and else a copy of a register that nothing comes to.

use std::borrow::Cow;

use object::{Object as _, ObjectSection as _, SectionKind};
use socktrace_common::config::CAST;

/// An instruction (`struct bpf_insn`, include/uapi/linux/bpf.h): opcode, registers, offset, immediate.
const INSTRUCTION: usize = 8;
/// `BPF_JMP | BPF_CALL`; source register 0 for a helper, 2 for a kernel function
/// (`BPF_PSEUDO_KFUNC_CALL`).
const CALL: u8 = 0x85;
const KERNEL_FUNCTION: u8 = 2 << 4;
/// `r0 = r1`: `BPF_ALU64 | BPF_MOV | BPF_X`.
const COPY: [u8; INSTRUCTION] = [0xbf, 0x10, 0, 0, 0, 0, 0, 0];

/// The object as this kernel takes it. `function` is the BTF identity of `bpf_rdonly_cast()`, if the
/// kernel has it.
pub(super) fn fitted(bytes: &[u8], function: Option<u32>) -> Cow<'_, [u8]> {
    // What is no object is told of by whoever loads it.
    let Ok(object) = object::File::parse(bytes) else {
        return Cow::Borrowed(bytes);
    };
    let call = call(function);
    let mut fitted = bytes.to_vec();
    for section in object.sections() {
        let Some((from, size)) = section
            .file_range()
            .filter(|_| section.kind() == SectionKind::Text)
        else {
            continue;
        };
        let range = usize::try_from(from).ok().zip(usize::try_from(size).ok());
        let Some(code) = range.and_then(|(from, size)| fitted.get_mut(from..from + size)) else {
            continue;
        };
        for instruction in code.chunks_exact_mut(INSTRUCTION) {
            if stands_for_a_cast(instruction) {
                instruction.copy_from_slice(&call);
            }
        }
    }
    Cow::Owned(fitted)
}

fn stands_for_a_cast(instruction: &[u8]) -> bool {
    instruction[..4] == [CALL, 0, 0, 0] && instruction[4..] == CAST.to_ne_bytes()
}

fn call(function: Option<u32>) -> [u8; INSTRUCTION] {
    let Some(function) = function else {
        return COPY;
    };
    let mut call = [CALL, KERNEL_FUNCTION, 0, 0, 0, 0, 0, 0];
    call[4..].copy_from_slice(&function.to_ne_bytes());
    call
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::attach::OBJECT;

    fn calls(bytes: &[u8], wanted: &[u8]) -> usize {
        let words = bytes.chunks_exact(INSTRUCTION);
        words.filter(|word| *word == wanted).count()
    }

    #[test]
    fn every_call_of_the_number_becomes_one_of_the_function() {
        let number: Vec<u8> = [CALL, 0, 0, 0]
            .into_iter()
            .chain(CAST.to_ne_bytes())
            .collect();
        let before = calls(OBJECT, &number);
        assert!(before > 10, "{before}");
        let fitted = fitted(OBJECT, Some(0x0102_0304));
        assert_eq!(calls(&fitted, &number), 0);
        let wanted = [CALL, KERNEL_FUNCTION, 0, 0, 4, 3, 2, 1];
        assert_eq!(calls(&fitted, &wanted), before);
    }

    #[test]
    fn without_the_function_nothing_is_called() {
        let without = fitted(OBJECT, None);
        assert_eq!(without.len(), OBJECT.len());
        assert!(!without.chunks_exact(INSTRUCTION).any(stands_for_a_cast));
    }

    #[test]
    fn what_is_no_object_stays_as_it_is() {
        assert_eq!(&*fitted(b"something", Some(7)), b"something");
    }
}
