//! A namespace's settings of ports, as the kernel writes them.

use std::{fs, io};

/// Texts of files in `/proc/sys/net/ipv4`; IPv6 goes by the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sysctls {
    /// `ip_local_port_range`.
    pub local_port_range: String,
    /// `ip_local_reserved_ports`.
    pub local_reserved_ports: String,
    /// `tcp_tw_reuse`.
    pub tw_reuse: String,
    /// `tcp_tw_reuse_delay` (6.14).
    pub tw_reuse_delay: Option<String>,
    /// `tcp_timestamps`.
    pub timestamps: String,
}

impl Sysctls {
    /// Those of the calling thread's namespace: a file is looked up in the namespace of who opens
    /// it (`net_ctl_root`, `net/sysctl_net.c`), so `/proc/sys` is another one in each.
    pub(super) fn read() -> io::Result<Self> {
        let text = |name: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}"));
        Ok(Self {
            local_port_range: text("ip_local_port_range")?,
            local_reserved_ports: text("ip_local_reserved_ports")?,
            tw_reuse: text("tcp_tw_reuse")?,
            tw_reuse_delay: text("tcp_tw_reuse_delay").ok(),
            timestamps: text("tcp_timestamps")?,
        })
    }
}
