//! Loads the object with everything set, and walks the catalog.

use std::{io, mem, thread};

use aya::{
    Btf, Ebpf, EbpfError, EbpfLoader,
    maps::{MapData, MapError, RingBuf},
    programs::{
        BtfTracePoint, CgroupAttachMode, CgroupSock, Program, TracePoint,
        trace_point::TracePointLink,
    },
};
use socktrace_common::{
    config::{
        Config, FOLD_LIVES, HAVE_CAST, HAVE_COOKIE, HAVE_FETCH_ADD, HAVE_RELEASE,
        LIVES_FROM_CONNECT, SHELVE, STORES_IN_ORDER, TELL_CREATED,
    },
    shelf::places,
};

use super::{
    catalog::{Attach, CATALOG, Hook, Need},
    cgroup::{CgroupHooks, cgroup2},
    environment::pid_namespace,
    hook_error::HookError,
    load::{load, load_ahead},
    object::{Fit, Part, object},
    offsets::{self, KernelTypes, OffsetsError},
    plan::{AttachMode, Hooks, Plan},
    shelves::cpus,
};

/// Why nothing can be traced.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// See [`OffsetsError`].
    #[error(transparent)]
    Offsets(#[from] OffsetsError),
    /// The object does not load.
    #[error("the kernel refuses the object: {0}")]
    Object(#[from] EbpfError),
    /// A map cannot be used.
    #[error("a map of the object cannot be used: {0}")]
    Map(#[from] MapError),
    /// The ring buffer cannot be polled.
    #[error("the ring buffer cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A required hook cannot be attached.
    #[error("the hook {hook} cannot be attached: {reason}")]
    Required {
        /// Its name in the catalog.
        hook: &'static str,
        /// What the kernel said.
        reason: String,
        /// Whether it said so for want of privileges.
        denied: bool,
    },
}

/// What became of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Attached as the catalog says.
    Attached,
    /// Attached as a classic tracepoint; why the better one was not.
    Fallback(String),
    /// Not attached, and why.
    Missing(String),
}

/// The attached hooks.
pub struct Probes {
    pub(super) ebpf: Ebpf,
    /// What holds programs to classic tracepoints.
    classic: Vec<TracePointLink>,
    /// What became of each hook that was wanted.
    pub hooks: Vec<(&'static Hook, Status)>,
    /// Whether identities are cookies (else they are made up, see `SocketInfo::id`).
    pub have_cookies: bool,
    /// Where this kernel keeps what is read.
    pub types: KernelTypes,
    /// Runs that the kernel skipped, of programs that are detached.
    pub(super) recursion: u64,
    /// See [`Config`].
    pub(super) near_mask: u64,
    pub(super) lives_mask: u64,
    /// How many CPUs have shelves, and how many places each; none where lives are left on none.
    pub(super) shelves: Option<(u32, u32)>,
}

impl Probes {
    /// Loads the object for `plan`, sets its filters and attaches what the plan needs.
    pub fn attach(plan: &Plan) -> Result<Self, AttachError> {
        let mut expected = CgroupHooks::expected(plan);
        loop {
            let probes = Self::attach_with(plan, expected)?;
            let left = expected.left(&probes.hooks);
            if left == expected {
                return Ok(probes);
            }
            expected = left;
        }
    }

    /// The same, where these hooks of cgroups are there.
    fn attach_with(plan: &Plan, cgroup: CgroupHooks) -> Result<Self, AttachError> {
        let types = offsets::read()?;
        let mut helpers = types.helpers;
        if plan.mode == AttachMode::Classic {
            // Classic programs may not ask for cookies.
            helpers &= !HAVE_COOKIE;
        }
        if cgroup.release {
            helpers |= HAVE_RELEASE;
        }
        let mut flags = plan.flags() | helpers;
        if helpers & HAVE_FETCH_ADD == 0 {
            // CPUs that share a life take places in it at once.
            flags &= !FOLD_LIVES;
        }
        if cgroup.create {
            flags = flags & !LIVES_FROM_CONNECT | TELL_CREATED;
        }
        let kinds = plan.kinds(cgroup.release);
        if helpers & HAVE_CAST == 0 || flags & FOLD_LIVES == 0 {
            flags &= !SHELVE;
        }
        if cfg!(target_arch = "x86_64") {
            flags |= STORES_IN_ORDER;
        }
        let shelves = (flags & SHELVE != 0).then(cpus);
        let shelves = shelves.map(|cpus| (cpus, places(cpus)));
        // A map has an entry at least.
        let (cpus, each) = shelves.unwrap_or((1, 1));
        let config = Config {
            own_tgid: std::process::id(),
            kinds,
            flags,
            wakeup_bytes: plan.ring_bytes / 4,
            connect_syscall: CONNECT_SYSCALL,
            protocols: plan.protocols,
            pid_namespace: pid_namespace(),
            lives_mask: plan.lives.max(1) - 1,
            near_mask: plan.near_lives() - 1,
            shelf_mask: each - 1,
        };
        let fit = Fit {
            helpers,
            cast: types.cast,
            offsets: types.offsets,
            config,
        };
        let btf = Btf::from_sys_fs().map_err(EbpfError::from)?;
        let level: u8 = if plan.kernel_log {
            aya_log_level_debug()
        } else {
            0
        };
        let mut ebpf = EbpfLoader::new()
            .btf(Some(&btf))
            .override_global(aya_log::LEVEL, &level, false)
            .map_max_entries("EVENTS", plan.ring_bytes)
            .map_max_entries("STACKS", plan.stacks.max(1))
            .map_max_entries("LIVES", plan.near_lives() + plan.lives.max(1))
            .map_max_entries("SHELVES", cpus)
            .map_max_entries("SHELVED", cpus * each)
            .load(&object(Part::Hooks, &fit))?;
        plan.fill_maps(&mut ebpf)?;
        let mut probes = Self {
            ebpf,
            classic: Vec::new(),
            hooks: Vec::new(),
            have_cookies: helpers & HAVE_COOKIE != 0,
            types,
            recursion: 0,
            near_mask: config.near_mask.into(),
            lives_mask: config.lives_mask.into(),
            shelves,
        };
        let wanted = |hook: &&Hook| {
            let spared = plan.hooks == Hooks::Lean && hook.is_of_calls()
                || cgroup.create && hook.program == "sys_exit_socket";
            !spared && hook.is_wanted(kinds, plan.protocols)
        };
        let hooks: Vec<_> = CATALOG.iter().filter(wanted).collect();
        let mut ahead = hooks.clone();
        ahead.retain(|hook| !falls_back(hook, plan.mode));
        load_ahead(&mut probes.ebpf, &ahead, &btf);
        for hook in hooks {
            probes.attach_hook(hook, plan.mode, &btf)?;
        }
        Ok(probes)
    }

    /// The ring buffer. Taken once.
    pub fn take_ring(&mut self) -> Result<RingBuf<MapData>, AttachError> {
        let map = self
            .ebpf
            .take_map("EVENTS")
            .ok_or_else(|| MapError::InvalidName {
                name: "EVENTS".into(),
            })?;
        Ok(RingBuf::try_from(map)?)
    }

    /// Detaches every hook. What they counted and wrote stays.
    pub fn detach(&mut self) {
        self.recursion = self.recursion_misses();
        for (_, program) in self.ebpf.programs_mut() {
            let unloaded = match program {
                Program::BtfTracePoint(program) => program.unload(),
                Program::TracePoint(program) => program.unload(),
                Program::CgroupSock(program) => program.unload(),
                // The object has no others.
                _ => Ok(()),
            };
            // It fails for those that were not loaded.
            unloaded.unwrap_or_default();
        }
        self.let_go();
    }

    /// Detaches from classic tracepoints. For each the kernel waits until nobody can be in its program, 60 ms
    /// on an idle machine; half of that it waits for several at once, the rest under one lock.
    fn let_go(&mut self) {
        let links = mem::take(&mut self.classic);
        thread::scope(|scope| {
            for link in links {
                let name = "detach".to_owned();
                let detach = move || drop(link);
                // Where no thread is to be had, it is dropped here.
                drop(
                    thread::Builder::new()
                        .name(name)
                        .spawn_scoped(scope, detach),
                );
            }
        });
    }

    /// The object, for its log.
    pub fn object(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    fn attach_hook(
        &mut self,
        hook: &'static Hook,
        mode: AttachMode,
        btf: &Btf,
    ) -> Result<(), AttachError> {
        let first = if falls_back(hook, mode) {
            Err("classic tracepoints were asked for".to_owned())
        } else {
            self.attach_program(hook.program, hook.attach, btf)
                .map_err(|error| error.reason())
        };
        let status = match (first, hook.fallback) {
            (Ok(()), _) => Status::Attached,
            (Err(reason), Some(fallback)) => {
                let (category, name) = fallback.tracepoint;
                let attach = Attach::Tracepoint(category, name);
                match self.attach_program(fallback.program, attach, btf) {
                    Ok(()) => Status::Fallback(reason),
                    Err(error) if hook.need == Need::Required => {
                        return Err(AttachError::Required {
                            hook: hook.name,
                            denied: error.denied(),
                            reason,
                        });
                    }
                    Err(_) => Status::Missing(reason),
                }
            }
            (Err(reason), None) => Status::Missing(reason),
        };
        self.hooks.push((hook, status));
        Ok(())
    }

    fn attach_program(
        &mut self,
        program: &'static str,
        attach: Attach,
        btf: &Btf,
    ) -> Result<(), HookError> {
        let loaded = self
            .ebpf
            .program_mut(program)
            .ok_or(HookError::NoProgram(program))?;
        load(loaded, attach, btf)?;
        match attach {
            Attach::TpBtf(_) | Attach::Renamed(..) => {
                let program: &mut BtfTracePoint = loaded.try_into()?;
                program.attach()?;
            }
            Attach::Tracepoint(category, name) => {
                let program: &mut TracePoint = loaded.try_into()?;
                let link = program.attach(category, name)?;
                self.classic.push(program.take_link(link)?);
            }
            Attach::CgroupSock => {
                let root = cgroup2()?;
                let program: &mut CgroupSock = loaded.try_into()?;
                // A link: others may attach theirs beside it.
                program.attach(root, CgroupAttachMode::Single)?;
            }
        }
        Ok(())
    }

    /// Every loaded program, by its name in the object.
    pub(super) fn programs(&self) -> impl Iterator<Item = (&str, &Program)> {
        self.ebpf.programs()
    }
}

/// Is its fallback asked for, and it has one?
fn falls_back(hook: &Hook, mode: AttachMode) -> bool {
    mode == AttachMode::Classic && hook.fallback.is_some()
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// Number of `connect()`: asm/unistd.h.
#[cfg(target_arch = "x86_64")]
const CONNECT_SYSCALL: u32 = 42;
#[cfg(target_arch = "aarch64")]
const CONNECT_SYSCALL: u32 = 203;

fn aya_log_level_debug() -> u8 {
    // aya_log_common::Level counts from 1 (error).
    4
}
