//! The kernel side's own log, for those who work on it.

use aya_log::EbpfLogger;

use crate::{
    failure::{FAILURE, Failure},
    probe::Probes,
};

/// Where the kernel side's log goes.
pub(super) fn kernel_log(probes: &mut Probes) -> Result<EbpfLogger<&'static StderrLog>, Failure> {
    EbpfLogger::init_with_logger(probes.object(), &StderrLog)
        .map_err(|error| Failure::new(FAILURE, format!("the kernel side cannot log: {error}")))
}

pub(super) struct StderrLog;

impl log::Log for StderrLog {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    #[allow(clippy::print_stderr, reason = "that is where it belongs")]
    fn log(&self, record: &log::Record<'_>) {
        eprintln!("socktrace: kernel side: {}", record.args());
    }

    fn flush(&self) {}
}
