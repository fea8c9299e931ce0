//! What the kernel can do.

use socktrace_common::config::{ABSENT, HAVE_COOKIE, HAVE_PT_REGS};

use super::{Check, Lack};
use crate::probe::{
    environment::Environment,
    offsets::{KERNEL_BTF, KernelTypes, OffsetsError},
};

/// Which kernel it is.
pub fn release(environment: &Environment) -> Check {
    let Environment {
        release, machine, ..
    } = environment;
    Check::ok("kernel", format!("Linux {release} on {machine}"))
}

/// Can the kernel's types be read at all? Asks less than [`layout`], in no time.
pub fn types(environment: &Environment) -> Check {
    match &environment.types {
        Ok(()) => Check::ok("btf", format!("{KERNEL_BTF} can be read")),
        Err(reason) => unknown(&OffsetsError::Unreadable(reason.clone())),
    }
}

/// Is every field there that the hooks read?
pub fn layout(types: &Result<KernelTypes, OffsetsError>) -> Check {
    match types {
        Ok(_) => Check::ok("btf", format!("{KERNEL_BTF} has every field that is read")),
        Err(error) => unknown(error),
    }
}

/// It is not known where the kernel keeps what the hooks read.
pub fn unknown(error: &OffsetsError) -> Check {
    let remedy = match error {
        OffsetsError::Unreadable(_) => {
            "socktrace reads from there where the kernel keeps its data; it needs a kernel with \
             CONFIG_DEBUG_INFO_BTF (5.10 or later), and /sys mounted"
        }
        OffsetsError::Missing(_) => {
            "this kernel keeps its data in a way that this socktrace does not know; a newer one may"
        }
    };
    Check::fail("btf", Lack::Kernel, error.to_string(), remedy)
}

/// Lockdown's stricter mode takes `bpf_probe_read_kernel()` away, and every hook calls it.
pub fn lockdown(environment: &Environment) -> Check {
    match environment.lockdown.as_deref() {
        Some("confidentiality") => Check::fail(
            "lockdown",
            Lack::Kernel,
            "lockdown=confidentiality: the kernel lets nobody read its memory, not even root",
            "boot with lockdown=integrity or without lockdown; it may be set on the kernel's \
             command line (/proc/cmdline), by the distribution, or because of Secure Boot",
        ),
        Some(mode) => Check::ok(
            "lockdown",
            format!("{mode}: hooks may read the kernel's memory"),
        ),
        None => Check::ok("lockdown", "not enforced"),
    }
}

/// Records come through a ring buffer.
pub fn ring_buffer(environment: &Environment) -> Check {
    let name = "ring_buffer";
    match environment.ring_buffer {
        Some(true) => Check::ok(name, "there"),
        Some(false) => Check::fail(
            name,
            Lack::Kernel,
            format!("Linux {} has no BPF ring buffer", environment.release),
            "a kernel from 5.10 on",
        ),
        None => Check::warn(
            name,
            "not known: without privileges the kernel does not answer",
            "the privileges that are missing",
        ),
    }
}

/// `jitted`: were programs that we loaded compiled?
pub fn jit(environment: &Environment, jitted: Option<bool>) -> Check {
    match (jitted, environment.jit) {
        (Some(true), _) => Check::ok("jit", "hooks are compiled to machine code"),
        (Some(false), _) | (None, Some(0)) => Check::warn(
            "jit",
            "the BPF compiler is off: hooks are interpreted, and cost several times as much",
            "sudo sysctl net.core.bpf_jit_enable=1",
        ),
        (None, Some(value)) => Check::ok("jit", format!("net.core.bpf_jit_enable is {value}")),
        (None, None) => Check::ok("jit", "not known: net.core.bpf_jit_enable cannot be read"),
    }
}

/// What is lost where tracing programs may not ask for cookies.
const WITHOUT_COOKIES: &str = "tracing programs may not ask for a socket's cookie: those of accepted \
    connections are not known, and every step of a connection is told by itself";

/// Can the arguments of a system call be read when it returns?
pub(super) fn has_registers(types: &KernelTypes) -> bool {
    types.helpers & HAVE_PT_REGS != 0 || types.offsets.stack_regs != ABSENT
}

/// Helpers that came after the oldest kernel which socktrace runs on.
pub fn helpers(types: &KernelTypes) -> [Check; 2] {
    let cookie = if types.helpers & HAVE_COOKIE != 0 {
        Check::ok(
            "cookie_helper",
            "tracing programs may ask for a socket's cookie",
        )
    } else {
        Check::warn("cookie_helper", WITHOUT_COOKIES, "a kernel from 5.12 on")
    };
    let arguments = if has_registers(types) {
        Check::ok(
            "pt_regs_helper",
            "arguments are known when a system call returns",
        )
    } else {
        Check::warn(
            "pt_regs_helper",
            "arguments are not known when a system call returns: no bind and listen events, and \
             connects that fail at once (no route, no local port) are not seen",
            "a kernel from 5.15 on",
        )
    };
    [cookie, arguments]
}

/// Either is counted as it is, so neither is a lack.
pub fn port_rule(types: &KernelTypes) -> Check {
    let message = if types.buckets_recover {
        "as since 6.18: connect() may share a port again when the last that bound it is gone"
    } else {
        "as before 6.18: connect() may share a port that was bound only when all its sockets are gone"
    };
    Check::ok("port_rule", message)
}

/// Who else may load programs; nothing that we need.
pub fn unprivileged(environment: &Environment) -> Check {
    let message = match environment.unprivileged_bpf_disabled {
        Some(0) => "0: anybody may load simple programs; socktrace needs more than that".to_owned(),
        Some(value) => format!("{value}: only with CAP_BPF, as socktrace expects"),
        None => "not there".to_owned(),
    };
    Check::ok("unprivileged_bpf_disabled", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{check::Grade, environment::complete};

    #[test]
    fn only_confidentiality_is_too_much_lockdown() {
        let mut environment = complete();
        for mode in [None, Some("none"), Some("integrity")] {
            environment.lockdown = mode.map(str::to_owned);
            assert_eq!(lockdown(&environment).grade, Grade::Ok, "{mode:?}");
        }
        environment.lockdown = Some("confidentiality".to_owned());
        assert_eq!(lockdown(&environment).grade, Grade::Fail(Lack::Kernel));
    }

    #[test]
    fn a_kernel_without_types_says_which_option_it_lacks() {
        let mut environment = complete();
        assert_eq!(types(&environment).grade, Grade::Ok);
        environment.types = Err("No such file or directory (os error 2)".to_owned());
        let check = types(&environment);
        assert_eq!(check.grade, Grade::Fail(Lack::Kernel));
        assert!(check.message.contains(KERNEL_BTF), "{check:?}");
        assert!(
            check
                .remedy
                .unwrap()
                .to_string()
                .contains("CONFIG_DEBUG_INFO_BTF")
        );
        assert_eq!(
            layout(&Err(OffsetsError::Missing("skc_family"))).grade,
            Grade::Fail(Lack::Kernel)
        );
    }

    #[test]
    fn an_old_kernel_has_no_ring_buffer() {
        let mut environment = complete();
        environment.release = "5.4.0".to_owned();
        environment.ring_buffer = Some(false);
        let check = ring_buffer(&environment);
        assert_eq!(check.grade, Grade::Fail(Lack::Kernel));
        assert!(check.message.contains("5.4.0"));
        environment.ring_buffer = None;
        assert_eq!(ring_buffer(&environment).grade, Grade::Warn);
    }

    #[test]
    fn what_was_compiled_says_more_than_the_setting() {
        let mut environment = complete();
        environment.jit = Some(0);
        assert_eq!(jit(&environment, None).grade, Grade::Warn);
        assert_eq!(jit(&environment, Some(true)).grade, Grade::Ok);
        environment.jit = Some(1);
        assert_eq!(jit(&environment, Some(false)).grade, Grade::Warn);
    }
}
