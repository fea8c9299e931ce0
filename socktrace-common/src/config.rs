//! What user space tells the hooks before they are attached. Both structs are read-only data of
//! the object, which the verifier folds: a filter that is off costs nothing.

use crate::wire;

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

/// [`Config::flags`]: `cgroup/sock_release` tells when sockets over IPv4 and IPv6 end (5.9, and
/// cgroup v2 is there). Without it their last `close()` does.
pub const HAVE_RELEASE: u32 = 128;

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
        pub task_tgid: u32,
        pub task_group_leader: u32,
        pub task_comm: u32,
        pub task_files: u32,
        pub task_signal: u32,
        pub task_start_boottime: u32,
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
        /// The fourth argument of the running system call in `struct pt_regs`.
        pub regs_fourth: u32,
        /// Absent, like the others of Unix sockets, where these are a module.
        pub unix_addr: u32,
        pub unix_peer: u32,
        pub unix_address_len: u32,
        pub unix_address_name: u32,
    }
}
