//! From what was read on the stack to the calls that led there.

use socktrace_common::stack::Stack;

/// The calls that led to a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Walked {
    /// Where the kernel was entered, then return addresses, the innermost first.
    pub(super) addresses: Vec<u64>,
    /// As many as are kept: there may be more.
    pub(super) full: bool,
}

/// Leaves out what is no code, and what comes after it. `slot` says which word on top of the stack the
/// first function returns to, where it makes no frame: the chain of frame pointers knows nothing of
/// that call. No more frames are kept than `most`.
pub(super) fn walk(
    stack: &Stack,
    slot: Option<usize>,
    most: usize,
    is_code: impl Fn(u64) -> bool,
) -> Walked {
    let length = stack.frames.len().min(stack.length as usize);
    let Some((first, rest)) = stack.frames[..length].split_first() else {
        return Walked {
            addresses: Vec::new(),
            full: false,
        };
    };
    // Where the program was is a fact, wherever that is.
    let mut addresses = vec![*first];
    let caller = slot.and_then(|slot| stack.top.get(slot));
    addresses.extend(caller.filter(|address| is_code(**address)));
    let chain = rest.iter().take_while(|address| is_code(**address));
    addresses.extend(chain);
    let full = length >= most && rest.iter().all(|address| is_code(*address));
    Walked { addresses, full }
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros as _;

    use super::*;

    const MOST: usize = 112;

    fn stack(top: &[u64], frames: &[u64]) -> Stack {
        let mut stack = Stack::new_zeroed();
        stack.top[..top.len()].copy_from_slice(top);
        stack.frames[..frames.len()].copy_from_slice(frames);
        stack.length = u32::try_from(frames.len()).unwrap();
        stack
    }

    fn is_code(address: u64) -> bool {
        (0x1000..0x9000).contains(&address)
    }

    #[test]
    fn the_caller_of_a_function_without_a_frame_comes_from_the_stack() {
        let stack = stack(&[0x2000, 0x7000], &[0x1000, 0x3000, 0x4000]);
        let walked = |slot| walk(&stack, slot, MOST, is_code).addresses;
        assert_eq!(walked(Some(0)), [0x1000, 0x2000, 0x3000, 0x4000]);
        assert_eq!(walked(None), [0x1000, 0x3000, 0x4000]);
        // A word that was no return address is zero, and one beyond was not kept.
        assert_eq!(walked(Some(5)), [0x1000, 0x3000, 0x4000]);
        assert_eq!(walked(Some(100)), [0x1000, 0x3000, 0x4000]);
    }

    #[test]
    fn the_chain_ends_where_no_code_is() {
        let broken = stack(&[], &[0x1000, 0x3000, 0x1, 0x4000]);
        let walked = walk(&broken, None, 4, is_code);
        assert_eq!(walked.addresses, [0x1000, 0x3000]);
        assert!(!walked.full);
    }

    #[test]
    fn what_fills_its_room_may_go_on() {
        let deep = stack(&[], &[0x1000; MOST]);
        assert!(walk(&deep, None, MOST, is_code).full);
        assert!(!walk(&stack(&[], &[0x1000; 5]), None, MOST, is_code).full);
        // kernel.perf_event_max_stack may be smaller.
        assert!(walk(&stack(&[], &[0x1000; 5]), None, 5, is_code).full);
    }

    #[test]
    fn a_length_that_cannot_be_is_not_believed() {
        let mut stack = stack(&[], &[0x1000; 3]);
        stack.length = u32::MAX;
        assert_eq!(walk(&stack, None, MOST, is_code).addresses, [0x1000; 3]);
        stack.length = 0;
        assert_eq!(walk(&stack, None, MOST, is_code).addresses, [0; 0]);
    }
}
