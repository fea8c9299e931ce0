//! Names as hostile as the kernel lets them be, from a process to every output: those of the process, of
//! its program, of its sockets.

use std::process::Command;

use crate::{
    daemon::{Daemon, wait},
    support::{Dialogue, Netns, python, rows, run, socktrace},
};

/// A command for a terminal, a line's end, a quote and two bytes that are no text. What can be said of a
/// path is said in JSON.
const NAMES: &str = r#"
comm = b'\x1b[2J"\n\xff\xfe,=1'
libc = __import__('ctypes').CDLL(None)
libc.prctl(15, comm, 0, 0, 0)
folder = __import__('tempfile').mkdtemp(); os.chdir(folder)
path = b'a\n"b",\x1b]0;x\x07\xff\t=c\xe2\x80\xae'
s = socket.socket(socket.AF_UNIX); s.bind(path); s.listen()
os.unlink(path); os.chdir('/'); os.rmdir(folder)
abstract = b'\0' + path + b'\0\0tail'
t = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); t.bind(abstract)
u = socket.socket(); u.bind(('127.0.0.1', 0)); u.listen()
"#;

/// What no terminal must be given, and no line of a table.
fn harmful(letter: char) -> bool {
    letter.is_control() || ('\u{202a}'..='\u{202e}').contains(&letter)
}

#[track_caller]
fn harmless(what: &str, text: &str) {
    for line in text.lines() {
        assert!(!line.contains(harmful), "{what}: {line:?}");
    }
}

/// Standard output of the command that traces a process with these names.
fn traced(netns: &Netns, options: &[&str]) -> Vec<u8> {
    let mut tracer = netns.command(socktrace().to_str().unwrap());
    tracer.arg("trace").args(options);
    tracer.args(["--proto", "all", "--", "python3", "-c"]);
    let script = format!("import socket, os, sys\n{NAMES}");
    let output = tracer.arg(script).output().unwrap();
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(output.status.success(), "{said}");
    harmless("what is said", &said);
    output.stdout
}

#[test]
fn in_rows_every_name_is_told_whole_and_none_is_obeyed() {
    let netns = Netns::new();
    let text = |options: &[&str]| String::from_utf8(traced(&netns, options)).expect("text");
    for wide in [&[][..], &["--wide"]] {
        let table = text(wide);
        assert!(table.contains("u{1b}"), "{table}");
        harmless("table", &table);
    }

    let told = rows(&text(&["-o", "json"]));
    let bound: Vec<_> = told
        .iter()
        .filter(|row| row.text("event") == Some("bind"))
        .collect();
    let path = "a\n\"b\",\u{1b}]0;x\u{7}\u{fffd}\t=c\u{202e}";
    assert_eq!(bound.len(), 3, "{bound:?}");
    bound[0].expect("laddr", path);
    bound[1].expect("laddr", format!("@{path}\0\0tail"));
    for row in &bound {
        row.expect("comm", "\u{1b}[2J\"\n\u{fffd}\u{fffd},=1");
    }

    // As many cells in each row as in the first, by who reads CSV for a living.
    let csv = traced(&netns, &["-o", "csv"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.csv");
    std::fs::write(&file, csv).unwrap();
    let read = run(Command::new("python3").args(["-c", READ_CSV]).arg(&file));
    assert_eq!(read, "one length, 3 names, no formula\n");
}

const READ_CSV: &str = r"
import csv, sys
rows = list(csv.reader(open(sys.argv[1], encoding='utf-8', newline='')))
head = rows[0]
lengths = {len(row) for row in rows}
cells = [dict(zip(head, row)) for row in rows[1:]]
names = [cell for cell in cells if cell['event'] == 'bind']
formulas = [x for row in rows[1:] for x in row if x[:1] in ('=', '+', '@', '\t')]
raw = [x for row in rows for x in row if '\x1b' in x]
print('one length' if lengths == {len(head)} else lengths, f'{len(names)} names',
      'no formula' if not formulas and not raw else formulas + raw, sep=', ')
";

#[test]
fn in_metrics_and_lists_of_the_daemon_too() {
    let netns = Netns::new();
    let daemon = Daemon::start("");
    let hold = "print('ready', flush=True); sys.stdin.readline(); os._exit(0)";
    let mut holds = Dialogue::start(python(&netns, &format!("{NAMES}\n{hold}")));
    holds.hear("ready");
    let ours = || {
        let text = daemon.get("/metrics");
        let lines = text.lines().filter(|line| line.contains("[2J"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    wait("no metrics of it", || !ours().is_empty());
    for line in ours() {
        harmless("metrics", &line);
        // A name, labels in braces, a number.
        let (series, value) = line.rsplit_once("} ").expect("one line");
        assert!(series.starts_with("socktrace_"), "{line}");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    let list = daemon.get("/api/v1/sockets");
    harmless("a list", &list);
    let mut ask = Command::new(socktrace());
    ask.args(["sockets", "--netns", netns.name()]);
    ask.env("SOCKTRACE_SOCKET", daemon.path("socket"));
    let table = run(&mut ask);
    assert!(table.contains("u{1b}"), "{table}");
    harmless("a table", &table);
}
