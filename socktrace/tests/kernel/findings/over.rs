//! What has ended is told to be over, once: `leaks --follow` on faults that end.

use super::*;
use crate::support::Background;

/// Tells what begins and ends.
struct Following {
    told: Background,
    _configuration: NamedTempFile,
}

impl Following {
    fn start(netns: &Netns, thresholds: &str) -> Self {
        let mut configuration = NamedTempFile::new().unwrap();
        configuration.write_all(thresholds.as_bytes()).unwrap();
        let mut command = Command::new(socktrace());
        command.args(["leaks", "--follow", "-o", "json", "--netns", netns.name()]);
        command.arg("--config.file").arg(configuration.path());
        Self {
            told: Background::start(command, "Ctrl-C ends it"),
            _configuration: configuration,
        }
    }

    /// Waits for an alert about this kind, at this port if one is given.
    #[track_caller]
    fn hear(&self, alert: &str, kind: &str, port: Option<i64>) {
        self.told.wait(&format!("{alert} {kind}"), |rows| {
            rows.iter().any(|row| {
                let at = port.is_none() || row.number("lport").or(row.number("rport")) == port;
                at && row.text("alert") == Some(alert) && row.text("kind") == Some(kind)
            })
        });
    }
}

#[test]
fn nobody_waits_any_more_and_that_is_told() {
    let netns = Netns::new();
    let following = Following::start(&netns, SCALED);
    let mut waiting = program(&netns, include_str!("waits.py"), &[]);
    waiting.hear("waiting");
    let all = [("syn_sent", 9000), ("orphan", 9001), ("accept_queue", 9002)];
    for (kind, port) in all {
        following.hear("start", kind, Some(port));
    }
    drop(waiting);
    for (kind, port) in all {
        following.hear("clear", kind, Some(port));
    }
}

#[test]
fn a_wider_range_has_ports_again_and_that_is_told() {
    let netns = Netns::new();
    netns.sh("echo 40000 40099 > /proc/sys/net/ipv4/ip_local_port_range");
    netns.sh("echo 0 > /proc/sys/net/ipv4/tcp_tw_reuse");
    let following = Following::start(&netns, SCALED);
    let mut closing = program(&netns, include_str!("ports.py"), &[]);
    closing.hear("closing");
    following.hear("start", "time_wait", Some(9000));
    closing.say("fill");
    assert_eq!(closing.hear("full"), "EADDRNOTAVAIL");
    following.hear("start", "port_exhaustion", Some(9002));
    netns.sh("echo 40000 50000 > /proc/sys/net/ipv4/ip_local_port_range");
    following.hear("clear", "time_wait", Some(9000));
    following.hear("clear", "port_exhaustion", Some(9002));
}

#[test]
fn files_that_are_closed_make_room_in_the_table_and_that_is_told() {
    let netns = Netns::new();
    let file_nr = fs::read_to_string("/proc/sys/fs/file-nr").unwrap();
    let mut file_nr = file_nr.split_whitespace().map(|it| it.parse().unwrap());
    let (used, max): (f64, f64) = (file_nr.next().unwrap(), file_nr.nth(1).unwrap());
    // The table is the machine's, and far too large to be filled here: the threshold comes down.
    let warning = (used + 5000.0) / max;
    let thresholds = format!(
        "[detect]\nevery = \"1s\"\nshare = 1.0\n[detect.file_table]\nwarning = {warning:.12}\n"
    );
    let following = Following::start(&netns, &thresholds);
    let script = r"
kept = [open('/dev/null') for _ in range(10_000)]
print('open', flush=True)
if not sys.stdin.readline(): os._exit(0)
kept.clear()
print('closed', flush=True)
sys.stdin.readline()
";
    let mut opening = program(&netns, script, &[]);
    opening.hear("open");
    following.hear("start", "file_table", None);
    opening.say("close");
    opening.hear("closed");
    following.hear("clear", "file_table", None);
}

#[test]
fn connections_that_only_grew_old_are_closed_and_that_is_told() {
    let netns = Netns::new();
    let following = Following::start(&netns, SCALED);
    // Ten a second that nobody uses.
    let script = r"
l = socket.create_server(('127.0.0.1', 9000)); kept = []
print('growing', flush=True)
while not select.select([sys.stdin], [], [], 0.1)[0]: kept.append(pair(l))
if not sys.stdin.readline(): os._exit(0)
for c, a in kept: c.close(); a.close()
print('closed', flush=True)
sys.stdin.readline()
";
    let mut growing = program(&netns, script, &[]);
    growing.hear("growing");
    following.hear("start", "idle_growth", Some(9000));
    growing.say("close");
    growing.hear("closed");
    following.hear("clear", "idle_growth", Some(9000));
}

#[test]
fn a_port_that_is_free_again_is_told() {
    let netns = Netns::new();
    let following = Following::start(&netns, SCALED);
    let script = r"
import subprocess
l = socket.create_server(('127.0.0.1', 40000)); l.set_inheritable(True)
child = subprocess.Popen(['sleep', '1000'], close_fds=False)
print('forked', flush=True)
sys.stdin.readline(); l.close()
print('closed', flush=True)
sys.stdin.readline(); child.kill(); child.wait()
print('ended', flush=True)
sys.stdin.readline()
";
    let mut server = program(&netns, script, &[]);
    server.hear("forked");
    // While its opener holds it, it is only where a connection may take its port.
    following.hear("start", "listener_in_ephemeral_range", Some(40000));
    server.say("close");
    server.hear("closed");
    following.hear("start", "inherited_listener", Some(40000));
    server.say("end");
    server.hear("ended");
    following.hear("clear", "inherited_listener", Some(40000));
    following.hear("clear", "listener_in_ephemeral_range", Some(40000));
}

#[test]
fn connections_that_are_tracked_no_more_make_room_and_that_is_told() {
    let Some((netns, max)) = tracking(5) else {
        return;
    };
    let warning = 300.0 / f64::from(max);
    let thresholds = format!(
        "[detect]\nevery = \"1s\"\nshare = 1.0\n[detect.conntrack]\nwarning = {warning:.12}\n"
    );
    let following = Following::start(&netns, &thresholds);
    // What is sent on keeps its place, and what is not is forgotten after five seconds.
    let script = r"
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print('sending', flush=True)
while not select.select([sys.stdin], [], [], 0.5)[0]:
    for port in range(20000, 20400): s.sendto(b'x', ('127.0.0.1', port))
if not sys.stdin.readline(): os._exit(0)
sys.stdin.readline()
";
    let mut sending = program(&netns, script, &[]);
    sending.hear("sending");
    following.hear("start", "conntrack", None);
    sending.say("stop");
    following.hear("clear", "conntrack", None);
}
