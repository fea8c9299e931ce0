//! Real programs with the faults that people meet, as docs/examples.md tells them.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::*;
use crate::support::Background;

/// Asks nginx again and again over one connection to each of two ports.
const ASKING: &str = r"
def ask(s):
    s.sendall(b'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    while b'\r\n\r\n' not in s.recv(4096): pass
asked = [socket.create_connection(('127.0.0.1', port)) for port in [8080, 8081]]
print('asking', flush=True)
while not select.select([sys.stdin], [], [], 0.04)[0]:
    for s in asked: ask(s)
";

/// A namespace that has the address 10.0.0.9: `TIME_WAIT` on 127.0.0.1 may be taken over at once.
fn place() -> Netns {
    let netns = Netns::new();
    netns.sh("ip address add 10.0.0.9/32 dev lo");
    netns
}

/// Starts nginx; its worker's pid.
fn nginx(netns: &Netns, folder: &TempDir) -> (Background, u64) {
    let path = folder.path().join("nginx.conf");
    let text = include_str!("proxy.conf").replace("FOLDER", folder.path().to_str().unwrap());
    fs::write(&path, text).unwrap();
    let mut command = netns.command("nginx");
    command.arg("-c").arg(path);
    let nginx = Background::start(command, "");
    let children = format!("/proc/{0}/task/{0}/children", nginx.pid());
    for _ in 0..1000 {
        let children = fs::read_to_string(&children).unwrap_or_default();
        let listens = netns.sh("ss -Hltn").lines().count() == 4;
        if let (true, Ok(worker)) = (listens, children.trim().parse()) {
            return (nginx, worker);
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("{}", nginx.stderr());
}

#[test]
fn a_proxy_that_uses_no_connection_again_is_told_with_the_remedy() {
    if lacks("nginx", "nginx-light") {
        return;
    }
    let (netns, folder) = (place(), tempfile::tempdir().unwrap());
    netns.sh("echo 40000 40199 > /proc/sys/net/ipv4/ip_local_port_range");
    let (_nginx, worker) = nginx(&netns, &folder);
    let mut asking = program(&netns, ASKING, &[]);
    asking.hear("asking");
    let found = leaks(&netns, "9s");
    let limit = |severity: &Value| ["warning", "critical"].contains(&severity.as_str().unwrap());
    for kind in ["time_wait", "port_exhaustion"] {
        let to = |port: u64| {
            let of_kind = found.iter().filter(|it| it["kind"] == kind);
            of_kind.filter(|it| it["rport"] == port).collect::<Vec<_>>()
        };
        let [row] = to(9000)[..] else {
            panic!("{kind}: {found:#?}")
        };
        assert!(limit(&row["severity"]), "{row}");
        assert_eq!(
            (&row["pid"], &row["comm"]),
            (&worker.into(), &"nginx".into())
        );
        assert_eq!(
            (&row["raddr"], &row["limit"]),
            (&"10.0.0.9".into(), &200.into())
        );
        assert!((61..=200).contains(&number(row, "used")), "{row}");
        let advice = row["advice"].as_str().unwrap();
        assert!(advice.contains("keepalive in the upstream block"), "{row}");
        // The one that uses them again.
        assert_eq!(to(9001), [&Value::Null; 0], "{found:#?}");
    }
}

#[test]
fn a_client_that_makes_an_agent_for_each_request_is_suspect() {
    if lacks("nginx", "nginx-light") || lacks("node", "nodejs") {
        return;
    }
    let (netns, folder) = (place(), tempfile::tempdir().unwrap());
    let (_nginx, worker) = nginx(&netns, &folder);
    let script = folder.path().join("agent.js");
    fs::write(&script, include_str!("agent.js")).unwrap();
    let client = |arguments: &[&str]| {
        let mut command = netns.command("node");
        command.arg(&script).args(arguments);
        let mut client = Dialogue::start(command);
        let pid = numbers(&client.hear("asking"))[0];
        (client, pid)
    };
    let (_twin, twins) = client(&["9001", "twin"]);
    let (leaking, pid) = client(&["9000"]);
    let found = leaks(&netns, "20s");
    let row = of(&found, "idle_growth", pid);
    assert_eq!(
        (&row["severity"], &row["rport"]),
        (&"suspect".into(), &9000.into())
    );
    assert!(number(row, "count") >= 10, "{row}");
    // So it is at the other end, where they came in.
    let row = of(&found, "idle_growth", worker);
    assert_eq!(row["lport"], 9000, "{row}");
    innocent(&found, twins);
    drop(leaking);
    let found = leaks(&netns, "2s");
    assert!(found.iter().all(|it| it["pid"] != pid), "{found:#?}");
    innocent(&found, worker);
}

#[test]
fn a_resolver_that_forgets_to_close_is_suspect_until_it_does() {
    let netns = Netns::new();
    let mut twin = program(&netns, include_str!("resolver.py"), &["twin"]);
    let twins = numbers(&twin.hear("asking"))[0];
    let mut asking = program(&netns, include_str!("resolver.py"), &[]);
    let pid = numbers(&asking.hear("asking"))[0];
    let found = leaks(&netns, "20s");
    let row = of(&found, "udp_growth", pid);
    assert_eq!(
        (&row["severity"], &row["proto"]),
        (&"suspect".into(), &"udp".into())
    );
    assert!(number(row, "count") >= 10, "{row}");
    innocent(&found, twins);
    asking.say("enough");
    asking.hear("closed");
    innocent(&leaks(&netns, "2s"), pid);
}

#[test]
fn a_child_that_outlived_its_server_and_keeps_the_port_busy_is_found_afterwards() {
    if lacks("gunicorn", "gunicorn") || lacks("setsid", "util-linux") {
        return;
    }
    let (netns, folder) = (Netns::new(), tempfile::tempdir().unwrap());
    // Each request starts a job in the background: a copy of the worker, with all that it has open.
    let application = "
import multiprocessing, time
def app(_, start):
    job = multiprocessing.Process(target=time.sleep, args=(100,)); job.start()
    answer = str(job.pid).encode()
    start('200 OK', [('Content-Length', str(len(answer)))])
    return [answer]
";
    fs::write(folder.path().join("app.py"), application).unwrap();
    // A group of its own, as a manager of services gives it.
    let mut command = netns.command("setsid");
    command.args(["gunicorn", "--workers", "2", "--bind", "127.0.0.1:8000"]);
    command.arg("app:app").current_dir(folder.path());
    let gunicorn = Background::start(command, "Booting worker");
    netns.enter();
    let mut stream = TcpStream::connect(("127.0.0.1", 8000)).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    // The job has the connection, too, so that its end does not come.
    let (mut answer, mut part) = (String::new(), [0; 512]);
    let job: i32 = loop {
        let length = stream.read(&mut part).unwrap();
        answer.push_str(std::str::from_utf8(&part[..length]).unwrap());
        if let Some((_, pid)) = answer.split_once("\r\n\r\n").filter(|it| !it.1.is_empty()) {
            break pid.parse().unwrap();
        }
    };

    let kept = |found: &[Value]| -> Vec<Value> {
        let rows = found.iter().filter(|it| it["kind"] == "inherited_listener");
        rows.cloned().collect()
    };
    // All is well while the workers live.
    assert_eq!(kept(&leaks(&netns, "4s")), [Value::Null; 0]);

    let master = gunicorn.pid();
    let workers = fs::read_to_string(format!("/proc/{master}/task/{master}/children")).unwrap();
    let workers = workers.split_whitespace().map(|it| it.parse().unwrap());
    let kill = |pid: i32| kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let all: Vec<i32> = workers.collect();
    kill(i32::try_from(master).unwrap());
    all.into_iter().for_each(kill);
    // They connect, and wait for nobody.
    let _waiting = [(); 2].map(|()| TcpStream::connect(("127.0.0.1", 8000)).unwrap());
    let found = leaks(&netns, "6s");
    kill(job);
    let rows = kept(&found);
    assert_eq!(rows.len(), 1, "{found:#?}");
    assert_eq!(
        (&rows[0]["severity"], &rows[0]["lport"]),
        (&"suspect".into(), &8000.into())
    );
    assert_eq!(rows[0]["pid"], job, "{rows:#?}");
    assert_eq!(rows[0]["evidence"]["waiting"], 2, "{rows:#?}");
    assert_eq!(kept(&leaks(&netns, "2s")), [Value::Null; 0]);
}
