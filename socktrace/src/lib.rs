//! socktrace follows every socket on a Linux machine from birth to death with eBPF.
//!
//! A hook fills an ABI event; user space decodes it, applies it to the socket table, and hands what
//! happened to the sinks. Data moves down this list; nothing calls back up.

pub mod change;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod decode;
pub mod errno;
pub mod event;
pub mod failure;
pub mod field;
pub mod pipeline;
pub mod probe;
pub mod process;
pub mod select;
pub mod sequence;
pub mod sink;
pub mod source;
pub mod summary;
pub mod table;
