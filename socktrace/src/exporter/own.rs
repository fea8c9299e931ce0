//! What every exporter says of its own process. Written here because the library's counts
//! processor time in whole seconds.

use std::{fs, sync::OnceLock};

use prometheus::proto::MetricFamily;

use super::{
    catalog::{Metric, Type},
    families::{family, series},
};

macro_rules! own {
    ($($id:ident $kind:ident $name:literal $help:literal)+) => {
        $(const $id: Metric = Metric { name: $name, kind: Type::$kind, labels: &[], help: $help };)+
        /// Those that every exporter has.
        pub const OWN: &[&Metric] = &[$(&$id,)+];
    };
}

own! {
    CPU Counter "process_cpu_seconds_total" "Total user and system CPU time spent in seconds."
    OPEN_FDS Gauge "process_open_fds" "Number of open file descriptors."
    MAX_FDS Gauge "process_max_fds" "Maximum number of open file descriptors."
    VIRTUAL Gauge "process_virtual_memory_bytes" "Virtual memory size in bytes."
    RESIDENT Gauge "process_resident_memory_bytes" "Resident memory size in bytes."
    START Gauge "process_start_time_seconds" "Start time of the process since unix epoch in seconds."
    THREADS Gauge "process_threads" "Number of OS threads in the process."
}

/// The families; what cannot be read is left out.
#[allow(
    clippy::cast_precision_loss,
    reason = "Prometheus has no other numbers"
)]
pub(super) fn families() -> Vec<MetricFamily> {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name may hold anything, and ends with the last parenthesis; field 3 follows.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map_or_else(Vec::new, |(_, rest)| rest.split_whitespace().collect());
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    let page = rustix::param::page_size() as f64;
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let descriptors = fs::read_dir("/proc/self/fd")
        .ok()
        .map(|it| it.count() as f64);
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let values = [
        (
            &CPU,
            field(14)
                .zip(field(15))
                .map(|(user, system)| (user + system) / ticks),
        ),
        (&OPEN_FDS, descriptors),
        (&MAX_FDS, limit.map(|it| it as f64)),
        (&VIRTUAL, field(23)),
        (&RESIDENT, field(24).map(|pages| pages * page)),
        (
            &START,
            field(22).and_then(|since| Some(boot_time()? + since / ticks)),
        ),
        (&THREADS, field(20)),
    ];
    let known = values
        .into_iter()
        .filter_map(|(metric, value)| Some((metric, value?)));
    let made = known.map(|(metric, value)| {
        let mut families = family(metric);
        families.mut_metric().push(series(metric, value));
        families
    });
    made.collect()
}

/// Seconds since the epoch. Read once: what the kernel says may shift by a second.
fn boot_time() -> Option<f64> {
    static BOOT: OnceLock<Option<f64>> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
        line.trim().parse().ok()
    })
}
