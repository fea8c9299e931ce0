//! What hooks of particular kinds need: tracefs and its permissions for classic tracepoints,
//! cgroup v2 for `sock_create` and `sock_release`.

use caps::Capability;

use super::{Check, privileges::also, remedy::Obstacle};
use crate::probe::environment::{Environment, Tracefs};

const LOST: &str = "no hooks at system calls";

/// Can the ids of the tracepoints at system calls be read?
pub fn tracefs(environment: &Environment) -> Check {
    match tracefs_obstacle(environment) {
        None => Check::ok("tracefs", "can be read"),
        Some(obstacle) => Check::lost("tracefs", obstacle, LOST),
    }
}

/// What is wrong with tracefs.
pub fn tracefs_obstacle(environment: &Environment) -> Option<Obstacle> {
    match &environment.tracefs {
        Tracefs::Readable(_) => None,
        Tracefs::NoSystemCalls(at) => Some(Obstacle::new(
            format!(
                "the kernel has no tracepoints at system calls ({})",
                at.display()
            ),
            "a kernel with CONFIG_FTRACE_SYSCALLS",
        )),
        Tracefs::Unreadable(at) => Some(Obstacle::new(
            format!("tracefs is at {} but may not be read", at.display()),
            also(&[Capability::CAP_DAC_READ_SEARCH]),
        )),
        // The mount would outlive us, so it is not ours to make.
        Tracefs::Absent => Some(Obstacle::new(
            "tracefs is not mounted",
            "sudo mount -t tracefs tracefs /sys/kernel/tracing",
        )),
    }
}

/// Kernels of Debian and Ubuntu know a 3 that others take for a 2; only an attempt tells which one
/// this is. `attached`: were classic tracepoints attached?
pub fn paranoid(environment: &Environment, attached: Option<bool>) -> Check {
    let name = "perf_event_paranoid";
    let value = environment
        .paranoid
        .map_or_else(|| "not there".to_owned(), |n| n.to_string());
    match paranoid_obstacle(environment) {
        None => Check::ok(name, value),
        Some(_) if attached == Some(true) => Check::ok(
            name,
            format!("{value}, and tracepoints can be attached all the same"),
        ),
        Some(obstacle) => Check::lost(name, obstacle, LOST),
    }
}

/// What may be wrong with `kernel.perf_event_paranoid`.
pub fn paranoid_obstacle(environment: &Environment) -> Option<Obstacle> {
    let value = environment.paranoid.filter(|value| *value > 2)?;
    if environment.may(Capability::CAP_SYS_ADMIN) {
        return None;
    }
    Some(Obstacle::new(
        format!(
            "kernel.perf_event_paranoid is {value}, with which kernels of Debian and Ubuntu keep \
             tracepoints from processes without CAP_SYS_ADMIN"
        ),
        "sudo sysctl kernel.perf_event_paranoid=2, or run it with sudo",
    ))
}

/// `sock_create` and `sock_release` are attached to the root of cgroup v2.
pub fn cgroup2(environment: &Environment) -> Check {
    match cgroup2_obstacle(environment) {
        None => Check::ok("cgroup2", "mounted"),
        Some(obstacle) => Check::lost(
            "cgroup2",
            obstacle,
            "the hooks sock_create and sock_release are not attached",
        ),
    }
}

/// What is wrong without cgroup v2.
pub fn cgroup2_obstacle(environment: &Environment) -> Option<Obstacle> {
    let missing = environment.cgroup2.is_none();
    missing.then(|| {
        Obstacle::new(
            "cgroup v2 is not mounted",
            "sudo mount -t cgroup2 cgroup2 DIRECTORY (beside cgroup v1 is fine)",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{check::Grade, environment::complete};

    #[test]
    fn tracefs_that_is_there_but_not_for_us_needs_no_mount() {
        let mut environment = complete();
        assert_eq!(tracefs(&environment).grade, Grade::Ok);
        environment.tracefs = Tracefs::Unreadable("/sys/kernel/tracing".into());
        let remedy = tracefs(&environment).remedy.unwrap().to_string();
        assert!(
            remedy.contains("CAP_DAC_READ_SEARCH") && !remedy.contains("mount"),
            "{remedy}"
        );
        environment.tracefs = Tracefs::Absent;
        let remedy = tracefs(&environment).remedy.unwrap().to_string();
        assert!(remedy.contains("mount -t tracefs"), "{remedy}");
        environment.tracefs = Tracefs::NoSystemCalls("/sys/kernel/tracing".into());
        let remedy = tracefs(&environment).remedy.unwrap().to_string();
        assert!(remedy.contains("CONFIG_FTRACE_SYSCALLS"), "{remedy}");
    }

    #[test]
    fn debians_three_needs_the_administrator() {
        let mut environment = complete();
        environment.paranoid = Some(3);
        assert_eq!(paranoid(&environment, None).grade, Grade::Ok);
        environment.capabilities.remove(&Capability::CAP_SYS_ADMIN);
        let check = paranoid(&environment, Some(false));
        assert_eq!(check.grade, Grade::Warn);
        assert!(
            check
                .remedy
                .unwrap()
                .to_string()
                .contains("sysctl kernel.perf_event_paranoid=2")
        );
        // Elsewhere a 3 is a 2.
        assert_eq!(paranoid(&environment, Some(true)).grade, Grade::Ok);
        environment.paranoid = Some(2);
        assert_eq!(paranoid(&environment, Some(false)).grade, Grade::Ok);
    }

    #[test]
    fn cgroup_v2_is_worth_a_warning() {
        let mut environment = complete();
        assert_eq!(cgroup2(&environment).grade, Grade::Ok);
        environment.cgroup2 = None;
        assert_eq!(cgroup2(&environment).grade, Grade::Warn);
    }
}
