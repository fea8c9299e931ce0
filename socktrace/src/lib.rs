//! socktrace follows every socket on a Linux machine from birth to death with eBPF.
//!
//! A hook fills an ABI event; user space decodes it, applies it to the socket table, and hands what
//! happened to the sinks. Data moves down this list; nothing calls back up.

pub mod clock;
pub mod endpoint;
pub mod errno;

pub mod descriptors;

pub mod process;

pub mod probe;

pub mod source;

pub mod event;

pub mod decode;
pub mod unfold;

pub mod change;

pub mod table;

pub mod stack;

pub mod inventory;

pub mod ports;

pub mod detect;

pub mod sequence;

pub mod field;

pub mod select;

pub mod sink;

pub mod exporter;

pub mod summary;

pub mod pipeline;

pub mod failure;

pub mod sandbox;

pub mod alert;

pub mod settings;

pub mod cli;

pub mod logging;

pub mod http;

pub mod commands;

#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
