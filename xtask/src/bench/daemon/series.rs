//! A scrape of very many series: by the clock of whoever scrapes, and as CPU time in the daemon.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde::Serialize;

use super::{
    super::{crowd::Crowd, load::Full, measure::median},
    figures::Must,
    subject::Subject,
};

/// Scrapes that are measured.
const SCRAPES: usize = 30;

/// So many owners, and as many series as they have.
const CONFIGURATION: &str = "[metrics]\nowner = [\"comm\"]\nowners = 5000\nseries = 100000\n";

/// What scrapes took: medians.
#[derive(Debug, Serialize)]
pub(super) struct Series {
    #[serde(rename = "series")]
    count: usize,
    bytes: usize,
    wall_ms: f64,
    slowest_ms: f64,
    cpu_ms: f64,
    rss_mb: f64,
}

#[allow(clippy::print_stdout, reason = "that is the result")]
pub(super) fn measure(owners: usize) -> Result<Series> {
    let space = Full::new("bench-series", 0, 1)?;
    let mut subject = Subject::start(CONFIGURATION)?;
    let crowd = Crowd::new(&space, owners)?;
    // Queues and descriptors are known after the next look.
    sleep(Duration::from_secs(12));
    subject.rest()?;
    let (mut wall, mut cpu, mut text) = (Vec::new(), Vec::new(), String::new());
    for _ in 0..SCRAPES {
        let (began, before) = (Instant::now(), subject.cpu()?);
        text = subject.scrape()?;
        wall.push(began.elapsed().as_secs_f64() * 1e3);
        cpu.push((subject.cpu()? - before) * 1e3);
        sleep(Duration::from_millis(200));
    }
    let series = text
        .lines()
        .filter(|line| line.contains(' ') && !line.starts_with('#'));
    let figures = Series {
        // Without the head of the answer.
        count: series
            .filter(|line| !line.contains(": ") && !line.starts_with("HTTP"))
            .count(),
        bytes: text.len(),
        slowest_ms: wall.iter().copied().fold(0.0, f64::max),
        wall_ms: median(wall),
        cpu_ms: median(cpu),
        rss_mb: subject.rss_mb()?,
    };
    println!(
        "a scrape of {} series, {} kB: {:.1} ms (slowest of {SCRAPES}: {:.1}), {:.1} ms CPU; {:.1} MB",
        figures.count,
        figures.bytes / 1000,
        figures.wall_ms,
        figures.slowest_ms,
        figures.cpu_ms,
        figures.rss_mb
    );
    ensure!(
        figures.count > owners * 15,
        "{owners} owners should have more series: {}",
        figures.count
    );
    drop(crowd);
    subject.stop()?;
    Ok(figures)
}

impl Series {
    /// As if there were 10,000.
    pub(super) fn must(&self) -> Must {
        let scaled = self.wall_ms * 10_000.0 / self.count as f64;
        Must::new("a scrape of 10,000 series", scaled, 60.0, " ms")
    }
}
