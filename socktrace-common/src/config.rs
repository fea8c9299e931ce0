//! What user space tells the hooks before they are attached. The words of both structs are put into the
//! object's instructions, each where a mark is, and the verifier folds them: a filter that is off costs nothing.

use crate::wire;

/// A load at an offset of this, with [`STRIDE`] times the number of a word added: of the field of which that
/// word says where it is, or of what lies less than a stride behind it. No struct of ours is so large.
pub const LOAD_MARK: u32 = 0x4000;
/// See [`LOAD_MARK`].
pub const STRIDE: u32 = 32;
/// This, with the number of a word added, moved to a register: the word.
pub const NUMBER_MARK: u32 = 0x736b_0000;

/// Number of the word of [`Offsets`] that lies there, in bytes.
#[must_use]
#[allow(
    clippy::cast_possible_truncation,
    reason = "no struct of ours is that large"
)]
pub const fn offset_number(at: usize) -> u32 {
    (at / 4) as u32
}

/// Number of the word of [`Config`] that lies there, in bytes: after all of [`Offsets`].
#[must_use]
pub const fn config_number(at: usize) -> u32 {
    offset_number(size_of::<Offsets>() + at)
}

/// An offset or number that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// [`Config::flags`]: only processes in the map `PIDS`, and their children.
pub const FILTER_PIDS: u32 = 1;
/// [`Config::flags`]: only local ports in the map `PORTS`.
pub const FILTER_LOCAL_PORTS: u32 = 2;
/// [`Config::flags`]: only remote ports in the map `PORTS`.
pub const FILTER_REMOTE_PORTS: u32 = 4;
/// [`Config::flags`]: only IPv4 (with v4-mapped).
pub const ONLY_IPV4: u32 = 8;
/// [`Config::flags`]: only IPv6.
pub const ONLY_IPV6: u32 = 16;
/// [`Config::flags`]: `bpf_get_socket_cookie()` may be called by tracing programs.
pub const HAVE_COOKIE: u32 = 32;
/// [`Config::flags`]: `bpf_task_pt_regs()` is there (5.15), so arguments are known at exit.
pub const HAVE_PT_REGS: u32 = 64;

/// [`Config::flags`]: the tracepoint `io_uring_complete` hands over the completion as a struct
/// (6.13); before, its parts.
pub const URING_CQE: u32 = 128;
/// [`Config::flags`]: `cgroup/sock_release` tells when sockets over IPv4 and IPv6 end (5.9, and
/// cgroup v2 is there). Without it their last `close()` does.
pub const HAVE_RELEASE: u32 = 256;

/// [`Config::flags`]: keep the stacks of the calls that make sockets.
pub const KEEP_STACKS: u32 = 512;
/// [`Config::flags`]: those of the processes in the map `PIDS` only.
pub const STACKS_OF_PIDS: u32 = 1024;
/// [`Config::flags`]: what happens to a young TCP socket is kept and told at once, when it ends or
/// is no more young ([`LifeEvent`](crate::event::LifeEvent)).
pub const FOLD_LIVES: u32 = 2048;
/// [`Config::flags`]: `bpf_rdonly_cast()` is there (6.2), and the object calls it where it called
/// [`CAST`].
///
/// Every kernel that has it (6.2) also sees to it that a program of a typed tracepoint is not run a
/// second time while it runs on a CPU (6.1, 05b24ff9b2cf). Classic ones never were.
pub const HAVE_CAST: u32 = 32_768;

/// [`Config::flags`]: nothing tells of `socket()`, so the life of a client begins with its `connect()`.
pub const LIVES_FROM_CONNECT: u32 = 65_536;

/// [`Config::flags`]: `cgroup/sock_create` tells of new sockets, all of which are over IPv4 or IPv6, without
/// their descriptors; nothing else does.
pub const TELL_CREATED: u32 = 131_072;

/// [`Config::flags`]: lives that end are left on shelves ([`Shelf`](crate::shelf::Shelf)), and somebody takes
/// them there. Only with [`HAVE_CAST`], by what comes with it.
pub const SHELVE: u32 = 262_144;

/// [`Config::flags`]: CPUs see each other's stores in the order in which they were made, as on x86.
pub const STORES_IN_ORDER: u32 = 524_288;

/// Number of a helper that no kernel has. Calls of it stand for `bpf_rdonly_cast()`, which has no number:
/// user space puts its BTF identity there before it loads the object.
pub const CAST: i32 = 0x736b_6301;

/// [`Config::flags`]: an atomic addition can return what was there (5.12). Without it the instruction
/// must not be in the object at all, see `probe/object.rs`.
pub const HAVE_FETCH_ADD: u32 = 4096;
/// [`Config::flags`]: `bpf_get_current_task_btf()` is there (5.11), so the verifier knows the type of
/// what leads on from the running task.
pub const HAVE_TASK_BTF: u32 = 8192;
/// [`Config::flags`]: `bpf_sock_from_file()` is there (5.11).
pub const HAVE_SOCK_FROM_FILE: u32 = 16_384;

/// Words of 64 ports for one side in the map `PORTS`: 65,536 bits. Local ports come first, remote
/// ports follow.
pub const PORT_WORDS: u32 = 65_536 / 64;

wire! {
    /// What to look at.
    pub struct Config {
        /// Our own process: never traced.
        pub own_tgid: u32,
        /// Bits of [`EventKind`](crate::event::EventKind) that are wanted.
        pub kinds: u32,
        /// `FILTER_*`, `ONLY_*` and `HAVE_*` of this module.
        pub flags: u32,
        /// A wake-up is forced when this many bytes wait in the ring.
        pub wakeup_bytes: u32,
        /// Number of `connect()` on this architecture.
        pub connect_syscall: u32,
        /// Bits of [`Protocol`](crate::socket::Protocol) that are wanted.
        pub protocols: u32,
        /// Inode number of the pid namespace that we number processes by; 0 for the initial one.
        /// Numbers of processes are all in that namespace, and 0 is one that is not in it.
        pub pid_namespace: u32,
        /// Places in the map `LIVES` for whom the near ones have no room, which are a power of two, less one.
        pub lives_mask: u32,
        /// The first places in `LIVES`, likewise: few, so that they stay in the CPU's caches.
        pub near_mask: u32,
        /// Places of each CPU in the map `SHELVED`, which are a power of two, less one.
        pub shelf_mask: u32,
    }

    /// Where the running kernel keeps what is read, in bytes from the start of the struct that
    /// the name begins with; from its BTF. [`ABSENT`] where this kernel has no such field.
    #[allow(missing_docs, reason = "named after the kernel's struct and field")]
    pub struct Offsets {
        pub sock_family: u32,
        pub sock_state: u32,
        pub sock_daddr: u32,
        pub sock_rcv_saddr: u32,
        pub sock_v6_daddr: u32,
        pub sock_v6_rcv_saddr: u32,
        pub sock_dport: u32,
        pub sock_num: u32,
        pub inet_sport: u32,
        pub sock_net: u32,
        pub net_inum: u32,
        pub sock_cookie: u32,
        pub sock_protocol: u32,
        pub sock_type: u32,
        pub sock_err: u32,
        pub sock_flags: u32,
        pub sock_socket: u32,
        /// 6.17; before, [`Self::socket_inode`] leads there.
        pub sock_ino: u32,
        /// From `struct socket` to the inode number in its `struct socket_alloc`.
        pub socket_inode: u32,
        pub socket_sk: u32,
        pub tcp_bytes_acked: u32,
        pub tcp_bytes_received: u32,
        pub tcp_clock_cache: u32,
        pub task_tgid: u32,
        pub task_group_leader: u32,
        pub task_comm: u32,
        pub task_files: u32,
        pub task_signal: u32,
        pub task_start_boottime: u32,
        pub task_nvcsw: u32,
        pub task_nivcsw: u32,
        pub signal_live: u32,
        pub files_fdt: u32,
        pub fdt_max_fds: u32,
        pub fdt_fd: u32,
        pub fdt_open_fds: u32,
        pub fdt_close_on_exec: u32,
        pub file_inode: u32,
        pub file_private_data: u32,
        /// 6.13: `struct file.f_ref`, which holds the references less one.
        pub file_ref: u32,
        /// Before 6.13: `struct file.f_count`.
        pub file_count: u32,
        pub inode_mode: u32,
        /// Number of the running system call in `struct pt_regs`.
        pub regs_syscall: u32,
        /// Its first three arguments.
        pub regs_args: [u32; 3],
        /// Before 5.6 a bit field, and then absent.
        pub sock_shutdown: u32,
        pub file_mode: u32,
        pub inode_number: u32,
        pub inode_super: u32,
        pub super_magic: u32,
        /// `struct signal_struct.pids[PIDTYPE_TGID]`.
        pub signal_tgid: u32,
        pub task_thread_pid: u32,
        pub pid_level: u32,
        pub pid_numbers: u32,
        pub upid_nr: u32,
        pub upid_ns: u32,
        pub pid_namespace_inum: u32,
        /// `struct io_kiocb`, a request, up to [`Self::uring_cmd`].
        pub uring_opcode: u32,
        pub uring_flags: u32,
        pub uring_ctx: u32,
        pub uring_file: u32,
        pub uring_user_data: u32,
        /// The descriptor or slot that it names, before it is carried out.
        pub uring_fd: u32,
        /// What the kind of request defines: the structs that follow.
        pub uring_cmd: u32,
        /// `struct io_accept`.
        pub uring_accept_slot: u32,
        /// 6.10.
        pub uring_accept_flags: u32,
        /// `struct io_socket`.
        pub uring_socket_slot: u32,
        /// `struct io_close`.
        pub uring_close_fd: u32,
        pub uring_close_slot: u32,
        /// `struct io_connect`.
        pub uring_connect_addr: u32,
        pub uring_connect_length: u32,
        /// `struct io_listen` (6.11).
        pub uring_listen_backlog: u32,
        /// `struct io_ring_ctx.file_table`: its direct descriptors, and how many (6.13).
        pub uring_nodes: u32,
        pub uring_nodes_count: u32,
        /// `struct io_rsrc_node.file_ptr`.
        pub uring_node_file: u32,
        /// The fourth argument of the running system call in `struct pt_regs`.
        pub regs_fourth: u32,
        /// Absent, like the others of Unix sockets, where these are a module.
        pub unix_addr: u32,
        pub unix_peer: u32,
        pub unix_address_len: u32,
        pub unix_address_name: u32,
        pub tcp_bind_bucket: u32,
        pub tw_bind_bucket: u32,
        /// `tw_ts_recent_stamp`: 0 for a connection without TCP's timestamps.
        pub tw_timestamp: u32,
        pub tw_cookie: u32,
        pub bucket_port: u32,
        pub bucket_reuse: u32,
        pub bucket_reuse_port: u32,
        /// The stack pointer in `struct pt_regs`, where a call leaves its return address on the
        /// stack; absent on other architectures.
        pub regs_stack: u32,
        /// BTF identities of types that pointers are cast to.
        pub type_file: u32,
        pub type_socket: u32,
        /// One that begins with a pointer.
        pub type_list_head: u32,
        /// `struct task_struct.stack`, and from there to the registers with which the task entered the
        /// kernel: for kernels without `bpf_task_pt_regs()`.
        pub task_stack: u32,
        pub stack_regs: u32,
        /// Another type that pointers are cast to.
        pub type_tcp_sock: u32,
    }
}
