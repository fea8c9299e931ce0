//! What was measured on Linux 6.18, number by number, and the kernel's own loops as a second model.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

const LOW: u16 = 40_000;

fn ip(address: &str) -> IpAddr {
    address.parse::<IpAddr>().unwrap().to_canonical()
}

fn settings(span: u16) -> Settings {
    Settings {
        eligible: Eligible::new(
            Range {
                low: LOW,
                high: LOW + span - 1,
            },
            &PortSet::default(),
        ),
        reuse: Reuse::default(),
        timestamps: true,
    }
}

fn socket(protocol: Protocol, address: &str, port: u16, phase: Phase) -> Socket {
    Socket {
        protocol,
        local: Local::from(ip(address)),
        port,
        remote: None,
        phase,
        inode: u32::from(port),
    }
}

/// Connections from an address to a destination on the first ports of the range. They were never
/// bound, so an IPv6 one would take IPv4 traffic.
fn connections(count: u16, address: &str, to: (&str, u16), phase: Phase) -> Vec<Socket> {
    (LOW..LOW + count)
        .map(|port| Socket {
            remote: Some((ip(to.0), to.1)),
            local: Local {
                address: ip(address),
                only_ipv6: false,
            },
            ..socket(Protocol::Tcp, address, port, phase)
        })
        .collect()
}

fn bound(protocol: Protocol, count: u16, address: &str) -> Vec<Socket> {
    (LOW..LOW + count)
        .map(|port| socket(protocol, address, port, Phase::Bound))
        .collect()
}

fn time_wait(age_ms: u32) -> Phase {
    Phase::TimeWait {
        age_ms,
        timestamps: true,
    }
}

const ONE: (&str, u16) = ("127.0.0.1", 9000);
const TWO: (&str, u16) = ("127.0.0.1", 9001);

/// What a world of sockets leaves to each call.
struct World {
    settings: Settings,
    sockets: Vec<Socket>,
    /// Ports whose bucket says that it is explicit.
    buckets: PortSet,
}

impl World {
    fn new(span: u16, sockets: Vec<Socket>) -> Self {
        Self {
            settings: settings(span),
            sockets,
            buckets: PortSet::default(),
        }
    }

    /// The same, where every socket was bound first.
    fn explicit(span: u16, sockets: Vec<Socket>) -> Self {
        let buckets = sockets.iter().map(|socket| socket.port).collect();
        Self {
            buckets,
            ..Self::new(span, sockets)
        }
    }

    fn pool<T>(&self, ask: impl FnOnce(Pool<'_>) -> T) -> T {
        let blocked = Blocked::exact(self.buckets.clone(), &self.sockets);
        ask(Pool::new(&self.settings, &blocked, &self.sockets))
    }

    fn connect(&self, from: &str, to: (&str, u16)) -> u32 {
        self.pool(|pool| pool.connect(ip(from), ip(to.0), to.1).left)
    }

    fn bind(&self, address: &str) -> u32 {
        self.pool(|pool| pool.bind(Local::from(ip(address))).left)
    }

    fn udp(&self, address: &str) -> u32 {
        self.pool(|pool| pool.udp(Local::from(ip(address))).left)
    }
}

#[test]
fn connections_share_ports_with_those_to_other_destinations() {
    let world = World::new(10, connections(10, "127.0.0.1", ONE, Phase::Open));
    assert_eq!(world.connect("127.0.0.1", ONE), 0);
    assert_eq!(world.connect("127.0.0.1", TWO), 10);
    // bind() to port 0 shares with none of them, but for other addresses.
    assert_eq!(world.bind("127.0.0.1"), 0);
    assert_eq!(world.bind("0.0.0.0"), 0);
    assert_eq!(world.bind("::"), 0);
    assert_eq!(world.bind("127.0.0.9"), 10);
}

#[test]
fn a_listener_anywhere_takes_its_port_from_every_connect() {
    for address in ["127.0.0.5", "::1"] {
        let listener = socket(Protocol::Tcp, address, LOW + 4, Phase::Listen);
        let world = World::explicit(10, vec![listener]);
        assert_eq!(world.connect("127.0.0.1", ONE), 9, "{address}");
        assert_eq!(world.connect("::1", ("::1", 9000)), 9, "{address}");
        assert_eq!(world.pool(|pool| pool.connect_anew().left), 9);
        assert_eq!(world.bind("127.0.0.1"), 10, "{address}");
    }
}

#[test]
fn bound_sockets_block_all_destinations() {
    // Of another address, not connected: no walk over connections shows them.
    let world = World::new(10, bound(Protocol::Tcp, 10, "127.0.0.9"));
    assert_eq!(world.connect("127.0.0.1", ONE), 0);
    assert_eq!(world.bind("127.0.0.9"), 0);
    assert_eq!(world.bind("127.0.0.1"), 10);
    // Connected: the bucket knows.
    let world = World::explicit(10, connections(10, "127.0.0.1", ONE, Phase::Open));
    assert_eq!(world.connect("127.0.0.1", TWO), 0);
}

#[test]
fn when_the_last_explicit_owner_leaves_connections_share_again() {
    // 6.18: the bucket itself forgets.
    let connections = connections(10, "127.0.0.1", ONE, Phase::Open);
    let world = World::new(10, connections.clone());
    assert_eq!(world.connect("127.0.0.1", TWO), 10);
    // Where buckets cannot be read the estimate remembers what the kernel remembers.
    let mut both = connections.clone();
    both.extend(bound(Protocol::Tcp, 10, "127.0.0.9"));
    let left = |sockets: &[Socket], before: Option<&Blocked>, release| {
        let blocked = Blocked::estimate(sockets, before, release);
        let settings = settings(10);
        let left = Pool::new(&settings, &blocked, sockets)
            .connect(ip("127.0.0.1"), ip(TWO.0), TWO.1)
            .left;
        (left, blocked)
    };
    for (release, after) in [(Release::LastExplicit, 10), (Release::LastOwner, 0)] {
        let (while_bound, blocked) = left(&both, None, release);
        assert_eq!(while_bound, 0);
        let (left_over, blocked) = left(&connections, Some(&blocked), release);
        assert_eq!(left_over, after, "{release:?}");
        let (at_last, blocked) = left(&[], Some(&blocked), release);
        assert_eq!((at_last, blocked.exact), (10, false));
    }
}

#[test]
fn time_wait_is_in_the_way_until_it_may_be_taken_over() {
    let old = |mode, age_ms, timestamps, address| {
        let phase = Phase::TimeWait { age_ms, timestamps };
        let mut world = World::new(10, connections(10, address, (address, 9000), phase));
        world.settings.reuse.mode = mode;
        world
    };
    for (mode, age, timestamps, address, left) in [
        (1, 0, true, "127.0.0.1", 0),
        (1, 1100, true, "127.0.0.1", 10),
        (2, 1100, true, "127.0.0.1", 10),
        (2, 1100, true, "10.99.0.1", 0),
        (1, 1100, true, "10.99.0.1", 10),
        (1, 1100, false, "127.0.0.1", 0),
        (0, 30_000, true, "127.0.0.1", 0),
    ] {
        let world = old(mode, age, timestamps, address);
        let case = (mode, age, timestamps, address);
        assert_eq!(world.connect(address, (address, 9000)), left, "{case:?}");
        // Other destinations are not hindered, bind() is.
        assert_eq!(world.connect(address, (address, 9001)), 10, "{case:?}");
        assert_eq!(world.bind(address), 0, "{case:?}");
    }
}

#[test]
fn time_wait_of_what_was_bound_blocks_as_before() {
    let world = World::explicit(10, connections(10, "127.0.0.1", ONE, time_wait(30_000)));
    assert_eq!(world.connect("127.0.0.1", TWO), 0);
}

#[test]
fn fin_wait2_without_a_socket_is_never_taken_over() {
    use socktrace_common::socket::TcpState::{FinWait2, TimeWait};

    use crate::source::snapshot::{Found, Open, State, Timer, TimerKind};
    let open = Open {
        cookie: Some(1),
        netns: 1,
        proto: 6,
        family: 2,
        socket_type: 1,
        state: 5,
        shutdown: 3,
        lport: Some(LOW),
    };
    let mut found = Found::unlisted(&open, 0).unwrap();
    found.local.address = Some(ip("127.0.0.1"));
    found.timer = Some(Timer {
        kind: TimerKind::TimeWait,
        expires_ms: 1,
        retransmits: 0,
    });
    let phase = |state, found: &Found| {
        let found = Found {
            state: State::Tcp(state),
            ..found.clone()
        };
        Socket::of(&found).unwrap().with_timestamps(true).phase
    };
    assert_eq!(phase(FinWait2, &found), Phase::Open);
    assert_eq!(phase(TimeWait, &found), time_wait(59_999));
}

#[test]
fn an_odd_range_may_lose_a_port() {
    let world = World::new(11, Vec::new());
    // 10 or 11 were observed.
    assert_eq!(world.connect("127.0.0.1", ONE), 10);
    assert_eq!(world.bind("127.0.0.1"), 10);
    assert_eq!(
        world.pool(|pool| pool.bind_reusing(Local::from(ip("127.0.0.1"))).left),
        10
    );
    // UDP and IP_LOCAL_PORT_RANGE look at all of it.
    assert_eq!(world.udp("127.0.0.1"), 11);
    let narrowed = World {
        settings: world.settings.narrowed(LOW, LOW + 10),
        ..World::new(11, Vec::new())
    };
    let left = narrowed.pool(|pool| {
        pool.connect_in_range(ip("127.0.0.1"), ip(ONE.0), ONE.1)
            .left
    });
    assert_eq!(left, 11);
    // A range of one port is seen whole, and so is one whose ends are both taken.
    assert_eq!(World::new(1, Vec::new()).connect("127.0.0.1", ONE), 1);
    let ends = [LOW, LOW + 10].map(|port| socket(Protocol::Tcp, "127.0.0.5", port, Phase::Listen));
    assert_eq!(
        World::explicit(11, ends.into()).connect("127.0.0.1", ONE),
        9
    );
}

#[test]
fn reserved_ports_are_nobodys() {
    let mut world = World::new(10, Vec::new());
    let reserved = parse_reserved("40003-40005\n").unwrap();
    let range = Range {
        low: LOW,
        high: LOW + 9,
    };
    world.settings.eligible = Eligible::new(range, &reserved);
    assert_eq!(world.connect("127.0.0.1", ONE), 7);
    assert_eq!((world.bind("127.0.0.1"), world.udp("127.0.0.1")), (7, 7));
    // A socket there is in nobody's way.
    world.sockets = vec![socket(Protocol::Tcp, "127.0.0.1", 40_004, Phase::Listen)];
    assert_eq!(world.connect("127.0.0.1", ONE), 7);
}

#[test]
fn bind_address_no_port_is_a_connect_like_any_other() {
    // The port is taken by connect(), so the bucket is not explicit.
    let world = World::new(10, connections(10, "127.0.0.1", ONE, Phase::Open));
    assert_eq!(world.connect("127.0.0.1", TWO), 10);
}

#[test]
fn a_socket_may_have_a_range_of_its_own() {
    let range = Range {
        low: LOW,
        high: LOW + 9,
    };
    for ((low, high), expected) in [
        ((LOW + 2, LOW + 4), (LOW + 2, LOW + 4)),
        ((LOW + 2, 0), (LOW + 2, LOW + 9)),
        ((0, LOW + 4), (LOW, LOW + 4)),
        ((1, 65_535), (LOW, LOW + 9)),
    ] {
        let narrowed = range.narrowed(low, high);
        assert_eq!((narrowed.low, narrowed.high), expected);
    }
    let world = World::new(10, connections(4, "127.0.0.1", ONE, Phase::Open));
    let narrowed = World {
        settings: world.settings.narrowed(LOW + 2, LOW + 4),
        ..world
    };
    let used = narrowed.pool(|pool| pool.connect_in_range(ip("127.0.0.1"), ip(ONE.0), ONE.1));
    assert_eq!((used.eligible, used.used, used.left), (3, 2, 1));
}

#[test]
fn udp_has_one_level() {
    let world = World::new(7, bound(Protocol::Udp, 7, "127.0.0.1"));
    // connect() and sendto() take the wildcard, whatever the destination.
    assert_eq!(world.udp("0.0.0.0"), 0);
    assert_eq!(world.udp("::"), 0);
    assert_eq!(world.udp("127.0.0.1"), 0);
    assert_eq!(world.udp("127.0.0.9"), 7);
    let only = Local {
        address: ip("::"),
        only_ipv6: true,
    };
    assert_eq!(world.pool(|pool| pool.udp(only).left), 7);
    // TCP's ports are others.
    assert_eq!(world.connect("127.0.0.1", ONE), 7 - 1);
    assert_eq!(world.bind("127.0.0.1"), 7 - 1);
}

#[test]
fn families_share_what_is_blocked_and_what_is_mapped() {
    let six = World::new(7, connections(7, "::1", ("::1", 9000), Phase::Open));
    assert_eq!(six.connect("::1", ("::1", 9000)), 0);
    // 7, less the one that an odd range may lose.
    assert_eq!(six.connect("127.0.0.1", ONE), 6);
    assert_eq!((six.bind("::1"), six.bind("::")), (0, 0));
    assert_eq!(six.bind("127.0.0.1"), 6);
    let mapped = connections(
        7,
        "::ffff:127.0.0.1",
        ("::ffff:127.0.0.1", 9000),
        Phase::Open,
    );
    assert_eq!(World::new(7, mapped).connect("127.0.0.1", ONE), 0);
}

#[test]
fn rows_say_who_has_the_ports() {
    let mut sockets = connections(6, "127.0.0.1", ONE, Phase::Open);
    sockets[5].inode = 0;
    sockets.push(socket(Protocol::Tcp, "::1", LOW + 8, Phase::Listen));
    // Accepted by that listener: no row of its own.
    sockets.push(Socket {
        remote: Some((ip("::1"), 5000)),
        ..socket(Protocol::Tcp, "::1", LOW + 8, Phase::Open)
    });
    sockets.push(socket(Protocol::Tcp, "127.0.0.9", LOW + 9, Phase::Bound));
    sockets.extend(bound(Protocol::Udp, 2, "127.0.0.1"));
    let settings = settings(10);
    let blocked = Blocked::exact([LOW + 8, LOW + 9].into_iter().collect(), &sockets);
    let pool = Pool::new(&settings, &blocked, &sockets);
    let blockers = blockers(&pool);
    let why: Vec<_> = blockers.iter().map(|it| (it.port, it.why)).collect();
    assert_eq!(why, [(LOW + 8, Why::Listener), (LOW + 9, Why::Bound)]);
    let holder = |inode| (inode != 0).then_some(if inode % 2 == 0 { 100 } else { 101 });
    let rows = rows(7, &pool, &blockers, holder);
    let told: Vec<_> = rows
        .iter()
        .map(|row| {
            let owners = row.owners.iter().map(|it| (it.pid, it.count));
            (
                row.kind,
                row.ports.used,
                row.ports.left,
                owners.collect::<Vec<_>>(),
            )
        })
        .collect();
    let connect = Kind::Connect {
        local: ip("127.0.0.1"),
        remote: ip(ONE.0),
        rport: ONE.1,
    };
    let local = |address: &str| Local::from(ip(address));
    let both = vec![(Some(100), 1), (Some(101), 1)];
    assert_eq!(
        told,
        [
            (
                connect,
                8,
                2,
                vec![(Some(100), 4), (Some(101), 3), (None, 1)]
            ),
            (Kind::ConnectAnew, 2, 8, both.clone()),
            (Kind::Bind(local("127.0.0.9")), 1, 9, vec![(Some(101), 1)]),
            (Kind::Udp(local("0.0.0.0")), 2, 8, both.clone()),
            (Kind::Udp(local("127.0.0.1")), 2, 8, both),
        ]
    );
}

#[test]
fn it_is_bad_when_little_is_left_or_soon() {
    let row = |used, eta_seconds| Row {
        netns: 1,
        kind: Kind::ConnectAnew,
        ports: Use {
            eligible: 1000,
            blocked: 0,
            used,
            left: 1000 - used,
        },
        kept: 0,
        signs: Signs::default(),
        eta_seconds,
        owners: Vec::new(),
        complete: true,
    };
    for (used, eta, severity) in [
        (799, None, None),
        (800, None, Some(Severity::Warning)),
        (950, None, Some(Severity::Critical)),
        (1000, None, Some(Severity::Critical)),
        (400, Some(10.0), None),
        (501, Some(899.0), Some(Severity::Warning)),
        (501, Some(901.0), None),
        (501, Some(59.0), Some(Severity::Critical)),
    ] {
        assert_eq!(row(used, eta).severity(), severity, "{used} {eta:?}");
    }
}

/// The loops of the kernel as they stand there, with the random numbers given.
mod kernel {
    use super::Search;

    /// `__inet_hash_connect()`, or `inet_csk_find_open_port()` for the searches of `bind()`.
    pub(super) fn search(
        search: Search,
        (low, high): (u32, u32),
        random: u32,
        free: impl Fn(u16) -> bool,
    ) -> Option<u16> {
        let high = high + 1;
        match search {
            Search::Connect => {
                let span = even(high - low);
                let offset = (random % span) & !1;
                scan(low, high, span, offset, 2, &free).or_else(|| {
                    let more = span > 1;
                    more.then(|| scan(low, high, span, offset + 1, 2, &free))?
                })
            }
            Search::ConnectInRange | Search::Udp => {
                let span = high - low;
                scan(low, high, span, random % span, 1, &free)
            }
            Search::Bind => bind(low, high, random, &free),
            Search::BindReuseAddr if high - low < 4 => bind(low, high, random, &free),
            Search::BindReuseAddr => {
                let half = low + (((high - low) >> 2) << 1);
                bind(low, half, random, &free).or_else(|| bind(half, high, random, &free))
            }
        }
    }

    fn even(span: u32) -> u32 {
        if span > 1 { span & !1 } else { span }
    }

    fn bind(low: u32, high: u32, random: u32, free: &impl Fn(u16) -> bool) -> Option<u16> {
        let span = even(high - low);
        let offset = (random % span) | 1;
        scan(low, high, span, offset, 2, free)
            .or_else(|| scan(low, high, span, offset - 1, 2, free))
    }

    fn scan(
        low: u32,
        high: u32,
        remaining: u32,
        offset: u32,
        step: u32,
        free: &impl Fn(u16) -> bool,
    ) -> Option<u16> {
        let mut port = low + offset;
        for _ in 0..remaining.div_ceil(step) {
            if port >= high {
                port -= remaining;
            }
            let number = u16::try_from(port).unwrap();
            if free(number) {
                return Some(number);
            }
            port += step;
        }
        None
    }
}

proptest! {
    /// As many searches succeed as are left, or one more in an odd range.
    #[test]
    fn what_is_left_is_what_the_kernels_loops_find(
        span in 1_u16..40,
        taken in prop::collection::vec(0_u16..40, 0..30),
        reserved in prop::collection::vec(0_u16..40, 0..6),
        randoms in prop::collection::vec(any::<u32>(), 40),
        which in 0_usize..5,
    ) {
        let search = [
            Search::Connect,
            Search::ConnectInRange,
            Search::Bind,
            Search::BindReuseAddr,
            Search::Udp,
        ][which];
        let reserved: PortSet = reserved.into_iter().map(|port| LOW + port).collect();
        let range = Range { low: LOW, high: LOW + span - 1 };
        let eligible = Eligible::new(range, &reserved);
        let mut taken: PortSet = taken.into_iter().map(|port| LOW + port).collect();
        let used = taken.common(eligible.ports());
        let left = eligible.left(search, used, |port| taken.contains(port));
        let free = eligible.count() - used;
        let mut found = 0;
        for random in randoms {
            let ends = (u32::from(range.low), u32::from(range.high));
            let open = |port| !reserved.contains(port) && !taken.contains(port);
            let Some(port) = kernel::search(search, ends, random, open) else {
                break;
            };
            prop_assert!(taken.insert(port));
            found += 1;
        }
        prop_assert!((left..=free).contains(&found) && free - left <= 1, "{found} of {left}..={free}");
        if span % 2 == 0 {
            prop_assert_eq!(found, left);
        }
    }
}
