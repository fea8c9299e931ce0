//! When `connect()` may take over a connection in `TIME_WAIT`.

use std::net::IpAddr;

/// The rule of a namespace: `tcp_twsk_unique()` (`net/ipv4/tcp_ipv4.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reuse {
    /// `tcp_tw_reuse`: 0 never, 1 always, 2 on loopback (the default since 4.19).
    pub mode: u8,
    /// `tcp_tw_reuse_delay` (6.14; before, a second): not until it is older than this,
    /// milliseconds.
    pub delay_ms: u32,
}

impl Default for Reuse {
    fn default() -> Self {
        Self {
            mode: 2,
            delay_ms: 1000,
        }
    }
}

impl Reuse {
    /// May it be taken over? `timestamps`: did the connection carry TCP's timestamps? Without, an
    /// old segment could not be told from a new one.
    pub fn allows(self, age_ms: u32, timestamps: bool, local: IpAddr, remote: IpAddr) -> bool {
        let wanted = match self.mode {
            0 => false,
            1 => true,
            _ => local.is_loopback() || remote.is_loopback(),
        };
        wanted && timestamps && age_ms > self.delay_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_wait_is_reused_by_mode_age_and_timestamps() {
        let near: IpAddr = "127.0.0.1".parse().unwrap();
        let far: IpAddr = "10.99.0.1".parse().unwrap();
        let reuse = |mode| Reuse {
            mode,
            ..Reuse::default()
        };
        for (mode, age_ms, timestamps, address, allowed) in [
            (1, 0, true, near, false),
            (1, 1000, true, near, false),
            (1, 1100, true, near, true),
            (1, 1100, true, far, true),
            (1, 1100, false, near, false),
            (2, 1100, true, near, true),
            (2, 1100, true, far, false),
            (0, 59_000, true, near, false),
        ] {
            let allows = reuse(mode).allows(age_ms, timestamps, address, address);
            assert_eq!(allows, allowed, "{mode} {age_ms} {timestamps} {address}");
        }
        // Either end is enough, and IPv6 has one loopback address.
        assert!(reuse(2).allows(2000, true, far, "127.9.9.9".parse().unwrap()));
        assert!(reuse(2).allows(
            2000,
            true,
            "::1".parse().unwrap(),
            "fd00::1".parse().unwrap()
        ));
        let quick = Reuse {
            mode: 1,
            delay_ms: 1,
        };
        assert!(quick.allows(2, true, far, far));
    }
}
