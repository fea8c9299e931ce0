//! The sockets that are there, whether or not an event told of them.
//!
//! Three lists, none of them taken at one moment: the rows of dumps ([`Namespaces`], [`Found`]),
//! who holds what ([`Holders`]), and the kernel's own counts ([`Population`]). [`class`] says what
//! it means to be in one and not in another; [`Elsewhere`] looks where no table leads.
//!
//! ```no_run
//! use socktrace::{probe::offsets, source::snapshot::*};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Once: a program and a netlink socket for each namespace, to be used again.
//! let mut holders = Holders::new(&offsets::read()?);
//! let (mut namespaces, mut buffer) = (Namespaces::new(), Buffer::default());
//! // Each time: who holds what, where that leads, and the rows.
//! let mut held = Vec::new();
//! holders.each(|holder| held.push(holder))?;
//! namespaces.refresh(held.iter().filter_map(Holder::lead))?;
//! let inodes = held.iter().map(|holder| holder.inode).collect();
//! for namespace in namespaces.iter_mut() {
//!     for query in Protocols::ALL.map(Query::all) {
//!         match namespace.dump(query, &mut buffer, |row| drop(class::Class::of(&row, &inodes))) {
//!             Ok(_) | Err(DiagError::Unsupported) => {}
//!             Err(error) => return Err(error.into()),
//!         }
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod buckets;
pub mod class;
pub mod diag;
mod elsewhere;
mod found;
pub mod holders;
pub mod netns;
mod netports;
mod proc;
mod query;

pub use self::{
    buckets::{Buckets, Explicit},
    diag::{Buffer, Diag, DiagError, Dumped},
    elsewhere::Elsewhere,
    found::{Detail, Ends, Found, Memory, Protocol, State, Tcp, Timer, TimerKind, Unix, UnixName},
    holders::{Held, Holder, Holders, Open, Walked},
    netns::{Lead, Namespace, Namespaces, Population, Sysctls},
    netports::{PortLook, bound_sockets_are_listed, look_at_ports, look_at_ports_here},
    query::{Extras, Protocols, Query, States},
};
