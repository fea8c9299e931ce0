//! The hooks in the kernel: what to attach, attaching it, what became of it. Dropping [`Probes`]
//! detaches everything; nothing is pinned.

pub mod attach;
pub mod catalog;
pub mod counters;
pub mod offsets;

pub use attach::{AttachError, AttachMode, Plan, Probes};
