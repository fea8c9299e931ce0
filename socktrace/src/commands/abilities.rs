//! What `doctor` looks at beside the hooks: which sockets are listed, and what keeps the daemon in bounds.

use crate::{
    probe::check::Check,
    sandbox::{Bounded, Files},
    source::snapshot::bound_sockets_are_listed,
};

/// Is every socket that holds a port listed?
pub(super) fn bound_sockets() -> Check {
    let why = match bound_sockets_are_listed() {
        Ok(true) => return Check::ok("bound_sockets", "listed, connected or not"),
        Ok(false) => {
            "this kernel does not list sockets that are bound and not connected".to_owned()
        }
        Err(error) => format!("cannot find out whether bound sockets are listed: {error}"),
    };
    let lost = "those from before socktrace started are not known, nor whose their ports are";
    let remedy = "a kernel from 6.8 on";
    Check::warn("bound_sockets", format!("{why}: {lost}"), remedy)
}

/// Is the daemon kept in bounds by more than its capabilities?
pub(super) fn landlock() -> Check {
    bounded(Files::available())
}

fn bounded(bounded: Result<Bounded, String>) -> Check {
    let why = match bounded {
        Ok(Bounded::Fully) => {
            let message = "the daemon's threads that talk to others open their own files only";
            return Check::ok("landlock", message);
        }
        // Opening is what the first kernel that has it refuses.
        Ok(Bounded::Partly) => {
            let message = "the daemon's threads that talk to others open their own files only; what \
                else could be refused of them, this kernel does not know (6.10 does)";
            return Check::ok("landlock", message);
        }
        Ok(Bounded::Not(why)) => why.to_owned(),
        Err(error) => error,
    };
    Check::warn(
        "landlock",
        format!("{why}: the daemon's threads that talk to others could open any file of its user"),
        "a kernel with CONFIG_SECURITY_LANDLOCK (5.13), and landlock among lsm=",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::check::Grade;

    #[test]
    fn without_bounds_there_is_a_warning_with_a_remedy() {
        for fine in [Bounded::Fully, Bounded::Partly] {
            assert_eq!(bounded(Ok(fine)).grade, Grade::Ok);
        }
        let others = [Ok(Bounded::Not("why")), Err("why".to_owned())];
        for other in others {
            let check = bounded(other);
            assert_eq!(check.grade, Grade::Warn);
            assert!(check.message.contains("could open any file"), "{check:?}");
            assert!(check.remedy.is_some());
        }
    }
}
