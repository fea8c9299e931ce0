//! A namespace with a small range, a process that makes sockets there, and what the library sees.

use std::fmt::Display;

use serde::Serialize;
use serde_json::{Value, json};
use socktrace::{
    ports::{Local, Release, Seen, Socket, Use},
    probe::offsets,
    source::snapshot::{Buckets, Namespaces, look_at_ports},
};

use crate::support::{Dialogue, Netns};

/// Makes sockets; its comment says how it is told.
const HELPER: &str = include_str!("helper.py");

/// `EADDRNOTAVAIL`, what `connect()` says when no port is left.
pub(super) const NOT_AVAILABLE: i64 = 99;
/// `EADDRINUSE`, what `bind()` says.
pub(super) const IN_USE: i64 = 98;
/// `EAGAIN`, what UDP's `connect()` and `sendto()` say.
pub(super) const AGAIN: i64 = 11;

/// A kind of socket, as the helper reads it.
#[derive(Clone, Debug, Default, Serialize)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is an option of sockets"
)]
pub(super) struct Spec {
    pub(super) udp: bool,
    pub(super) six: bool,
    pub(super) reuse_addr: bool,
    pub(super) reuse_port: bool,
    pub(super) only_six: bool,
    /// `IP_BIND_ADDRESS_NO_PORT`.
    pub(super) no_port: bool,
    /// `IP_LOCAL_PORT_RANGE`.
    pub(super) range: Option<(u16, u16)>,
    pub(super) bind: Option<(String, u16)>,
    pub(super) listen: bool,
    pub(super) connect: Option<(String, u16)>,
    /// `sendto()` instead of `connect()`.
    pub(super) send: bool,
    pub(super) end: End,
    /// At most so many.
    pub(super) count: u16,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum End {
    #[default]
    Open,
    TimeWait,
    CloseWait,
    FinWait2,
}

impl Spec {
    /// `connect()`; IPv6 by the address.
    pub(super) fn connect(address: &str, port: u16) -> Self {
        Self {
            six: address.contains(':'),
            connect: Some((address.to_owned(), port)),
            count: 100,
            ..Self::default()
        }
    }

    /// `bind()`.
    pub(super) fn bind(address: &str, port: u16) -> Self {
        Self {
            six: address.contains(':'),
            bind: Some((address.to_owned(), port)),
            count: if port == 0 { 100 } else { 1 },
            ..Self::default()
        }
    }

    /// A listener.
    pub(super) fn listen(address: &str, port: u16) -> Self {
        Self {
            listen: true,
            ..Self::bind(address, port)
        }
    }

    pub(super) fn udp(self) -> Self {
        Self { udp: true, ..self }
    }

    /// Bound to an address before it connects.
    pub(super) fn from(self, address: &str) -> Self {
        Self {
            bind: Some((address.to_owned(), 0)),
            ..self
        }
    }

    pub(super) fn times(self, count: u16) -> Self {
        Self { count, ..self }
    }

    pub(super) fn end(self, end: End) -> Self {
        Self { end, ..self }
    }
}

/// How many could be made, and why no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) count: u32,
    /// 0 if all that were asked for.
    pub(super) error: i64,
}

pub(super) struct World {
    helper: Dialogue,
    namespaces: Namespaces,
    /// `None`: as where the kernel's buckets cannot be read.
    pub(super) buckets: Option<Buckets>,
    inum: u32,
    /// For as long as the rest.
    _netns: Netns,
}

impl World {
    /// With the ports of `range`, IPv6, and addresses of loopback and beyond it.
    pub(super) fn new(low: u16, high: u16) -> Self {
        let netns = Netns::new();
        netns.sh("ip addr add 10.99.0.1/32 dev lo");
        let mut command = netns.command("python3");
        command.args(["-c", HELPER]);
        let mut namespaces = Namespaces::new();
        namespaces.refresh([]).unwrap();
        let mut world = Self {
            helper: Dialogue::start(command),
            namespaces,
            buckets: Some(Buckets::new(&offsets::read().unwrap()).unwrap()),
            inum: netns.number(),
            _netns: netns,
        };
        world.range(low, high);
        world
    }

    fn tell(&mut self, told: &Value) -> Value {
        self.helper.say(&told.to_string());
        serde_json::from_str(&self.helper.hear("")).unwrap()
    }

    /// Writes a setting, from inside.
    pub(super) fn sysctl(&mut self, name: &str, value: impl Display) {
        self.tell(&json!({"sysctl": name, "value": value.to_string()}));
    }

    pub(super) fn range(&mut self, low: u16, high: u16) {
        self.sysctl("ip_local_port_range", format!("{low} {high}"));
    }

    pub(super) fn make(&mut self, spec: &Spec) -> Made {
        let made = self.tell(&serde_json::to_value(spec).unwrap());
        Made {
            count: u32::try_from(made["made"].as_u64().unwrap()).unwrap(),
            error: made["error"].as_i64().unwrap(),
        }
    }

    /// Closes everything, in a way that leaves nothing behind.
    pub(super) fn reset(&mut self) {
        self.tell(&json!({"reset": true}));
    }

    /// What the library sees.
    pub(super) fn see(&mut self) -> Seen {
        let own = self.inum;
        let buckets = self.buckets.as_mut();
        let looks = look_at_ports(&mut self.namespaces, buckets, |it| it == own, Socket::of);
        let [(_, look)] = <[_; 1]>::try_from(looks.unwrap()).unwrap();
        let seen = Seen::new(look.unwrap(), None, Release::LastExplicit).unwrap();
        assert!(seen.whole);
        seen
    }

    /// What the library says is left for such a socket.
    pub(super) fn predict(&mut self, spec: &Spec) -> Use {
        ask(&self.see(), spec)
    }

    /// Asserts that so many can be made: by the library, which is asked first, and by the kernel,
    /// which then makes them.
    #[track_caller]
    pub(super) fn left(&mut self, spec: &Spec, expected: u32) {
        let predicted = self.predict(spec);
        let made = self.make(spec);
        assert_eq!(
            (predicted.left, made.count),
            (expected, expected),
            "{spec:?} {predicted:?}"
        );
    }

    /// The same for sockets that are closed again at once.
    #[track_caller]
    pub(super) fn could(&mut self, spec: &Spec, expected: u32) {
        let predicted = self.predict(spec);
        let count = format!("{spec:?} {predicted:?}");
        assert_eq!(predicted.left, expected, "{count}");
        let made = self.try_out(spec);
        assert_eq!(made.count, expected, "{count}");
    }

    /// Makes sockets and takes only those away again.
    pub(super) fn try_out(&mut self, spec: &Spec) -> Made {
        let mut told = serde_json::to_value(spec).unwrap();
        told["try"] = json!(true);
        let made = self.tell(&told);
        Made {
            count: u32::try_from(made["made"].as_u64().unwrap()).unwrap(),
            error: made["error"].as_i64().unwrap(),
        }
    }
}

/// The library's answer for a kind of socket.
pub(super) fn ask(seen: &Seen, spec: &Spec) -> Use {
    let ip = |text: &str| text.parse::<std::net::IpAddr>().unwrap().to_canonical();
    let pool = seen.pool();
    let wildcard = if spec.six { "::" } else { "0.0.0.0" };
    let local = || Local {
        only_ipv6: spec.only_six || Local::from(ip(bound(spec).unwrap_or(wildcard))).only_ipv6,
        ..Local::from(ip(bound(spec).unwrap_or(wildcard)))
    };
    match &spec.connect {
        _ if spec.udp => pool.udp(local()),
        Some(_) if spec.bind.is_some() && !spec.no_port => pool.bind(local()),
        Some((address, port)) => {
            let remote = ip(address);
            // What the kernel chooses where none is bound.
            let source = match bound(spec) {
                Some(address) => ip(address),
                None if remote.is_loopback() && remote.is_ipv4() => ip("127.0.0.1"),
                None => remote,
            };
            match spec.range {
                None => pool.connect(source, remote, *port),
                Some((low, high)) => {
                    let narrowed = Seen {
                        settings: seen.settings.narrowed(low, high),
                        ..seen.clone()
                    };
                    narrowed.pool().connect_in_range(source, remote, *port)
                }
            }
        }
        None if spec.reuse_addr => pool.bind_reusing(local()),
        None => pool.bind(local()),
    }
}

fn bound(spec: &Spec) -> Option<&str> {
    spec.bind.as_ref().map(|(address, _)| &**address)
}
