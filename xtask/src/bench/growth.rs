//! `cargo xtask bench growth`: what a look and a scrape cost as sockets get more, and what one takes in
//! the table. Real sockets as far as the machine holds them; beyond that, sockets that were made up.

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::{load::Full, report};
use crate::{
    release,
    util::{as_root, is_root, output, target_dir},
};

/// Every so manieth connection has a peer that closed.
const CLOSE_WAIT: usize = 50;

/// How many.
#[derive(Args)]
pub(crate) struct Plan {
    /// Real sockets
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000])]
    real: Vec<usize>,
    /// Sockets that are made up
    #[arg(long, value_delimiter = ',', default_values_t = [100_000, 1_000_000])]
    made: Vec<usize>,
}

/// What `examples/growth.rs` says.
#[derive(Debug, Deserialize, Serialize)]
struct Point {
    #[serde(default)]
    real: bool,
    sockets: usize,
    /// Sockets that the table does not know yet.
    first_look_ms: f64,
    /// Sockets that it knows.
    look_ms: f64,
    scrape_ms: f64,
    bytes: f64,
}

pub(super) fn growth(plan: &Plan) -> Result<()> {
    if !is_root() {
        bail!("this needs root: `sudo -E cargo xtask bench growth`");
    }
    release::build_these(&["--example", "growth"])?;
    let mut points = Vec::new();
    for &count in &plan.real {
        let space = Full::new("bench-growth", count, CLOSE_WAIT)?;
        points.push(Point::measure("real", &space.inum()?)?);
    }
    for count in &plan.made {
        points.push(Point::measure("made", &count.to_string())?);
    }
    report::keep("growth", &points)
}

impl Point {
    fn measure(part: &str, argument: &str) -> Result<Self> {
        let mut command = as_root(target_dir().join("release/examples/growth"))?;
        let text = output(command.args([part, argument]))?;
        let point: Self =
            serde_json::from_str(&text).with_context(|| format!("{text} is no result"))?;
        let point = Self {
            real: part == "real",
            ..point
        };
        point.print();
        Ok(point)
    }

    #[allow(clippy::print_stdout, reason = "that is the result")]
    fn print(&self) {
        let each = self.sockets.max(1) as f64;
        println!(
            "{:>8} sockets, {}: a look {:>8.1} ms CPU ({:.2} µs each; the first {:.1} ms), a scrape {:.1} ms, {:.0} \
             bytes each",
            self.sockets,
            if self.real {
                "real"
            } else {
                "made up, so taken in only"
            },
            self.look_ms,
            self.look_ms * 1e3 / each,
            self.first_look_ms,
            self.scrape_ms,
            self.bytes / each,
        );
    }
}
