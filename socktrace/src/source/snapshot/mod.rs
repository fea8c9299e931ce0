//! The sockets that are there, whether or not an event told of them.

pub mod class;
pub mod diag;
mod found;
pub mod holders;
pub mod netns;
mod proc;
mod query;

pub use self::{
    diag::{Buffer, Diag, DiagError, Dumped},
    found::{Detail, Found, Memory, Protocol, State, Tcp, Timer, TimerKind, Unix, UnixName},
    holders::{Held, Holder, Holders, Open, Walked},
    netns::{Lead, Namespace, Namespaces, Population, Skipped},
    query::{Extras, Protocols, Query, States},
};
