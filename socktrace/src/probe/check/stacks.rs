//! How far `leaks --stacks` sees into a program.

use socktrace_common::{config::ABSENT, stack::STACK_FRAMES};

use super::{Check, kernel::has_registers};
use crate::probe::{environment::Environment, offsets::KernelTypes};

const NAME: &str = "stacks";

/// Are stacks whole, as far as the kernel is concerned?
pub fn stacks(environment: &Environment, types: &KernelTypes) -> Check {
    let most = environment.max_stack.unwrap_or_default();
    let most = usize::try_from(most).unwrap_or_default();
    if environment.max_stack.is_some() && most < STACK_FRAMES {
        let message =
            format!("kernel.perf_event_max_stack is {most}: stacks end after {most} frames");
        let remedy = format!("sudo sysctl kernel.perf_event_max_stack={STACK_FRAMES}");
        return Check::warn(NAME, message, remedy);
    }
    if types.offsets.regs_stack == ABSENT {
        return Check::ok(
            NAME,
            "kept when asked; the function that called libc may be missing, as on this architecture \
             no call leaves its return address on the stack",
        );
    }
    if !has_registers(types) {
        return Check::warn(
            NAME,
            "the registers of system calls cannot be read: the function that called libc is missing \
             in stacks",
            "a kernel from 5.15 on",
        );
    }
    Check::ok(
        NAME,
        format!("kept when asked, up to {STACK_FRAMES} frames"),
    )
}

#[cfg(test)]
mod tests {
    use socktrace_common::config::{HAVE_PT_REGS, Offsets};
    use zerocopy::FromZeros as _;

    use super::*;
    use crate::probe::{check::Grade, environment::complete};

    fn types(helpers: u32, regs_stack: u32) -> KernelTypes {
        KernelTypes {
            offsets: Offsets {
                regs_stack,
                stack_regs: ABSENT,
                ..Offsets::new_zeroed()
            },
            helpers,
            cast: None,
            buckets_recover: false,
        }
    }

    #[test]
    fn what_shortens_stacks_is_told_with_its_remedy() {
        let mut environment = complete();
        let grade =
            |environment: &Environment, types: &KernelTypes| stacks(environment, types).grade;
        let whole = types(HAVE_PT_REGS, 152);
        assert_eq!(grade(&environment, &whole), Grade::Ok);
        assert_eq!(grade(&environment, &types(0, 152)), Grade::Warn);
        // An architecture is not to be helped.
        assert_eq!(grade(&environment, &types(HAVE_PT_REGS, ABSENT)), Grade::Ok);
        environment.max_stack = Some(16);
        let check = stacks(&environment, &whole);
        assert_eq!(check.grade, Grade::Warn);
        assert!(
            check.text().contains("kernel.perf_event_max_stack=112"),
            "{}",
            check.text()
        );
        environment.max_stack = None;
        assert_eq!(grade(&environment, &whole), Grade::Ok);
    }
}
