//! Which sockets are wanted: options, and the words that users of ss have in their fingers.

use std::{net::IpAddr, str::FromStr};

use socktrace_common::socket::TcpState;

use super::Row;
use crate::{
    change::{Family, state_word},
    source::snapshot::{Ends, Protocol, State, States},
};

/// What is wanted. An empty list wants everything.
#[derive(Clone, Debug, Default)]
pub struct Want {
    /// These protocols.
    pub protocols: Vec<Protocol>,
    /// Held by one of these processes.
    pub pids: Vec<u32>,
    /// Held by a process with one of these names.
    pub comms: Vec<String>,
    /// Owned in one of these containers (the beginning of its identifier).
    pub containers: Vec<String>,
    /// In one of these namespaces.
    pub netns: Vec<u32>,
    /// Of this family.
    pub family: Option<Family>,
    /// Local ports.
    pub local_ports: Vec<u16>,
    /// Remote ports.
    pub remote_ports: Vec<u16>,
    /// With what each keeps in memory.
    pub memory: bool,
    /// In one of these states.
    pub states: Vec<String>,
    /// What the expression says, all of it.
    pub expression: Expression,
}

/// `state close-wait sport = :80 and dst 10.0.0.1`: terms that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expression(Vec<Term>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    State(String),
    LocalPort(u16),
    RemotePort(u16),
    Local(IpAddr),
    Remote(IpAddr),
}

impl Want {
    /// Is the socket wanted?
    pub fn wants(&self, row: &Row) -> bool {
        let found = &row.found;
        let held = |holds: &dyn Fn(&super::Holding) -> bool| row.holders.iter().any(holds);
        one_of(&self.protocols, Some(&found.protocol))
            && (self.pids.is_empty() || held(&|it| self.pids.contains(&it.process.pid)))
            && (self.comms.is_empty()
                || held(&|it| {
                    let comm = it.process.comm.as_ref().map(crate::process::Comm::text);
                    comm.is_some_and(|comm| self.comms.iter().any(|name| *name == comm))
                }))
            && (self.containers.is_empty()
                || row.owner.as_ref().is_some_and(|owner| {
                    let id = owner.details.container.as_deref();
                    id.is_some_and(|id| self.containers.iter().any(|it| id.starts_with(it)))
                }))
            && one_of(&self.netns, Some(&found.netns))
            && (self.family.is_none() || self.family == found.family)
            && one_of(&self.local_ports, found.local.port.as_ref())
            && one_of(&self.remote_ports, found.remote.port.as_ref())
            && (self.states.is_empty() || self.states.iter().any(|it| is_state(found.state, it)))
            && self.expression.0.iter().all(|term| term.holds(row))
    }

    /// Are pipes wanted? Everybody has them and nobody means them who asks for sockets: they have
    /// to be asked for.
    pub(super) fn wants_pipes(&self) -> bool {
        self.protocols.contains(&Protocol::Pipe)
    }

    /// Is what nobody holds not wanted?
    pub(super) fn wants_holders(&self) -> bool {
        !(self.pids.is_empty() && self.comms.is_empty() && self.containers.is_empty())
    }
}

impl Want {
    /// The states to ask the kernel for.
    pub(super) fn tcp_states(&self) -> States {
        let wanted = |state: State| {
            let among = |name: &String| is_state(state, name);
            let terms = self.expression.0.iter();
            (self.states.is_empty() || self.states.iter().any(among))
                && terms.clone().all(|term| match term {
                    Term::State(name) => is_state(state, name),
                    _ => true,
                })
        };
        let mut states = States::none();
        for state in TcpState::ALL {
            let request = state == TcpState::SynRecv && wanted(State::Request);
            if wanted(State::Tcp(state)) || request {
                states = states.with(state);
            }
        }
        // A socket in CLOSE that has a port is in that list only.
        if wanted(State::BoundInactive) || wanted(State::Tcp(TcpState::Close)) {
            states = states.and(States::BOUND_INACTIVE);
        }
        states
    }
}

/// Is it one of those that are wanted? An empty list wants everything.
pub fn one_of<T: PartialEq>(wanted: &[T], value: Option<&T>) -> bool {
    wanted.is_empty() || value.is_some_and(|value| wanted.contains(value))
}

impl Term {
    fn holds(&self, row: &Row) -> bool {
        let found = &row.found;
        match self {
            Self::State(name) => is_state(found.state, name),
            Self::LocalPort(port) => found.local.port == Some(*port),
            Self::RemotePort(port) => found.remote.port == Some(*port),
            Self::Local(address) => found.local.address == Some(*address),
            Self::Remote(address) => found.remote.address == Some(*address),
        }
    }
}

/// ss's groups of states, and every state by itself.
fn is_state(state: State, name: &str) -> bool {
    use TcpState::{Close, Listen, TimeWait};
    let listens = state == State::Tcp(Listen);
    let closed = state == State::Tcp(Close) || state == State::BoundInactive;
    match name {
        "all" => true,
        "listening" => listens,
        "connected" => !listens && !closed,
        "synchronized" => !listens && !closed && state.word() != "syn_sent",
        "bucket" => state == State::Request || state == State::Tcp(TimeWait),
        "big" => state != State::Request && state != State::Tcp(TimeWait),
        name => state.word() == name,
    }
}

/// The name of a state or of a group of states, as anybody spells it.
pub fn state_name(name: &str) -> Result<String, String> {
    let wanted = name.to_ascii_lowercase().replace('-', "_");
    let groups = [
        "all",
        "connected",
        "synchronized",
        "bucket",
        "big",
        "listening",
    ];
    let short = match wanted.as_str() {
        "closed" => "close",
        "fin_wait_1" => "fin_wait1",
        "fin_wait_2" => "fin_wait2",
        "listen" | "listening" => "listen",
        other => other,
    };
    let known = TcpState::ALL
        .iter()
        .any(|state| state_word(*state) == short);
    let pipe = Ends::KNOWN.iter().any(|ends| ends.word() == short);
    if known || groups.contains(&short) || short == State::BoundInactive.word() || pipe {
        return Ok(short.to_owned());
    }
    let names = TcpState::ALL.map(state_word).join(", ");
    Err(format!(
        "there is no state {name:?}; there are {names}, bound_inactive, {}; of pipes: {}",
        groups.join(", "),
        Ends::KNOWN.map(Ends::word).join(", ")
    ))
}

impl FromStr for Expression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text
            .split_whitespace()
            .filter(|word| !matches!(*word, "=" | "==" | "eq" | "and" | "&" | "&&"));
        let mut terms = Vec::new();
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("{word} of what?"))?;
            terms.push(match word {
                "state" => Term::State(state_name(value)?),
                "sport" => Term::LocalPort(port(value)?),
                "dport" => Term::RemotePort(port(value)?),
                "src" => Term::Local(address(value)?),
                "dst" => Term::Remote(address(value)?),
                other => {
                    return Err(format!(
                        "{other:?} is none of state, sport, dport, src and dst"
                    ));
                }
            });
        }
        Ok(Self(terms))
    }
}

fn port(text: &str) -> Result<u16, String> {
    let number = text.trim_start_matches(':');
    number.parse().map_err(|_| format!("{text:?} is no port"))
}

fn address(text: &str) -> Result<IpAddr, String> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse().map_err(|_| format!("{text:?} is no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_ss_are_understood() {
        let expression: Expression = "state close-wait sport = :80 and dst 10.0.0.1"
            .parse()
            .unwrap();
        assert_eq!(
            expression.0,
            [
                Term::State("close_wait".to_owned()),
                Term::LocalPort(80),
                Term::Remote([10, 0, 0, 1].into()),
            ]
        );
        assert_eq!(
            "dport eq 443".parse::<Expression>().unwrap().0,
            [Term::RemotePort(443)]
        );
    }

    #[test]
    fn the_kernel_is_asked_for_the_wanted_states_only() {
        let close_wait = Want {
            expression: "state close-wait".parse().unwrap(),
            ..Want::default()
        };
        let only = States::none().with(TcpState::CloseWait);
        assert_eq!(close_wait.tcp_states(), only);
        let closed = Want {
            states: vec!["close".to_owned()],
            ..Want::default()
        };
        let expected = States::none().with(TcpState::Close);
        assert_eq!(closed.tcp_states(), expected.and(States::BOUND_INACTIVE));
        let all = Want::default().tcp_states();
        assert_eq!(all.common(States::BOUND_INACTIVE), States::BOUND_INACTIVE);
        for state in TcpState::ALL {
            assert_ne!(all.without(state), all, "{state:?}");
        }
    }

    #[test]
    fn what_is_not_understood_is_said() {
        let error = |text: &str| text.parse::<Expression>().unwrap_err();
        assert!(error("state").contains("state of what?"));
        assert!(error("state gone").contains("\"gone\""));
        assert!(error("sport = :http").contains("\":http\""));
        assert!(error("or 1").contains("none of state"));
    }

    #[test]
    fn groups_of_states_are_those_of_ss() {
        let time_wait = State::Tcp(TcpState::TimeWait);
        assert!(is_state(time_wait, "connected") && is_state(time_wait, "bucket"));
        assert!(!is_state(State::Tcp(TcpState::Listen), "connected"));
        assert!(!is_state(State::Tcp(TcpState::SynSent), "synchronized"));
        assert!(is_state(State::BoundInactive, "big"));
    }
}
