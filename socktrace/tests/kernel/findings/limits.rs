//! Limits: the numbers are those of `/proc` and `ss`.

use std::path::Path;

use super::*;

/// Of 64 descriptors some are open, and of a queue of 5 connections three wait.
const FILLED: &str = r"
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
l = socket.socket(); l.bind(('127.0.0.1', 9000)); l.listen(5)
kept = []
for _ in range(3):
    c = socket.socket(); c.connect(('127.0.0.1', 9000)); kept.append(c)
while len(os.listdir('/proc/self/fd')) < 60: kept.append(socket.socket())
print('filled', os.getpid(), flush=True)
if not sys.stdin.readline(): os._exit(0)
for c in kept: c.close()
print('closed', flush=True)
sys.stdin.readline()
";

fn limits(netns: &Netns) -> (Vec<Value>, String) {
    let json = ["-o", "json", "--duration", "0s"];
    let output = report("limits", netns, &json);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    (rows(&output), text)
}

#[test]
fn limits_are_those_of_proc_and_ss() {
    let netns = Netns::new();
    let mut filled = program(&netns, FILLED, &[]);
    let pid = numbers(&filled.hear("filled"))[0];
    let (found, text) = limits(&netns);
    for line in text.lines() {
        assert_eq!(keys(line), documented("\n## Limits as JSON\n"), "{line}");
    }
    let row = of(&found, "fd_limit", pid);
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let limit = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|line| line.split_whitespace().next());
    assert_eq!(number(row, "used"), descriptors as u64);
    assert_eq!(row["limit"].to_string(), limit.unwrap());
    // Other programs are elsewhere.
    let others = found
        .iter()
        .filter(|it| it["kind"] == "fd_limit" && it["pid"] != pid);
    assert_eq!(others.count(), 0, "{found:#?}");

    let queue = of(&found, "accept_queue", pid);
    let listening = netns.sh("ss -Hltn");
    let mut columns = listening.split_whitespace().skip(1).map(str::to_owned);
    assert_eq!(columns.next(), Some(queue["used"].to_string()));
    assert_eq!(columns.next(), Some(queue["limit"].to_string()));
    assert_eq!((&queue["used"], &queue["limit"]), (&3.into(), &5.into()));

    let ratios: Vec<_> = found.iter().map(|it| it["used_ratio"].as_f64()).collect();
    assert!(ratios.is_sorted_by(|a, b| a >= b), "{ratios:?}");
    machine(&found);
    let conntrack = found.iter().filter(|it| it["kind"] == "conntrack").count();
    let module = Path::new("/proc/sys/net/netfilter/nf_conntrack_max").exists();
    assert_eq!(conntrack, usize::from(module));
}

/// Files and inodes: the numbers move, as other programs run.
fn machine(found: &[Value]) {
    let file_nr = fs::read_to_string("/proc/sys/fs/file-nr").unwrap();
    let file_nr: Vec<u64> = file_nr
        .split_whitespace()
        .map(|it| it.parse().unwrap())
        .collect();
    let row = |kind: &str| found.iter().find(|it| it["kind"] == kind).unwrap();
    let files = row("file_table");
    assert_eq!(number(files, "limit"), file_nr[2]);
    assert!(number(files, "used").abs_diff(file_nr[0]) < 5000, "{files}");
    let inodes = row("inode_table");
    assert!(inodes["limit"].is_null() && inodes["used_ratio"].is_null());
    assert_eq!(found.last(), Some(inodes));
}

#[test]
fn tracked_connections_are_counted_and_told_when_the_table_fills_up() {
    let Some((netns, max)) = tracking(600) else {
        return;
    };
    let number_of_netns = inode(&format!("/run/netns/{}", netns.name()));
    let script = r"
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for port in range(20000, 20400): s.sendto(b'x', ('127.0.0.1', port))
print('sent', flush=True)
if not sys.stdin.readline(): os._exit(0)
for port in range(20400, 20500): s.sendto(b'x', ('127.0.0.1', port))
print('sent', flush=True)
sys.stdin.readline()
";
    let mut sending = program(&netns, script, &[]);
    sending.hear("sent");
    // The table is the machine's in size: what part of it is much is what the thresholds say.
    let thresholds = format!(
        "[detect.conntrack]\nwarning = {:.9}\n",
        450.0 / f64::from(max)
    );
    let json = ["-o", "json", "--duration", "0s"];
    let told = |name| rows(&report_by(&thresholds, name, &netns, &json));
    let of_kind = |found: Vec<Value>| -> Vec<Value> {
        let of_kind = found.into_iter().filter(|it| it["kind"] == "conntrack");
        of_kind.collect()
    };
    let [row] = &of_kind(told("limits"))[..] else {
        panic!("one namespace, one row")
    };
    assert_eq!((&row["used"], &row["limit"]), (&400.into(), &max.into()));
    assert_eq!(of_kind(told("leaks")), [Value::Null; 0]);
    sending.say("more");
    sending.hear("sent");
    let [row] = &of_kind(told("leaks"))[..] else {
        panic!("one namespace, one finding")
    };
    assert_eq!(
        (&row["severity"], &row["used"], &row["netns"]),
        (&"warning".into(), &500.into(), &number_of_netns.into())
    );
    netns.sh("nft delete table ip t");
    drop(sending);
}

#[test]
fn a_process_without_descriptors_is_critical_until_it_closes_some() {
    let netns = Netns::new();
    let mut filled = program(&netns, FILLED, &[]);
    let pid = numbers(&filled.hear("filled"))[0];
    let json = ["-o", "json", "--duration", "1s", "--fail-on", "critical"];
    let output = report("leaks", &netns, &json);
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    for line in text.lines() {
        assert_eq!(keys(line), documented("\n## Findings as JSON\n"), "{line}");
    }
    let found = rows(&output);
    let row = of(&found, "fd_limit", pid);
    assert_eq!(
        (&row["severity"], &row["limit"]),
        (&"critical".into(), &64.into())
    );
    // The machine has files enough.
    assert!(
        found.iter().all(|it| it["kind"] != "file_table"),
        "{found:#?}"
    );
    assert_eq!(report("limits", &netns, &json).status.code(), Some(3));

    filled.say("close");
    filled.hear("closed");
    let output = report("leaks", &netns, &json);
    assert_eq!(output.status.code(), Some(0), "{:?}", rows(&output));
    innocent(&rows(&output), pid);
}
