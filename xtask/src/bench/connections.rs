//! `cargo xtask bench connections`: what a tool costs the machine for each connection that is made
//! and closed while it runs, in pairs with and without it.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::{
    drive::{Close, Driven},
    measure::{Spread, median},
    programs, report,
    subjects::Subject,
    tool::Tool,
};
use crate::util::{is_root, output};

/// Runs in which the kernel counts what programs take: from one to the next that differs by a tenth.
const COUNTED: usize = 5;

/// How often and how much.
pub(super) struct Plan<'a> {
    pub(super) connections: usize,
    pub(super) rounds: usize,
    pub(super) close: Close,
    pub(super) subjects: &'a [Subject],
}

/// A tool's figures: all of one run of this program.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    subject: &'static str,
    /// CPU time of workload and tool, over that of the workload alone.
    total_cpu: Spread,
    /// Connections a second, over those without it.
    rate: Spread,
    /// Connections a second with it.
    per_second: f64,
    /// CPU time that the workload takes more, and that the tool takes: µs a connection.
    workload_us: f64,
    tool_us: f64,
    /// In BPF programs, without what the kernel says that as many empty ones take: ns a connection.
    kernel_ns: f64,
    empty_ns: f64,
    /// Runs of BPF programs a connection.
    kernel_runs: f64,
    rss_mb: f64,
    /// What it says it lost, all rounds together.
    lost: Option<u64>,
}

pub(super) fn connections(plan: &Plan<'_>) -> Result<()> {
    let space = Space::new()?;
    let empty_ns = programs::empty_ns()?;
    eprintln!("an empty BPF program takes {empty_ns:.0} ns, as the kernel counts");
    // The first run warms up what all share.
    Workload::start(plan, &space)?.run()?;
    let mut rows = Vec::new();
    for &subject in plan.subjects {
        if let Some(missing) = subject.missing() {
            eprintln!("{} is left out: {missing} is not installed", subject.name());
            continue;
        }
        match measure(plan, &space, subject, empty_ns) {
            Ok(row) => rows.push(row),
            Err(error) => {
                eprintln!("{} is left out: {error:#}", subject.name());
                continue;
            }
        }
        print(&rows[rows.len() - 1]);
        // What the next one does is no reason to lose these.
        report::keep_rows("connections", &rows)?;
    }
    Ok(())
}

/// A namespace of the workload's own, and a folder for what tools write.
pub(super) struct Space {
    name: String,
    pub(super) folder: PathBuf,
}

impl Space {
    pub(super) fn new() -> Result<Self> {
        if !is_root() {
            bail!("this needs root: `sudo -E cargo xtask bench …`");
        }
        let name = format!("bench-drive-{}", std::process::id());
        output(Command::new("ip").args(["netns", "add", &name]))?;
        let folder = PathBuf::from(format!("/dev/shm/{name}"));
        let space = Self { name, folder };
        fs::create_dir_all(&space.folder)?;
        let mut up = space.command("ip");
        output(up.args(["link", "set", "lo", "up"]))?;
        Ok(space)
    }

    pub(super) fn netns(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.netns().display()));
        command.arg(program);
        command
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        drop(
            Command::new("ip")
                .args(["netns", "del", &self.name])
                .status(),
        );
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// `cargo xtask drive`, ready to go.
struct Workload {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Workload {
    fn start(plan: &Plan<'_>, space: &Space) -> Result<Self> {
        let own = std::env::current_exe()?;
        let mut command = space.command(own.to_str().context("a path that is no text")?);
        let close = match plan.close {
            Close::Fin => "fin",
            Close::Rst => "rst",
        };
        let mut child = command
            .args(["drive", &plan.connections.to_string(), close])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().context("no input")?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        let mut workload = Self {
            child,
            input,
            output,
        };
        if workload.line()? != "ready\n" {
            bail!("the workload is not ready");
        }
        Ok(workload)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line)
    }

    fn run(&mut self) -> Result<Driven> {
        writeln!(self.input)?;
        let line = self.line()?;
        serde_json::from_str(&line).context("the workload failed")
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A run beside the tool.
struct Beside {
    driven: Driven,
    tool_ns: f64,
    rss_mb: f64,
    lost: Option<u64>,
}

fn measure(plan: &Plan<'_>, space: &Space, subject: Subject, empty_ns: f64) -> Result<Row> {
    let mut pairs = Vec::new();
    let alone = || Workload::start(plan, space)?.run();
    // What a run leaves makes the next one slower (its ports are in `TIME_WAIT`), so that who goes first
    // takes turns.
    for round in 0..plan.rounds {
        pairs.push(if round % 2 == 0 {
            let alone = alone()?;
            (alone, run_beside(plan, space, subject)?)
        } else {
            let beside = run_beside(plan, space, subject)?;
            (alone()?, beside)
        });
    }
    // Apart from the rest, as the kernel's statistics cost time themselves.
    let mut counted = Vec::new();
    for _ in 0..COUNTED {
        counted.push(programs_of(plan, space, subject)?);
    }
    let each = plan.connections as f64;
    let of = |figure: fn(&Driven, &Beside) -> f64| -> Vec<f64> {
        pairs
            .iter()
            .map(|(alone, beside)| figure(alone, beside))
            .collect()
    };
    let lost = pairs.iter().map(|(_, beside)| beside.lost);
    Ok(Row {
        subject: subject.name(),
        total_cpu: Spread::of(of(|alone, beside| {
            (beside.driven.cpu_ns + beside.tool_ns) / alone.cpu_ns
        })),
        rate: Spread::of(of(|alone, beside| alone.wall_ns / beside.driven.wall_ns)),
        per_second: each / (median(of(|_, beside| beside.driven.wall_ns)) / 1e9),
        workload_us: median(of(|alone, beside| beside.driven.cpu_ns - alone.cpu_ns)) / each / 1e3,
        tool_us: median(of(|_, beside| beside.tool_ns)) / each / 1e3,
        kernel_ns: median(counted.iter().map(|it| it.body_ns(empty_ns)).collect()) / each,
        empty_ns,
        kernel_runs: median(counted.iter().map(|it| it.count).collect()) / each,
        rss_mb: median(of(|_, beside| beside.rss_mb)),
        lost: lost.sum(),
    })
}

fn run_beside(plan: &Plan<'_>, space: &Space, subject: Subject) -> Result<Beside> {
    let mut workload = Workload::start(plan, space)?;
    let Some(command) = subject.command(&space.netns(), &space.folder)? else {
        return Ok(Beside {
            driven: workload.run()?,
            tool_ns: 0.0,
            rss_mb: 0.0,
            lost: None,
        });
    };
    let mut tool = Tool::start(subject.name(), &command, &space.folder, subject.says())?;
    let before = tool.cpu_ns()?;
    let driven = workload.run()?;
    tool.rest()?;
    let (tool_ns, rss_mb) = (tool.cpu_ns()? - before, tool.rss_mb()?);
    let lost = subject.lost(&space.folder)?;
    tool.stop()?;
    Ok(Beside {
        driven,
        tool_ns,
        rss_mb,
        lost: lost.or(subject.lost_at_the_end(&space.folder)?),
    })
}

/// What the kernel says that BPF programs take. Of a tool that has been there for a while: the first
/// records are written to memory that nobody has touched yet.
fn programs_of(plan: &Plan<'_>, space: &Space, subject: Subject) -> Result<programs::Runs> {
    let Some(command) = subject.command(&space.netns(), &space.folder)? else {
        return Ok(programs::Runs::default());
    };
    let mut workload = Workload::start(plan, space)?;
    let mut tool = Tool::start(subject.name(), &command, &space.folder, subject.says())?;
    workload.run()?;
    tool.rest()?;
    let statistics = programs::Statistics::on()?;
    let before = programs::Runs::now()?;
    workload.run()?;
    tool.rest()?;
    let programs = programs::Runs::now()? - before;
    drop(statistics);
    tool.stop()?;
    Ok(programs)
}

#[allow(clippy::print_stdout, reason = "that is the result")]
fn print(row: &Row) {
    println!(
        "{:<26} total CPU {} · rate {} ({:.0}/s) · workload {:+.1} µs, tool {:.1} µs · kernel {:.0} ns in \
         {:.1} runs · {:.0} MB · lost {}",
        row.subject,
        row.total_cpu,
        row.rate,
        row.per_second,
        row.workload_us,
        row.tool_us,
        row.kernel_ns,
        row.kernel_runs,
        row.rss_mb,
        row.lost.map_or("?".to_owned(), |lost| lost.to_string()),
    );
}
