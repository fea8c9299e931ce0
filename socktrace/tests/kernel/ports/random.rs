//! Random situations: as many sockets can be made as the library says are left.

use std::{thread::sleep, time::Duration};

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use socktrace::ports::Use;

use super::world::{AGAIN, End, IN_USE, NOT_AVAILABLE, Spec, World, ask};

/// Each situation has ports of its own, so that what an earlier one left in `TIME_WAIT` is in
/// nobody's way.
const STEP: u16 = 50;
const FIRST: u16 = 12_000;
const LAST: u16 = 60_000;

/// A situation: its settings, the sockets that are there, and those that are then asked about.
#[derive(Clone, Debug)]
struct Situation {
    /// The range begins so far after the first of its ports, and has so many.
    shift: u16,
    span: u16,
    /// Reserved ports, counted from the first.
    reserved: Vec<u16>,
    tw_reuse: u8,
    /// Every connection in `TIME_WAIT` is old enough to be taken over, or none.
    old: bool,
    sockets: Vec<Kind>,
    asked: Kind,
}

/// A kind of socket; ports count from the first of the situation.
#[derive(Clone, Debug)]
struct Kind {
    spec: Spec,
    port: u16,
    range: Option<(u16, u16)>,
}

impl Kind {
    fn at(&self, first: u16) -> Spec {
        let mut spec = self.spec.clone();
        if let Some((_, port)) = &mut spec.bind
            && *port != 0
        {
            *port = first + self.port;
        }
        spec.range = self
            .range
            .map(|(low, count)| (first + low, first + low + count));
        spec
    }
}

fn plain(spec: Spec) -> Kind {
    Kind {
        spec,
        port: 0,
        range: None,
    }
}

fn addresses() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "127.0.0.1",
        "127.0.0.9",
        "0.0.0.0",
        "::1",
        "::",
        "10.99.0.1",
    ])
}

fn destinations() -> impl Strategy<Value = Spec> {
    let addresses = [
        "127.0.0.1",
        "127.0.0.2",
        "10.99.0.1",
        "::1",
        "::ffff:127.0.0.1",
    ];
    (prop::sample::select(addresses.to_vec()), 9000_u16..=9001)
        .prop_map(|(address, port)| Spec::connect(address, port))
}

/// `connect()`, of sockets that were never bound, that chose an address, or that have a range.
fn connects() -> impl Strategy<Value = Kind> {
    let range = prop::option::weighted(0.2, (0_u16..20, 0_u16..20));
    (destinations(), 0_u8..4, range).prop_map(|(spec, source, range)| {
        let four = !spec.six;
        Kind {
            range: range.filter(|_| four),
            spec: match source {
                0 if four => Spec {
                    no_port: true,
                    ..spec.from("127.0.0.1")
                },
                _ => spec,
            },
            port: 0,
        }
    })
}

/// `bind()` to port 0.
fn binds() -> impl Strategy<Value = Kind> {
    (addresses(), any::<(bool, bool, bool)>()).prop_map(
        |(address, (reuse_addr, reuse_port, only_six))| {
            plain(Spec {
                reuse_addr,
                reuse_port,
                only_six: only_six && address == "::",
                ..Spec::bind(address, 0)
            })
        },
    )
}

fn udp() -> impl Strategy<Value = Kind> {
    let connects = (destinations(), any::<bool>()).prop_map(|(spec, send)| {
        // A v4-mapped destination makes an IPv6 socket one of IPv4 in the end.
        plain(Spec { send, ..spec.udp() })
    });
    let binds = (addresses(), any::<bool>()).prop_map(|(address, only_six)| {
        plain(Spec {
            only_six: only_six && address == "::",
            ..Spec::bind(address, 0).udp()
        })
    });
    prop_oneof![connects, binds]
}

/// What takes ports.
fn sockets() -> impl Strategy<Value = Kind> {
    let ends = prop::sample::select(vec![
        End::Open,
        End::Open,
        End::TimeWait,
        End::CloseWait,
        End::FinWait2,
    ]);
    let connect = (connects(), ends.clone(), 1_u16..15).prop_map(|(mut kind, end, count)| {
        kind.spec = kind.spec.end(end).times(count);
        kind
    });
    // Bound first. Not of IPv6: what the kernel then notes is in no list.
    let four = destinations().prop_filter("IPv4", |spec| !spec.six);
    let bound = (four, ends, 1_u16..6).prop_map(|(spec, end, count)| {
        let source = match &spec.connect {
            Some((address, _)) if address == "10.99.0.1" => "10.99.0.1",
            _ => "127.0.0.1",
        };
        plain(spec.from(source).end(end).times(count))
    });
    let bind = (binds(), 1_u16..6).prop_map(|(kind, count)| plain(kind.spec.times(count)));
    let port = (addresses(), 0_u16..40, any::<(bool, bool)>()).prop_map(
        |(address, port, (listen, reuse_addr))| Kind {
            spec: Spec {
                reuse_addr,
                listen,
                ..Spec::bind(address, 1)
            },
            port,
            range: None,
        },
    );
    let udp = (udp(), 1_u16..8).prop_map(|(kind, count)| plain(kind.spec.times(count)));
    prop_oneof![4 => connect, 2 => bound, 2 => bind, 2 => port, 2 => udp]
}

/// What is asked about: something of its own, or more of what is there, where it is most in the way.
fn asked(sockets: &[Kind], own: Kind, more: Option<prop::sample::Index>) -> Kind {
    let Some(mut kind) = more
        .filter(|_| !sockets.is_empty())
        .map(|index| index.get(sockets).clone())
    else {
        return own;
    };
    if let Some((_, port)) = &mut kind.spec.bind {
        *port = 0;
    }
    kind.spec = Spec {
        listen: false,
        ..kind.spec.end(End::Open).times(100)
    };
    kind
}

fn situations() -> impl Strategy<Value = Situation> {
    let own = prop_oneof![4 => connects(), 2 => binds(), 2 => udp()];
    let more = prop::option::of(any::<prop::sample::Index>());
    (
        (0_u16..2, 1_u16..=40),
        prop::collection::vec(0_u16..42, 0..4),
        (0_u8..3, any::<bool>()),
        prop::collection::vec(sockets(), 0..8),
        (own, more),
    )
        .prop_map(
            |((shift, span), reserved, (tw_reuse, old), sockets, (own, more))| Situation {
                shift,
                span,
                reserved,
                tw_reuse,
                old,
                asked: asked(&sockets, own, more),
                sockets,
            },
        )
}

/// The error that says that no port is left.
fn exhausted(spec: &Spec) -> i64 {
    match (&spec.connect, spec.udp) {
        (Some(_), true) => AGAIN,
        (Some(_), false) if spec.bind.is_none() || spec.no_port => NOT_AVAILABLE,
        // bind() fails before there is a connect().
        (Some(_), false) | (None, _) => IN_USE,
    }
}

/// May a search of this kind miss the end of an odd range?
fn may_miss(spec: &Spec) -> bool {
    !spec.udp && spec.range.is_none()
}

fn check(world: &mut World, first: u16, situation: &Situation) -> Result<(), TestCaseError> {
    world.reset();
    let low = first + situation.shift;
    world.range(low, low + situation.span - 1);
    let reserved: Vec<_> = situation
        .reserved
        .iter()
        .map(|port| (first + port).to_string())
        .collect();
    world.sysctl("ip_local_reserved_ports", reserved.join(","));
    world.sysctl("tcp_tw_reuse", situation.tw_reuse);
    let delay_ms = if situation.old { 1 } else { 60_000 };
    world.sysctl("tcp_tw_reuse_delay", delay_ms);
    for kind in &situation.sockets {
        world.make(&kind.at(first));
    }
    if situation
        .sockets
        .iter()
        .any(|it| it.spec.end == End::TimeWait)
    {
        // Older than the delay, if that is a millisecond, by some ticks of the clock.
        sleep(Duration::from_millis(25));
    }
    let asked = situation.asked.at(first);
    let seen = world.see();
    prop_assert!(seen.whole && seen.blocked.exact);
    let Use {
        eligible,
        used,
        left,
        ..
    } = ask(&seen, &asked);
    let made = world.make(&asked);
    let free = eligible - used;
    let told = format!("left {left}, free {free}, made {made:?}, asked {asked:?}");
    if may_miss(&asked) && situation.span % 2 == 1 {
        prop_assert!(
            left <= made.count && made.count <= free.min(left + 1),
            "{told}"
        );
    } else {
        prop_assert_eq!(made.count, left, "{}", told);
    }
    prop_assert_eq!(made.error, exhausted(&asked), "{}", told);
    Ok(())
}

/// Runs so many situations; all connections carry timestamps, or none does.
fn run(cases: u32, timestamps: u8) {
    let mut world = World::new(FIRST, FIRST + 9);
    world.sysctl("tcp_timestamps", timestamps);
    let world = std::cell::RefCell::new(world);
    let next = std::cell::Cell::new(FIRST);
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 300,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&situations(), |situation| {
        let first = next.get();
        next.set(if first + 2 * STEP > LAST {
            FIRST
        } else {
            first + STEP
        });
        check(&mut world.borrow_mut(), first, &situation)
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn in_random_situations_as_many_sockets_can_be_made_as_are_left() {
    run(800, 1);
}

#[test]
fn in_random_situations_without_timestamps_too() {
    run(200, 0);
}
