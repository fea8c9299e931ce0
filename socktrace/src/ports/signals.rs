//! What connections tell of ports that run out, before none is left.
//!
//! `connect()` takes ports of one parity while it finds any, that of the range's low end, and then those
//! of the other (`__inet_hash_connect()`). So a port of the second parity says that half is gone. From
//! there on each call walks that half in vain before it finds one, and takes longer.

use std::{collections::VecDeque, net::IpAddr};

use hashbrown::HashMap;

use super::Eligible;
use crate::errno::EADDRNOTAVAIL;

/// So many of the last ports, and latencies for each parity, are kept of a destination.
const LAST: u32 = u32::BITS;
/// Fewer latencies say nothing.
const LEAST: usize = 8;
/// At most so many destinations.
const DESTINATIONS: usize = 4096;
/// Those that nobody connected to for so long are forgotten: nanoseconds.
const FORGOTTEN_NS: u64 = 600_000_000_000;
/// Room is not looked for again before so long has passed: nanoseconds. Whoever connects to everybody
/// would have all destinations looked through for each connection.
const LOOK_EVERY_NS: u64 = 10_000_000_000;

/// A namespace, an address, and a port there.
pub type Destination = (u32, IpAddr, u16);

/// The outcome of a `connect()`.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// When it was known, nanoseconds.
    pub at_ns: u64,
    /// The port that it has.
    pub port: Option<u16>,
    /// Positive errno.
    pub error: Option<i32>,
    /// How long it took, nanoseconds.
    pub latency_ns: Option<u64>,
}

/// What the outcomes of one destination say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// Of the last 32 ports, how many have the parity that is tried second.
    pub second_parity: u32,
    /// How many times as long a connection takes with one of these, by the medians.
    pub times_slower: Option<u32>,
    /// How many calls found no port, since we look.
    pub refused: u32,
}

/// What is remembered of outcomes.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    heard: HashMap<Destination, Heard>,
    /// When room was looked for last.
    looked_ns: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct Heard {
    last_ns: u64,
    /// Which of the last ports were odd: a bit for each, that of the last one at the low end.
    odd: u32,
    /// How many ports that is of, at most [`LAST`].
    ports: u32,
    refused: u32,
    /// The last latencies with even and with odd ports.
    latencies: [VecDeque<u64>; 2],
}

impl Signals {
    /// Takes an outcome in.
    pub fn hear(&mut self, to: Destination, outcome: Outcome) {
        if self.heard.len() >= DESTINATIONS && !self.heard.contains_key(&to) {
            let now = outcome.at_ns;
            let looked = self.looked_ns.map(|looked| now.saturating_sub(looked));
            if looked.is_none_or(|ago| ago >= LOOK_EVERY_NS) {
                self.looked_ns = Some(now);
                self.heard
                    .retain(|_, it| now.saturating_sub(it.last_ns) < FORGOTTEN_NS);
            }
            if self.heard.len() >= DESTINATIONS {
                return;
            }
        }
        let heard = self.heard.entry(to).or_default();
        heard.last_ns = outcome.at_ns;
        match (outcome.error, outcome.port) {
            (Some(EADDRNOTAVAIL), _) => heard.refused = heard.refused.saturating_add(1),
            (None, Some(port)) => {
                let odd = port % 2 == 1;
                heard.odd = heard.odd << 1 | u32::from(odd);
                heard.ports = LAST.min(heard.ports + 1);
                if let Some(latency) = outcome.latency_ns {
                    keep(&mut heard.latencies[usize::from(odd)], latency);
                }
            }
            _ => {}
        }
    }

    /// What a destination's outcomes say where these ports are eligible.
    pub fn of(&self, to: Destination, eligible: &Eligible) -> Signs {
        let Some(heard) = self.heard.get(&to) else {
            return Signs::default();
        };
        let second = !eligible.prefers_odd();
        let odd = heard.odd.count_ones();
        let [first, then] = [!second, second].map(|odd| &heard.latencies[usize::from(odd)]);
        let times = median(first).zip(median(then));
        Signs {
            second_parity: if second { odd } else { heard.ports - odd },
            times_slower: times
                .map(|(first, then)| u32::try_from(then / first.max(1)).unwrap_or(u32::MAX)),
            refused: heard.refused,
        }
    }
}

fn keep(last: &mut VecDeque<u64>, value: u64) {
    if last.len() == LAST as usize {
        last.pop_front();
    }
    last.push_back(value);
}

fn median(latencies: &VecDeque<u64>) -> Option<u64> {
    if latencies.len() < LEAST {
        return None;
    }
    let mut sorted: Vec<_> = latencies.iter().copied().collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::{super::PortSet, *};

    const TO: Destination = (1, IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9000);

    fn eligible(low: u16, high: u16) -> Eligible {
        Eligible::new(super::super::Range { low, high }, &PortSet::default())
    }

    fn connected(port: u16, latency_us: u64) -> Outcome {
        Outcome {
            at_ns: 0,
            port: Some(port),
            error: None,
            latency_ns: Some(latency_us * 1000),
        }
    }

    /// What is said after a range of 100 was used up to so many, in the order in which the kernel
    /// takes them (measured: the parity of the low end, then the other), at the latencies that a
    /// range of 18,000 has (measured: 14 us, past half 700 us).
    fn used(count: u16, low: u16) -> Signs {
        let mut signals = Signals::default();
        for number in 0..count.min(100) {
            let (port, latency) = if number < 50 {
                (low + 2 * number, 14)
            } else {
                (low + 1 + 2 * (number - 50), 700)
            };
            signals.hear(TO, connected(port, latency));
        }
        for _ in 100..count {
            let refused = Outcome {
                port: None,
                error: Some(EADDRNOTAVAIL),
                ..connected(0, 2500)
            };
            signals.hear(TO, refused);
        }
        signals.of(TO, &eligible(low, low + 99))
    }

    #[test]
    fn the_parity_flips_at_half_and_connections_take_longer_from_there_on() {
        for low in [40_000, 40_001] {
            assert_eq!(used(50, low), Signs::default());
            assert_eq!(used(51, low).second_parity, 1);
            let most = Signs {
                second_parity: 32,
                times_slower: Some(50),
                refused: 0,
            };
            assert_eq!(used(100, low), most);
            assert_eq!(used(107, low), Signs { refused: 7, ..most });
        }
    }

    #[test]
    fn what_is_slow_and_of_the_first_parity_is_the_peer() {
        let mut signals = Signals::default();
        for number in 0..50 {
            signals.hear(
                TO,
                connected(40_000 + 2 * number, 14 + u64::from(number) * 1000),
            );
        }
        assert_eq!(signals.of(TO, &eligible(40_000, 40_099)), Signs::default());
        assert_eq!(
            Signals::default().of(TO, &eligible(40_000, 40_099)),
            Signs::default()
        );
    }

    #[test]
    fn a_crowd_of_destinations_is_bounded() {
        let mut signals = Signals::default();
        for port in 0..6000 {
            signals.hear((1, TO.1, port), connected(40_001, 1));
        }
        assert_eq!(signals.heard.len(), DESTINATIONS);
        let later = Outcome {
            at_ns: FORGOTTEN_NS,
            ..connected(40_001, 1)
        };
        signals.hear((1, TO.1, 7000), later);
        assert_eq!(signals.heard.len(), 1);
    }
}
