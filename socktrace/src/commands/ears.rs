//! Hears what happens between looks: how long sockets live, and how connections find ports.

use std::{cell::RefCell, io, rc::Rc};

use crate::{
    change::{Change, What},
    clock::Clock,
    detect::{Key, Lifetimes},
    ports::{Outcome, Signals},
    sink::Sink,
    source::snapshot::Protocol,
    table::{Brief, Look, Looks},
};

/// What was heard.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) lifetimes: Lifetimes,
    pub(super) signals: Signals,
}

/// Hears it.
pub(super) struct Ears {
    pub(super) heard: Rc<RefCell<Heard>>,
    /// Why news could not be heard by others.
    pub(super) unheard: Rc<RefCell<Option<io::Error>>>,
}

impl Sink for Ears {
    fn row(&mut self, change: &Change, _: &Clock) -> io::Result<()> {
        let socket = &change.socket;
        let netns = socket.netns.unwrap_or_default();
        let mut heard = self.heard.borrow_mut();
        match change.what {
            What::End {
                lifetime_ns: Some(lifetime),
                role,
                ..
            } => {
                let key = Key::new(
                    netns,
                    socket.owner.as_ref().map_or(0, |owner| owner.pid),
                    socket.protocol.unwrap_or(Protocol::Other),
                    role,
                    (socket.local, socket.remote),
                );
                heard.lifetimes.ended(key, change.mono_ns, lifetime);
            }
            What::Connect { error, latency_ns } if socket.protocol == Some(Protocol::Tcp) => {
                let remote = socket.remote.address.zip(socket.remote.port);
                if let Some((address, port)) = remote {
                    let outcome = Outcome {
                        at_ns: change.mono_ns,
                        port: socket.local.port,
                        error,
                        latency_ns,
                    };
                    heard.signals.hear((netns, address, port), outcome);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The rest is for the summary, which counts it.
    fn briefs(&mut self, _: &[Brief]) {}

    fn flush(&mut self) -> io::Result<()> {
        // A look has no way to end the run.
        self.unheard.take().map_or(Ok(()), Err)
    }

    fn looks(&self) -> Looks {
        Looks {
            changes: Look::Kind,
            others: |_, what| match what {
                What::Connect { .. } | What::End { .. } => Look::Full,
                _ => Look::Kind,
            },
        }
    }
}
