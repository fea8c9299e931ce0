//! The highest rate that the machine gives, for long: memory, descriptors and maps must not grow, and
//! nothing may be lost that is not counted.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{
    super::load::Full,
    figures::{Must, slope},
    subject::{Subject, metric},
};

/// Connections of one order to the workload.
const A_BATCH: u64 = 10_000;

/// Samples of a run.
const SAMPLES: u64 = 60;

/// Ports stay taken for a minute, and the table remembers by whom.
const TIME_WAIT: Duration = Duration::from_mins(1);

/// Memory comes and goes with looks and with the rate, which is not steady on a machine that has
/// something else to do; what leaks lifts the floor under it. By so much, or this part, it is flat.
const FLAT_MB: f64 = 1.0;
const FLAT_PART: f64 = 0.02;

/// How it was at a moment.
#[derive(Clone, Copy, Debug, Serialize)]
struct Sample {
    seconds: f64,
    connections: u64,
    rss_mb: f64,
    descriptors: usize,
    map_entries: usize,
    cpu_seconds: f64,
}

/// What was seen.
#[derive(Debug, Serialize)]
pub(super) struct Soak {
    seconds: u64,
    connections: u64,
    per_second: f64,
    cpu_us_a_connection: f64,
    /// By least squares, of the time after the first third, or after the first `TIME_WAIT`s are over.
    rss_mb_an_hour: f64,
    /// The lowest of the first and of the second half of that time.
    floors_mb: [f64; 2],
    flat: bool,
    descriptors_more: f64,
    map_entries_before: usize,
    map_entries_after: usize,
    calls: f64,
    outcomes: Vec<(&'static str, f64)>,
    lost: Vec<(&'static str, f64)>,
    samples: Vec<Sample>,
}

#[allow(clippy::print_stdout, reason = "that is the result")]
pub(super) fn measure(seconds: u64) -> Result<Soak> {
    let space = Full::new("bench-soak", 0, 1)?;
    let mut subject = Subject::start("")?;
    let before = sample(&subject, Duration::ZERO, 0)?;
    println!("before: {before}");
    let workload = Churn::start(&space)?;
    let (begin, length) = (Instant::now(), Duration::from_secs(seconds));
    let step = length / u32::try_from(SAMPLES)?;
    let mut samples = Vec::new();
    while begin.elapsed() < length {
        sleep(step.max(Duration::from_secs(1)));
        samples.push(sample(&subject, begin.elapsed(), workload.made())?);
        if samples.len() % 10 == 0 {
            println!("{}", samples[samples.len() - 1]);
        }
    }
    let took = begin.elapsed().as_secs_f64();
    let connections = workload.stop()?;
    let cpu = subject.cpu()? - before.cpu_seconds;
    // What is young is kept in the kernel for a second, and what is over is gone at the next look.
    sleep(Duration::from_secs(8));
    subject.rest()?;
    let after = sample(&subject, begin.elapsed(), connections)?;
    println!("after:  {after}");
    let text = subject.scrape()?;
    let warm = (length / 3).max(TIME_WAIT.min(length / 2)).as_secs_f64();
    let steady: Vec<_> = samples.iter().filter(|it| it.seconds >= warm).collect();
    let of = |value: fn(&Sample) -> f64| -> f64 {
        let points = steady.iter().map(|it| (it.seconds, value(it)));
        slope(&points.collect::<Vec<_>>()) * 3600.0
    };
    let outcome = |it: &'static str| {
        let label = format!("outcome=\"{it}\"");
        (it, metric(&text, "socktrace_hook_outcomes_total", &label))
    };
    let lost = |it: &'static str| {
        let label = format!("where=\"{it}\"");
        (it, metric(&text, "socktrace_events_lost_total", &label))
    };
    let rss_mb_an_hour = of(|it| it.rss_mb);
    let halves = steady.split_at(steady.len() / 2);
    let floors_mb = [halves.0, halves.1].map(floor);
    let descriptors_more = of(|it| it.descriptors as f64) * took / 3600.0;
    let soak = Soak {
        seconds,
        connections,
        per_second: connections as f64 / took,
        cpu_us_a_connection: cpu / connections as f64 * 1e6,
        rss_mb_an_hour,
        floors_mb,
        flat: floors_mb[1] - floors_mb[0] <= allowed(floors_mb[0]),
        descriptors_more,
        map_entries_before: before.map_entries,
        map_entries_after: after.map_entries,
        calls: metric(&text, "socktrace_hook_calls_total", ""),
        outcomes: ["emitted", "folded", "filtered", "lost_ring", "lost_map"]
            .map(outcome)
            .to_vec(),
        lost: ["ring", "map", "recursion", "decode"].map(lost).to_vec(),
        samples,
    };
    soak.print();
    subject.stop()?;
    Ok(soak)
}

fn floor(samples: &[&Sample]) -> f64 {
    let memory = samples.iter().map(|it| it.rss_mb);
    memory.fold(f64::INFINITY, f64::min)
}

/// So much may a floor rise.
fn allowed(floor: f64) -> f64 {
    FLAT_MB.max(floor * FLAT_PART)
}

fn sample(subject: &Subject, at: Duration, connections: u64) -> Result<Sample> {
    Ok(Sample {
        seconds: at.as_secs_f64(),
        connections,
        rss_mb: subject.rss_mb()?,
        descriptors: subject.descriptors()?,
        map_entries: subject.map_entries()?,
        cpu_seconds: subject.cpu()?,
    })
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:>6.0} s {:>10} connections {:>7.1} MB {:>4} descriptors {:>7} map entries {:>7.1} s CPU",
            self.seconds,
            self.connections,
            self.rss_mb,
            self.descriptors,
            self.map_entries,
            self.cpu_seconds
        )
    }
}

impl Soak {
    /// Seen, and not accounted for.
    fn unaccounted(&self) -> f64 {
        let outcomes: f64 = self.outcomes.iter().map(|(_, count)| count).sum();
        (self.calls - outcomes).abs()
    }

    pub(super) fn musts(&self) -> Vec<Must> {
        let [first, second] = self.floors_mb;
        // Other sockets of the machine come and go, too.
        let left = self.map_entries_before.max(200) as f64 * 1.5;
        vec![
            Must::new("memory rises", second - first, allowed(first), " MB"),
            Must::new("more descriptors", self.descriptors_more, 3.0, ""),
            Must::new("map entries left", self.map_entries_after as f64, left, ""),
            Must::new("events not accounted for", self.unaccounted(), 0.0, ""),
        ]
    }

    #[allow(clippy::print_stdout, reason = "that is the result")]
    fn print(&self) {
        println!(
            "{} connections in {} s, {:.0} a second, {:.1} µs CPU of the daemon for each; memory {:+.1} MB/h, its floor \
             from {:.1} to {:.1} MB: {}",
            self.connections,
            self.seconds,
            self.per_second,
            self.cpu_us_a_connection,
            self.rss_mb_an_hour,
            self.floors_mb[0],
            self.floors_mb[1],
            if self.flat { "flat" } else { "NOT flat" }
        );
        println!(
            "{} seen = {}; lost: {}",
            self.calls,
            shown(&self.outcomes, " + "),
            shown(&self.lost, ", ")
        );
    }
}

fn shown(counts: &[(&str, f64)], between: &str) -> String {
    let counts = counts.iter().map(|(name, count)| format!("{count} {name}"));
    counts.collect::<Vec<_>>().join(between)
}

/// `cargo xtask drive`, ordered again and again until it is enough.
struct Churn {
    enough: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
    driver: JoinHandle<Result<()>>,
}

impl Churn {
    fn start(space: &Full) -> Result<Self> {
        let own = std::env::current_exe()?;
        let mut command = space.command(own.to_str().context("a path that is no text")?);
        let mut child = command
            .args(["drive", &A_BATCH.to_string(), "fin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().context("no input")?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        let (enough, made) = (Arc::default(), Arc::default());
        let (until, count) = (Arc::clone(&enough), Arc::clone(&made));
        let driver = thread::spawn(move || order(child, input, output, &until, &count));
        Ok(Self {
            enough,
            made,
            driver,
        })
    }

    fn made(&self) -> u64 {
        self.made.load(Relaxed)
    }

    fn stop(self) -> Result<u64> {
        self.enough.store(true, Relaxed);
        let ended = self.driver.join();
        ended.map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        Ok(self.made.load(Relaxed))
    }
}

fn order(
    mut child: Child,
    mut input: ChildStdin,
    mut output: BufReader<ChildStdout>,
    enough: &AtomicBool,
    made: &AtomicU64,
) -> Result<()> {
    let mut line = String::new();
    output.read_line(&mut line)?;
    while !enough.load(Relaxed) {
        writeln!(input)?;
        line.clear();
        let heard = output.read_line(&mut line)?;
        anyhow::ensure!(heard > 0, "the workload failed");
        made.fetch_add(A_BATCH, Relaxed);
    }
    drop(input);
    child.wait()?;
    Ok(())
}
