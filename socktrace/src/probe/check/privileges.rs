//! What the process may do. Capabilities are asked for, never a user: root may lack them, and
//! others may have them.

use caps::Capability::{
    self, CAP_BPF, CAP_DAC_READ_SEARCH, CAP_NET_ADMIN, CAP_PERFMON, CAP_SYS_PTRACE,
};

use super::{
    Check, Lack,
    remedy::{Obstacle, Remedy},
};
use crate::probe::environment::Environment;

/// Without these no hook can be attached, and why.
const REQUIRED: [(Capability, &str); 2] = [
    (CAP_BPF, "loads the hooks"),
    (CAP_PERFMON, "lets them see what the kernel does"),
];

/// Everything that socktrace has a use for.
const USEFUL: [Capability; 5] = [
    CAP_BPF,
    CAP_PERFMON,
    CAP_NET_ADMIN,
    CAP_SYS_PTRACE,
    CAP_DAC_READ_SEARCH,
];

/// May hooks be attached at all?
pub fn required(environment: &Environment) -> Check {
    let name = "capabilities";
    if !environment.initial_user {
        return Check::fail(
            name,
            Lack::Privileges,
            "this is a user namespace: its capabilities do not count for loading hooks",
            "run it outside, as root: on the host, or in a container without a user namespace \
             of its own (rootless containers have one)",
        );
    }
    let missing: Vec<_> = REQUIRED
        .iter()
        .filter(|(capability, _)| !environment.may(*capability))
        .map(|(capability, purpose)| format!("{capability} ({purpose})"))
        .collect();
    if missing.is_empty() {
        return Check::ok(name, "CAP_BPF and CAP_PERFMON: hooks may be loaded");
    }
    let message = format!("privileges are missing: {}", missing.join(" and "));
    Check::fail(name, Lack::Privileges, message, grant())
}

/// May programs be attached to control groups?
pub fn net_admin(environment: &Environment) -> Check {
    let name = "CAP_NET_ADMIN";
    match net_admin_obstacle(environment) {
        None => Check::ok(
            name,
            "the hooks sock_create and sock_release may be attached",
        ),
        Some(obstacle) => Check::lost(
            name,
            obstacle,
            "the hooks sock_create and sock_release are not attached",
        ),
    }
}

/// What keeps programs from being attached to control groups.
pub fn net_admin_obstacle(environment: &Environment) -> Option<Obstacle> {
    let missing = !environment.may(CAP_NET_ADMIN);
    missing.then(|| Obstacle::new("CAP_NET_ADMIN is missing", also(&[CAP_NET_ADMIN])))
}

/// May we look at what other users' processes have open?
pub fn others(environment: &Environment) -> Check {
    let name = "other_processes";
    let mut missing = vec![CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH];
    missing.retain(|capability| !environment.may(*capability));
    if missing.is_empty() {
        return Check::ok(name, "/proc shows everything of other users' processes");
    }
    let verb = if missing.len() == 1 { "is" } else { "are" };
    let message = format!(
        "{} {verb} missing: /proc does not show what other users' processes have open, nor, where \
         it is mounted with hidepid, their control groups and containers",
        join(&missing)
    );
    Check::warn(name, message, also(&missing))
}

/// Whose numbers are the pids? The kernel side takes those of our namespace; what `/proc` says of a
/// process must be about the same one.
pub fn pid_namespace(environment: &Environment) -> Check {
    let name = "pid_namespace";
    if !environment.own_proc {
        return Check::warn(
            name,
            "/proc shows another pid namespace than this one: names of processes that were there \
             first, control groups and containers are not known, and -p finds no process",
            "mount the one of this namespace: mount -t proc proc /proc",
        );
    }
    if environment.initial_pid {
        return Check::ok(name, "the initial one: pids are the kernel's");
    }
    Check::ok(
        name,
        "not the initial one: pids are those of this namespace, and processes outside of it have \
         none here",
    )
}

/// The ways to get all capabilities that are of use.
fn grant() -> Remedy {
    let program = std::env::current_exe().unwrap_or_else(|_| "socktrace".into());
    let names = USEFUL.map(|capability| capability.to_string());
    let container: Vec<_> = names
        .iter()
        .map(|name| name.replacen("CAP_", "--cap-add ", 1))
        .collect();
    Remedy::any([
        "run it with sudo".to_owned(),
        format!(
            "give the program what it needs, once: sudo setcap {}+ep {}",
            names.join(",").to_lowercase(),
            program.display()
        ),
        format!("in a container: {}", container.join(" ")),
    ])
}

/// More, for a process that has some.
pub(super) fn also(missing: &[Capability]) -> Remedy {
    format!("run it with sudo, or give it {} as well", join(missing)).into()
}

fn join(capabilities: &[Capability]) -> String {
    let names: Vec<_> = capabilities.iter().map(ToString::to_string).collect();
    names.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{check::Grade, environment::complete};

    #[test]
    fn every_missing_capability_is_named_with_its_purpose() {
        let mut environment = complete();
        assert_eq!(required(&environment).grade, Grade::Ok);
        environment.capabilities.remove(&Capability::CAP_SYS_ADMIN);
        assert_eq!(required(&environment).grade, Grade::Ok);
        environment.capabilities.remove(&CAP_PERFMON);
        let check = required(&environment);
        assert_eq!(check.grade, Grade::Fail(Lack::Privileges));
        assert_eq!(
            check.message,
            "privileges are missing: CAP_PERFMON (lets them see what the kernel does)"
        );
        environment.capabilities.clear();
        let check = required(&environment);
        assert!(
            check
                .message
                .contains("CAP_BPF (loads the hooks) and CAP_PERFMON"),
            "{check:?}"
        );
        let remedy = check.remedy.unwrap().to_string();
        for way in ["sudo", "setcap cap_bpf,cap_perfmon,", "--cap-add BPF"] {
            assert!(remedy.contains(way), "{remedy}");
        }
    }

    #[test]
    fn root_in_a_user_namespace_is_told_so() {
        let mut environment = complete();
        environment.initial_user = false;
        let check = required(&environment);
        assert_eq!(check.grade, Grade::Fail(Lack::Privileges));
        assert!(check.message.contains("user namespace"), "{check:?}");
    }

    #[test]
    fn what_is_useful_but_missing_is_a_warning() {
        let mut environment = complete();
        environment.capabilities = [CAP_BPF, CAP_PERFMON].into();
        environment.initial_pid = false;
        assert_eq!(pid_namespace(&environment).grade, Grade::Ok);
        environment.own_proc = false;
        assert_eq!(net_admin(&environment).grade, Grade::Warn);
        assert_eq!(pid_namespace(&environment).grade, Grade::Warn);
        let check = others(&environment);
        assert_eq!(check.grade, Grade::Warn);
        assert!(
            check
                .message
                .contains("CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"),
            "{check:?}"
        );
    }
}
