//! Judges an [`Environment`](super::environment::Environment): what is there, what is not, what
//! that costs and what to do about it.

pub mod hooks;
pub mod kernel;
pub mod privileges;
pub mod remedy;
pub mod tracing;

use self::remedy::{Obstacle, Remedy};

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
    pub(super) fn ok(name: &str, message: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            grade: Grade::Ok,
            message: message.into(),
            remedy: None,
        }
    }

    pub(super) fn warn(name: &str, message: impl Into<String>, remedy: impl Into<Remedy>) -> Self {
        Self {
            grade: Grade::Warn,
            remedy: Some(remedy.into()),
            ..Self::ok(name, message)
        }
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
