//! `--proto`: which protocols.

use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::endpoint::{Protocol, protocol_word};

/// What runs over IPv4 and IPv6: followed unless something else is asked for. Unix sockets, which
/// every desktop and every log daemon makes all the time, have to be asked for.
const OVER_IP: [Protocol; 5] = [
    Protocol::Tcp,
    Protocol::Udp,
    Protocol::UdpLite,
    Protocol::Mptcp,
    Protocol::Raw,
];

/// One word of `--proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This one.
    One(Protocol),
    /// Every one.
    All,
}

/// What has events: every one but pipes.
fn sockets() -> impl Iterator<Item = Protocol> {
    let all = Protocol::ALL.into_iter();
    all.filter(|it| *it != Protocol::Pipe)
}

/// The words that `--proto` takes.
pub(super) fn parser() -> impl TypedValueParser<Value = Choice> {
    let words = sockets().map(protocol_word).chain(["all"]);
    PossibleValuesParser::new(words).map(|word| named(&word).map_or(Choice::All, Choice::One))
}

/// The words that `sockets --proto` takes: of other protocols there is no list.
pub(super) fn listed() -> impl TypedValueParser<Value = Protocol> {
    let listed = Protocol::ALL
        .into_iter()
        .filter(|it| *it != Protocol::Other);
    PossibleValuesParser::new(listed.map(protocol_word))
        .try_map(|word| named(&word).ok_or("no such protocol"))
}

fn named(word: &str) -> Option<Protocol> {
    Protocol::ALL
        .into_iter()
        .find(|it| protocol_word(*it) == word)
}

/// What is asked for, each once; `default` where nothing is.
fn chosen(choices: &[Choice], default: &[Protocol]) -> Vec<Protocol> {
    let asked = |protocol: &Protocol| {
        choices.contains(&Choice::All) || choices.contains(&Choice::One(*protocol))
    };
    if choices.is_empty() {
        default.to_vec()
    } else {
        sockets().filter(asked).collect()
    }
}

/// What `trace` and `record` follow.
pub fn followed(choices: &[Choice]) -> Vec<Protocol> {
    chosen(choices, &OVER_IP)
}

/// What `life` follows.
pub fn lived(choices: &[Choice]) -> Vec<Protocol> {
    chosen(choices, &[Protocol::Tcp])
}

/// What is shown of a recording: an empty list is everything.
pub fn replayed(choices: &[Choice]) -> Vec<Protocol> {
    chosen(choices, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_over_ip_has_to_be_asked_for() {
        assert_eq!(followed(&[]), OVER_IP);
        let unix = Choice::One(Protocol::Unix);
        assert_eq!(followed(&[unix, unix]), [Protocol::Unix]);
        let all = followed(&[unix, Choice::All]);
        assert_eq!(all.len(), Protocol::ALL.len() - 1);
        assert!(!all.contains(&Protocol::Pipe));
        assert_eq!(lived(&[]), [Protocol::Tcp]);
        assert_eq!(replayed(&[]), []);
    }

    #[test]
    fn every_word_is_its_protocol() {
        for protocol in Protocol::ALL {
            assert_eq!(named(protocol_word(protocol)), Some(protocol));
        }
        assert_eq!(named("all"), None);
    }
}
