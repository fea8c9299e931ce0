//! docs/kernels.md: which hooks and which tests work on which kernel.

use std::{collections::BTreeSet, fmt::Write as _, process::Command};

use anyhow::Result;

use super::{
    guest::need_of,
    outcome::{Outcome, Verdict},
};
use crate::util::output;

const HEAD: &str = "# Kernels\n\n\
Written by `cargo xtask vm --all --write`: Debian's kernels for virtual machines, each booted in QEMU, with \
`socktrace doctor` and the kernel tests that state facts and need no servers. Processors are emulated there, so \
tests with narrow times are not among them; all tests run on the machine of whoever develops, as `cargo xtask test`.\n\n\
Nothing older than 5.10 can be had from Debian; 5.11 to 6.0, 6.2 to 6.11 and what else is between the columns is untested, and \
held together by asking each kernel what it has (its BTF, its tracepoints) instead of its version.\n\n\
Nothing is hooked by fentry or fexit. Where there is a typed tracepoint it costs no more. In the place of system calls' tracepoints, \
functions of the kernel behind them would spare all other calls their few nanoseconds; but a program there can be interrupted by another \
task, and the kernel then leaves out that task's run of it (`__bpf_prog_enter_recur()`, kernel/bpf/trampoline.c): events would be lost on \
kernels that are preempted. And many machines refuse it (lockdown). Who wants no system call \
hooked has `--hooks lean`.\n\n\
That is so of typed tracepoints, too, on Linux 7: up to 6.12 they hold off preemption, in 7.3 they do not, and `bpf_trace_run3()` leaves \
out what another task would run in the middle of it (both as its binary has them). It is counted and told, as `recursion`. Where tasks \
are preempted lazily, which is how Debian builds it, that takes a system call that lasts longer than a tick of the clock: in an emulated \
machine it happens now and then, and the tests make such a run again. With `preempt=full` it can happen \
anywhere.\n";

/// Lines of `doctor` that are about the kernel and not about privileges.
const FEATURES: [(&str, &str); 9] = [
    ("btf", "types of the kernel (BTF)"),
    ("ring_buffer", "ring buffer"),
    ("cookie_helper", "cookies for tracing programs"),
    ("pt_regs_helper", "arguments of system calls at their end"),
    ("cgroup2", "cgroup v2"),
    ("stacks", "stacks"),
    (
        "bound_sockets",
        "sockets that are bound and not connected are listed",
    ),
    (
        "port_rule",
        "a port is shared again when the last that bound it is gone",
    ),
    ("landlock", "Landlock for the daemon"),
];

/// The page, with today's date.
pub(super) fn page(told: &[(String, Outcome)]) -> Result<String> {
    let date = output(Command::new("date").args(["--utc", "+%Y-%m-%d"]))?;
    let mut page = format!("{HEAD}\nOf {}.\n", date.trim());
    let releases: Vec<_> = told.iter().map(|it| it.0.as_str()).collect();
    let hooks: BTreeSet<_> = told
        .iter()
        .flat_map(|it| it.1.doctor.keys())
        .filter_map(|check| check.strip_prefix("hook "))
        .collect();
    let cell = |outcome: &Outcome, check: &str| match outcome.doctor.get(check) {
        // Not worse for that: it is another rule, which socktrace knows.
        Some(line) if line.message.starts_with("as before") => "no".to_owned(),
        Some(line) if line.status == "ok" => "yes".to_owned(),
        Some(line) => line.status.clone(),
        None => "-".to_owned(),
    };
    section(&mut page, "Hooks", "hook", &releases)?;
    for hook in hooks {
        let cells = told.iter().map(|(_, it)| cell(it, &format!("hook {hook}")));
        row(&mut page, &format!("`{hook}`"), cells)?;
    }
    writeln!(
        page,
        "\n`warn`: not there, or something else stands in for it; `socktrace doctor` says what that costs."
    )?;
    section(&mut page, "Features", "feature", &releases)?;
    for (check, name) in FEATURES {
        row(&mut page, name, told.iter().map(|(_, it)| cell(it, check)))?;
    }
    section(&mut page, "Tests", "", &releases)?;
    for verdict in Verdict::ALL {
        let counts = told.iter().map(|(_, it)| it.count(verdict).to_string());
        row(&mut page, verdict.word(), counts)?;
    }
    writeln!(
        page,
        "\nA test lacks something that fails where this kernel has not what it is about, as `socktrace doctor` says, too. \
         What such a kernel has instead is tried by the others."
    )?;
    for (release, outcome) in told {
        let mut not = outcome
            .tests
            .iter()
            .filter(|it| it.1 != Verdict::Passed)
            .peekable();
        if not.peek().is_some() {
            writeln!(page, "\nNot passed on {release}:\n")?;
        }
        for (name, verdict, _) in not {
            let need = match (verdict, need_of(name)) {
                (Verdict::Lacking, Some(need)) => format!(": {need}"),
                _ => String::new(),
            };
            writeln!(page, "- `{name}` ({}{need})", verdict.word())?;
        }
    }
    Ok(page)
}

fn section(page: &mut String, title: &str, first: &str, releases: &[&str]) -> Result<()> {
    writeln!(page, "\n## {title}\n")?;
    row(page, first, releases.iter().map(|&it| it.to_owned()))?;
    row(page, "---", releases.iter().map(|_| "---".to_owned()))
}

fn row(page: &mut String, first: &str, cells: impl Iterator<Item = String>) -> Result<()> {
    write!(page, "| {first} |")?;
    for cell in cells {
        write!(page, " {cell} |")?;
    }
    writeln!(page)?;
    Ok(())
}
