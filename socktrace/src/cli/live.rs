//! How a command listens to the kernel.

use std::time::Duration;

use clap::Args;

use super::{duration, ring_size};
use crate::{
    probe::{AttachMode, plan::Hooks},
    table::MOST_SOCKETS,
};

/// How to listen to the kernel.
#[derive(Debug, Args)]
pub struct Live {
    /// Stop after this time (30s, 5m, 1h30m)
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Size of the ring buffer between kernel and user space, in KiB; a power of two
    #[arg(long, value_name = "KIB", default_value_t = 8192, value_parser = ring_size)]
    pub ring_size: u32,
    /// Records that wait for their rows to be written take at most so much memory, in MiB; what comes
    /// beyond that, and does not fit into the ring buffer, is lost and counted (0: only the ring buffer)
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    pub backlog_size: u32,
    /// How often to compare what was told with what is there (0s: never; after a loss it is done
    /// soon, and it takes at most 2% of one CPU)
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub reconcile: Duration,
    /// Keep track of at most this many sockets; about 250 bytes each
    #[arg(long, value_name = "N", default_value_t = MOST_SOCKETS)]
    pub max_sockets: usize,
    /// How much of the kernel is hooked
    #[arg(long, value_name = "WHICH", value_enum, default_value_t)]
    pub hooks: Hooks,
    /// Which attach points may be used
    #[arg(long, value_name = "MODE", value_enum, default_value_t, hide = true)]
    pub attach: AttachMode,
    /// Show what the kernel side logs
    #[arg(long, hide = true)]
    pub kernel_log: bool,
}

impl Live {
    /// In bytes.
    pub fn backlog(&self) -> usize {
        usize::try_from(u64::from(self.backlog_size) << 20).unwrap_or(usize::MAX)
    }
}
