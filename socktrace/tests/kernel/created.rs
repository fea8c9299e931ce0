//! Sockets that are told of when they are created, where nobody needs their descriptors: without a hook
//! of `socket()`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use socktrace::{
    change::Change,
    decode::decode,
    event::Event,
    probe::{Plan, Probes, attach::Status},
    source::snapshot::Protocol,
    table::SocketTable,
    unfold::{Life, is_life},
};
use socktrace_common::socket::Protocol as Of;

use crate::support::{Netns, python, rows, run, socktrace};

/// What the daemon follows.
const OVER_IP: [Protocol; 5] = [
    Protocol::Tcp,
    Protocol::Mptcp,
    Protocol::Udp,
    Protocol::UdpLite,
    Protocol::Raw,
];

fn plan(protocols: &[Protocol]) -> Plan {
    Plan {
        lives: 1024,
        ..Plan::watching(protocols, 1 << 22)
    }
}

fn is_attached(probes: &Probes, name: &str) -> bool {
    let found = probes.hooks.iter().find(|(hook, _)| hook.name == name);
    found.is_some_and(|(_, status)| *status == Status::Attached)
}

#[test]
fn sockets_that_do_nothing_are_told_with_their_owners_and_no_call_is_hooked_for_it() {
    let netns = Netns::new();
    let number = netns.number();
    let mut probes = Probes::attach(&plan(&OVER_IP)).unwrap();
    assert!(is_attached(&probes, "sock_create"));
    assert!(!is_attached(&probes, "sys_exit_socket"));
    assert!(is_attached(&probes, "sys_exit_connect"));
    let mut ring = probes.take_ring().unwrap();
    // Two of each that is closed, and one of each that stays until the process ends. Not every kernel has
    // the last two.
    let script = "
kinds = [(2, 1, 0), (10, 1, 0), (2, 2, 0), (10, 2, 0), (2, 3, 17), (2, 2, 136), (2, 1, 262)]
kept, had = [], {}
for kind in kinds:
    try: kept.append(socket.socket(*kind))
    except OSError: had[str(kind[2])] = False; continue
    had[str(kind[2])] = True
    for turn in range(2): socket.socket(*kind).close()
a = socket.socket(1, 1)
say(pid=os.getpid(), udplite=int(had['136']), mptcp=int(had['262']))
";
    let said = rows(&run(&mut python(&netns, script)));
    let said = said.first().unwrap();
    let pid = u32::try_from(said.number("pid").unwrap()).unwrap();
    probes.detach();

    let (mut made, mut over) = (BTreeMap::new(), BTreeMap::new());
    // Others are the kernel's: to an MPTCP socket it may make one over TCP.
    let mut known = BTreeSet::new();
    let mut table = SocketTable::default();
    let mut take = |event: &Event| {
        match event {
            Event::Socket(event) if event.socket.netns == number => {
                assert_eq!((event.header.tgid, event.fd), (pid, -1), "{event:?}");
                assert!(event.socket.inode != 0, "{event:?}");
                known.insert(event.socket.id);
                let protocol = Of::of(event.socket.family, event.socket.proto);
                *made.entry(protocol as u32).or_insert(0) += 1;
            }
            Event::Destroy(event) if known.contains(&event.socket.id) => {
                let protocol = Of::of(event.socket.family, event.socket.proto);
                *over.entry(protocol as u32).or_insert(0) += 1;
            }
            _ => {}
        }
        let mut changes = Vec::new();
        table.apply_late(event, &mut changes);
        let its = |change: &&Change| change.socket.cookie.is_some_and(|it| known.contains(&it));
        for change in changes.iter().filter(its) {
            let owner = change.socket.owner.as_ref().map(|it| it.pid);
            assert_eq!(owner, Some(pid), "{change:?}");
        }
    };
    while let Some(record) = ring.next() {
        if is_life(&record) {
            let life = Life::decode(&record).unwrap();
            for event in life.events(0) {
                take(&event);
            }
        } else {
            take(&decode(&record).unwrap());
        }
    }
    let expected = [
        (Of::Tcp, 6, true),
        (Of::Udp, 6, true),
        (Of::Raw, 3, true),
        (Of::UdpLite, 3, said.number("udplite") == Some(1)),
        (Of::Mptcp, 3, said.number("mptcp") == Some(1)),
    ];
    let expected: BTreeMap<_, _> = expected
        .into_iter()
        .filter(|(.., had)| *had)
        .map(|(of, count, _)| (of as u32, count))
        .collect();
    // The last ones ended with their process.
    assert_eq!((&made, &over), (&expected, &expected));
    let counters = probes.counters().unwrap();
    assert!(counters.balanced(), "{counters:?}");
    assert_eq!(counters.lost_ring + counters.lost_map, 0, "{counters:?}");
}

#[test]
fn where_other_sockets_are_wanted_the_call_tells_of_all() {
    let probes = Probes::attach(&plan(&Protocol::ALL)).unwrap();
    assert!(is_attached(&probes, "sys_exit_socket"));
    let stepwise = Plan {
        lives: 0,
        ..plan(&OVER_IP)
    };
    let probes = Probes::attach(&stepwise).unwrap();
    assert!(is_attached(&probes, "sys_exit_socket"));
}

/// In a cgroup namespace the root is another cgroup, whose sockets are not all there are.
#[test]
fn in_a_cgroup_namespace_the_calls_tell() {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mount = mounts.lines().find(|it| it.contains(" cgroup2 ")).unwrap();
    let root = mount.split(' ').nth(1).unwrap();
    let group = format!("{root}/socktrace-test-{}", std::process::id());
    fs::create_dir(&group).unwrap();
    let inside = format!(
        "echo $$ > {group}/cgroup.procs && exec unshare -C -m sh -c \
         'umount {root} && mount -t cgroup2 none {root} && exec \"$0\" doctor -o json' \"$0\""
    );
    let doctor = Command::new("sh")
        .args(["-c", &inside])
        .arg(socktrace())
        .output();
    fs::remove_dir(&group).unwrap();
    let told = String::from_utf8(doctor.unwrap().stdout).unwrap();
    for hook in ["hook sock_create", "hook sock_release"] {
        let line = told.lines().find(|line| line.contains(hook));
        let line = line.unwrap_or_else(|| panic!("{hook}: {told}"));
        assert!(
            line.contains("warn") && line.contains("cgroup namespace"),
            "{line}"
        );
    }
}
