//! `cargo xtask bench daemon`: what the daemon takes of a machine that has something to do, and
//! whether it stays so.

mod figures;
mod series;
mod soak;
mod starts;
mod steady;
mod subject;

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;

use self::figures::Must;
use super::report;
use crate::{release, util::is_root};

/// What to measure, and for how long.
#[derive(Args)]
pub(crate) struct Plan {
    /// Measure a machine at rest, one with connections, and one with connections and scrapes for so
    /// many seconds each; 0 leaves it out
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Connections a second
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Sockets that are open all the time
    #[arg(long, default_value_t = 1_000)]
    sockets: usize,
    /// Owners, 24 series each; 0 leaves the scrape of many series out
    #[arg(long, default_value_t = 430)]
    owners: usize,
    /// Starts to measure
    #[arg(long, default_value_t = 5)]
    starts: usize,
    /// Seconds at the highest rate that the machine gives, with a look at memory, descriptors and maps
    /// at intervals
    #[arg(long, default_value_t = 120)]
    soak: u64,
    /// Nothing else, and so many seconds of it
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["soak", "seconds"])]
    highest: Option<u64>,
}

/// Everything that was measured.
#[derive(Default, Serialize)]
struct Figures {
    starts: Option<starts::Starts>,
    steady: Option<steady::Steady>,
    series: Option<series::Series>,
    musts: Vec<Must>,
}

pub(super) fn daemon(plan: &Plan) -> Result<()> {
    if !is_root() {
        bail!("this needs root: `sudo -E cargo xtask bench daemon`");
    }
    release::build_these(&["--bin", "socktrace"])?;
    let mut figures = Figures::default();
    let soak = plan.highest.unwrap_or(plan.soak);
    if plan.highest.is_none() {
        if plan.starts > 0 {
            figures.starts = Some(starts::measure(plan.starts)?);
        }
        if plan.seconds > 0 {
            let steady = steady::measure(plan)?;
            figures.musts.extend(steady.musts());
            figures.steady = Some(steady);
        }
        if plan.owners > 0 {
            let series = series::measure(plan.owners)?;
            figures.musts.push(series.must());
            figures.series = Some(series);
        }
    }
    if soak > 0 {
        let soak = soak::measure(soak)?;
        figures.musts.extend(soak.musts());
        report::keep("soak", &soak)?;
    }
    if plan.highest.is_none() {
        report::keep("daemon", &figures)?;
    }
    figures.judge()
}

impl Figures {
    #[allow(clippy::print_stdout, reason = "that is the result")]
    fn judge(&self) -> Result<()> {
        for must in &self.musts {
            println!("{must}");
        }
        let missed = self.musts.iter().filter(|must| !must.holds()).count();
        if missed > 0 {
            bail!("{missed} of {} do not hold", self.musts.len());
        }
        Ok(())
    }
}
