//! The ABI, written down: sizes, offsets and numbers that the kernel side, the user side and every
//! recording agree on. A change here is a change of the ABI: the object must be compiled again
//! (`cargo xtask bpf`), and the recordings in `socktrace/testdata` made again.

use std::mem::offset_of;

use socktrace_common::{
    config::{
        Config, FILTER_LOCAL_PORTS, FILTER_PIDS, FILTER_REMOTE_PORTS, FOLD_LIVES, HAVE_CAST,
        HAVE_COOKIE, HAVE_FETCH_ADD, HAVE_PT_REGS, HAVE_RELEASE, HAVE_SOCK_FROM_FILE,
        HAVE_TASK_BTF, KEEP_STACKS, LIVES_FROM_CONNECT, ONLY_IPV4, ONLY_IPV6, Offsets, SHELVE,
        STACKS_OF_PIDS, STORES_IN_ORDER, TELL_CREATED, URING_CQE,
    },
    counters::{Books, Outcome, SLOTS, outcome_slot, seen_slot},
    event::{
        AcceptEvent, CallEvent, CloseEvent, ClosedBy, ConnectEvent, DESCRIPTOR_WORDS,
        DescriptorsEvent, DestroyEvent, EventKind, ExecEvent, ForkEvent, Header, LifeEvent,
        NameEvent, NameOf, ProcessEvent, STEPS, SocketEvent, StateEvent, Step,
    },
    holder::HolderRecord,
    shelf::Shelf,
    socket::{INODE_ID, Protocol, SYNTHETIC_ID, SocketInfo, TcpState},
    stack::{FIRST_KEY, NoStack, Stack},
};

/// Size of what a field holds.
fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

/// Asserts size, alignment, and each field's offset and size. The fields must follow each other
/// without a hole up to the type's end, so none can be forgotten here and none is padding.
macro_rules! layout {
    ($type:ty, size $size:literal, align $align:literal, { $($field:ident $offset:literal $width:literal,)+ }) => {
        let name = stringify!($type);
        assert_eq!(size_of::<$type>(), $size, "size of {name}");
        assert_eq!(align_of::<$type>(), $align, "alignment of {name}");
        let mut end = 0;
        $(
            let field = concat!(stringify!($type), ".", stringify!($field));
            assert_eq!(offset_of!($type, $field), $offset, "offset of {field}");
            assert_eq!(size_of_field(|it: &$type| &it.$field), $width, "size of {field}");
            assert_eq!($offset, end, "{field} does not begin where the field before it ends");
            end = $offset + $width;
        )+
        assert_eq!(end, $size, "{name} does not end with its last field");
        #[cfg(feature = "user")]
        no_padding::<$type>();
    };
}

/// What the user side casts to bytes and back: the bound holds for types without padding only.
#[cfg(feature = "user")]
fn no_padding<T: zerocopy::IntoBytes + zerocopy::FromBytes>() {}

#[test]
fn what_every_record_begins_with_stays_where_it_is() {
    layout!(Header, size 32, align 8, {
        mono_ns 0 8,
        seq 8 8,
        kind 16 2,
        cpu 18 2,
        tgid 20 4,
        tid 24 4,
        stack 28 4,
    });
    layout!(SocketInfo, size 56, align 8, {
        id 0 8,
        laddr 8 16,
        raddr 24 16,
        lport 40 2,
        rport 42 2,
        proto 44 2,
        family 46 1,
        state 47 1,
        netns 48 4,
        inode 52 4,
    });
}

#[test]
fn records_of_sockets_stay_as_they_are() {
    layout!(SocketEvent, size 96, align 8, {
        header 0 32,
        socket 32 56,
        fd 88 4,
        socket_type 92 4,
    });
    layout!(CallEvent, size 104, align 8, {
        header 0 32,
        socket 32 56,
        fd 88 4,
        ret 92 4,
        arg 96 4,
        pad 100 4,
    });
    layout!(ConnectEvent, size 128, align 8, {
        header 0 32,
        socket 32 56,
        fd 88 4,
        ret 92 4,
        target 96 28,
        pad 124 4,
    });
    layout!(AcceptEvent, size 104, align 8, {
        header 0 32,
        socket 32 56,
        listener 88 8,
        fd 96 4,
        pad 100 4,
    });
    layout!(StateEvent, size 120, align 8, {
        header 0 32,
        socket 32 56,
        bytes_acked 88 8,
        bytes_received 96 8,
        old 104 1,
        new 105 1,
        flags 106 2,
        error 108 4,
        connect_fd 112 4,
        pad 116 4,
    });
    layout!(CloseEvent, size 104, align 8, {
        header 0 32,
        socket 32 56,
        fd 88 4,
        by 92 4,
        references_left 96 8,
    });
    layout!(NameEvent, size 200, align 8, {
        header 0 32,
        socket 32 56,
        of 88 2,
        length 90 2,
        name 92 108,
    });
    layout!(LifeEvent, size 288, align 8, {
        header 0 32,
        socket 32 56,
        began_ns 88 8,
        bytes_acked 96 8,
        bytes_received 104 8,
        listener 112 8,
        count 120 8,
        steps 128 160,
    });
    layout!(Step, size 16, align 4, {
        after_ns 0 4,
        tgid 4 4,
        fd 8 4,
        value 12 2,
        kind 14 1,
        states 15 1,
    });
    assert_eq!(STEPS, 10);
    layout!(DestroyEvent, size 96, align 8, {
        header 0 32,
        socket 32 56,
        error 88 4,
        pad 92 4,
    });
}

#[test]
fn records_of_processes_stay_as_they_are() {
    layout!(ProcessEvent, size 56, align 8, {
        header 0 32,
        start_ns 32 8,
        comm 40 16,
    });
    layout!(ForkEvent, size 64, align 8, {
        header 0 32,
        start_ns 32 8,
        comm 40 16,
        child 56 4,
        shares_descriptors 60 4,
    });
    layout!(ExecEvent, size 176, align 8, {
        header 0 32,
        comm 32 16,
        open 48 128,
    });
    layout!(DescriptorsEvent, size 168, align 8, {
        header 0 32,
        by 32 4,
        pad 36 4,
        open 40 128,
    });
    assert_eq!(DESCRIPTOR_WORDS, 16);
}

#[test]
fn what_iterators_write_stays_as_it_is() {
    layout!(Stack, size 968, align 8, {
        check 0 4,
        length 4 4,
        top 8 64,
        frames 72 896,
    });
    layout!(HolderRecord, size 48, align 8, {
        cookie 0 8,
        start_ns 8 8,
        tgid 16 4,
        fd 20 4,
        inode 24 4,
        netns 28 4,
        proto 32 2,
        family 34 2,
        lport 36 2,
        socket_type 38 2,
        state 40 1,
        shutdown 41 1,
        mode 42 1,
        kind 43 1,
        pad 44 4,
    });
}

#[test]
fn a_shelf_stays_as_it_is() {
    layout!(Shelf, size 128, align 8, {
        put 0 8,
        pad 8 56,
        taken 64 8,
        pad_too 72 56,
    });
}

#[test]
fn what_the_hooks_are_told_stays_as_it_is() {
    layout!(Config, size 40, align 4, {
        own_tgid 0 4,
        kinds 4 4,
        flags 8 4,
        wakeup_bytes 12 4,
        connect_syscall 16 4,
        protocols 20 4,
        pid_namespace 24 4,
        lives_mask 28 4,
        near_mask 32 4,
        shelf_mask 36 4,
    });
    layout!(Offsets, size 380, align 4, {
        sock_family 0 4,
        sock_state 4 4,
        sock_daddr 8 4,
        sock_rcv_saddr 12 4,
        sock_v6_daddr 16 4,
        sock_v6_rcv_saddr 20 4,
        sock_dport 24 4,
        sock_num 28 4,
        inet_sport 32 4,
        sock_net 36 4,
        net_inum 40 4,
        sock_cookie 44 4,
        sock_protocol 48 4,
        sock_type 52 4,
        sock_err 56 4,
        sock_flags 60 4,
        sock_socket 64 4,
        sock_ino 68 4,
        socket_inode 72 4,
        socket_sk 76 4,
        tcp_bytes_acked 80 4,
        tcp_bytes_received 84 4,
        tcp_clock_cache 88 4,
        task_tgid 92 4,
        task_group_leader 96 4,
        task_comm 100 4,
        task_files 104 4,
        task_signal 108 4,
        task_start_boottime 112 4,
        task_nvcsw 116 4,
        task_nivcsw 120 4,
        signal_live 124 4,
        files_fdt 128 4,
        fdt_max_fds 132 4,
        fdt_fd 136 4,
        fdt_open_fds 140 4,
        fdt_close_on_exec 144 4,
        file_inode 148 4,
        file_private_data 152 4,
        file_ref 156 4,
        file_count 160 4,
        inode_mode 164 4,
        regs_syscall 168 4,
        regs_args 172 12,
        sock_shutdown 184 4,
        file_mode 188 4,
        inode_number 192 4,
        inode_super 196 4,
        super_magic 200 4,
        signal_tgid 204 4,
        task_thread_pid 208 4,
        pid_level 212 4,
        pid_numbers 216 4,
        upid_nr 220 4,
        upid_ns 224 4,
        pid_namespace_inum 228 4,
        uring_opcode 232 4,
        uring_flags 236 4,
        uring_ctx 240 4,
        uring_file 244 4,
        uring_user_data 248 4,
        uring_fd 252 4,
        uring_cmd 256 4,
        uring_accept_slot 260 4,
        uring_accept_flags 264 4,
        uring_socket_slot 268 4,
        uring_close_fd 272 4,
        uring_close_slot 276 4,
        uring_connect_addr 280 4,
        uring_connect_length 284 4,
        uring_listen_backlog 288 4,
        uring_nodes 292 4,
        uring_nodes_count 296 4,
        uring_node_file 300 4,
        regs_fourth 304 4,
        unix_addr 308 4,
        unix_peer 312 4,
        unix_address_len 316 4,
        unix_address_name 320 4,
        tcp_bind_bucket 324 4,
        tw_bind_bucket 328 4,
        tw_timestamp 332 4,
        tw_cookie 336 4,
        bucket_port 340 4,
        bucket_reuse 344 4,
        bucket_reuse_port 348 4,
        regs_stack 352 4,
        type_file 356 4,
        type_socket 360 4,
        type_list_head 364 4,
        task_stack 368 4,
        stack_regs 372 4,
        type_tcp_sock 376 4,
    });
}

#[test]
fn the_numbers_of_kinds_keep_their_meaning() {
    let numbers = EventKind::ALL.map(|kind| (kind, kind as u16));
    assert_eq!(
        numbers,
        [
            (EventKind::Socket, 1),
            (EventKind::Bind, 2),
            (EventKind::Listen, 3),
            (EventKind::Connect, 4),
            (EventKind::Accept, 5),
            (EventKind::State, 6),
            (EventKind::Close, 7),
            (EventKind::Destroy, 8),
            (EventKind::Process, 9),
            (EventKind::Fork, 10),
            (EventKind::Exec, 11),
            (EventKind::Exit, 12),
            (EventKind::Descriptors, 13),
            (EventKind::Name, 14),
            (EventKind::Life, 15),
        ]
    );
    for (kind, number) in numbers {
        assert_eq!(EventKind::from_number(number), Some(kind));
    }
    assert_eq!(EventKind::from_number(0), None);
    assert_eq!(EventKind::from_number(16), None);
    // A kind is a bit of a u32 in `Config::kinds`.
    assert!(numbers.iter().all(|(_, number)| *number < 32));
}

#[test]
fn the_numbers_of_states_are_the_kernels() {
    // include/net/tcp_states.h.
    let numbers = TcpState::ALL.map(|state| (state, state as u8));
    assert_eq!(
        numbers,
        [
            (TcpState::Established, 1),
            (TcpState::SynSent, 2),
            (TcpState::SynRecv, 3),
            (TcpState::FinWait1, 4),
            (TcpState::FinWait2, 5),
            (TcpState::TimeWait, 6),
            (TcpState::Close, 7),
            (TcpState::CloseWait, 8),
            (TcpState::LastAck, 9),
            (TcpState::Listen, 10),
            (TcpState::Closing, 11),
        ]
    );
    for (state, number) in numbers {
        assert_eq!(TcpState::from_number(number), Some(state));
    }
    assert_eq!(TcpState::from_number(0), None);
    assert_eq!(TcpState::from_number(12), None);
}

#[test]
fn the_numbers_of_protocols_are_those_of_their_bits() {
    let bits = Protocol::ALL.map(Protocol::bit);
    assert_eq!(bits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
    let of = |family, proto| Protocol::of(family, proto);
    assert_eq!(
        [of(2, 6), of(10, 6), of(16, 6)].map(|it| it as u8),
        [0, 0, 7]
    );
    // Synthetic identities tell by their highest bits what they are made of.
    assert_eq!(INODE_ID & SYNTHETIC_ID, SYNTHETIC_ID);
}

#[test]
fn the_numbers_of_causes_keep_their_meaning() {
    let causes = [
        (ClosedBy::Close, 1),
        (ClosedBy::Dup, 2),
        (ClosedBy::Exec, 3),
        (ClosedBy::CloseRange, 4),
    ];
    for (cause, number) in causes {
        assert_eq!(cause as u32, number);
        assert_eq!(ClosedBy::from_number(number), Some(cause));
    }
    assert_eq!(ClosedBy::from_number(0), None);
    assert_eq!(ClosedBy::from_number(5), None);
    let names = [(NameOf::Local, 1), (NameOf::Remote, 2), (NameOf::Asked, 3)];
    for (of, number) in names {
        assert_eq!(of as u16, number);
        assert_eq!(NameOf::from_number(number), Some(of));
    }
    assert_eq!(NameOf::from_number(0), None);
    assert_eq!(NameOf::from_number(4), None);
}

#[test]
fn the_numbers_of_missing_stacks_keep_their_meaning() {
    let numbers = [
        (NoStack::Unreadable, 1),
        (NoStack::Full, 2),
        (NoStack::Collision, 3),
        (NoStack::Ring, 4),
    ];
    for (reason, number) in numbers {
        assert_eq!(reason as u32, number);
        assert_eq!(NoStack::from_number(number), Some(reason));
        assert!(number < FIRST_KEY);
    }
    assert_eq!(NoStack::from_number(0), None);
    assert_eq!(NoStack::from_number(5), None);
}

#[test]
fn every_flag_has_a_bit_of_its_own() {
    let flags = [
        FILTER_PIDS,
        FILTER_LOCAL_PORTS,
        FILTER_REMOTE_PORTS,
        ONLY_IPV4,
        ONLY_IPV6,
        HAVE_COOKIE,
        HAVE_PT_REGS,
        HAVE_RELEASE,
        URING_CQE,
        KEEP_STACKS,
        STACKS_OF_PIDS,
        FOLD_LIVES,
        HAVE_CAST,
        LIVES_FROM_CONNECT,
        HAVE_FETCH_ADD,
        HAVE_TASK_BTF,
        HAVE_SOCK_FROM_FILE,
        TELL_CREATED,
        SHELVE,
        STORES_IN_ORDER,
    ];
    assert!(flags.iter().all(|flag| flag.is_power_of_two()));
    let all = flags.iter().fold(0, |all, flag| all | flag);
    assert_eq!(all.count_ones() as usize, flags.len());
}

#[test]
fn every_count_has_a_slot_of_its_own() {
    let outcomes = [
        Outcome::Emitted,
        Outcome::Folded,
        Outcome::Filtered,
        Outcome::LostRing,
        Outcome::LostMap,
    ];
    let mut slots: Vec<_> = EventKind::ALL
        .into_iter()
        .flat_map(|kind| {
            Books::ALL.into_iter().flat_map(move |books| {
                let outcomes = outcomes.map(|outcome| outcome_slot(books, kind, outcome));
                [seen_slot(books, kind)].into_iter().chain(outcomes)
            })
        })
        .collect();
    assert!(slots.iter().all(|slot| *slot < SLOTS), "{slots:?}");
    let count = slots.len();
    slots.sort_unstable();
    slots.dedup();
    assert_eq!(slots.len(), count, "two counts share a slot");
}
