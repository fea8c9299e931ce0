//! The vocabulary of the kernel tests: a namespace, a script that triggers, rows that are expected.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    os::fd::AsFd as _,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    process::{Pid, Signal, kill_process},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::runtime::Runtime;

/// Beginning of every script: what scripts print with `say` is compared with what is traced.
pub(crate) const PRELUDE: &str = r"
import socket, os, sys, json, time, struct, errno, select, signal
def cookie(s): return struct.unpack('=Q', s.getsockopt(socket.SOL_SOCKET, 57, 8))[0]
def say(**facts): os.write(1, json.dumps(facts).encode() + b'\n')
def listener(family=socket.AF_INET, address='127.0.0.1', backlog=16):
    s = socket.socket(family); s.bind((address, 0)); s.listen(backlog); return s
def pair(l):
    c = socket.socket(l.family); c.connect(l.getsockname()); a, _ = l.accept(); return c, a
";

/// A network namespace with loopback up, gone when it is dropped.
pub(crate) struct Netns {
    name: String,
}

/// What a ring needs around it: one thread, with a clock.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

impl Netns {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("socktrace-{}-{next}", std::process::id());
        // Of a process that had our number and was ended before it could tidy up.
        if fs::exists(format!("/run/netns/{name}")).unwrap() {
            run(Command::new("ip").args(["netns", "del", &name]));
        }
        run(Command::new("ip").args(["netns", "add", &name]));
        let netns = Self { name };
        netns.sh("ip link set lo up");
        netns
    }

    /// Its name under `/run/netns`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its number, as the kernel names it to programs: the inode of its file.
    pub(crate) fn number(&self) -> u32 {
        u32::try_from(inode(&format!("/run/netns/{}", self.name))).unwrap()
    }

    /// The calling thread moves in: what it opens from now on is there.
    pub(crate) fn enter(&self) {
        let file = fs::File::open(format!("/run/netns/{}", self.name)).unwrap();
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }

    /// A command that runs in the namespace. Not by `ip netns exec`, which would hide tracefs. The system's
    /// programs, told who they are: a Python of some version manager is a script first, and where
    /// neither knows its home it asks for it, over sockets that no test expects.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .arg(format!("--net=/run/netns/{}", self.name))
            .arg(program);
        command
    }

    /// Runs a shell command that must succeed; its output.
    pub(crate) fn sh(&self, script: &str) -> String {
        run(self.command("sh").args(["-c", script]))
    }

    /// Traces a python script from its first socket to its last.
    pub(crate) fn trace(&self, script: &str) -> Trace {
        self.trace_with(&[], script)
    }

    /// The same with more options of `trace`.
    pub(crate) fn trace_with(&self, options: &[&str], script: &str) -> Trace {
        Self::trace_by(self.command(socktrace().to_str().unwrap()), options, script)
    }

    /// The same with less around it than there is: `wrapper` runs what follows it.
    pub(crate) fn trace_under(&self, wrapper: &[&str], script: &str) -> Trace {
        let mut command = self.command(wrapper[0]);
        command.args(&wrapper[1..]).arg(socktrace());
        Self::trace_by(command, &[], script)
    }

    fn trace_by(mut command: Command, options: &[&str], script: &str) -> Trace {
        let script = format!("{PRELUDE}\n{script}");
        command.args(["trace", "-o", "json"]).args(options);
        command.args(["--", "python3", "-c", &script]);
        Trace::of_run(|| command.output().unwrap())
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let status = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
        assert!(status.is_ok_and(|status| status.success()) || thread::panicking());
    }
}

/// What a script said and what was traced.
pub(crate) struct Trace {
    pub(crate) rows: Vec<Row>,
    facts: Vec<Value>,
    pub(crate) stderr: String,
}

impl Trace {
    /// From what socktrace writes, of a run in which the kernel skipped none of its programs.
    ///
    /// It skips one that is running already on that CPU. Since Linux 7 another task may come in between, even
    /// where tasks are not preempted eagerly if a system call takes longer than a tick: an emulated CPU's do.
    /// What is skipped is counted and told, and such a run shows nothing but that, so there is another.
    #[track_caller]
    pub(crate) fn of_run(mut run: impl FnMut() -> Output) -> Self {
        const MOST: usize = 3;
        let is_emulated = patience(1) > Duration::from_secs(1);
        let mut output = run();
        for _ in 1..MOST {
            if !(is_emulated && was_skipped(&output)) {
                break;
            }
            println!("the kernel skipped a program: again");
            output = run();
        }
        Self::new(&output)
    }

    /// From what socktrace wrote.
    #[track_caller]
    pub(crate) fn new(output: &Output) -> Self {
        let stderr = String::from_utf8(output.stderr.clone()).unwrap();
        assert!(output.status.success(), "{}: {stderr}", output.status);
        let stdout = String::from_utf8(output.stdout.clone()).unwrap();
        let lines = stdout
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect(line));
        let (rows, facts): (Vec<_>, Vec<_>) = lines.partition(|line| line.get("schema").is_some());
        let trace = Self {
            rows: rows.into_iter().map(Row).collect(),
            facts,
            stderr,
        };
        assert!(trace.of("lost").is_empty(), "{}", trace.stderr);
        let ledger = trace
            .stderr
            .lines()
            .find(|line| line.contains("kernel: seen"));
        assert!(
            ledger.is_some_and(|ledger| ledger.contains(" = emitted ")),
            "{}",
            trace.stderr
        );
        trace
    }

    /// What the script said under this name.
    #[track_caller]
    pub(crate) fn said(&self, name: &str) -> i64 {
        let fact = self.facts.iter().find_map(|fact| fact.get(name)?.as_i64());
        fact.unwrap_or_else(|| panic!("the script did not say {name}: {:?}", self.facts))
    }

    /// Rows of one kind.
    pub(crate) fn of(&self, event: &str) -> Vec<&Row> {
        self.rows
            .iter()
            .filter(|row| row.text("event") == Some(event))
            .collect()
    }

    /// The rows of the socket whose cookie the script said under this name.
    #[track_caller]
    pub(crate) fn socket(&self, name: &str) -> Life<'_> {
        let cookie = self.said(name);
        let rows: Vec<_> = self
            .rows
            .iter()
            .filter(|row| row.number("cookie") == Some(cookie))
            .collect();
        assert!(!rows.is_empty(), "no rows for {name}, cookie {cookie}");
        Life { rows }
    }
}

/// A row.
#[derive(Debug)]
pub(crate) struct Row(Value);

impl Row {
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }

    pub(crate) fn number(&self, key: &str) -> Option<i64> {
        self.0.get(key)?.as_i64()
    }

    pub(crate) fn float(&self, key: &str) -> Option<f64> {
        self.0.get(key)?.as_f64()
    }

    /// Its keys, in the order of the alphabet.
    pub(crate) fn keys(&self) -> Vec<&str> {
        self.0
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect()
    }

    /// Process and descriptor of each holder.
    pub(crate) fn holders(&self) -> Vec<(i64, i64)> {
        let holders = self.0["holders"].as_array().unwrap();
        let number = |holder: &Value, key: &str| holder[key].as_i64().unwrap();
        let pairs = holders
            .iter()
            .map(|it| (number(it, "pid"), number(it, "fd")));
        pairs.collect()
    }

    /// Asserts that the key is there and says nothing.
    #[track_caller]
    pub(crate) fn expect_null(&self, key: &str) -> &Self {
        assert_eq!(self.0.get(key), Some(&Value::Null), "{key} of {self:?}");
        self
    }

    /// Asserts what a key says.
    #[track_caller]
    pub(crate) fn expect(&self, key: &str, value: impl Into<Value>) -> &Self {
        assert_eq!(self.0.get(key), Some(&value.into()), "{key} of {self:?}");
        self
    }

    /// `event`, or what tells it from others of its kind: `state` rows as `old>new`, failures
    /// with their errno, closes with their cause.
    fn gist(&self) -> String {
        let event = self.text("event").unwrap_or("?");
        match event {
            "state" => {
                let word = |key| self.text(key).unwrap_or("?");
                format!("{}>{}", word("old"), word("new"))
            }
            "close" => format!("close:{}", self.text("by").unwrap_or("?")),
            _ => match self.text("error") {
                Some(error) => format!("{event}:{error}"),
                None => event.to_owned(),
            },
        }
    }
}

/// The rows of one socket.
#[derive(Debug)]
pub(crate) struct Life<'a> {
    pub(crate) rows: Vec<&'a Row>,
}

impl<'a> Life<'a> {
    /// What happened to it, in order.
    pub(crate) fn gists(&self) -> impl Iterator<Item = String> {
        self.rows.iter().map(|row| row.gist())
    }

    /// Asserts what happened to it, in order.
    #[track_caller]
    pub(crate) fn expect(&self, gists: &str) -> &Self {
        let seen: Vec<_> = self.gists().collect();
        let expected: Vec<_> = gists.split_whitespace().collect();
        assert_eq!(seen, expected);
        self
    }

    /// Its only row with this gist, or of this kind.
    #[track_caller]
    pub(crate) fn row(&self, gist: &str) -> &'a Row {
        let fits = |row: &&&Row| row.gist() == gist || row.text("event") == Some(gist);
        let rows: Vec<_> = self.rows.iter().filter(fits).collect();
        assert_eq!(rows.len(), 1, "rows {gist} among {:?}", self.rows);
        rows[0]
    }

    /// Asserts what every row says.
    #[track_caller]
    pub(crate) fn all(&self, key: &str, value: impl Into<Value>) -> &Self {
        let value = value.into();
        for row in &self.rows {
            row.expect(key, value.clone());
        }
        self
    }
}

/// A program that runs beside the test, its output in files.
pub(crate) struct Background {
    child: Child,
    stdout: NamedTempFile,
    stderr: NamedTempFile,
}

impl Background {
    /// Starts it and waits until `ready` stands in its output.
    #[track_caller]
    pub(crate) fn start(mut command: Command, ready: &str) -> Self {
        let (stdout, stderr) = (NamedTempFile::new().unwrap(), NamedTempFile::new().unwrap());
        let child = command
            .stdin(Stdio::null())
            .stdout(stdout.reopen().unwrap())
            .stderr(stderr.reopen().unwrap())
            .spawn()
            .unwrap();
        let background = Self {
            child,
            stdout,
            stderr,
        };
        let deadline = Instant::now() + patience(20);
        while !background.stdout().contains(ready) && !background.stderr().contains(ready) {
            assert!(
                Instant::now() < deadline,
                "{command:?}: {}",
                background.stderr()
            );
            thread::sleep(Duration::from_millis(20));
        }
        background
    }

    pub(crate) fn pid(&self) -> i64 {
        self.child.id().into()
    }

    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(self.stdout.path()).unwrap()
    }

    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.stderr.path()).unwrap()
    }

    /// Waits until its rows are so; a busy machine may take its time.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, holds: impl Fn(&[Row]) -> bool) {
        let deadline = Instant::now() + patience(180);
        loop {
            // The last line may not be there in full.
            let text = self.stdout();
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            if holds(&rows(whole)) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{what}: {text} {}",
                self.stderr()
            );
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Interrupts it, as a person would, and waits; what it wrote.
    #[track_caller]
    pub(crate) fn stop(mut self) -> (String, String) {
        self.interrupt();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.stderr());
        (self.stdout(), self.stderr())
    }

    /// Holds it where it is.
    pub(crate) fn pause(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).unwrap();
    }

    /// Ends it as nobody can prepare for.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn interrupt(&self) {
        let pid = Pid::from_child(&self.child);
        // It may be gone already.
        kill_process(pid, Signal::INT).unwrap_or_default();
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.interrupt();
            drop(self.child.wait());
        }
    }
}

/// A program that is spoken to line by line.
pub(crate) struct Dialogue {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Dialogue {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Waits for a line that begins so; the rest of it.
    #[track_caller]
    pub(crate) fn hear(&mut self, word: &str) -> String {
        let line = self.lines.next().expect("it ended").unwrap();
        line.strip_prefix(word)
            .unwrap_or_else(|| panic!("{line}"))
            .trim()
            .to_owned()
    }

    /// Does something else until the program says more, and then hears it.
    #[track_caller]
    pub(crate) fn hear_while(&mut self, word: &str, mut other: impl FnMut()) -> String {
        let (done, finished) = std::sync::mpsc::channel();
        let line = thread::scope(|scope| {
            let lines = &mut self.lines;
            scope.spawn(move || done.send(lines.next()));
            loop {
                if let Ok(line) = finished.try_recv() {
                    break line;
                }
                other();
            }
        });
        let line = line.expect("it ended").unwrap();
        let rest = line.strip_prefix(word);
        rest.unwrap_or_else(|| panic!("{line}")).trim().to_owned()
    }

    #[track_caller]
    pub(crate) fn say(&mut self, line: &str) {
        let said = writeln!(self.child.stdin.as_mut().unwrap(), "{line}");
        if let Err(error) = said {
            panic!("{error}: the program ended ({:?})", self.child.wait());
        }
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        // End of input, at which every script ends.
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

/// The rows in the JSON that `trace` or `life` wrote.
pub(crate) fn rows(json: &str) -> Vec<Row> {
    json.lines()
        .map(|line| Row(serde_json::from_str(line).expect(line)))
        .collect()
}

/// A python script in a namespace.
pub(crate) fn python(netns: &Netns, script: &str) -> Command {
    let mut command = netns.command("python3");
    command.args(["-c", &format!("{PRELUDE}\n{script}")]);
    command
}

/// The program under test.
pub(crate) fn socktrace() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_socktrace"))
}

/// How long to wait for what should take no more than so many seconds: longer where
/// `SOCKTRACE_TEST_PATIENCE` says how many times (an emulated machine).
pub(crate) fn patience(seconds: u64) -> Duration {
    let times = env::var("SOCKTRACE_TEST_PATIENCE").ok();
    let times = times.and_then(|it| it.parse().ok()).unwrap_or(1);
    Duration::from_secs(seconds) * times
}

/// Does socktrace say that the kernel skipped programs of its, and that nothing else is lost?
fn was_skipped(output: &Output) -> bool {
    String::from_utf8_lossy(&output.stderr).lines().any(|line| {
        line.contains("lost where: 0 ring buffer full")
            && line.contains(" 0 kernel map full")
            && !line.contains(" 0 skipped by the kernel")
    })
}

/// Is the machine there for these tests only, so that its clock may be set and its memory be filled?
/// `SOCKTRACE_TEST_MACHINE=own` says so (an emulated machine). Else it is said that it is not.
pub(crate) fn is_our_machine() -> bool {
    let ours = env::var("SOCKTRACE_TEST_MACHINE").is_ok_and(|it| it == "own");
    if !ours {
        println!("skipped: in full only where the machine is ours alone: cargo xtask vm");
    }
    ours
}

/// Runs a command that must succeed; its output.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// The inode number of a namespace's file.
pub(crate) fn inode(path: &str) -> i64 {
    use std::os::unix::fs::MetadataExt as _;
    i64::try_from(fs::metadata(path).unwrap().ino()).unwrap()
}
