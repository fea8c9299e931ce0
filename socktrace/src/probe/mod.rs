//! The hooks in the kernel: what to attach, attaching it, what became of it. Dropping [`Probes`]
//! detaches everything; nothing is pinned.

pub mod attach;
pub mod catalog;
mod cgroup;
pub mod check;
pub mod counters;
pub mod environment;
mod follow;
mod hook_error;
pub mod iterator;
mod lives;
mod load;
pub mod losses;
mod object;
pub mod offsets;
pub mod plan;
pub mod preflight;
pub(crate) mod shelves;
mod stacks;

pub use attach::{AttachError, Probes};
pub use plan::{AttachMode, Plan};
pub use shelves::Shelves;
pub use stacks::Stacks;
