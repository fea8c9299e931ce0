//! From the command line to what the kernel side and the pipeline look for.

use std::{fs, os::unix::fs::MetadataExt as _};

use socktrace_common::config::{ONLY_IPV4, ONLY_IPV6};

use crate::{
    change::{Family, Kind, Protocol},
    cli::{KernelSelection, Live, Selection},
    failure::{FAILURE, Failure},
    field::records,
    probe::{Plan, catalog::needed},
    select::Select,
};

impl KernelSelection {
    /// What the hooks look for, to make rows of these kinds (all of them, if none are named) of
    /// sockets of these protocols.
    pub(super) fn plan(
        &self,
        live: &Live,
        kinds: &[Kind],
        protocols: &[Protocol],
    ) -> Result<Plan, Failure> {
        self.pids.iter().try_for_each(|pid| is_process(*pid))?;
        let kinds = if kinds.is_empty() {
            &Kind::OF_SOCKETS[..]
        } else {
            kinds
        };
        let wanted: Vec<_> = kinds
            .iter()
            .flat_map(|kind| records(*kind))
            .copied()
            .collect();
        let protocols = protocols.iter().fold(0, |bits, it| bits | it.bit());
        Ok(Plan {
            kinds: needed(&wanted, protocols),
            pids: (!self.pids.is_empty()).then(|| self.pids.clone()),
            local_ports: self.local_ports.clone(),
            remote_ports: self.remote_ports.clone(),
            families: match family(self.ipv4, self.ipv6) {
                Some(Family::Ipv4) => ONLY_IPV4,
                Some(Family::Ipv6) => ONLY_IPV6,
                _ => 0,
            },
            protocols,
            ring_bytes: live.ring_size * 1024,
            hooks: live.hooks,
            mode: live.attach,
            kernel_log: live.kernel_log,
            ..Plan::default()
        })
    }
}

impl Selection {
    /// Which rows to show. Processes are left to the kernel side, which knows whose socket a
    /// state change is about; a recording has no kernel side.
    pub(super) fn select(&self) -> Result<Select, Failure> {
        Ok(Select {
            local_ports: self.kernel.local_ports.clone(),
            remote_ports: self.kernel.remote_ports.clone(),
            family: family(self.kernel.ipv4, self.kernel.ipv6),
            comms: self.comms.clone(),
            containers: self.containers.clone(),
            netns: self
                .netns
                .iter()
                .map(|name| netns(name))
                .collect::<Result<_, _>>()?,
            conditions: self.conditions.clone(),
            ..Select::default()
        })
    }
}

/// The family that `-4` or `-6` asks for.
pub(super) fn family(ipv4: bool, ipv6: bool) -> Option<Family> {
    match (ipv4, ipv6) {
        (true, _) => Some(Family::Ipv4),
        (_, true) => Some(Family::Ipv6),
        _ => None,
    }
}

/// Is there a process with this number? A thread's is none: its sockets are its process's.
fn is_process(pid: u32) -> Result<(), Failure> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .map_err(|_| Failure::new(FAILURE, format!("there is no process {pid}")))?;
    let process = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    match process.map(str::trim) {
        Some(process) if process != pid.to_string() => Err(Failure::new(
            FAILURE,
            format!("{pid} is a thread of process {process}: use -p {process}"),
        )),
        _ => Ok(()),
    }
}

/// The inode numbers of network namespaces.
pub(super) fn namespaces(names: &[String]) -> Result<Vec<u32>, Failure> {
    names.iter().map(|name| netns(name)).collect()
}

/// The inode number of a network namespace.
pub(super) fn netns(name: &str) -> Result<u32, Failure> {
    if let Ok(inode) = name.parse() {
        return Ok(inode);
    }
    let path = if name.contains('/') {
        name.to_owned()
    } else {
        format!("/run/netns/{name}")
    };
    let inode = fs::metadata(&path)
        .map_err(|error| Failure::usage(format!("there is no network namespace {path}: {error}")))?
        .ino();
    u32::try_from(inode).map_err(|_| Failure::usage(format!("{path} is no network namespace")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_no_process() {
        let thread = std::thread::spawn(|| {
            let number = rustix::thread::gettid().as_raw_nonzero().get();
            is_process(u32::try_from(number).unwrap()).unwrap_err()
        });
        let error = thread.join().unwrap();
        let own = format!("use -p {}", std::process::id());
        assert!(error.message.ends_with(&own), "{error}");
        is_process(std::process::id()).unwrap();
        assert!(
            is_process(u32::MAX)
                .unwrap_err()
                .message
                .starts_with("there is no process")
        );
    }

    #[test]
    fn a_namespace_is_a_number_a_name_or_a_path() {
        assert_eq!(netns("4026531840").unwrap(), 4_026_531_840);
        let own = fs::metadata("/proc/self/ns/net").unwrap().ino();
        assert_eq!(u64::from(netns("/proc/self/ns/net").unwrap()), own);
        let error = netns("no-such-namespace").unwrap_err();
        assert!(
            error.message.contains("/run/netns/no-such-namespace"),
            "{error}"
        );
    }
}
