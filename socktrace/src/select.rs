//! Which rows people want to see. The kernel side drops what it can; the rest is decided here.

use std::{net::IpAddr, str::FromStr};

use hashbrown::HashSet;
use regex_lite::Regex;
use socktrace_common::socket::TcpState;

use crate::{
    change::{Change, Family, Kind, Protocol, What},
    clock::Clock,
    field::{Field, Value},
    inventory::one_of,
};

/// What people want to see. An empty list wants everything.
#[derive(Clone, Debug, Default)]
pub struct Select {
    /// What kind of socket.
    pub protocols: Vec<Protocol>,
    /// Owned by, or done by, one of these processes or their children.
    pub pids: HashSet<u32>,
    /// Local ports.
    pub local_ports: Vec<u16>,
    /// Remote ports.
    pub remote_ports: Vec<u16>,
    /// Address family.
    pub family: Option<Family>,
    /// Names of owners.
    pub comms: Vec<String>,
    /// Beginnings of containers' identifiers.
    pub containers: Vec<String>,
    /// Network namespaces.
    pub netns: Vec<u32>,
    /// States entered.
    pub states: Vec<TcpState>,
    /// Kinds of row.
    pub kinds: Vec<Kind>,
    /// All of these must hold.
    pub conditions: Vec<Condition>,
}

impl Select {
    /// Does it depend on what only `/proc` knows of a process?
    pub fn needs_details(&self) -> bool {
        let conditions = self.conditions.iter();
        !self.containers.is_empty() || conditions.into_iter().any(|it| it.field.is_detail())
    }

    /// Is every row wanted?
    pub fn is_everything(&self) -> bool {
        let Self {
            protocols,
            pids,
            local_ports,
            remote_ports,
            family,
            comms,
            containers,
            netns,
            states,
            kinds,
            conditions,
        } = self;
        protocols.is_empty()
            && pids.is_empty()
            && local_ports.is_empty()
            && remote_ports.is_empty()
            && family.is_none()
            && comms.is_empty()
            && containers.is_empty()
            && netns.is_empty()
            && states.is_empty()
            && kinds.is_empty()
            && conditions.is_empty()
    }

    /// Is the row wanted? A loss always is.
    pub fn wants(&self, change: &Change, clock: &Clock) -> bool {
        if matches!(change.what, What::Lost { .. }) {
            return true;
        }
        let socket = &change.socket;
        let owner = socket.owner.as_deref();
        let among = |pid: Option<u32>| pid.is_some_and(|pid| self.pids.contains(&pid));
        let container = || owner.and_then(|owner| owner.details.container.as_deref());
        (self.pids.is_empty() || among(owner.map(|owner| owner.pid)) || among(change.actor))
            && one_of(&self.protocols, socket.protocol.as_ref())
            && one_of(&self.local_ports, socket.local.port.as_ref())
            && one_of(&self.remote_ports, socket.remote.port.as_ref())
            && (self.family.is_none() || self.family == socket.family)
            && (self.comms.is_empty() || {
                let comm = owner.and_then(|owner| Some(owner.comm.as_ref()?.text()));
                comm.is_some_and(|comm| self.comms.iter().any(|name| *name == comm))
            })
            && (self.containers.is_empty()
                || container().is_some_and(|id| self.containers.iter().any(|c| id.starts_with(c))))
            && one_of(&self.netns, socket.netns.as_ref())
            && (self.states.is_empty()
                || matches!(&change.what, What::State { new, .. } if self.states.contains(new)))
            && one_of(&self.kinds, Some(&change.what.kind()))
            && self
                .conditions
                .iter()
                .all(|condition| condition.holds(change, clock))
    }
}

/// `field==value` and so on.
#[derive(Clone, Debug)]
pub struct Condition {
    field: Field,
    operator: Operator,
    text: String,
    number: Option<f64>,
    address: Option<IpAddr>,
    pattern: Option<Regex>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    AtLeast,
    AtMost,
    More,
    Less,
    Matches,
}

/// Longer ones first: `>=` is not `>`.
const OPERATORS: [(&str, Operator); 7] = [
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    (">=", Operator::AtLeast),
    ("<=", Operator::AtMost),
    (">", Operator::More),
    ("<", Operator::Less),
    ("~", Operator::Matches),
];

impl FromStr for Condition {
    type Err = String;

    fn from_str(condition: &str) -> Result<Self, String> {
        let (at, sign, operator) = OPERATORS
            .iter()
            .filter_map(|&(sign, operator)| Some((condition.find(sign)?, sign, operator)))
            .min_by_key(|(at, sign, _)| (*at, std::cmp::Reverse(sign.len())))
            .ok_or("a filter is a field, one of == != >= > <= < ~, and a value")?;
        let field = condition[..at]
            .trim()
            .parse::<Field>()
            .map_err(|error| error.to_string())?;
        let text = condition[at + sign.len()..].trim().to_owned();
        let pattern = (operator == Operator::Matches)
            .then(|| Regex::new(&text).map_err(|error| format!("the pattern is not one: {error}")))
            .transpose()?;
        let number = text.parse().ok();
        let ordered = !matches!(
            operator,
            Operator::Equal | Operator::NotEqual | Operator::Matches
        );
        if ordered && number.is_none() {
            return Err(format!("{sign} compares numbers, and {text:?} is none"));
        }
        Ok(Self {
            field,
            operator,
            number,
            address: text.parse().ok(),
            pattern,
            text,
        })
    }
}

impl Condition {
    fn holds(&self, change: &Change, clock: &Clock) -> bool {
        let value = change.value(self.field, clock);
        match self.operator {
            Operator::Equal => self.equals(&value),
            Operator::NotEqual => !self.equals(&value),
            Operator::AtLeast => self.compare(&value, |a, b| a >= b),
            Operator::AtMost => self.compare(&value, |a, b| a <= b),
            Operator::More => self.compare(&value, |a, b| a > b),
            Operator::Less => self.compare(&value, |a, b| a < b),
            Operator::Matches => {
                let pattern = self.pattern.as_ref();
                value != Value::Null
                    && pattern.is_some_and(|pattern| pattern.is_match(&raw(&value)))
            }
        }
    }

    fn equals(&self, value: &Value<'_>) -> bool {
        match value {
            Value::Null => self.text == "null",
            Value::Address(address) => Some(*address) == self.address,
            other => raw(other) == self.text,
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "a filter compares magnitudes")]
    fn compare(&self, value: &Value<'_>, holds: impl Fn(f64, f64) -> bool) -> bool {
        match (value, self.number) {
            (Value::Number(value), Some(number)) => holds(*value as f64, number),
            _ => false,
        }
    }
}

/// The value as it is, to compare: nobody sees it.
fn raw(value: &Value<'_>) -> String {
    match value {
        Value::Text(text) => text.clone().into_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{Endpoint, View};

    const CLOCK: Clock = Clock {
        ahead_ns: 0,
        began_ns: 0,
    };

    fn change() -> Change {
        Change {
            mono_ns: 5,
            socket: View {
                remote: Endpoint {
                    address: Some([10, 0, 0, 1].into()),
                    port: Some(443),
                },
                ..View::default()
            },
            actor: Some(7),
            tid: Some(7),
            fd: None,
            what: What::Connect {
                error: Some(111),
                latency_ns: Some(2_500_000),
            },
        }
    }

    fn holds(condition: &str) -> bool {
        condition
            .parse::<Condition>()
            .unwrap()
            .holds(&change(), &CLOCK)
    }

    #[test]
    fn conditions_compare_what_the_field_holds() {
        assert!(holds("rport==443"));
        assert!(holds("rport != 80"));
        assert!(holds("latency_us>=2500"));
        assert!(!holds("latency_us>2500"));
        assert!(holds("raddr==10.0.0.1"));
        assert!(holds("error~^ECONN"));
        assert!(holds("pid==null"));
        assert!(!holds("pid>0"));
        assert!(holds("pid!=3"));
    }

    #[test]
    fn bad_conditions_say_what_is_wrong() {
        let error = |condition: &str| condition.parse::<Condition>().unwrap_err();
        assert!(error("rport").contains("=="));
        assert!(error("nope==1").contains("no field \"nope\""));
        assert!(error("rport>many").contains("\"many\""));
        assert!(error("comm~(").contains("pattern"));
    }

    #[test]
    fn every_list_must_agree() {
        let mut select = Select {
            remote_ports: vec![443],
            ..Select::default()
        };
        assert!(select.wants(&change(), &CLOCK));
        select.pids.insert(8);
        assert!(!select.wants(&change(), &CLOCK));
        select.pids.insert(7);
        assert!(select.wants(&change(), &CLOCK));
        select.kinds = vec![Kind::Accept];
        assert!(!select.wants(&change(), &CLOCK));
    }

    #[test]
    fn a_loss_is_never_hidden() {
        let select = Select {
            kinds: vec![Kind::Accept],
            ..Select::default()
        };
        let mut lost = change();
        lost.what = What::Lost {
            count: 1,
            place: crate::change::Place::Ring(0),
        };
        assert!(select.wants(&lost, &CLOCK));
    }
}
