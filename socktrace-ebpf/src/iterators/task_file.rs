//! Every open descriptor that is a socket or an end of an anonymous pipe, of every process.

use core::{ffi::c_void, ptr};

use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_seq_write, bpf_sock_from_file};
use socktrace_common::{
    config::{HAVE_COOKIE, HAVE_SOCK_FROM_FILE},
    holder::{HOLDS_PIPE, HOLDS_SOCKET, HolderRecord},
    socket::{FAMILY_IPV4, FAMILY_IPV6},
};

use super::context_pointer;
use crate::{
    constant::{Fixed, config, offset},
    kernel::{
        Memory, Probed, Typed, file, pid, present,
        sock::{self, Sock},
        task::{self, Task},
    },
};

/// `struct bpf_iter__task_file`: the fields after each other, eight bytes each.
const META: usize = 0;
const TASK: usize = 1;
const DESCRIPTOR: usize = 2;
const FILE: usize = 3;

/// `S_IFMT` and `S_IFIFO`.
const TYPE_MASK: u16 = 0o170_000;
const FIFO: u16 = 0o010_000;
/// `PIPEFS_MAGIC` (include/uapi/linux/magic.h): a named pipe is a file of another file system.
const PIPEFS: u64 = 0x5049_5045;
/// `FMODE_READ` and `FMODE_WRITE`.
const READ_WRITE: u32 = 3;

/// Called for each open file of each task (5.8), and once more at the end without one.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
extern "C" fn task_file(context: *mut c_void) -> i32 {
    // SAFETY: these are the fields of this iterator's context, and the verifier knows their types.
    unsafe {
        let (task, file) = (
            context_pointer(context, TASK),
            context_pointer(context, FILE),
        );
        if !task.is_null() && !file.is_null() && !shares_files(task) {
            let fd = ptr::read_volatile(context.cast::<u64>().add(DESCRIPTOR).cast::<u32>());
            if let Some(record) = describe(task, fd, file) {
                let seq = Typed::pointer(context_pointer(context, META), Fixed::<0>);
                // What does not fit makes the kernel call again for the same file.
                bpf_seq_write(
                    seq.cast_mut().cast(),
                    (&raw const record).cast(),
                    size_of::<HolderRecord>() as u32,
                );
            }
        }
    }
    0
}

/// Is it a thread with the same descriptors as its process, which has its turn too? The kernel
/// itself leaves these out since 5.10.
#[inline(always)]
unsafe fn shares_files(task: Task) -> bool {
    // SAFETY: the caller's pointer is a typed task, and so is its group leader.
    unsafe {
        let leader = Typed::pointer(task, offset!(task_group_leader));
        leader != task && task::files(leader) == task::files(task)
    }
}

#[inline(always)]
unsafe fn describe(task: Task, fd: u32, file: *const u8) -> Option<HolderRecord> {
    // SAFETY: the caller's pointers are typed; what they lead to is typed as well.
    unsafe {
        let inode = Typed::pointer(file, offset!(file_inode));
        let mut record = HolderRecord {
            cookie: 0,
            start_ns: task::identity(task).0,
            tgid: pid::tgid(task),
            fd,
            inode: Typed::read::<u64>(inode, offset!(inode_number)) as u32,
            netns: 0,
            proto: 0,
            family: 0,
            lport: 0,
            socket_type: 0,
            state: 0,
            shutdown: 0,
            mode: (Typed::read::<u32>(file, offset!(file_mode)) & READ_WRITE) as u8,
            kind: HOLDS_SOCKET,
            pad: 0,
        };
        if config!(flags) & HAVE_SOCK_FROM_FILE == 0 {
            if let Some(socket) = file::socket_of(file) {
                fill::<Probed>(&mut record, socket.sk);
                return Some(record);
            }
        } else {
            // Asks for the file's operations, so neither a descriptor opened with O_PATH nor the name
            // of a Unix socket in a file system passes (5.11).
            let socket = bpf_sock_from_file(file.cast_mut().cast());
            if !socket.is_null() {
                let sk = Typed::pointer(socket.cast_const().cast(), offset!(socket_sk));
                if sk.is_null() {
                    return None;
                }
                if config!(flags) & HAVE_COOKIE != 0 {
                    record.cookie = bpf_get_socket_cookie(sk.cast_mut().cast());
                }
                fill::<Typed>(&mut record, sk);
                return Some(record);
            }
        }
        let super_block = Typed::pointer(inode, offset!(inode_super));
        record.kind = HOLDS_PIPE;
        let pipe = Typed::read::<u16>(inode, offset!(inode_mode)) & TYPE_MASK == FIFO
            && Typed::read::<u64>(super_block, offset!(super_magic)) == PIPEFS;
        pipe.then_some(record)
    }
}

#[inline(always)]
unsafe fn fill<M: Memory>(record: &mut HolderRecord, sk: Sock) {
    // SAFETY: the caller's pointer is a socket, and fits `M`.
    unsafe {
        record.netns = sock::netns::<M>(sk);
        record.proto = M::read(sk, offset!(sock_protocol));
        record.family = M::read(sk, offset!(sock_family));
        record.socket_type = M::read(sk, offset!(sock_type));
        record.state = M::read(sk, offset!(sock_state));
        if record.family == u16::from(FAMILY_IPV4) || record.family == u16::from(FAMILY_IPV6) {
            record.lport = M::read(sk, offset!(sock_num));
        }
        if present(offset!(sock_shutdown)) {
            record.shutdown = M::read(sk, offset!(sock_shutdown));
        }
    }
}
