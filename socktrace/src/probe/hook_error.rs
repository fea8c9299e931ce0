//! Why a single hook is not there.

use std::io;

use aya::programs::ProgramError;

/// Why a single hook is not there.
#[derive(Debug, thiserror::Error)]
pub(super) enum HookError {
    #[error("the object has no program {0}")]
    NoProgram(&'static str),
    #[error("cgroup v2 is not mounted")]
    NoCgroup2,
    #[error("the root of cgroup v2 cannot be opened: {0}")]
    Cgroup2(#[source] io::Error),
    #[error(
        "the root of cgroup v2 is not to be seen from this cgroup namespace (a container needs the host's: \
         --cgroupns=host)"
    )]
    CgroupNamespace,
    #[error(transparent)]
    Program(#[from] ProgramError),
}

/// What the verifier's log ends with, after the reason.
const SUMMARY: [&str; 3] = ["processed", "stack depth", "verification time"];

impl HookError {
    /// What the kernel said, with the causes, on one line.
    pub(super) fn reason(&self) -> String {
        if let Self::Program(ProgramError::LoadError {
            io_error,
            verifier_log,
        }) = self
        {
            let log = verifier_log.to_string();
            let last = log
                .trim()
                .lines()
                .rev()
                .find(|line| !SUMMARY.iter().any(|it| line.starts_with(it)));
            return match last {
                Some(line) => format!("the verifier refuses it: {io_error} ({line})"),
                None => format!("the kernel refuses it: {io_error}"),
            };
        }
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let more = error.to_string();
            if !text.contains(&more) {
                text = format!("{text}: {more}");
            }
            cause = error.source();
        }
        text
    }

    /// Did it say so for want of privileges?
    pub(super) fn denied(&self) -> bool {
        let Self::Program(error) = self else {
            return false;
        };
        let io_error = match error {
            ProgramError::LoadError { io_error, .. } => io_error,
            ProgramError::SyscallError(error) => &error.io_error,
            _ => return false,
        };
        io_error.kind() == io::ErrorKind::PermissionDenied
    }
}
