//! THE table of metrics: name, type, labels, help. `docs/metrics.md` is written from it.

/// What a metric is to Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Only grows, until the daemon starts again.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How often which values came, in seconds.
    Histogram,
}

/// A metric.
#[derive(Debug)]
pub struct Metric {
    /// With its prefix, and `_total` where it counts.
    pub name: &'static str,
    /// Its type.
    pub kind: Type,
    /// The names of its labels, in the order in which values are given.
    pub labels: &'static [&'static str],
    /// What it is, in a sentence.
    pub help: &'static str,
}

/// Declares metrics with the names by which the code knows them.
macro_rules! metrics {
    ($($id:ident $kind:ident $name:literal [$($label:literal)*] $help:literal)+) => {
        $(pub(super) const $id: Metric = Metric {
            name: concat!("socktrace_", $name),
            kind: Type::$kind,
            labels: &[$($label),*],
            help: $help,
        };)+

        /// Every metric, but for those of the process, which every exporter has.
        pub const METRICS: &[&Metric] = &[$(&$id,)+];
    };
}

metrics! {
    SOCKETS Gauge "sockets" ["proto" "state" "owner"]
        "Open sockets. State is that of TCP, zeros included; of other protocols it is none. time_wait are ports kept by connections that are over."
    OPENED Counter "socket_opened_total" ["proto" "role" "owner"]
        "Sockets that took a part: connected, whatever came of it (client), were accepted (server), listen (listener). Those that never did are counted when they end (unknown)."
    ENDED Counter "socket_ended_total" ["proto" "role" "reason" "owner"]
        "Sockets that are gone, and why."
    CONNECTS Counter "connects_total" ["result" "owner"]
        "Outcomes of connect(): ok, or the name of the errno."
    CONNECT_DURATION Histogram "connect_duration_seconds" []
        "From connect() to the established connection."
    ACCEPTS Counter "accepts_total" ["owner"]
        "Connections that accept() returned."
    ACCEPT_QUEUE_TIME Histogram "accept_queue_seconds" []
        "How long connections waited to be accepted."
    QUEUE_LENGTH Gauge "accept_queue_length" ["owner" "port"]
        "Connections that wait to be accepted now."
    QUEUE_LIMIT Gauge "accept_queue_limit" ["owner" "port"]
        "How many may wait: the backlog, as the kernel caps it."
    QUEUE_DROPS Counter "accept_queue_drops_total" ["owner" "port"]
        "Connections that were dropped since their listeners exist, for want of room in the queue."
    LIFETIME Histogram "socket_lifetime_seconds" ["proto" "role"]
        "How long sockets lived that are gone, from their creation."
    STATE_DURATION Histogram "state_duration_seconds" ["state"]
        "How long TCP sockets were in the states that they have left."
    CLOSE_WAIT_OLDEST Gauge "close_wait_oldest_seconds" ["owner"]
        "The oldest socket in CLOSE_WAIT: since when its peer has closed, at least."
    FINDINGS Gauge "findings" ["kind" "severity" "owner"]
        "What stands: leaks and limits, as socktrace leaks shows them."
    PORTS Gauge "ephemeral_ports" ["netns"]
        "Local ports that the kernel may choose in a network namespace: its range without reserved ones."
    PORTS_RATIO Gauge "ephemeral_ports_used_ratio" ["netns" "proto"]
        "The part of them that cannot be used any more for the destination that is worst off; 0 where none is used."
    PORTS_SECONDS Gauge "ephemeral_ports_exhaustion_seconds" ["netns" "proto"]
        "Until none is left for the destination that is worst off, if it goes on like this; +Inf if it does not go on."
    PORTS_DESTINATION Gauge "ephemeral_ports_destination_used_ratio" ["netns" "proto" "destination"]
        "The same for the worst destinations, if asked for (metrics.destinations)."
    PORT_FAILURES Counter "ephemeral_port_failures_total" ["call" "error" "owner"]
        "Calls that failed because no local port was left."
    OPEN_FDS Gauge "open_fds" ["owner"]
        "Open descriptors, of whatever kind, over the processes of the owner that have sockets, or use a tenth of what they may."
    FD_RATIO Gauge "fd_limit_used_ratio" ["owner"]
        "The part of its soft RLIMIT_NOFILE that the worst process of the owner uses."
    EVENTS Counter "events_total" ["event"]
        "Rows that socktrace trace would show, by their kind."
    LOST Counter "events_lost_total" ["where"]
        "Events that were lost, by where; after a loss a snapshot repairs what is known of open sockets."
    HOOK_CALLS Counter "hook_calls_total" []
        "How often hooks had something to decide: the sum over hook_outcomes_total, or something was lost that nobody counted."
    HOOK_OUTCOMES Counter "hook_outcomes_total" ["outcome"]
        "How that ended: a record (emitted), kept in the kernel (folded), not wanted (filtered), no room (lost_ring, lost_map)."
    HOOK_ATTACHED Gauge "hook_attached" ["hook"]
        "1 if the hook is attached; socktrace doctor says what is lost without it, and why."
    HOOK_RUNS Counter "hook_runs_total" ["hook"]
        "How often the hook ran, while kernel.bpf_stats_enabled is 1."
    HOOK_SECONDS Counter "hook_run_seconds_total" ["hook"]
        "What that took of all CPUs."
    ALERTS Counter "alerts_total" ["output" "result"]
        "Alerts by what became of them: delivered, failed (given up), dropped (no room in the queue of the output)."
    ALERTS_WAITING Gauge "alerts_waiting" ["output"]
        "Alerts that are on their way."
    TRACKED Gauge "tracked_sockets" []
        "Sockets in the table."
    TABLE_FULL Counter "table_full_total" []
        "Sockets that found no room in the table (daemon.max_sockets), or no identity in the kernel."
    CORRECTIONS Counter "reconcile_corrections_total" ["kind"]
        "What snapshots taught that no event had told."
    RECONCILE Histogram "reconcile_duration_seconds" []
        "How long it took to list everything that is open."
    DROPPED Counter "series_dropped_total" ["metric"]
        "Series that were left out of scrapes because a metric had too many (metrics.series)."
    BUILD Gauge "build_info" ["version" "rust_version"]
        "1; its labels say what runs."
}
