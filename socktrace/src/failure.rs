//! Why the program stops, and with which status (the numbers are those of sysexits.h where it has
//! one).

use std::{fmt, io};

use crate::{
    probe::{
        AttachError,
        check::{Lack, hooks::REFUSED, kernel},
        preflight::Refusal,
    },
    source::recording::RecordingError,
};

/// Something went wrong.
pub const FAILURE: u8 = 1;
/// The command line makes no sense.
pub const USAGE: u8 = 2;
/// Something was found that is bad enough (`--fail-on`).
pub const FINDINGS: u8 = 3;
/// `EX_UNAVAILABLE`: the kernel lacks something.
pub const KERNEL: u8 = 69;
/// `EX_NOPERM`: privileges are missing.
pub const PRIVILEGES: u8 = 77;
/// `EX_CONFIG`: the configuration makes no sense.
pub const CONFIGURATION: u8 = 78;
/// A command cannot be run for want of it, as shells say it.
pub const NOT_FOUND: u8 = 127;
/// A command is there but cannot be run, as shells say it.
pub const NOT_EXECUTABLE: u8 = 126;
/// A second interrupt.
pub const INTERRUPTED: u8 = 130;

/// A sentence for a person and a status for scripts.
#[derive(Debug)]
pub struct Failure {
    /// Exit status.
    pub status: u8,
    /// What is wrong and what to do.
    pub message: String,
}

impl Failure {
    /// A failure with this status.
    pub fn new(status: u8, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    /// The command line makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(FAILURE, error.to_string())
    }
}

impl From<RecordingError> for Failure {
    fn from(error: RecordingError) -> Self {
        Self::new(FAILURE, error.to_string())
    }
}

/// The status for what `trace` cannot run without.
impl From<Lack> for u8 {
    fn from(lack: Lack) -> Self {
        match lack {
            Lack::Privileges => PRIVILEGES,
            Lack::Kernel => KERNEL,
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.lack.into(), refusal.to_string())
    }
}

/// What the preflight did not foresee.
impl From<AttachError> for Failure {
    fn from(error: AttachError) -> Self {
        let message = error.in_full();
        match (error.lack(), error) {
            (None, _) => Self::new(FAILURE, message),
            (Some(lack), AttachError::Offsets(error)) => {
                Self::new(lack.into(), kernel::unknown(&error).text())
            }
            (Some(Lack::Privileges), _) => Self::new(PRIVILEGES, format!("{message}\n  {REFUSED}")),
            (Some(Lack::Kernel), _) => Self::new(
                KERNEL,
                format!("{message}\n  `socktrace doctor` says what this kernel allows"),
            ),
        }
    }
}
