//! Loss is counted where it happens, and told.

use std::{fs, process::Command};

use crate::support::{Netns, Trace, rows, run, socktrace};

/// More than a ring of one page holds, twice, while nobody drains it: the tracer, its parent, is
/// held meanwhile, so that no machine is too fast to lose anything.
const BURST: &str = "
import os, signal, socket, time
l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen(64)
for _ in range(2):
    os.kill(os.getppid(), signal.SIGSTOP)
    for _ in range(500):
        c = socket.socket(); c.connect(l.getsockname()); a, _ = l.accept(); c.close(); a.close()
    os.kill(os.getppid(), signal.SIGCONT)
    time.sleep(0.2)
";

/// The number after a word of the summary.
pub(crate) fn number(summary: &str, word: &str) -> u64 {
    let rest = summary
        .split(word)
        .nth(1)
        .unwrap_or_else(|| panic!("{word} in {summary}"));
    let digits: String = rest
        .trim_start()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().unwrap()
}

/// Frames of a kind in a recording, by the letter that begins them.
fn frames(recording: &[u8], tag: u8) -> u64 {
    let mut rest = &recording[8..];
    let mut count = 0;
    while let [kind, a, b, c, d, body @ ..] = rest {
        count += u64::from(*kind == tag);
        rest = &body[u32::from_le_bytes([*a, *b, *c, *d]) as usize..];
    }
    count
}

#[test]
fn a_ring_that_is_too_small_loses_no_count() {
    let netns = Netns::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("burst");
    let output = netns
        .command(socktrace().to_str().unwrap())
        .arg("record")
        .arg(&file)
        .args(["--ring-size", "4", "--", "python3", "-c", BURST])
        .output()
        .unwrap();
    let summary = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{summary}");

    let emitted = number(&summary, "emitted");
    let lost = number(&summary, "+ lost");
    assert!(lost > 100, "{summary}");
    assert_eq!(
        number(&summary, "seen"),
        emitted + number(&summary, "folded") + number(&summary, "+ filtered") + lost,
        "{summary}"
    );
    // Independent of our counters: what is in the file is what was emitted.
    assert_eq!(frames(&fs::read(&file).unwrap(), b'R'), emitted);

    // Every loss stands in the stream, where it happened.
    let mut replay = Command::new(socktrace());
    let json = run(replay.arg("replay").arg(&file).args(["-o", "json"]));
    let rows = rows(&json);
    let lost_rows: Vec<_> = rows
        .iter()
        .filter(|row| row.text("event") == Some("lost"))
        .collect();
    let told: i64 = lost_rows.iter().filter_map(|row| row.number("count")).sum();
    assert_eq!(u64::try_from(told).unwrap(), lost);
    assert!(lost_rows.len() > 1, "{lost_rows:?}");
    for row in &lost_rows {
        row.expect("where", "ring")
            .expect_null("pid")
            .expect_null("cookie");
    }
}

#[test]
fn classic_tracepoints_do_where_there_are_no_others() {
    let netns = Netns::new();
    let trace: Trace = netns.trace_with(
        &["--attach", "classic"],
        r"
l = listener(); c, a = pair(l)
say(pid=os.getpid(), client=cookie(c))
c.send(b'hello'); a.recv(9); c.close(); a.recv(1); a.close()
",
    );
    assert!(
        trace.stderr.contains("classic tracepoint"),
        "{}",
        trace.stderr
    );
    let pid = trace.said("pid");
    // socket() gave the client a cookie; its child has none that we may ask for, and is still
    // one socket from its handshake to its end.
    let client = trace.socket("client");
    client
        .row("connect")
        .expect("pid", pid)
        .expect_null("error");
    client
        .row("end")
        .expect("tx_bytes", 5)
        .expect("role", "client");
    let served: Vec<_> = trace
        .rows
        .iter()
        .filter(|row| row.text("role") == Some("server"))
        .collect();
    assert_eq!(served.len(), 1);
    served[0]
        .expect("pid", pid)
        .expect("rx_bytes", 5)
        .expect("reason", "closed")
        .expect_null("cookie");
    assert!(served[0].number("lifetime_us").is_some());
    trace.of("accept")[0].expect("pid", pid);
    assert!(trace.of("accept")[0].number("queued_us").is_some());
}
