//! What is known of the kernel's port searches, number by number: the library says it first, then
//! the kernel does it.

use std::{thread::sleep, time::Duration};

use socktrace::ports::{Local, Why, blockers};

use super::world::{AGAIN, End, IN_USE, NOT_AVAILABLE, Spec, World};

const LOW: u16 = 40_000;

fn one() -> Spec {
    Spec::connect("127.0.0.1", 9000)
}

fn two() -> Spec {
    Spec::connect("127.0.0.1", 9001)
}

#[test]
fn connections_share_ports_with_those_elsewhere_and_bind_does_not() {
    let mut world = World::new(LOW, LOW + 9);
    world.left(&one(), 10);
    assert_eq!(world.make(&one()).error, NOT_AVAILABLE);
    // To another port, another address, and from another address.
    world.could(&two(), 10);
    world.could(&Spec::connect("127.0.0.2", 9000), 10);
    let elsewhere = Spec {
        no_port: true,
        ..one().from("127.0.0.9")
    };
    world.could(&elsewhere, 10);
    // bind() to port 0 minds connections of its address.
    world.could(&Spec::bind("127.0.0.1", 0), 0);
    world.could(&Spec::bind("0.0.0.0", 0), 0);
    world.could(&Spec::bind("::", 0), 0);
    world.could(&Spec::bind("127.0.0.9", 0), 10);
    assert_eq!(world.make(&Spec::bind("0.0.0.0", 0)).error, IN_USE);
    // Neither option changes that.
    for (reuse_addr, reuse_port) in [(true, false), (false, true)] {
        let spec = Spec {
            reuse_addr,
            reuse_port,
            ..Spec::bind("127.0.0.1", 0)
        };
        world.could(&spec, 0);
    }
}

#[test]
fn a_listener_elsewhere_takes_its_port_from_every_connect() {
    for address in ["127.0.0.5", "::1", "0.0.0.0"] {
        let mut world = World::new(LOW, LOW + 9);
        world.make(&Spec::listen(address, LOW + 4));
        let seen = world.see();
        let blockers = blockers(&seen.pool());
        assert_eq!(blockers.len(), 1);
        assert_eq!(
            (blockers[0].port, blockers[0].why),
            (LOW + 4, Why::Listener)
        );
        world.could(&one(), 9);
        world.could(&two(), 9);
        world.could(&Spec::connect("::1", 9000), 9);
        world.could(&Spec::connect("::ffff:127.0.0.1", 9000), 9);
    }
}

#[test]
fn what_a_listener_accepted_blocks_its_port_too() {
    let mut world = World::new(LOW, LOW + 9);
    world.make(&Spec::listen("127.0.0.5", LOW + 4));
    world.make(&Spec::connect("127.0.0.5", LOW + 4).times(2));
    // The two are connections elsewhere.
    world.could(&one(), 9);
    world.could(&Spec::connect("127.0.0.5", LOW + 4), 7);
}

#[test]
fn bound_sockets_block_all_destinations() {
    // Not connected, on another address.
    let mut world = World::new(LOW, LOW + 9);
    world.left(&Spec::bind("127.0.0.9", 0), 10);
    world.could(&one(), 0);
    world.could(&Spec::connect("::1", 9000), 0);
    world.could(&Spec::bind("127.0.0.1", 0), 10);
    world.reset();
    // Connected.
    world.left(&one().from("127.0.0.1"), 10);
    world.could(&two(), 0);
    world.could(&two().from("127.0.0.1"), 0);
    world.reset();
    // On ports of their choice.
    for port in [LOW, LOW + 3] {
        world.make(&Spec::bind("127.0.0.1", port));
    }
    world.could(&one(), 8);
}

#[test]
fn when_the_last_bound_socket_is_gone_connections_share_again() {
    let mut world = World::new(LOW, LOW + 9);
    world.left(&one(), 10);
    let bound: Vec<_> = (LOW..LOW + 10)
        .map(|port| Spec::bind("127.0.0.9", port))
        .collect();
    assert!(bound.iter().all(|spec| world.make(spec).count == 1));
    world.could(&two(), 0);
    // They go, the connections with them: only what is made anew is there.
    world.reset();
    world.left(&one(), 10);
    // Binds and unbinds each.
    assert!(bound.iter().all(|spec| world.try_out(spec).count == 1));
    let recovers = socktrace::probe::offsets::read().unwrap().buckets_recover;
    world.could(&two(), if recovers { 10 } else { 0 });
}

#[test]
fn bind_address_no_port_blocks_nothing() {
    let no_port = |spec: Spec| Spec {
        no_port: true,
        ..spec.from("127.0.0.1")
    };
    let mut world = World::new(LOW, LOW + 9);
    world.left(&no_port(one()), 10);
    world.could(&no_port(two()), 10);
    world.could(&two(), 10);
}

#[test]
fn time_wait_is_reused_by_age_and_timestamps() {
    for (mode, timestamps, delay_ms, address, left) in [
        (1, 1, 1000, "127.0.0.1", 10),
        (2, 1, 1000, "127.0.0.1", 10),
        (2, 1, 1000, "10.99.0.1", 0),
        (1, 1, 1000, "10.99.0.1", 10),
        (1, 0, 1000, "127.0.0.1", 0),
        (0, 1, 1000, "127.0.0.1", 0),
        (1, 1, 30_000, "127.0.0.1", 0),
    ] {
        let mut world = World::new(LOW, LOW + 9);
        world.sysctl("tcp_tw_reuse", mode);
        world.sysctl("tcp_timestamps", timestamps);
        world.sysctl("tcp_tw_reuse_delay", delay_ms);
        let same = Spec::connect(address, 9000);
        world.left(&same.clone().end(End::TimeWait), 10);
        // Turned on afterwards it changes nothing: those that are there carried none.
        world.sysctl("tcp_timestamps", 1);
        // Too young; the second has hardly begun.
        world.could(&same, 0);
        // Others are not hindered, bind() is.
        world.could(&Spec::connect(address, 9001), 10);
        world.could(&Spec::bind(address, 0), 0);
        sleep(Duration::from_millis(1100));
        world.left(&same, left);
    }
}

#[test]
fn time_wait_of_what_was_bound_blocks_and_other_states_hold_their_port() {
    let mut world = World::new(LOW, LOW + 9);
    world.sysctl("tcp_tw_reuse_delay", 1);
    world.left(&one().from("127.0.0.1").end(End::TimeWait), 10);
    world.could(&two(), 0);
    world.range(LOW + 100, LOW + 109);
    for (end, count) in [(End::CloseWait, 4), (End::FinWait2, 3)] {
        world.make(&one().end(end).times(count));
    }
    sleep(Duration::from_millis(50));
    // Though one may be taken over in TIME_WAIT, these may not.
    world.could(&one(), 3);
    world.could(&two(), 10);
}

#[test]
fn an_odd_range_may_lose_a_port() {
    let mut world = World::new(LOW, LOW + 10);
    for spec in [one(), Spec::bind("127.0.0.1", 0)] {
        assert_eq!(world.predict(&spec).left, 10);
        let made = world.make(&spec).count;
        assert!((10..=11).contains(&made), "{made}");
        world.reset();
    }
    world.could(&Spec::bind("127.0.0.1", 0).udp(), 11);
    let range = Some((LOW, LOW + 10));
    world.could(&Spec { range, ..one() }, 11);
    // Both ends taken: nothing to be missed.
    world.make(&Spec::bind("127.0.0.5", LOW));
    world.make(&Spec::bind("127.0.0.5", LOW + 10));
    world.could(&one(), 9);
}

#[test]
fn a_socket_may_have_a_range_of_its_own() {
    let mut world = World::new(LOW, LOW + 9);
    let within = |low, high, spec: Spec| Spec {
        range: Some((low, high)),
        ..spec
    };
    world.could(&within(LOW + 2, LOW + 6, one()), 5);
    world.could(&within(LOW + 2, 0, one()), 8);
    // A bound outside of the namespace's range does not count.
    world.could(&within(1, LOW + 4, one()), 5);
    world.left(&within(LOW + 2, LOW + 6, one()), 5);
    world.could(&within(LOW + 2, LOW + 6, two()), 5);
    world.could(&one(), 5);
}

#[test]
fn reserved_ports_are_nobodys() {
    let mut world = World::new(LOW, LOW + 9);
    world.sysctl("ip_local_reserved_ports", "40003-40005");
    world.could(&one(), 7);
    world.could(&Spec::bind("127.0.0.1", 0), 7);
    world.could(&Spec::bind("127.0.0.1", 0).udp(), 7);
}

#[test]
fn udp_has_one_level() {
    let mut world = World::new(LOW, LOW + 6);
    let connect = |port| Spec::connect("127.0.0.1", port).udp();
    world.left(&connect(5000), 7);
    assert_eq!(world.make(&connect(5000)).error, AGAIN);
    world.could(&connect(5001), 0);
    let send = Spec {
        send: true,
        ..connect(5001)
    };
    world.could(&send, 0);
    assert_eq!(world.make(&send).error, AGAIN);
    world.could(&Spec::bind("127.0.0.9", 0).udp(), 7);
    world.could(&Spec::bind("0.0.0.0", 0).udp(), 0);
    let six = Spec::connect("::1", 5001).udp();
    world.could(&six, 0);
    let only_six = true;
    world.could(&Spec { only_six, ..six }, 7);
    world.reset();
    // Who asks for it shares: capacity has no bound, and what is used is more than it minds.
    let reuse_port = true;
    let sharing = Spec {
        reuse_port,
        ..connect(5000).times(50)
    };
    assert_eq!(world.make(&sharing).count, 50);
    assert_eq!(world.predict(&connect(5000)).used, 7);
}

#[test]
fn families_share_what_is_mapped_and_what_is_blocked() {
    // An even range: 8 where the others have 7.
    let mut world = World::new(LOW, LOW + 7);
    let six = Spec::connect("::1", 9000);
    world.left(&six, 8);
    world.could(&one(), 8);
    world.could(&Spec::bind("::1", 0), 0);
    world.could(&Spec::bind("::", 0), 0);
    world.could(&Spec::bind("127.0.0.1", 0), 8);
    // They would take IPv4 traffic, had they not connected.
    world.could(&Spec::bind("0.0.0.0", 0), 0);
    world.reset();
    world.left(&Spec::connect("::ffff:127.0.0.1", 9000), 8);
    world.could(&one(), 0);
    world.could(&two(), 8);
    world.reset();
    world.left(&Spec::bind("::1", 0), 8);
    world.could(&Spec::bind("0.0.0.0", 0), 8);
    world.could(&one(), 0);
}

#[test]
fn without_the_buckets_what_is_explicit_is_estimated_and_said_to_be() {
    let mut world = World::new(LOW, LOW + 9);
    world.buckets = None;
    // Where bind() to port 0 does not choose them.
    world.make(&Spec::listen("127.0.0.1", LOW + 4));
    world.make(&Spec::bind("127.0.0.1", LOW + 5));
    let seen = world.see();
    assert!(!seen.blocked.exact);
    assert_eq!(seen.pool().connect_anew().left, 8);
    world.could(&one(), 8);
    // This is what it misses.
    world.make(&one().from("127.0.0.1").times(3));
    assert_eq!(world.predict(&two()).left, 8);
    assert_eq!(world.try_out(&two()).count, 5);
    let local = Local::from("127.0.0.1".parse::<std::net::IpAddr>().unwrap());
    assert_eq!(world.see().pool().bind(local).left, 5);
}
