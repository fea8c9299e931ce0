//! Whether tracing can work at all, asked before anything is attached.

use std::{error::Error, fmt, io};

use super::{
    AttachError,
    check::{Check, Grade, Lack, kernel, privileges},
    environment::Environment,
};

/// Why nothing is attached.
#[derive(Debug)]
pub struct Refusal {
    /// By whose fault.
    pub lack: Lack,
    check: Check,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.check.text())
    }
}

impl Error for Refusal {}

/// What `trace` cannot do without. The kernel's part comes first: no privilege helps against that.
pub fn required(environment: &Environment) -> [Check; 4] {
    [
        kernel::types(environment),
        kernel::lockdown(environment),
        kernel::ring_buffer(environment),
        privileges::required(environment),
    ]
}

/// Says no before the kernel does, and more clearly.
pub fn preflight(environment: &Environment) -> Result<(), Refusal> {
    for check in required(environment) {
        if let Grade::Fail(lack) = check.grade {
            return Err(Refusal { lack, check });
        }
    }
    Ok(())
}

impl AttachError {
    /// By whose fault; `None` for neither's.
    pub fn lack(&self) -> Option<Lack> {
        match self {
            Self::Io(_) => None,
            Self::Required { denied: true, .. } => Some(Lack::Privileges),
            _ if self.causes().any(denied) => Some(Lack::Privileges),
            _ => Some(Lack::Kernel),
        }
    }

    /// With all causes, on one line.
    pub fn in_full(&self) -> String {
        let mut text = self.to_string();
        for cause in self.causes() {
            let cause = cause.to_string();
            if !text.contains(&cause) {
                text = format!("{text}: {cause}");
            }
        }
        text
    }

    fn causes(&self) -> impl Iterator<Item = &(dyn Error + 'static)> {
        std::iter::successors(self.source(), |&error| error.source())
    }
}

fn denied(error: &(dyn Error + 'static)) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use aya::{EbpfError, maps::MapError};

    use super::*;
    use crate::probe::environment::complete;

    #[test]
    fn a_complete_system_is_not_refused() {
        assert!(preflight(&complete()).is_ok());
    }

    #[test]
    fn what_no_privilege_helps_against_is_told_first() {
        let mut environment = complete();
        environment.capabilities.clear();
        assert_eq!(preflight(&environment).unwrap_err().lack, Lack::Privileges);
        environment.lockdown = Some("confidentiality".to_owned());
        let refusal = preflight(&environment).unwrap_err();
        assert_eq!(refusal.lack, Lack::Kernel);
        assert!(
            refusal.to_string().contains("\n  remedy: boot with"),
            "{refusal}"
        );
    }

    #[test]
    fn what_the_kernel_refuses_deep_inside_is_about_privileges() {
        let refused = |kind: io::ErrorKind| {
            AttachError::Object(EbpfError::MapError(MapError::CreateError {
                name: "EVENTS".to_owned(),
                io_error: kind.into(),
            }))
        };
        let error = refused(io::ErrorKind::PermissionDenied);
        assert_eq!(error.lack(), Some(Lack::Privileges));
        assert!(
            error.in_full().ends_with("`EVENTS`: permission denied"),
            "{}",
            error.in_full()
        );
        assert_eq!(
            refused(io::ErrorKind::InvalidInput).lack(),
            Some(Lack::Kernel)
        );
        assert_eq!(
            AttachError::Io(io::ErrorKind::PermissionDenied.into()).lack(),
            None
        );
    }
}
