//! Judges an [`Environment`]: what is there, what is not, what that costs and what to do about it.

pub mod hooks;
pub mod kernel;
pub mod privileges;
pub mod remedy;
pub mod stacks;
pub mod tracing;

use socktrace_common::{event::EventKind, socket::Protocol};

use self::remedy::{Obstacle, Remedy};
use super::{Plan, Probes, environment::Environment, offsets, preflight::preflight};

/// What `trace` cannot run without, by whose fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    /// The process may not.
    Privileges,
    /// The kernel cannot.
    Kernel,
}

/// From good to bad. A kernel that cannot is worse than a process that may not: that at least can
/// be helped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// As it should be.
    Ok,
    /// Something is lost, or costs more.
    Warn,
    /// `trace` cannot run.
    Fail(Lack),
}

impl Grade {
    /// `ok`, `warn` or `fail`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail(_) => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What it is about.
    pub name: String,
    /// How it is.
    pub grade: Grade,
    /// The same in a sentence, with what it costs.
    pub message: String,
    /// What to do, unless it is as it should be.
    pub remedy: Option<Remedy>,
}

impl Check {
    pub(crate) fn ok(name: &str, message: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            grade: Grade::Ok,
            message: message.into(),
            remedy: None,
        }
    }

    pub(crate) fn warn(name: &str, message: impl Into<String>, remedy: impl Into<Remedy>) -> Self {
        Self {
            grade: Grade::Warn,
            remedy: Some(remedy.into()),
            ..Self::ok(name, message)
        }
    }

    /// The message for people, with the remedy.
    pub fn text(&self) -> String {
        let lines = self.remedy.iter().flat_map(Remedy::lines);
        lines.fold(self.message.clone(), |text, line| {
            format!("{text}\n  {line}")
        })
    }

    /// A warning: what is lost by the obstacle.
    pub(super) fn lost(name: &str, obstacle: Obstacle, lost: &str) -> Self {
        Self {
            grade: Grade::Warn,
            remedy: obstacle.remedy,
            ..Self::ok(name, format!("{}: {lost}", obstacle.why))
        }
    }

    pub(super) fn fail(
        name: &str,
        lack: Lack,
        message: impl Into<String>,
        remedy: impl Into<Remedy>,
    ) -> Self {
        Self {
            grade: Grade::Fail(lack),
            ..Self::warn(name, message, remedy)
        }
    }
}

/// Everything there is to look at. Loads and attaches all hooks, for a moment.
pub fn examine(environment: &Environment) -> Vec<Check> {
    let types = offsets::read();
    // Where we know that nothing can be attached there is nothing to learn from trying.
    let possible = types.is_ok() && preflight(environment).is_ok();
    let outcome = possible.then(|| Probes::attach(&everything()));
    let probes = outcome.as_ref().and_then(|outcome| outcome.as_ref().ok());
    let mut checks = vec![
        kernel::release(environment),
        kernel::layout(&types),
        kernel::lockdown(environment),
        kernel::ring_buffer(environment),
        kernel::jit(environment, probes.and_then(Probes::jitted)),
        kernel::unprivileged(environment),
    ];
    checks.extend(types.iter().flat_map(kernel::helpers));
    checks.extend([
        privileges::required(environment),
        privileges::net_admin(environment),
        privileges::others(environment),
        privileges::pid_namespace(environment),
        tracing::tracefs(environment),
        tracing::paranoid(environment, probes.and_then(Probes::classic_attached)),
        tracing::cgroup2(environment),
    ]);
    checks.extend(types.iter().map(kernel::port_rule));
    checks.extend(types.iter().map(|types| stacks::stacks(environment, types)));
    checks.extend(
        outcome
            .iter()
            .flat_map(|outcome| hooks::hooks(outcome, environment)),
    );
    checks
}

/// Every hook, with the smallest ring that every page size allows.
fn everything() -> Plan {
    Plan {
        kinds: EventKind::ALL
            .iter()
            .fold(0, |bits, kind| bits | kind.bit()),
        protocols: Protocol::ALL.iter().fold(0, |bits, it| bits | it.bit()),
        ring_bytes: 64 * 1024,
        ..Plan::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_helped_is_worst() {
        let grades = [
            Grade::Ok,
            Grade::Warn,
            Grade::Fail(Lack::Privileges),
            Grade::Fail(Lack::Kernel),
        ];
        assert!(grades.is_sorted());
    }
}
