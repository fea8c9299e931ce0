//! What the kernel really lets us attach: by doing it.

use super::{
    Check, Grade, Lack,
    privileges::net_admin_obstacle,
    remedy::Obstacle,
    tracing::{cgroup2_obstacle, paranoid_obstacle, tracefs_obstacle},
};
use crate::probe::{
    AttachError, Probes,
    attach::Status,
    catalog::{Attach, FALLBACK_COSTS, Hook, Need},
    environment::Environment,
};

/// A line for each hook; for the one that stopped everything, if one did.
pub fn hooks(outcome: &Result<Probes, AttachError>, environment: &Environment) -> Vec<Check> {
    match outcome {
        Ok(probes) => {
            let checks = probes
                .hooks
                .iter()
                .map(|(hook, status)| check(hook, status, environment));
            checks.collect()
        }
        Err(error) => vec![failed(error)],
    }
}

fn check(hook: &Hook, status: &Status, environment: &Environment) -> Check {
    let name = format!("hook {}", hook.name);
    let since = hook.since;
    let (reason, lost) = match (status, hook.need) {
        (Status::Attached, _) => return Check::ok(&name, attached(hook)),
        (Status::Fallback(reason), _) => {
            let message = format!("{} stands in ({reason}): {FALLBACK_COSTS}", fallback(hook));
            let remedy =
                format!("a kernel from {since} on that lets typed tracepoints be attached");
            return Check::warn(&name, message, remedy);
        }
        (Status::Missing(reason), Need::Optional(lost)) => (reason, lost),
        (Status::Missing(reason), Need::Required) => (reason, "nothing can be told"),
    };
    let obstacle = explain(hook, reason, environment);
    let mut check = Check::lost(&name, obstacle, &format!("{lost} (since Linux {since})"));
    if hook.need == Need::Required {
        check.grade = Grade::Fail(Lack::Kernel);
    }
    check
}

/// Why this hook is missing: by what the environment says where that explains it, else by what the
/// kernel said.
pub fn explain(hook: &Hook, reason: &str, environment: &Environment) -> Obstacle {
    if environment.older_than(hook.since) {
        let why = format!("Linux {} does not have it", environment.release);
        return Obstacle::new(why, format!("a kernel from {} on", hook.since));
    }
    let known = match hook.attach {
        Attach::TpBtf(_) | Attach::Renamed(..) => None,
        Attach::Tracepoint(..) => {
            tracefs_obstacle(environment).or_else(|| paranoid_obstacle(environment))
        }
        Attach::CgroupSock => {
            net_admin_obstacle(environment).or_else(|| cgroup2_obstacle(environment))
        }
    };
    known.unwrap_or_else(|| Obstacle {
        why: reason.to_owned(),
        remedy: None,
    })
}

fn attached(hook: &Hook) -> String {
    match hook.attach {
        Attach::TpBtf(name) | Attach::Renamed(name, _) => {
            format!("attached to the typed tracepoint {name}")
        }
        Attach::Tracepoint(category, name) => {
            format!("attached to the tracepoint {category}:{name}")
        }
        Attach::CgroupSock => "attached to the root of cgroup v2".to_owned(),
    }
}

fn fallback(hook: &Hook) -> String {
    match hook.fallback.map(|fallback| fallback.tracepoint) {
        Some((category, name)) => format!("the classic tracepoint {category}:{name}"),
        None => "a classic tracepoint".to_owned(),
    }
}

fn failed(error: &AttachError) -> Check {
    let name = match error {
        AttachError::Required { hook, .. } => format!("hook {hook}"),
        _ => "hooks".to_owned(),
    };
    let lack = error.lack().unwrap_or(Lack::Kernel);
    let remedy = match lack {
        Lack::Privileges => REFUSED,
        Lack::Kernel => "another kernel; if the lines above are OK, this is worth a bug report",
    };
    Check::fail(&name, lack, error.in_full(), remedy)
}

/// Who else says no, where the capabilities are there.
pub const REFUSED: &str = "if CAP_BPF and CAP_PERFMON are there, a seccomp filter (containers have \
    one) or a security module (SELinux, AppArmor) refuses: allow bpf and perf_event_open there; \
    before Linux 5.11 it may be the limit on locked memory (ulimit -l unlimited)";

impl Probes {
    /// Did the kernel compile the programs? `None` where it does not say.
    pub fn jitted(&self) -> Option<bool> {
        let mut infos = self
            .programs()
            .filter_map(|(_, program)| program.info().ok())
            .peekable();
        infos.peek()?;
        Some(infos.all(|info| info.size_jitted() > 0))
    }

    /// Was a classic tracepoint attached? `None` where none was wanted.
    pub fn classic_attached(&self) -> Option<bool> {
        let classic = |(hook, _): &&(&Hook, Status)| matches!(hook.attach, Attach::Tracepoint(..));
        let mut hooks = self.hooks.iter().filter(classic).peekable();
        hooks.peek()?;
        Some(hooks.any(|(_, status)| *status == Status::Attached))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{
        catalog::CATALOG,
        environment::{Tracefs, complete},
    };

    fn named(name: &str) -> &'static Hook {
        CATALOG.iter().find(|hook| hook.name == name).unwrap()
    }

    #[test]
    fn a_missing_hook_says_what_is_lost_why_and_since_when_there_is_one() {
        let mut environment = complete();
        let missing = Status::Missing("tracefs not found".to_owned());
        environment.tracefs = Tracefs::Absent;
        let line = check(named("sys_enter_close"), &missing, &environment);
        assert_eq!(line.grade, Grade::Warn);
        assert_eq!(
            line.message,
            "tracefs is not mounted: no close events (since Linux 4.7)"
        );
        environment.release = "6.9.1".to_owned();
        let line = check(named("sched_prepare_exec"), &missing, &environment);
        assert!(
            line.message.starts_with("Linux 6.9.1 does not have it: "),
            "{line:?}"
        );
        assert_eq!(line.remedy.unwrap().to_string(), "a kernel from 6.10 on");
    }

    #[test]
    fn a_fallback_says_what_it_costs() {
        let status = Status::Fallback("no BTF".to_owned());
        let line = check(named("inet_sock_set_state"), &status, &complete());
        assert_eq!(line.grade, Grade::Warn);
        assert!(
            line.message
                .contains("sock:inet_sock_set_state stands in (no BTF)"),
            "{line:?}"
        );
        assert!(line.message.contains(FALLBACK_COSTS), "{line:?}");
    }

    #[test]
    fn a_required_hook_fails_by_the_fault_of_who_refused() {
        let required = |denied| {
            Err(AttachError::Required {
                hook: "tcp_destroy_sock",
                reason: "no".to_owned(),
                denied,
            })
        };
        let lines = hooks(&required(true), &complete());
        assert_eq!(lines[0].grade, Grade::Fail(Lack::Privileges));
        let lines = hooks(&required(false), &complete());
        assert_eq!(lines[0].grade, Grade::Fail(Lack::Kernel));
    }
}
