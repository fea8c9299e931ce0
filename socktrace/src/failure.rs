//! Why the program stops, and with which status (the numbers are those of sysexits.h where it has
//! one).

use std::{fmt, io};

use crate::{
    probe::{AttachError, offsets::OffsetsError},
    source::recording::RecordingError,
};

/// Something went wrong.
pub const FAILURE: u8 = 1;
/// The command line makes no sense.
pub const USAGE: u8 = 2;
/// `EX_UNAVAILABLE`: the kernel lacks something.
pub const KERNEL: u8 = 69;
/// `EX_NOPERM`: privileges are missing.
pub const PRIVILEGES: u8 = 77;
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

impl From<AttachError> for Failure {
    fn from(error: AttachError) -> Self {
        let message = error.to_string();
        match error {
            AttachError::Offsets(OffsetsError::Unreadable(_) | OffsetsError::Missing(_)) => {
                Self::new(
                    KERNEL,
                    format!(
                        "{message}\nsocktrace reads where the kernel keeps its data from there; \
                         it needs a kernel with CONFIG_DEBUG_INFO_BTF (5.8 or later)"
                    ),
                )
            }
            AttachError::Required { denied: true, .. } => Self::new(PRIVILEGES, message),
            AttachError::Required { .. } | AttachError::Object(_) | AttachError::Map(_) => {
                Self::new(
                    KERNEL,
                    format!("{message}\n`socktrace doctor` says what this kernel allows"),
                )
            }
            AttachError::Io(_) => Self::new(FAILURE, message),
        }
    }
}
