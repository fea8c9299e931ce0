//! Where the running kernel keeps what the hooks read, from its BTF.
//!
//! rustc emits no CO-RE relocations, so the offsets are looked up here and handed to the object as
//! constants before it is loaded. None is compiled in.

use std::fs;

use btfparse::{Error, ErrorKind, Offset, Readable, TypeInformation, TypeVariant};
use hashbrown::HashMap;
use socktrace_common::config::{
    ABSENT, HAVE_CAST, HAVE_COOKIE, HAVE_FETCH_ADD, HAVE_PT_REGS, HAVE_SOCK_FROM_FILE,
    HAVE_TASK_BTF, Offsets, URING_CQE,
};

/// Types and layouts of the running kernel.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Why the offsets could not be had.
#[derive(Debug, thiserror::Error)]
pub enum OffsetsError {
    /// The file is not there or cannot be read.
    #[error("the kernel's type information, {KERNEL_BTF}, cannot be read: {0}")]
    Unreadable(String),
    /// A field that no hook can do without.
    #[error("the kernel's type information has no field {0}")]
    Missing(&'static str),
}

/// What the running kernel's BTF says.
#[derive(Clone, Debug)]
pub struct KernelTypes {
    /// For the object's constant `OFFSETS`.
    pub offsets: Offsets,
    /// `HAVE_*` and `URING_CQE` of [`socktrace_common::config`].
    pub helpers: u32,
    /// BTF identity of the kernel function `bpf_rdonly_cast()`.
    pub cast: Option<u32>,
    /// A bound port may be shared by `connect()` again when its last explicit owner is gone, not
    /// only when the last of all is (6.18, d57f4b874946, and where that was taken over).
    pub buckets_recover: bool,
}

/// Registers in which the kernel keeps the number and the arguments of a system call while it
/// runs: `struct pt_regs`, arch/*/include/asm/ptrace.h.
#[cfg(target_arch = "x86_64")]
const REGISTERS: [(&str, u32); 5] = [("orig_ax", 0), ("di", 0), ("si", 0), ("dx", 0), ("r10", 0)];
#[cfg(target_arch = "aarch64")]
const REGISTERS: [(&str, u32); 5] = [
    ("syscallno", 0),
    ("orig_x0", 0),
    ("regs", 8),
    ("regs", 16),
    ("regs", 24),
];

/// The stack pointer, where a call leaves its return address on the stack.
#[cfg(target_arch = "x86_64")]
const STACK_POINTER: Option<&str> = Some("sp");
#[cfg(target_arch = "aarch64")]
const STACK_POINTER: Option<&str> = None;

/// The size of a task's stack in the kernel, and the last of its registers: `THREAD_SIZE`,
/// `arch/x86/include/asm/page_64_types.h`, without KASAN. Used only before 5.15: later a helper tells.
#[cfg(target_arch = "x86_64")]
const KERNEL_STACK: Option<(u32, &str)> = Some((16_384, "ss"));
#[cfg(target_arch = "aarch64")]
const KERNEL_STACK: Option<(u32, &str)> = None;

/// Reads the running kernel's BTF. It takes a fifth of a second and some 60 MB, for a moment.
pub fn read() -> Result<KernelTypes, OffsetsError> {
    let bytes =
        fs::read(KERNEL_BTF).map_err(|error| OffsetsError::Unreadable(error.to_string()))?;
    of(bytes)
}

/// What this BTF says.
pub(crate) fn of(bytes: Vec<u8>) -> Result<KernelTypes, OffsetsError> {
    let types = TypeInformation::new(&Bytes(bytes))
        .map_err(|error| OffsetsError::Unreadable(error.message().to_owned()))?;
    let layout = Layout::new(&types);
    Ok(KernelTypes {
        offsets: layout.offsets()?,
        helpers: layout.helpers(),
        cast: layout.cast(),
        buckets_recover: layout.find("inet_bind2_bucket", "fastreuse").is_some(),
    })
}

struct Bytes(Vec<u8>);

impl Readable for Bytes {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> btfparse::Result<()> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = from.saturating_add(buffer.len());
        let bytes = self
            .0
            .get(from..end)
            .ok_or_else(|| Error::new(ErrorKind::IOError, "the file ends early"))?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

/// Structs by name: the library's own index mixes them with functions and variables, and `file`,
/// `socket` and `net` are each more than one thing.
struct Layout<'a> {
    types: &'a TypeInformation,
    structs: HashMap<String, u32>,
}

impl<'a> Layout<'a> {
    fn new(types: &'a TypeInformation) -> Self {
        let structs = types
            .get()
            .iter()
            .filter(|(_, kind)| matches!(kind, TypeVariant::Struct(_)))
            .filter_map(|(&id, _)| Some((types.name_of(id)?, id)))
            .collect();
        Self { types, structs }
    }

    /// A helper is there if its implementation is a function of the kernel.
    fn helpers(&self) -> u32 {
        let mut helpers = 0;
        // 5.12, c5dbb89fc2ac; before, only networking programs may ask for a cookie.
        if self.types.id_of("bpf_get_socket_ptr_cookie").is_some() {
            // Of the same release, 5ca419f2864a. An instruction is in no BTF.
            helpers |= HAVE_COOKIE | HAVE_FETCH_ADD;
        }
        // 5.11, 3ca1032ab7ab and 4f19cab76136.
        if self.types.id_of("bpf_get_current_task_btf").is_some() {
            helpers |= HAVE_TASK_BTF;
        }
        if self.types.id_of("bpf_sock_from_file").is_some() {
            helpers |= HAVE_SOCK_FROM_FILE;
        }
        // 5.15, dd6e10fbd9fb.
        if self.types.id_of("bpf_task_pt_regs").is_some() {
            helpers |= HAVE_PT_REGS;
        }
        if self.cast().is_some() {
            helpers |= HAVE_CAST;
        }
        if self.arguments("btf_trace_io_uring_complete") == Some(3) {
            helpers |= URING_CQE;
        }
        helpers
    }

    /// 6.2, a35b9af4ec2c; and the types that are cast to.
    fn cast(&self) -> Option<u32> {
        let types = ["file", "socket", "list_head", "tcp_sock"];
        let all = types.iter().all(|name| self.structs.contains_key(*name));
        self.types.id_of("bpf_rdonly_cast").filter(|_| all)
    }

    /// How many arguments a tracepoint hands over: its function has one more, its own.
    fn arguments(&self, tracepoint: &str) -> Option<usize> {
        let pointer = self.types.id_of(tracepoint)?;
        let function = self.types.pointee_tid(pointer).ok()?;
        match self.types.from_id(function)? {
            TypeVariant::FuncProto(function) => function.parameter_list().len().checked_sub(1),
            _ => None,
        }
    }

    fn offsets(&self) -> Result<Offsets, OffsetsError> {
        let [number, first, second, third, fourth] = REGISTERS;
        let register = |(name, extra): (&'static str, u32)| {
            self.find("pt_regs", name)
                .map(|offset| offset + extra)
                .ok_or(OffsetsError::Missing("struct pt_regs"))
        };
        Ok(Offsets {
            sock_family: self.get("sock", "__sk_common.skc_family")?,
            sock_state: self.get("sock", "__sk_common.skc_state")?,
            sock_daddr: self.get("sock", "__sk_common.skc_daddr")?,
            sock_rcv_saddr: self.get("sock", "__sk_common.skc_rcv_saddr")?,
            sock_v6_daddr: self.get("sock", "__sk_common.skc_v6_daddr")?,
            sock_v6_rcv_saddr: self.get("sock", "__sk_common.skc_v6_rcv_saddr")?,
            sock_dport: self.get("sock", "__sk_common.skc_dport")?,
            sock_num: self.get("sock", "__sk_common.skc_num")?,
            inet_sport: self.get("inet_sock", "inet_sport")?,
            sock_net: self.get("sock", "__sk_common.skc_net.net")?,
            net_inum: self.get("net", "ns.inum")?,
            sock_cookie: self.get("sock", "__sk_common.skc_cookie")?,
            sock_protocol: self.get("sock", "sk_protocol")?,
            sock_type: self.get("sock", "sk_type")?,
            sock_err: self.get("sock", "sk_err")?,
            sock_flags: self.get("sock", "__sk_common.skc_flags")?,
            sock_socket: self.get("sock", "sk_socket")?,
            sock_ino: self.or_absent("sock", "sk_ino"),
            socket_inode: self.get("socket_alloc", "vfs_inode.i_ino")?,
            socket_sk: self.get("socket", "sk")?,
            tcp_bytes_acked: self.get("tcp_sock", "bytes_acked")?,
            tcp_bytes_received: self.get("tcp_sock", "bytes_received")?,
            tcp_clock_cache: self.get("tcp_sock", "tcp_clock_cache")?,
            task_tgid: self.get("task_struct", "tgid")?,
            task_group_leader: self.get("task_struct", "group_leader")?,
            task_comm: self.get("task_struct", "comm")?,
            task_files: self.get("task_struct", "files")?,
            task_signal: self.get("task_struct", "signal")?,
            task_start_boottime: self.get("task_struct", "start_boottime")?,
            task_nvcsw: self.get("task_struct", "nvcsw")?,
            task_nivcsw: self.get("task_struct", "nivcsw")?,
            signal_live: self.get("signal_struct", "live")?,
            files_fdt: self.get("files_struct", "fdt")?,
            fdt_max_fds: self.get("fdtable", "max_fds")?,
            fdt_fd: self.get("fdtable", "fd")?,
            fdt_open_fds: self.get("fdtable", "open_fds")?,
            fdt_close_on_exec: self.get("fdtable", "close_on_exec")?,
            file_inode: self.get("file", "f_inode")?,
            file_private_data: self.get("file", "private_data")?,
            file_ref: self.or_absent("file", "f_ref"),
            file_count: self.or_absent("file", "f_count"),
            inode_mode: self.get("inode", "i_mode")?,
            regs_syscall: register(number)?,
            regs_args: [register(first)?, register(second)?, register(third)?],
            sock_shutdown: self.or_absent("sock", "sk_shutdown"),
            file_mode: self.get("file", "f_mode")?,
            inode_number: self.get("inode", "i_ino")?,
            inode_super: self.get("inode", "i_sb")?,
            super_magic: self.get("super_block", "s_magic")?,
            // An array of pointers, of which PIDTYPE_TGID is the second (enum pid_type, 4.19).
            signal_tgid: self.get("signal_struct", "pids")? + 8,
            task_thread_pid: self.get("task_struct", "thread_pid")?,
            pid_level: self.get("pid", "level")?,
            pid_numbers: self.get("pid", "numbers")?,
            upid_nr: self.get("upid", "nr")?,
            upid_ns: self.get("upid", "ns")?,
            pid_namespace_inum: self.get("pid_namespace", "ns.inum")?,
            uring_opcode: self.or_absent("io_kiocb", "opcode"),
            uring_flags: self.or_absent("io_kiocb", "flags"),
            uring_ctx: self.or_absent("io_kiocb", "ctx"),
            uring_file: self.or_absent("io_kiocb", "file"),
            uring_user_data: self.or_absent("io_kiocb", "cqe.user_data"),
            uring_fd: self.or_absent("io_kiocb", "cqe.fd"),
            uring_cmd: self.or_absent("io_kiocb", "cmd"),
            uring_accept_slot: self.or_absent("io_accept", "file_slot"),
            uring_accept_flags: self.or_absent("io_accept", "iou_flags"),
            uring_socket_slot: self.or_absent("io_socket", "file_slot"),
            uring_close_fd: self.or_absent("io_close", "fd"),
            uring_close_slot: self.or_absent("io_close", "file_slot"),
            uring_connect_addr: self.or_absent("io_connect", "addr"),
            uring_connect_length: self.or_absent("io_connect", "addr_len"),
            uring_listen_backlog: self.or_absent("io_listen", "backlog"),
            uring_nodes: self.or_absent("io_ring_ctx", "file_table.data.nodes"),
            uring_nodes_count: self.or_absent("io_ring_ctx", "file_table.data.nr"),
            uring_node_file: self.or_absent("io_rsrc_node", "file_ptr"),
            regs_fourth: register(fourth)?,
            unix_addr: self.or_absent("unix_sock", "addr"),
            unix_peer: self.or_absent("unix_sock", "peer"),
            unix_address_len: self.or_absent("unix_address", "len"),
            unix_address_name: self.or_absent("unix_address", "name"),
            tcp_bind_bucket: self.or_absent("tcp_sock", "inet_conn.icsk_bind_hash"),
            tw_bind_bucket: self.or_absent("tcp_timewait_sock", "tw_sk.tw_tb"),
            tw_timestamp: self.or_absent("tcp_timewait_sock", "tw_ts_recent_stamp"),
            tw_cookie: self.or_absent("tcp_timewait_sock", "tw_sk.__tw_common.skc_cookie"),
            bucket_port: self.or_absent("inet_bind_bucket", "port"),
            bucket_reuse: self.or_absent("inet_bind_bucket", "fastreuse"),
            bucket_reuse_port: self.or_absent("inet_bind_bucket", "fastreuseport"),
            task_stack: self.or_absent("task_struct", "stack"),
            stack_regs: self.registers_on_stack().unwrap_or(ABSENT),
            regs_stack: STACK_POINTER.map_or(ABSENT, |it| self.or_absent("pt_regs", it)),
            type_file: self.type_id("file"),
            type_socket: self.type_id("socket"),
            type_list_head: self.type_id("list_head"),
            type_tcp_sock: self.type_id("tcp_sock"),
        })
    }

    fn type_id(&self, name: &str) -> u32 {
        self.structs.get(name).copied().unwrap_or(ABSENT)
    }

    /// Where on a task's stack its registers are: they end where it does.
    fn registers_on_stack(&self) -> Option<u32> {
        let (size, last) = KERNEL_STACK?;
        let end = self.find("pt_regs", last)? + 8;
        size.checked_sub(end)
    }

    fn get(&self, kind: &str, path: &'static str) -> Result<u32, OffsetsError> {
        self.find(kind, path).ok_or(OffsetsError::Missing(path))
    }

    fn or_absent(&self, kind: &str, path: &str) -> u32 {
        self.find(kind, path).unwrap_or(ABSENT)
    }

    /// Offset in bytes; `None` for a field that is not there, or that is a bit field.
    fn find(&self, kind: &str, path: &str) -> Option<u32> {
        let &id = self.structs.get(kind)?;
        match self.types.offset_of(id, path).ok()?.1 {
            Offset::ByteOffset(bytes) => Some(bytes),
            Offset::BitOffsetAndSize(..) => None,
        }
    }
}
