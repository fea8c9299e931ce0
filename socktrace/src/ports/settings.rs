//! A namespace's settings, from the kernel's own texts.

use super::{Eligible, Range, Reuse, eligible::parse_reserved};
use crate::source::snapshot::Sysctls;

/// What a namespace's `/proc/sys/net/ipv4` says of ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `ip_local_port_range` without `ip_local_reserved_ports`.
    pub eligible: Eligible,
    /// `tcp_tw_reuse` and `tcp_tw_reuse_delay`.
    pub reuse: Reuse,
    /// `tcp_timestamps`: will a new connection carry them? Those that are there may differ.
    pub timestamps: bool,
}

/// A setting that makes no sense: its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable(pub &'static str);

impl Settings {
    /// Reads the texts.
    pub fn parse(texts: &Sysctls) -> Result<Self, Unreadable> {
        let range: Range = texts
            .local_port_range
            .parse()
            .map_err(|()| Unreadable("ip_local_port_range"))?;
        let reserved = parse_reserved(&texts.local_reserved_ports)
            .ok_or(Unreadable("ip_local_reserved_ports"))?;
        let number = |text: &str, name| text.trim().parse().map_err(|_| Unreadable(name));
        Ok(Self {
            eligible: Eligible::new(range, &reserved),
            reuse: Reuse {
                mode: u8::try_from(number(&texts.tw_reuse, "tcp_tw_reuse")?)
                    .map_err(|_| Unreadable("tcp_tw_reuse"))?,
                delay_ms: match &texts.tw_reuse_delay {
                    Some(text) => number(text, "tcp_tw_reuse_delay")?,
                    None => Reuse::default().delay_ms,
                },
            },
            timestamps: number(&texts.timestamps, "tcp_timestamps")? != 0,
        })
    }
}

impl Settings {
    /// As a socket with `IP_LOCAL_PORT_RANGE` sees them.
    #[must_use]
    pub fn narrowed(&self, low: u16, high: u16) -> Self {
        Self {
            eligible: self.eligible.narrowed(low, high),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Sysctls {
        Sysctls {
            local_port_range: "32768\t60999\n".to_owned(),
            local_reserved_ports: "\n".to_owned(),
            tw_reuse: "2\n".to_owned(),
            tw_reuse_delay: Some("1000\n".to_owned()),
            timestamps: "1\n".to_owned(),
        }
    }

    #[test]
    fn the_kernels_texts_are_read() {
        let settings = Settings::parse(&texts()).unwrap();
        assert_eq!(settings.eligible.count(), 28_232);
        assert_eq!(settings.reuse, Reuse::default());
        assert!(settings.timestamps);
        let reserved = Sysctls {
            local_reserved_ports: "32768-32770,40000,60999,61000-62000\n".to_owned(),
            // Before 6.14.
            tw_reuse_delay: None,
            ..texts()
        };
        let settings = Settings::parse(&reserved).unwrap();
        assert_eq!(settings.eligible.count(), 28_232 - 5);
        assert_eq!(settings.reuse.delay_ms, 1000);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let range = Sysctls {
            local_port_range: "60999 32768".to_owned(),
            ..texts()
        };
        let reserved = Sysctls {
            local_reserved_ports: "1-x".to_owned(),
            ..texts()
        };
        let name = |texts| Settings::parse(texts).unwrap_err().0;
        assert_eq!(name(&range), "ip_local_port_range");
        assert_eq!(name(&reserved), "ip_local_reserved_ports");
    }
}
