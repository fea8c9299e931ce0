//! A real leak, and everybody who is to hear of it: a file, a program, a server, a journal, and a
//! real Alertmanager, which has a server of its own to tell.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Background, Dialogue, Netns, python, run, socktrace};

/// A server reads until its clients are gone, and forgets to close.
const LEAK: &str = r"
l = listener(); held = []
print('ready', os.getpid(), l.getsockname()[1], flush=True)
for line in sys.stdin:
    if line.startswith('leak'):
        for _ in range(int(line.split()[1])):
            c, a = pair(l); c.close(); assert a.recv(1) == b''; held.append(a)
    else:
        for a in held: a.close()
    print('done', flush=True)
";

/// Says what it is sent.
const SERVER: &str = r"
import http.server, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers['content-length']))
        os.write(1, b'sent ' + body.strip() + b'\n')
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print('serving', flush=True)
sys.stdin.read()
";

const MANAGER: &str = "
route: {receiver: hook, group_by: [alertname], group_wait: 0s, group_interval: 1s}
receivers: [{name: hook, webhook_configs: [{url: 'http://127.0.0.1:9002/', send_resolved: true}]}]
";

/// Leaks that were read to their end are confirmed after a second.
const SETTINGS: &str = r#"
[detect]
every = "1s"
share = 1.0
[detect.close_wait]
shown = "1s"
alone = "1s"
[alerts.journald]
socket = "FOLDER/journal"
[alerts.file]
path = "FOLDER/file.json"
[alerts.command]
run = ["sh", "-c", "cat >> $0; echo $SOCKTRACE_ALERT $SOCKTRACE_COMM $SOCKTRACE_COMPLETE >> $1", "FOLDER/command.json", "FOLDER/facts"]
[alerts.webhook]
url = "http://127.0.0.1:9001/in"
[alerts.alertmanager]
urls = ["http://127.0.0.1:9093"]
every = "1s"
labels = { team = "web" }
"#;

fn server(netns: &Netns, port: &str) -> Dialogue {
    let mut command = python(netns, SERVER);
    command.arg(port);
    let mut server = Dialogue::start(command);
    server.hear("serving");
    server
}

fn manager(netns: &Netns, folder: &Path) -> Background {
    let configuration = folder.join("alertmanager.yml");
    fs::write(&configuration, MANAGER).unwrap();
    let path = |path: PathBuf| path.to_str().unwrap().to_owned();
    let mut command = netns.command("prometheus-alertmanager");
    command.args([
        format!("--config.file={}", path(configuration)),
        format!("--storage.path={}", path(folder.join("data"))),
        "--web.listen-address=127.0.0.1:9093".to_owned(),
        // Alone.
        "--cluster.listen-address=".to_owned(),
    ]);
    Background::start(command, "Listening on")
}

/// What Alertmanager holds for active, of this kind.
fn active(netns: &Netns) -> Vec<Value> {
    let mut amtool = netns.command("amtool");
    amtool.args(["--alertmanager.url=http://127.0.0.1:9093", "alert", "query"]);
    let told = run(amtool.args(["-o", "json", "kind=close_wait"]));
    serde_json::from_str(&told).unwrap()
}

#[track_caller]
fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_mins(3);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain");
        thread::sleep(Duration::from_millis(100));
    }
}

/// The next that the server was sent of our kind and, if it matters, of this change.
fn hear(server: &mut Dialogue, change: &str) -> Value {
    loop {
        let alert: Value = serde_json::from_str(&server.hear("sent")).unwrap();
        if alert["kind"] == "close_wait" && alert["alert"] == change {
            return alert;
        }
    }
}

fn rows(text: &str) -> Vec<Value> {
    let rows = text
        .lines()
        .map(|line| serde_json::from_str(line).expect(line));
    rows.filter(|row: &Value| row["kind"] == "close_wait")
        .collect()
}

fn changes(rows: &[Value]) -> Vec<&str> {
    rows.iter()
        .map(|row| row["alert"].as_str().unwrap())
        .collect()
}

#[test]
fn a_leak_is_told_to_everybody_when_it_begins_grows_and_is_over() {
    let (netns, folder) = (Netns::new(), TempDir::new().unwrap());
    let path = |name: &str| folder.path().join(name);
    let manager = manager(&netns, folder.path());
    let (mut hook, mut managers) = (server(&netns, "9001"), server(&netns, "9002"));
    let journal = UnixDatagram::bind(path("journal")).unwrap();
    let settings = SETTINGS.replace("FOLDER", folder.path().to_str().unwrap());
    fs::write(path("settings.toml"), settings).unwrap();
    let mut leak = Dialogue::start(python(&netns, LEAK));
    let said = leak.hear("ready");
    let (pid, port) = said.split_once(' ').unwrap();

    let mut command = netns.command(socktrace().to_str().unwrap());
    command.args(["leaks", "--follow", "-o", "json", "--netns", netns.name()]);
    command.arg("--config.file").arg(path("settings.toml"));
    let following = Background::start(command, "Ctrl-C ends it");

    leak.say("leak 5");
    leak.hear("done");
    let start = hear(&mut hook, "start");
    assert_eq!(start["severity"], "confirmed", "{start}");
    assert_eq!(start["pid"].to_string(), pid, "{start}");
    assert_eq!(start["lport"].to_string(), port, "{start}");
    assert_eq!(start["complete"], true, "{start}");
    assert_eq!(start["evidence"]["read_to_end"], start["count"], "{start}");
    let firing: Value = serde_json::from_str(&managers.hear("sent")).unwrap();
    assert_eq!(firing["status"], "firing", "{firing}");
    let of_manager = &firing["alerts"][0];
    for (label, value) in [
        ("alertname", "SocktraceCloseWait"),
        ("severity", "confirmed"),
        ("comm", "python3"),
        ("lport", port),
        ("team", "web"),
    ] {
        assert_eq!(of_manager["labels"][label], value, "{firing}");
    }
    assert_eq!(of_manager["labels"]["pid"], Value::Null, "{firing}");
    assert_eq!(of_manager["annotations"]["complete"], "true", "{firing}");
    assert_eq!(of_manager["annotations"]["pids"], pid, "{firing}");

    leak.say("leak 20");
    leak.hear("done");
    // Some of them may have been seen before the others.
    while hear(&mut hook, "update")["count"] != 25 {}
    eventually(|| {
        let active = active(&netns);
        assert_eq!(active.len(), 1, "{active:#?}");
        (active[0]["annotations"]["count"] == "25").then_some(())
    });

    leak.say("close");
    leak.hear("done");
    let clear = hear(&mut hook, "clear");
    assert_eq!(
        (&clear["id"], &clear["began"]),
        (&start["id"], &start["began"])
    );
    eventually(|| active(&netns).is_empty().then_some(()));
    eventually(|| {
        let resolved: Value = serde_json::from_str(&managers.hear("sent")).unwrap();
        (resolved["status"] == "resolved").then_some(())
    });

    let (shown, messages) = following.stop();
    let of_file = rows(&fs::read_to_string(path("file.json")).unwrap());
    let told = changes(&of_file);
    assert_eq!(
        (told[0], told.last()),
        ("start", Some(&"clear")),
        "{told:?}"
    );
    assert!(
        told[1..told.len() - 1].iter().all(|it| *it == "update"),
        "{told:?}"
    );
    assert_eq!(of_file[0], start);
    assert_eq!(of_file.last(), Some(&clear));
    assert_eq!(
        rows(&fs::read_to_string(path("command.json")).unwrap()),
        of_file
    );
    let facts = fs::read_to_string(path("facts")).unwrap();
    assert!(facts.starts_with("start python3 true\n"), "{facts}");
    assert!(facts.ends_with("clear python3 true\n"), "{facts}");
    // The screen has what is not bad enough for others, too.
    let shown = rows(&shown);
    assert_eq!(changes(&shown).last(), Some(&"clear"), "{shown:#?}");
    for output in ["journald", "file", "command", "webhook", "alertmanager"] {
        let line = format!("alerts to {output}: ");
        let line = messages
            .lines()
            .find_map(|it| Some(it.split_once(&line)?.1));
        let line = line.unwrap_or_else(|| panic!("{output}: {messages}"));
        assert!(
            line.ends_with("delivered, 0 failed, 0 dropped, 0 left"),
            "{messages}"
        );
    }
    journal.set_nonblocking(true).unwrap();
    let mut datagram = vec![0; 1 << 16];
    let length = journal.recv(&mut datagram).unwrap();
    let first = String::from_utf8_lossy(&datagram[..length]);
    assert!(first.contains("\nSOCKTRACE_ALERT=start\n"), "{first}");
    assert!(
        first.contains(&format!("\nSOCKTRACE_PID={pid}\n")),
        "{first}"
    );
    drop(manager);
}

#[test]
fn a_screen_that_goes_away_ends_quietly() {
    let netns = Netns::new();
    let mut leak = Dialogue::start(python(&netns, LEAK));
    leak.hear("ready");
    leak.say("leak 5");
    leak.hear("done");
    // The first line is all that is read.
    let script = format!(
        "{} leaks --follow --netns {} --duration 5m | head -n 1; exit ${{PIPESTATUS[0]}}",
        socktrace().display(),
        netns.name()
    );
    let mut lines = Command::new("bash");
    let mut watching = lines.args(["-c", &script]).spawn().unwrap();
    let ended = eventually(|| {
        // Each of these is news that nobody reads.
        leak.say("leak 50");
        leak.hear("done");
        watching.try_wait().unwrap()
    });
    assert_eq!(ended.code(), Some(0));
}
