//! The daemon: what it knows by watching, and what it answers.

#![allow(clippy::float_cmp, reason = "metrics are counts")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::support::{Background, Dialogue, Netns, Row, patience, python, rows, run, socktrace};

/// A daemon with a place of its own.
pub(crate) struct Daemon {
    folder: TempDir,
    running: Option<Background>,
    wrapper: Vec<String>,
    more: Vec<String>,
}

impl Daemon {
    pub(crate) fn start(configuration: &str) -> Self {
        Self::start_under(&[], configuration)
    }

    /// With less around it than there is: `wrapper` runs what follows it.
    pub(crate) fn start_under(wrapper: &[&str], configuration: &str) -> Self {
        Self::start_with(wrapper, &[], configuration)
    }

    /// With more arguments.
    pub(crate) fn start_with(wrapper: &[&str], more: &[&str], configuration: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Whoever it runs as can write there.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(folder.path(), open).unwrap();
        let mut daemon = Self {
            folder,
            running: None,
            wrapper: wrapper.iter().map(|it| (*it).to_owned()).collect(),
            more: more.iter().map(|it| (*it).to_owned()).collect(),
        };
        daemon.configure(configuration);
        daemon.run();
        daemon
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn configure(&self, configuration: &str) {
        fs::write(self.path("socktrace.toml"), configuration).unwrap();
    }

    /// Starts it, again.
    pub(crate) fn run(&mut self) {
        let program = socktrace();
        let mut command = match self.wrapper.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.arg("daemon");
        command.args(["--web.listen-address", "127.0.0.1:0"]);
        command
            .arg("--config.file")
            .arg(self.path("socktrace.toml"));
        command.arg("--socket").arg(self.path("socket"));
        command.arg("--state.directory").arg(self.folder.path());
        command.args(&self.more);
        self.running = Some(Background::start(command, "following sockets"));
    }

    /// Where it serves HTTP.
    pub(crate) fn address(&self) -> String {
        let log = self.running.as_ref().unwrap().stderr();
        let (_, address) = log.split_once("msg=listening address=").expect(&log);
        address.split_whitespace().next().unwrap().to_owned()
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        self.running.as_ref().unwrap().stderr()
    }

    pub(crate) fn pid(&self) -> i64 {
        self.running.as_ref().unwrap().pid()
    }

    /// It gets no CPU until [`Self::resume`].
    pub(crate) fn pause(&self) {
        self.running.as_ref().unwrap().pause();
    }

    pub(crate) fn resume(&self) {
        self.running.as_ref().unwrap().resume();
    }

    /// Ends it as nobody can prepare for.
    pub(crate) fn kill(&mut self) {
        self.running.take().unwrap().kill();
    }

    fn stop(&mut self) -> String {
        self.running.take().unwrap().stop().1
    }

    /// What a command prints when it asks this daemon.
    fn ask(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(socktrace());
        command.args(arguments);
        command.env("SOCKTRACE_SOCKET", self.path("socket"));
        command.output().unwrap()
    }

    pub(crate) fn rows(&self, arguments: &[&str]) -> Vec<Row> {
        let output = self.ask(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        rows(str::from_utf8(&output.stdout).unwrap())
    }

    /// What curl gets over the Unix socket.
    pub(crate) fn get(&self, path: &str) -> String {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-m", "20", "--unix-socket"]);
        curl.arg(self.path("socket"));
        curl.arg(format!("http://localhost{path}"));
        String::from_utf8(curl.output().unwrap().stdout).unwrap()
    }

    /// The sum over the series of a metric that have these labels.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.get("/metrics");
        let series = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, with) = series.split_once('{').unwrap_or((series, ""));
            let fits = found == name && labels.iter().all(|label| with.contains(label));
            fits.then(|| value.parse::<f64>().unwrap())
        });
        series.sum()
    }
}

/// Waits until it is so; a busy machine may take its time.
#[track_caller]
pub(crate) fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience(120);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(200));
    }
}

/// Clients that close, a server that does not; its name is its own.
const FORGETFUL: &str = r"
open('/proc/self/comm', 'w').write('forgetful')
l = listener()
held = []
for _ in range(12):
    c, a = pair(l); c.close(); held.append(a)
refused = socket.socket()
nobody = socket.socket(); nobody.bind(('127.0.0.1', 0))
try: refused.connect(nobody.getsockname())
except ConnectionRefusedError: pass
print('held', cookie(held[0]), flush=True)
sys.stdin.readline()
for a in held: a.close()
print('closed', flush=True)
sys.stdin.readline(); os._exit(0)
";

/// Close-waits count after two seconds already.
const QUICK: &str = "[detect]\nevery = \"1s\"\nshare = 1.0\n[detect.close_wait]\nshown = \"1s\"\n";

/// Lives that are told at once have many rows that nobody looks at for more than their kind.
#[test]
fn connections_that_are_soon_over_are_in_all_counts() {
    let netns = Netns::new();
    let daemon = Daemon::start(QUICK);
    let before = |state: &str| {
        let state = format!("state=\"{state}\"");
        daemon.metric("socktrace_state_duration_seconds_count", &[&state])
    };
    let states = ["syn_sent", "established", "close_wait", "last_ack"];
    let events = |event: &str| {
        let event = format!("event=\"{event}\"");
        daemon.metric("socktrace_events_total", &[&event])
    };
    let (first, told) = (states.map(before), events("state"));
    let script = "
with open('/proc/self/comm', 'w') as comm: comm.write('brief')
l = listener()
for turn in range(50):
    c, a = pair(l); c.close(); a.recv(1); a.close()
";
    run(&mut python(&netns, script));
    let owner = "owner=\"brief\"";
    wait("not counted", || {
        daemon.metric("socktrace_accepts_total", &[owner]) == 50.0
    });
    let counted: Vec<_> = states
        .map(before)
        .into_iter()
        .zip(first)
        .map(|(now, before)| now - before)
        .collect();
    // Others on this machine may connect, too.
    for (count, least) in counted.iter().zip([50.0, 100.0, 50.0, 50.0]) {
        assert!(*count >= least, "{states:?}: {counted:?}");
    }
    assert!(events("state") - told >= 450.0);
    let lifetimes = ["role=\"client\"", "role=\"server\""]
        .map(|role| daemon.metric("socktrace_socket_lifetime_seconds_count", &[role]));
    assert!(lifetimes.iter().all(|it| *it >= 50.0), "{lifetimes:?}");
}

#[test]
fn a_daemon_knows_what_happened_and_since_when() {
    let netns = Netns::new();
    let daemon = Daemon::start(QUICK);
    let mut script = Dialogue::start(python(&netns, FORGETFUL));
    let cookie: i64 = script.hear("held").parse().unwrap();

    // The table was there when the connection was made: its age is exact, and nothing is missing.
    let mine = ["sockets", "-t", "-o", "json", "--netns", netns.name()];
    let told = daemon.rows(&mine);
    let told: Vec<_> = told
        .iter()
        .filter(|row| row.number("cookie") == Some(cookie))
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    told[0]
        .expect("state", "close_wait")
        .expect("age_exact", true);
    told[0].expect("owner", "exact").expect("role", "server");
    // A look without it cannot know that.
    let alone = [&mine[..], &["--standalone"]].concat();
    let told = daemon.rows(&alone);
    let told = told
        .iter()
        .find(|row| row.number("cookie") == Some(cookie))
        .unwrap();
    told.expect("age_exact", false).expect("owner", "adopted");

    // What happened is counted, by owner.
    let owner = "owner=\"forgetful\"";
    wait("no metrics", || {
        daemon.metric("socktrace_sockets", &[owner, "close_wait"]) == 12.0
    });
    assert_eq!(daemon.metric("socktrace_accepts_total", &[owner]), 12.0);
    assert_eq!(
        daemon.metric("socktrace_connects_total", &[owner, "\"ok\""]),
        12.0
    );
    let refused = [owner, "ECONNREFUSED"];
    assert_eq!(daemon.metric("socktrace_connects_total", &refused), 1.0);
    let opened = |role: &str| {
        let role = format!("role=\"{role}\"");
        daemon.metric("socktrace_socket_opened_total", &[owner, &role])
    };
    assert_eq!(
        (opened("client"), opened("server"), opened("listener")),
        (13.0, 12.0, 1.0)
    );

    // A finding, asked for at once; and for scripts.
    let leaks = ["leaks", "-o", "json", "--netns", netns.name()];
    let forgotten = |rows: Vec<Row>| {
        let mut rows = rows.into_iter();
        rows.find(|row| row.text("kind") == Some("close_wait"))
    };
    // A look may come when only some of them are old enough.
    wait("nothing found", || {
        let found = forgotten(daemon.rows(&leaks));
        found.is_some_and(|row| row.number("count") == Some(12))
    });
    let found = forgotten(daemon.rows(&leaks)).unwrap();
    found
        .expect("severity", "info")
        .expect("count", 12)
        .expect("comm", "forgetful");
    wait("not in metrics", || {
        daemon.metric("socktrace_findings", &["close_wait", owner]) == 1.0
    });
    assert!(daemon.metric("socktrace_close_wait_oldest_seconds", &[owner]) >= 1.0);

    // Closed, they are gone.
    script.say("close");
    script.hear("closed");
    wait("still found", || {
        daemon.metric("socktrace_findings", &["close_wait", owner]) == 0.0
    });
    wait("still there", || {
        daemon.metric("socktrace_sockets", &[owner, "close_wait"]) == 0.0
    });
    assert_eq!(daemon.metric("socktrace_events_lost_total", &[]), 0.0);
}

/// Binds to whatever port is left until none is, then to one that is taken.
const GREEDY: &str = r"
open('/proc/self/comm', 'w').write('greedy')
held = []
def refused(port):
    s = socket.socket()
    try: s.bind(('127.0.0.1', port))
    except OSError as e: return errno.errorcode[e.errno]
    held.append(s)
while not refused(0): pass
taken = refused(held[0].getsockname()[1])
print('bound', len(held), taken, flush=True)
sys.stdin.readline(); os._exit(0)
";

#[test]
fn a_bind_that_finds_no_port_is_counted_and_one_of_a_port_that_is_taken_is_not() {
    let netns = Netns::new();
    netns.sh("echo 40000 40009 > /proc/sys/net/ipv4/ip_local_port_range");
    let daemon = Daemon::start(QUICK);
    let mut script = Dialogue::start(python(&netns, GREEDY));
    assert_eq!(script.hear("bound"), "10 EADDRINUSE");
    let failures = |labels: &[&str]| {
        let all = [&["owner=\"greedy\""], labels].concat();
        daemon.metric("socktrace_ephemeral_port_failures_total", &all)
    };
    let bound = ["call=\"bind\"", "error=\"EADDRINUSE\""];
    wait("not counted", || failures(&bound) > 0.0);
    assert_eq!((failures(&bound), failures(&[])), (1.0, 1.0));
    script.say("over");
}

#[test]
fn ages_outlive_a_restart_and_a_bad_configuration_changes_nothing() {
    let netns = Netns::new();
    let mut daemon = Daemon::start(QUICK);
    let mut script = Dialogue::start(python(&netns, FORGETFUL));
    script.hear("held");
    let leaks = ["leaks", "-o", "json", "--netns", netns.name()];
    let since = |daemon: &Daemon| {
        let rows = daemon.rows(&leaks);
        let found = rows
            .iter()
            .find(|row| row.text("kind") == Some("close_wait"))?;
        Some((found.text("since")?.to_owned(), found.number("count")?))
    };
    wait("nothing found", || since(&daemon).is_some());
    let (before, _) = since(&daemon).unwrap();

    // A file that makes no sense is refused, and told of.
    daemon.configure("[detect.close_wait]\ncounts = 1\n");
    Command::new("kill")
        .args(["-HUP", &daemon.pid().to_string()])
        .status()
        .unwrap();
    wait("not told", || {
        daemon.log().contains("unknown field `counts`")
    });
    assert!(since(&daemon).is_some());
    daemon.configure(QUICK);

    // It stops, and starts again.
    daemon.stop();
    assert!(Path::new(&daemon.path("state.json")).exists());
    daemon.run();
    wait("nothing found again", || since(&daemon).is_some());
    let (after, count) = since(&daemon).unwrap();
    // To the tenth of a second: the clock of the wall and the other one drift.
    assert_eq!((&after[..21], count), (&before[..21], 12));
    script.say("close");
    script.hear("closed");
}

#[test]
fn each_thread_keeps_what_it_needs() {
    let daemon = Daemon::start("");
    let pid = daemon.pid();
    let capabilities = |line: &str| {
        let mut found = Vec::new();
        for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            let line = status.lines().find_map(|it| it.strip_prefix(line)).unwrap();
            found.push(u64::from_str_radix(line.trim(), 16).unwrap());
        }
        found.sort_unstable();
        found.dedup();
        found
    };
    // None; DAC_READ_SEARCH (2) and SYS_PTRACE (19); those and SYS_ADMIN (21).
    let expected = [0, 1 << 2 | 1 << 19, 1 << 2 | 1 << 19 | 1 << 21];
    assert_eq!(capabilities("CapEff:"), expected);
    assert_eq!(capabilities("CapPrm:"), expected);
    assert_eq!(capabilities("CapAmb:"), [0]);
}

#[test]
fn as_any_user_with_the_capabilities_of_the_unit_it_works_in_full() {
    let unit = "+bpf,+perfmon,+sys_admin,+sys_ptrace,+dac_read_search";
    let netns = Netns::new();
    for (capabilities, whole) in [
        (unit, true),
        ("+bpf,+perfmon,+sys_ptrace,+dac_read_search", false),
    ] {
        let inheritable = format!("--inh-caps={capabilities}");
        let ambient = format!("--ambient-caps={capabilities}");
        let wrapper = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            &inheritable,
            &ambient,
        ];
        let daemon = Daemon::start_under(&wrapper, "");
        let mut script = Dialogue::start(python(&netns, FORGETFUL));
        let cookie: i64 = script.hear("held").parse().unwrap();
        let attached = daemon.metric("socktrace_hook_attached", &[]);
        let hooks = daemon.get("/api/v1/hooks");
        let missing = hooks.matches("\"attached\":false").count();
        // Closes are of use only where nobody else tells of the ends of UDP sockets.
        assert_eq!(
            hooks.contains("\"sock_release\",\"attached\":true"),
            whole,
            "{hooks}"
        );
        assert_eq!(hooks.contains("sys_enter_close"), !whole, "{hooks}");
        let seen = daemon.rows(&["sockets", "-t", "-o", "json", "--netns", netns.name()]);
        let seen = seen.iter().any(|row| row.number("cookie") == Some(cookie));
        let log = daemon.log();
        if whole {
            assert_eq!(missing, 0, "{log}");
            assert!(attached >= 15.0 && seen, "{attached} {log}");
        } else {
            // Other namespaces are not entered, and that is said.
            assert!(!seen && log.contains("CAP_SYS_ADMIN"), "{log}");
        }
        script.say("close");
        script.hear("closed");
    }
}
