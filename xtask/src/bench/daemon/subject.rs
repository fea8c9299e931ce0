//! The daemon that is measured: one of the release build, with a place of its own, asked over HTTP as
//! Prometheus does.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::super::tool::Tool;
use crate::util::{as_root, target_dir};

/// What Prometheus sends.
const ACCEPT: &str =
    "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5";

/// A running daemon; ended when dropped.
pub(super) struct Subject {
    tool: Tool,
    address: String,
    _folder: Folder,
}

/// Gone when dropped.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Result<Self> {
        let path = PathBuf::from(format!("/dev/shm/{name}-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// How it is run, with a place in `folder`.
pub(super) fn command(folder: &Path, configuration: &str) -> Result<Command> {
    let file = folder.join("socktrace.toml");
    fs::write(&file, configuration)?;
    let mut command = as_root(target_dir().join("release/socktrace"))?;
    command.args(["daemon", "--web.listen-address=127.0.0.1:0"]);
    command.arg("--config.file").arg(file);
    command.arg("--socket").arg(folder.join("socket"));
    command.arg("--state.directory").arg(folder);
    Ok(command)
}

impl Subject {
    pub(super) fn start(configuration: &str) -> Result<Self> {
        let folder = Folder::new("bench-daemon")?;
        let command = command(&folder.0, configuration)?;
        let tool = Tool::start("the daemon", &command, &folder.0, Some("following sockets"))?;
        let log = fs::read_to_string(folder.0.join("stderr"))?;
        let (_, address) = log
            .split_once("msg=listening address=")
            .context("the daemon does not say where it listens")?;
        let address = address.split_whitespace().next().unwrap_or_default();
        Ok(Self {
            address: address.to_owned(),
            tool,
            _folder: folder,
        })
    }

    /// Scrapes it: the text.
    pub(super) fn scrape(&self) -> Result<String> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let head = format!(
            "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {ACCEPT}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        ensure!(text.starts_with("HTTP/1.1 200"), "no scrape: {text:.200}");
        Ok(text)
    }

    /// CPU time so far, seconds.
    pub(super) fn cpu(&self) -> Result<f64> {
        Ok(self.tool.cpu_ns()? / 1e9)
    }

    pub(super) fn rss_mb(&self) -> Result<f64> {
        self.tool.rss_mb()
    }

    pub(super) fn rest(&mut self) -> Result<()> {
        self.tool.rest()
    }

    /// CPU time of each of its threads, by name: seconds.
    pub(super) fn threads(&self) -> Result<Vec<(String, f64)>> {
        let mut threads = Vec::new();
        for task in fs::read_dir(format!("/proc/{}/task", self.tool.pid()))? {
            let task = task?.path();
            let name = fs::read_to_string(task.join("comm"))?;
            let ran = fs::read_to_string(task.join("schedstat"))?;
            let ran: f64 = ran.split(' ').next().unwrap_or_default().parse()?;
            threads.push((name.trim().to_owned(), ran / 1e9));
        }
        Ok(threads)
    }

    /// Open descriptors.
    pub(super) fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.tool.pid()))?.count())
    }

    /// Entries of its hash maps, all together.
    pub(super) fn map_entries(&self) -> Result<usize> {
        let mut entries = 0;
        for id in self.hash_maps()? {
            let mut dump = Command::new("bpftool");
            let dump = dump.args(["--json", "map", "dump", "id", &id]).output()?;
            // An entry that went while it was read makes it fail, after the others were told.
            entries += dump
                .stdout
                .windows(6)
                .filter(|it| it == b"\"key\":")
                .count();
        }
        Ok(entries)
    }

    fn hash_maps(&self) -> Result<Vec<String>> {
        /// `BPF_MAP_TYPE_HASH` and `BPF_MAP_TYPE_PERCPU_HASH` (`include/uapi/linux/bpf.h`).
        const HASHES: [&str; 2] = ["1", "5"];
        let mut maps = Vec::new();
        for file in fs::read_dir(format!("/proc/{}/fdinfo", self.tool.pid()))? {
            // One that was closed meanwhile is none of ours.
            let info = fs::read_to_string(file?.path()).unwrap_or_default();
            let field = |name: &str| {
                let mut lines = info.lines();
                let value = lines.find_map(|line| line.strip_prefix(name))?;
                Some(value.trim().to_owned())
            };
            if field("map_type:").is_some_and(|it| HASHES.contains(&&*it)) {
                maps.extend(field("map_id:"));
            }
        }
        maps.sort_unstable();
        maps.dedup();
        Ok(maps)
    }

    pub(super) fn stop(mut self) -> Result<()> {
        self.tool.stop()
    }
}

/// The sum over the series of a metric that have this label.
pub(super) fn metric(text: &str, name: &str, label: &str) -> f64 {
    let series = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (found, with) = series.split_once('{').unwrap_or((series, ""));
        (found == name && with.contains(label)).then(|| value.parse::<f64>().ok())?
    });
    series.sum()
}
