//! Pid namespaces: pids are those that the user of socktrace sees, in a container as outside of it.

use std::process::Command;

use crate::support::{
    Background, Dialogue, Netns, PRELUDE, Row, Trace, python, rows, run, socktrace,
};

/// Begins a tracer in the namespace, says so, and ends it when told to.
const TRACER: &str = r"
import subprocess
def tracer(*options):
    t = subprocess.Popen([sys.argv[1], 'trace', '-o', 'json', *options], stderr=subprocess.PIPE)
    for line in t.stderr:
        sys.stderr.buffer.write(line)
        if b'Ctrl-C' in line: break
    return t
def end(t):
    t.send_signal(signal.SIGINT)
    sys.stderr.buffer.write(t.stderr.read()); sys.stderr.flush()
    assert t.wait() == 0
";

/// A python script as the first process of a new pid namespace with a `/proc` of its own. It may
/// start socktrace.
fn contained(netns: &Netns, script: &str) -> Command {
    let mut command = netns.command("unshare");
    command
        .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
        .args(["python3", "-c", &format!("{PRELUDE}\n{TRACER}\n{script}")])
        .arg(socktrace());
    command
}

fn trace(netns: &Netns, script: &str) -> Trace {
    Trace::of_run(|| contained(netns, script).output().unwrap())
}

#[test]
fn in_a_container_p_takes_the_containers_pid_and_rows_show_it() {
    let netns = Netns::new();
    let trace = trace(
        &netns,
        "
r, w = os.pipe()
child = os.fork()
if child == 0:
    os.read(r, 1)
    l = listener(); c, a = pair(l)
    say(listener=cookie(l), client=cookie(c), accepted=cookie(a), pid=os.getpid())
    grandchild = os.fork()
    if grandchild == 0:
        s = socket.socket(); say(forked=cookie(s)); s.close(); os._exit(0)
    os.waitpid(grandchild, 0); say(grandchild=grandchild)
    c.close(); a.close(); l.close(); os._exit(0)
t = tracer('-p', str(child))
other = socket.socket(); say(other=cookie(other)); other.close()
os.write(w, b'x'); os.waitpid(child, 0)
end(t)
",
    );
    let pid = trace.said("pid");
    trace
        .socket("listener")
        .all("pid", pid)
        .all("comm", "python3")
        .all("owner", "exact")
        .expect("socket bind close>listen listen close:exit close:close listen>close end");
    trace.socket("client").all("pid", pid);
    trace.socket("accepted").row("accept").expect("tid", pid);
    // A child of a followed process is followed under its number here.
    let forked = trace.socket("forked");
    forked
        .all("pid", trace.said("grandchild"))
        .all("comm", "python3");
    let other = trace.said("other");
    assert!(
        trace
            .rows
            .iter()
            .all(|row| row.number("cookie") != Some(other))
    );
    assert!(!trace.stderr.contains("pid_namespace"), "{}", trace.stderr);
}

#[test]
fn in_a_container_processes_outside_are_nobody() {
    let netns = Netns::new();
    let script = "
t = tracer('--netns', '/proc/self/ns/net')
s = socket.socket(); say(inside=cookie(s), pid=os.getpid()); s.close()
print('ready', flush=True)
sys.stdin.readline()
end(t)
print('done', flush=True)
";
    let mut inside = Dialogue::start(contained(&netns, script));
    let said = inside.hear("{\"inside\":");
    let inside_cookie: i64 = said.split(',').next().unwrap().parse().unwrap();
    inside.hear("ready");
    let outside = "l = listener(); c, a = pair(l); print(cookie(l)); c.close(); a.close()";
    let listener: i64 = run(&mut python(&netns, outside)).trim().parse().unwrap();
    inside.say("");
    let mut lines = String::new();
    loop {
        let line = inside.hear("");
        if line == "done" {
            break;
        }
        lines += &line;
        lines += "\n";
    }
    let rows = rows(&lines);
    let of = |cookie: i64| -> Vec<&Row> {
        let rows = rows.iter();
        rows.filter(|row| row.number("cookie") == Some(cookie))
            .collect()
    };
    for row in of(inside_cookie) {
        row.expect("pid", 1).expect("comm", "python3");
    }
    assert!(of(inside_cookie).len() > 1);
    let rows = of(listener);
    assert!(rows.len() > 3, "{rows:?}");
    for row in rows {
        row.expect("owner", "unknown");
        for key in ["pid", "tid", "comm"] {
            row.expect_null(key);
        }
    }
}

#[test]
fn in_a_container_open_sockets_have_its_pids() {
    let netns = Netns::new();
    let script = "
l = listener(); u = socket.socket()
child = os.fork()
if child == 0:
    time.sleep(60); os._exit(0)
say(child=child)
subprocess.run([sys.argv[1], 'sockets', '-t', '-o', 'json', '-p', str(child)], check=True)
os.kill(child, 9); os.wait()
";
    let output = contained(&netns, script).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut rows = rows(&text(&output.stdout));
    let child = rows.remove(0).number("child").unwrap();
    assert_eq!(rows.len(), 2, "{rows:?}");
    for row in rows {
        let pids: Vec<_> = row.holders().iter().map(|&(pid, _)| pid).collect();
        assert_eq!(pids, [1, child], "{row:?}");
        row.expect("pid", 1).expect("comm", "python3");
    }
}

#[test]
fn from_outside_a_contained_process_has_the_pid_that_is_seen_there() {
    let netns = Netns::new();
    // Without --mount-proc its /proc is that of outside, and says who it is there.
    let script = "
print('pid', os.readlink('/proc/self'), os.getpid(), flush=True)
if not sys.stdin.readline(): os._exit(0)
l = listener(); c, a = pair(l); print('listener', cookie(l), flush=True)
l.close(); print('over', flush=True); sys.stdin.readline()
";
    let mut command = netns.command("unshare");
    command.args(["--pid", "--fork", "--kill-child", "python3", "-c"]);
    command.arg(format!("{PRELUDE}\n{script}"));
    let mut contained = Dialogue::start(command);
    let pids = contained.hear("pid");
    let (outer, inner) = pids.split_once(' ').unwrap();
    assert_eq!(inner, "1");
    let mut tracer = Command::new(socktrace());
    tracer.args(["trace", "-o", "json", "-p", outer]);
    let tracer = Background::start(tracer, "Ctrl-C");
    contained.say("");
    let listener: i64 = contained.hear("listener").parse().unwrap();
    contained.hear("over");
    let (json, _) = tracer.stop();
    let rows = rows(&json);
    let outer: i64 = outer.parse().unwrap();
    let of_listener = rows
        .iter()
        .filter(|row| row.number("cookie") == Some(listener));
    assert!(of_listener.clone().count() > 4, "{rows:?}");
    for row in of_listener {
        row.expect("pid", outer).expect("comm", "python3");
    }
}

#[test]
fn a_pid_that_is_used_again_is_another_process() {
    let netns = Netns::new();
    let trace = trace(
        &netns,
        "
def named(name, work):
    # The kernel counts on from here, so the number is used again.
    open('/proc/sys/kernel/ns_last_pid', 'w').write('700')
    pid = os.fork()
    if pid == 0:
        open('/proc/self/comm', 'w').write(name); work(); os._exit(0)
    assert pid == 701; os.waitpid(pid, 0)
here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
def first():
    s = socket.socket(); say(first=cookie(s)); socket.send_fds(there, [b'x'], [s.fileno()]); s.detach()
def second():
    s = socket.socket(); say(second=cookie(s)); s.bind(('127.0.0.1', 0))
t = tracer('--netns', '/proc/self/ns/net')
named('first', first)
named('second', second)
_, [fd], _, _ = socket.recv_fds(here, 1, 1)
os.close(fd)
end(t)
",
    );
    trace.socket("first").all("pid", 701).all("comm", "first");
    let closed = trace.socket("first").row("close:close");
    closed.expect("actor_pid", 1).expect("holders_left", 0);
    trace.socket("second").all("pid", 701).all("comm", "second");
}
