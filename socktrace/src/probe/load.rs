//! Hands the object's programs to the verifier, which is most of what a start takes.

use std::{sync::Mutex, thread};

use aya::{
    Btf, Ebpf,
    programs::{BtfTracePoint, CgroupSock, Program, ProgramError, TracePoint},
};

use super::{
    catalog::{Attach, Hook},
    hook_error::HookError,
};

/// Loads the programs of these hooks, as many at a time as there are processors: the kernel takes one
/// from each thread. What it refuses is loaded again when its turn comes to be attached, and why is said
/// then.
pub(super) fn load_ahead(ebpf: &mut Ebpf, hooks: &[&Hook], btf: &Btf) {
    let wanted = ebpf.programs_mut().filter_map(|(name, program)| {
        let hook = hooks.iter().find(|hook| hook.program == name)?;
        Some((program, hook.attach))
    });
    let wanted: Vec<_> = wanted.collect();
    let next = Mutex::new(wanted.into_iter());
    let work = || {
        loop {
            let taken = next.lock().ok().and_then(|mut next| next.next());
            let Some((program, attach)) = taken else {
                return;
            };
            drop(load(program, attach, btf));
        }
    };
    thread::scope(|scope| {
        for _ in 1..thread::available_parallelism().map_or(1, usize::from) {
            let helper = thread::Builder::new().name("load".into());
            // Without helpers it takes longer.
            drop(helper.spawn_scoped(scope, work));
        }
        work();
    });
}

/// Loads a program, unless it is loaded.
pub(super) fn load(program: &mut Program, attach: Attach, btf: &Btf) -> Result<(), HookError> {
    match attach {
        Attach::TpBtf(name) => {
            let program: &mut BtfTracePoint = program.try_into()?;
            once(program.load(name, btf))?;
        }
        Attach::Renamed(name, before) => {
            let program: &mut BtfTracePoint = program.try_into()?;
            if let Err(error) = once(program.load(name, btf)) {
                // What the newer name says is said where neither can be had.
                once(program.load(before, btf)).map_err(|_| error)?;
            }
        }
        // One program serves several tracepoints.
        Attach::Tracepoint(..) => {
            let program: &mut TracePoint = program.try_into()?;
            once(program.load())?;
        }
        Attach::CgroupSock => {
            let program: &mut CgroupSock = program.try_into()?;
            once(program.load())?;
        }
    }
    Ok(())
}

fn once(result: Result<(), ProgramError>) -> Result<(), ProgramError> {
    match result {
        Err(ProgramError::AlreadyLoaded) => Ok(()),
        other => other,
    }
}
