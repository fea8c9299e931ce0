//! How many descriptors we may have open.
//!
//! A network namespace that is looked into costs several, and a machine with a few hundred containers has
//! more of them than the 1,024 that a shell grants. The hard limit is there to be used by whoever can: the
//! soft one is for programs with `select()`, which knows no more (getrlimit(2), systemd's
//! `LimitNOFILE=`). So ours is raised, and what we start gets back what we were given.

use std::{io, sync::OnceLock};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What we were started with, if that was changed.
static GIVEN: OnceLock<Rlimit> = OnceLock::new();

/// Raises our soft `RLIMIT_NOFILE` to the hard one.
///
/// Where that is refused, we do with what we have.
pub fn raise() {
    let given = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: given.maximum,
        ..given
    };
    if most != given && setrlimit(Resource::Nofile, most).is_ok() {
        // Set once: nobody else raises it.
        GIVEN.get_or_init(|| given);
    }
}

/// Gives a program that we start the limit that we were started with. For `pre_exec`: it makes one system
/// call, and takes neither memory nor a lock.
pub fn restore() -> io::Result<()> {
    GIVEN
        .get()
        .map_or(Ok(()), |&given| Ok(setrlimit(Resource::Nofile, given)?))
}

/// How many we may have, `usize::MAX` without a limit.
pub fn most() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |it| usize::try_from(it).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hard_limit_is_used() {
        let hard = getrlimit(Resource::Nofile).maximum;
        raise();
        assert_eq!(getrlimit(Resource::Nofile).current, hard);
        assert_eq!(hard.is_none(), most() == usize::MAX);
    }
}
