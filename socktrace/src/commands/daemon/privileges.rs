//! What is only needed to begin is given up when all has begun. Capabilities belong to threads, and
//! each keeps what it needs.

use std::{panic::resume_unwind, sync::Once, thread};

use caps::{CapSet, Capability, CapsHashSet};
use tracing::{info, warn};

use crate::sandbox::{Bounded, Files};

/// The loop reads other users' `/proc`.
pub(super) const LOOP: &[Capability] =
    &[Capability::CAP_SYS_PTRACE, Capability::CAP_DAC_READ_SEARCH];

/// Snapshots are taken in every network namespace, and entering one takes `CAP_SYS_ADMIN`.
pub(super) const SNAPSHOTS: &[Capability] = &[
    Capability::CAP_SYS_PTRACE,
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_SYS_ADMIN,
];

/// What must not be forgotten is in a folder that may be where only its owner may look.
pub(super) const MEMORY: &[Capability] = &[Capability::CAP_DAC_READ_SEARCH];

/// Whoever talks to others, by the network or by alerts, needs nothing. A thread begins with what the
/// one that starts it may, so this one starts them and has given up everything first.
pub(super) fn without<T: Send>(start: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let started = scope.spawn(|| {
            keep(&[]);
            start()
        });
        started.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// The calling thread opens these from now on, and nothing else, where the kernel can see to that. What
/// it can is told once.
pub(super) fn confine(files: &Files) {
    static TOLD: Once = Once::new();
    match files.confine() {
        Ok(bounded) => TOLD.call_once(|| match bounded {
            Bounded::Fully => info!("who talks to others opens only its own files: Landlock"),
            Bounded::Partly => {
                info!("who talks to others opens only its own files: Landlock, an old one");
            }
            Bounded::Not(why) => info!(why, "who talks to others may open any file of its user"),
        }),
        Err(error) => warn!(%error, "files cannot be put out of reach"),
    }
}

/// The calling thread keeps these, as far as it has them, and can never have more again.
pub(super) fn keep(wanted: &[Capability]) {
    if let Err(error) = rustix::thread::set_no_new_privs(true) {
        warn!(%error, "no_new_privs cannot be set");
    }
    let Ok(has) = caps::read(None, CapSet::Permitted) else {
        return warn!("capabilities cannot be read; all of them are kept");
    };
    let kept: CapsHashSet = wanted
        .iter()
        .copied()
        .filter(|it| has.contains(it))
        .collect();
    let sets = [
        CapSet::Ambient,
        CapSet::Inheritable,
        CapSet::Effective,
        CapSet::Permitted,
    ];
    for set in sets {
        // What is ambient and inheritable is for programs that are executed: there are none that
        // need any.
        let outward = matches!(set, CapSet::Ambient | CapSet::Inheritable);
        let left = if outward {
            CapsHashSet::new()
        } else {
            kept.clone()
        };
        if let Err(error) = caps::set(None, set, &left) {
            warn!(%error, ?set, "capabilities cannot be given up");
        }
    }
}
