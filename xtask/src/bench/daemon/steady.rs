//! A machine that has something to do: sockets that are open, connections that come and go at a
//! steady pace, a scrape every quarter of a minute.

use std::{
    process::{Child, Command},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use super::{
    super::load::Full,
    Plan,
    figures::Must,
    subject::{Subject, metric},
};

/// How often Prometheus scrapes.
const SCRAPE_EVERY: Duration = Duration::from_secs(15);

/// Every so manieth connection has a peer that closed.
const CLOSE_WAIT: usize = 50;

/// CPU of the daemon, in percent of one.
#[derive(Debug, Serialize)]
pub(super) struct Steady {
    seconds: u64,
    rate: u32,
    sockets: usize,
    /// Nothing but the sockets.
    at_rest: Phase,
    /// And connections.
    connections: Phase,
    /// And scrapes.
    scraped: Phase,
    /// Between two looks, and while one lasts.
    rss_mb: f64,
    highest_rss_mb: f64,
    lost: f64,
}

/// What it took in a while.
#[derive(Debug, Serialize)]
struct Phase {
    cpu_percent: f64,
    /// The same, by thread.
    threads: Vec<(String, f64)>,
    /// Median, and the most that was seen at twenty times a second.
    rss_mb: f64,
    highest_rss_mb: f64,
}

#[allow(clippy::print_stdout, reason = "that is the result")]
pub(super) fn measure(plan: &Plan) -> Result<Steady> {
    let space = Full::new("bench-steady", plan.sockets, CLOSE_WAIT)?;
    let mut subject = Subject::start("")?;
    subject.rest()?;
    let length = Duration::from_secs(plan.seconds);
    let at_rest = Phase::measure(&subject, length, false)?;
    println!("daemon, {} sockets open: {at_rest}", plan.sockets);
    let pace = Pace::start(&space, plan.rate, 2 * plan.seconds + 60)?;
    sleep(Duration::from_secs(2));
    let connections = Phase::measure(&subject, length, false)?;
    println!("and {} connections a second: {connections}", plan.rate);
    let scraped = Phase::measure(&subject, length, true)?;
    println!("and a scrape every {SCRAPE_EVERY:?}: {scraped}");
    let (rss_mb, highest_rss_mb) = (scraped.rss_mb, scraped.highest_rss_mb);
    let text = subject.scrape()?;
    drop(pace);
    let accepts = metric(&text, "socktrace_accepts_total", "owner=\"xtask\"");
    let expected = f64::from(plan.rate) * 2.0 * plan.seconds as f64;
    // Whoever saw little has little to do.
    ensure!(
        accepts > expected * 0.9,
        "{accepts} connections were counted, not {expected}: is the machine too busy?"
    );
    // Whatever else the machine does is told, too, and costs.
    let others = metric(&text, "socktrace_accepts_total", "") - accepts;
    println!("{others} connections were others'");
    let lost = metric(&text, "socktrace_events_lost_total", "");
    println!("{rss_mb:.1} MB, {highest_rss_mb:.1} MB at most, {lost} events lost");
    subject.stop()?;
    Ok(Steady {
        seconds: plan.seconds,
        rate: plan.rate,
        sockets: plan.sockets,
        at_rest,
        connections,
        scraped,
        rss_mb,
        highest_rss_mb,
        lost,
    })
}

impl Steady {
    pub(super) fn musts(&self) -> Vec<Must> {
        vec![
            Must::new(
                "CPU with connections and scrapes",
                self.scraped.cpu_percent,
                1.0,
                " %",
            ),
            Must::new("memory", self.highest_rss_mb, 30.0, " MB"),
            Must::new("lost events", self.lost, 0.0, ""),
        ]
    }
}

impl Phase {
    fn measure(subject: &Subject, length: Duration, scrape: bool) -> Result<Self> {
        let (begin, cpu, threads) = (Instant::now(), subject.cpu()?, subject.threads()?);
        let (mut next, mut rss) = (SCRAPE_EVERY / 2, Vec::new());
        while begin.elapsed() < length {
            if scrape && begin.elapsed() >= next {
                subject.scrape()?;
                next += SCRAPE_EVERY;
            }
            rss.push(subject.rss_mb()?);
            sleep(Duration::from_millis(50));
        }
        rss.sort_by(f64::total_cmp);
        let took = begin.elapsed().as_secs_f64();
        let after = subject.threads()?;
        let threads = after.into_iter().zip(threads);
        let threads =
            threads.map(|((name, after), (_, before))| (name, (after - before) / took * 100.0));
        Ok(Self {
            cpu_percent: (subject.cpu()? - cpu) / took * 100.0,
            threads: threads.filter(|(_, percent)| *percent > 0.005).collect(),
            rss_mb: rss.get(rss.len() / 2).copied().unwrap_or_default(),
            highest_rss_mb: rss.last().copied().unwrap_or_default(),
        })
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} % of one CPU (", self.cpu_percent)?;
        for (place, (name, percent)) in self.threads.iter().enumerate() {
            let comma = if place > 0 { ", " } else { "" };
            write!(f, "{comma}{name} {percent:.2}")?;
        }
        write!(f, ")")
    }
}

/// `cargo xtask pace`; ended when dropped.
struct Pace(Child);

impl Pace {
    fn start(space: &Full, rate: u32, seconds: u64) -> Result<Self> {
        let own = std::env::current_exe()?;
        let mut command: Command = space.command(own.to_str().context("a path that is no text")?);
        command.args(["pace", &rate.to_string(), &seconds.to_string()]);
        Ok(Self(command.spawn()?))
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
