//! What is compared: ourselves, and what people use today.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;
use clap::ValueEnum;

use crate::util::{as_root, find, output, target_dir};

/// Nothing but the workload, or a tool beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Subject {
    /// Nothing attached, against itself: how much the machine's noise is
    Nothing,
    /// `socktrace daemon`
    Daemon,
    /// `socktrace daemon --hooks lean`
    DaemonLean,
    /// `socktrace life`, to a file
    Life,
    /// `socktrace trace -o json`, to a file
    Trace,
    /// `tcplife` of libbpf-tools
    Tcplife,
    /// `tcpstates` of libbpf-tools
    Tcpstates,
    /// bpftrace prints a line for each change of state
    Bpftrace,
    /// bpftrace with an empty program at the end of `accept4()`: what any hook of a system call costs all
    /// others, whoever attaches it
    EmptyExit,
    /// bpftrace with empty programs where the daemon's are, but for those of control groups, and all of them as classic
    /// tracepoints: more than what is left of the cost where programs do nothing
    EmptyHooks,
    /// `ss -tan` once a second
    Ss,
    /// Prometheus' `node_exporter` with its collector tcpstat, scraped once a second
    NodeExporter,
}

/// One line for each change of state, as people's one-liners do it.
const ONE_LINER: &str = "tracepoint:sock:inet_sock_set_state \
    { printf(\"%s %d %d -> %d\\n\", comm, args->sport, args->oldstate, args->newstate); }";

/// A program with nothing to do.
const EMPTY_EXIT: &str = "tracepoint:syscalls:sys_exit_accept4 { $nothing = 1; }";

/// Some, where a connection comes by.
const EMPTY_HOOKS: &str = "\
    tracepoint:sock:inet_sock_set_state, tracepoint:tcp:tcp_destroy_sock, \
    tracepoint:syscalls:sys_exit_connect, \
    tracepoint:syscalls:sys_exit_accept, tracepoint:syscalls:sys_exit_accept4, \
    tracepoint:syscalls:sys_exit_bind, tracepoint:syscalls:sys_exit_listen { $nothing = 1; }";

impl Subject {
    /// As in the table of results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing attached",
            Self::Daemon => "socktrace daemon",
            Self::DaemonLean => "socktrace daemon, lean",
            Self::Life => "socktrace life",
            Self::Trace => "socktrace trace -o json",
            Self::Tcplife => "tcplife",
            Self::Tcpstates => "tcpstates",
            Self::Bpftrace => "bpftrace one-liner",
            Self::EmptyExit => "empty, at accept4()'s end",
            Self::EmptyHooks => "empty, on our hooks",
            Self::Ss => "ss -tan, each second",
            Self::NodeExporter => "node_exporter tcpstat",
        }
    }

    /// What it says when everything is attached.
    pub(crate) fn says(self) -> Option<&'static str> {
        let ours = matches!(
            self,
            Self::Daemon | Self::DaemonLean | Self::Life | Self::Trace
        );
        ours.then_some("following sockets")
    }

    /// The program that it needs and this machine lacks.
    pub(crate) fn missing(self) -> Option<&'static str> {
        let program = match self {
            Self::Tcplife => "tcplife",
            Self::Tcpstates => "tcpstates",
            Self::Bpftrace | Self::EmptyExit | Self::EmptyHooks => "bpftrace",
            Self::NodeExporter => "prometheus-node-exporter",
            _ => return None,
        };
        find(program).is_none().then_some(program)
    }

    /// How it is run; `None` for nothing. The workload is in the namespace `netns`, so that is where
    /// those look that see only one. What it writes for itself goes to `folder`.
    pub(crate) fn command(self, netns: &Path, folder: &Path) -> Result<Option<Command>> {
        let ours = target_dir().join("release/socktrace");
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let (program, arguments): (PathBuf, Vec<OsString>) = match self {
            Self::Nothing => return Ok(None),
            Self::Life => (ours, words(&["life"])),
            Self::Trace => (ours, words(&["trace", "-o", "json", "--proto", "tcp"])),
            Self::Daemon | Self::DaemonLean => {
                let config = folder.join("socktrace.toml");
                fs::write(&config, "")?;
                let socket = folder.join("socket");
                let mut arguments = words(&["daemon", "--web.listen-address=127.0.0.1:0"]);
                arguments.extend([OsString::from("--config.file"), config.into()]);
                arguments.extend([OsString::from("--socket"), socket.into()]);
                let hooks = if self == Self::Daemon { "full" } else { "lean" };
                arguments.extend(words(&["--hooks", hooks]));
                (ours, arguments)
            }
            Self::Tcplife => ("tcplife".into(), words(&[])),
            Self::Tcpstates => ("tcpstates".into(), words(&[])),
            Self::Bpftrace => ("bpftrace".into(), words(&["-e", ONE_LINER])),
            Self::EmptyExit => ("bpftrace".into(), words(&["-e", EMPTY_EXIT])),
            Self::EmptyHooks => ("bpftrace".into(), words(&["-e", EMPTY_HOOKS])),
            Self::Ss => return inside(netns, "while ss -tan; do sleep 1; done"),
            Self::NodeExporter => {
                return inside(
                    netns,
                    "prometheus-node-exporter --collector.disable-defaults --collector.tcpstat \
                     --web.listen-address=127.255.255.254:9100 & \
                     trap 'kill $!; exit' INT; \
                     while :; do curl -s http://127.255.255.254:9100/metrics; sleep 1; done",
                );
            }
        };
        let mut command = as_root(program)?;
        command.args(arguments).env("STATE_DIRECTORY", folder);
        Ok(Some(command))
    }
}

impl Subject {
    /// What it says it has lost while it still runs, or has written to standard error.
    pub(crate) fn lost(self, folder: &Path) -> Result<Option<u64>> {
        if matches!(self, Self::Daemon | Self::DaemonLean) {
            let socket = folder.join("socket");
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--unix-socket"]).arg(socket);
            let text = output(curl.arg("http://socktrace/metrics"))?;
            let lost = text
                .lines()
                .filter(|line| line.starts_with("socktrace_events_lost_total"))
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum::<f64>();
            return Ok(Some(lost as u64));
        }
        Ok(None)
    }

    /// What it says in its last words. The peers say it as it happens: "lost 7 events".
    pub(crate) fn lost_at_the_end(self, folder: &Path) -> Result<Option<u64>> {
        let said = fs::read_to_string(folder.join("stderr"))?;
        let numbers = said.lines().filter_map(|line| {
            let (_, after) = line.split_once("ost")?;
            let word = after.trim_start_matches([':', ' ']).split(' ').next()?;
            word.parse::<u64>().ok()
        });
        Ok(match self {
            Self::Nothing | Self::Daemon | Self::DaemonLean | Self::Ss | Self::NodeExporter => None,
            _ => Some(numbers.sum()),
        })
    }
}

/// A shell in the namespace; what it starts counts as its own.
fn inside(netns: &Path, script: &str) -> Result<Option<Command>> {
    let mut command = as_root("nsenter")?;
    command.arg(format!("--net={}", netns.display()));
    command.args(["sh", "-c", script]);
    Ok(Some(command))
}
