//! A day of traffic that is well, on accelerated time: nothing above `info` may be said. And the
//! same traffic with a leak under it: that must be found.

#![allow(clippy::unwrap_used, reason = "it is all tests")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seconds are drawn as fractions"
)]

use std::f64::consts::TAU;

use socktrace::{
    change::Role,
    detect::{
        Finding, Group, Key, Kind, Lifetimes, Member, Severity, What, World, all,
        settings::Settings,
    },
    endpoint::Endpoint,
    source::snapshot::Protocol,
    table::Opened,
};
use socktrace_common::socket::TcpState;

const MINUTE: f64 = 60.0;
const HOUR: f64 = 3600.0;

/// Numbers that are as random as need be, and the same in every run (`splitmix64`).
struct Random(u64);

impl Random {
    /// From 0, not including it, to 1.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ bits >> 31) >> 11) as f64 / (1_u64 << 53) as f64 + f64::EPSILON
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -self.unit().ln() * mean
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (TAU * self.unit()).cos()
    }
}

/// How traffic comes and how long it stays, seconds.
struct Traffic {
    name: &'static str,
    /// Connections a second at this time.
    rate: fn(f64) -> f64,
    lifetime: fn(&mut Random) -> f64,
    /// Connections talk all the time, and that is known.
    talks: bool,
}

const WELL: [Traffic; 7] = [
    Traffic {
        name: "short requests",
        rate: |_| 1.0,
        lifetime: |random| random.exponential(10.0),
        talks: false,
    },
    Traffic {
        name: "a daily wave",
        rate: |now| 0.5 + 0.4 * (now / (24.0 * HOUR) * TAU).sin(),
        lifetime: |random| random.exponential(60.0),
        talks: false,
    },
    Traffic {
        name: "half an hour each",
        rate: |_| 0.05,
        lifetime: |random| random.exponential(30.0 * MINUTE),
        talks: false,
    },
    Traffic {
        name: "log-normal",
        rate: |_| 0.5,
        lifetime: |random| (2.0 + 1.5 * random.normal()).exp(),
        talks: false,
    },
    Traffic {
        name: "Pareto",
        rate: |_| 0.5,
        lifetime: |random| 5.0 * random.unit().powf(-1.0 / 1.2),
        talks: false,
    },
    Traffic {
        name: "a pool that is recycled",
        rate: |_| 100.0 / (30.0 * MINUTE),
        lifetime: |random| 30.0 * MINUTE * (0.9 + 0.2 * random.unit()),
        talks: false,
    },
    Traffic {
        name: "websockets among requests",
        rate: |_| 1.0,
        lifetime: |random| {
            let mean = if random.unit() < 0.01 {
                2.0 * HOUR
            } else {
                10.0
            };
            random.exponential(mean)
        },
        talks: true,
    },
];

fn ns(seconds: f64) -> u64 {
    // A day in, so that no time lies before the clock began.
    ((seconds + 24.0 * HOUR) * 1e9) as u64
}

fn key() -> Key {
    Key {
        netns: 1,
        pid: 7,
        proto: Protocol::Tcp,
        role: Role::Client,
        remote: Endpoint {
            address: Some([10, 0, 0, 1].into()),
            port: Some(443),
        },
        lport: None,
    }
}

/// Runs a day of it, with a leak of so many an hour, until something above `info` is said; when
/// that was, in minutes, and what.
fn day(traffic: &Traffic, leak_an_hour: f64, seed: u64) -> Option<(u32, Finding)> {
    let mut random = Random(seed);
    let mut detectors = all(&Settings::default());
    let mut lifetimes = Lifetimes::default();
    let mut open: Vec<(f64, f64)> = Vec::new();
    let mut leaked = Vec::new();
    for minute in 1..=24 * 60 {
        let (begin, now) = (f64::from(minute - 1) * MINUTE, f64::from(minute) * MINUTE);
        let mut at = begin + random.exponential(1.0 / (traffic.rate)(begin));
        while at < now {
            open.push((at, at + (traffic.lifetime)(&mut random)));
            at += random.exponential(1.0 / (traffic.rate)(at));
        }
        open.retain(|&(born, end)| {
            if end < now {
                lifetimes.ended(key(), ns(end), ns(end) - ns(born));
            }
            end >= now
        });
        while leak_an_hour > 0.0 && leaked.len() as f64 * HOUR / leak_an_hour < now {
            leaked.push(leaked.len() as f64 * HOUR / leak_an_hour);
        }
        let idle = |born: f64| if traffic.talks { now - 20.0 } else { born };
        let alive = open.iter().map(|&(born, _)| member(born, idle(born)));
        let forgotten = leaked.iter().map(|&born| member(born, born));
        let world = World {
            now_ns: ns(now),
            groups: vec![Group {
                key: key(),
                owner: None,
                members: alive.chain(forgotten).collect(),
                usual_ns: lifetimes.usual_ns(&key(), ns(now)),
            }],
            ..World::default()
        };
        let mut found = Vec::new();
        for detector in &mut detectors {
            detector.look(&world, &mut found);
        }
        if let Some(bad) = found.into_iter().find(|it| it.severity > Severity::Info) {
            return Some((minute, bad));
        }
    }
    None
}

fn member(born: f64, idle_since: f64) -> Member {
    Member {
        cookie: 1,
        what: What::Held(TcpState::Established),
        born_ns: ns(born),
        since_ns: ns(born),
        idle_since_ns: Some(ns(idle_since)),
        sent_ns: None,
        recv_queue: 0,
        send_queue: 0,
        complete: true,
        opened: Opened::default(),
    }
}

#[test]
fn a_day_that_is_well_raises_nothing() {
    for traffic in &WELL {
        for seed in 1..=5 {
            let said = day(traffic, 0.0, seed);
            assert!(said.is_none(), "{}, {seed}: {said:?}", traffic.name);
        }
    }
}

#[test]
fn leaks_of_12_and_of_60_an_hour_are_found_within_95_minutes() {
    for traffic in [&WELL[0], &WELL[1]] {
        for leak in [12.0, 60.0] {
            for seed in 1..=5 {
                let (minute, finding) = day(traffic, leak, seed).unwrap();
                assert_eq!(finding.kind, Kind::IdleGrowth);
                let what = format!("{}, {leak} an hour, {seed}: {minute}", traffic.name);
                assert!((60..=95).contains(&minute), "{what}");
            }
        }
    }
}
