//! The wall clock is set while somebody watches: ages and durations are what they were, and so are the
//! distances between rows. On a machine of its own (`cargo xtask vm`), as everybody's clock is set.

use std::{process::Command, thread, time::Duration};

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

use crate::{
    daemon::{Daemon, wait},
    support::{Background, Dialogue, Netns, Row, is_our_machine, python, socktrace},
};

const DAY: i64 = 86_400;

/// Sets the machine's clock forward, or back.
fn set_clock_by(seconds: i64) {
    let now = clock_gettime(ClockId::Realtime);
    let then = Timespec {
        tv_sec: now.tv_sec + seconds,
        ..now
    };
    clock_settime(ClockId::Realtime, then).unwrap();
}

/// A connection each time it is told to, and a second later its end.
const LIVES: &str = r"
l = listener()
print('ready', flush=True)
for line in sys.stdin:
    c, a = pair(l)
    print('open', cookie(c), flush=True)
    sys.stdin.readline()
    c.close(); a.close()
    print('closed', flush=True)
os._exit(0)
";

/// A row's wall clock, in seconds of the monotonic one: what is left of the two is the distance.
fn distance(row: &Row) -> i128 {
    let ts: jiff::Timestamp = row.text("ts").unwrap().parse().unwrap();
    ts.as_nanosecond() - i128::from(row.number("mono_ns").unwrap())
}

#[test]
fn a_clock_that_is_set_changes_no_age_no_duration_and_no_distance_between_rows() {
    if !is_our_machine() {
        return;
    }
    let netns = Netns::new();
    let mut lives = Dialogue::start(python(&netns, LIVES));
    lives.hear("ready");
    let begin = || {
        let mut tracer = Command::new(socktrace());
        tracer.args(["trace", "-o", "json", "--reconcile", "1s"]);
        tracer.args(["--netns", netns.name()]);
        Background::start(tracer, "Ctrl-C")
    };
    let tracer = begin();
    let mut cookies = Vec::new();
    // A day forward while it is open, two days back while the next one is, and where it was.
    for seconds in [DAY, -2 * DAY, DAY] {
        lives.say("open");
        cookies.push(lives.hear("open").parse::<i64>().unwrap());
        set_clock_by(seconds);
        thread::sleep(Duration::from_secs(1));
        lives.say("close");
        lives.hear("closed");
    }
    let ended = |told: &[Row], cookie: i64| {
        let its = |row: &Row| row.number("cookie") == Some(cookie);
        told.iter()
            .any(|row| its(row) && row.text("event") == Some("end"))
    };
    tracer.wait("no ends", |told| cookies.iter().all(|&it| ended(told, it)));
    // Who begins now begins with another distance, by days while the clock is off.
    set_clock_by(DAY);
    let later = begin();
    lives.say("open");
    let cookie: i64 = lives.hear("open").parse().unwrap();
    later.wait("no rows", |told| {
        told.iter().any(|row| row.number("cookie") == Some(cookie))
    });
    set_clock_by(-DAY);
    lives.say("close");
    lives.hear("closed");
    let (told, _) = tracer.stop();
    let told = crate::support::rows(&told);
    let (later, _) = later.stop();
    let later = crate::support::rows(&later);

    for &cookie in &cookies {
        let rows: Vec<_> = told
            .iter()
            .filter(|row| row.number("cookie") == Some(cookie))
            .collect();
        let end = rows.last().unwrap();
        end.expect("event", "end");
        // A second, and what an emulated processor needs for it.
        let lived = end.number("lifetime_us").unwrap();
        assert!((900_000..120_000_000).contains(&lived), "{end:?}");
        for row in rows {
            for key in ["age_seconds", "state_seconds"] {
                let seconds = row.float(key).unwrap_or_default();
                assert!((0.0..120.0).contains(&seconds), "{key} of {row:?}");
            }
            for key in ["latency_us", "queued_us", "state_us"] {
                let time = row.number(key).unwrap_or_default();
                assert!((0..120_000_000).contains(&time), "{key} of {row:?}");
            }
        }
    }
    let first = distance(&told[0]);
    assert!(told.iter().all(|row| distance(row) == first), "{told:?}");
    let moved = distance(&later[0]) - first;
    let day = i128::from(DAY) * 1_000_000_000;
    assert!((moved - day).abs() < day / 100, "{moved}");
    assert!(later.iter().all(|row| distance(row) - first == moved));
}

/// Clients that close, a server that does not.
const FORGETFUL: &str = r"
open('/proc/self/comm', 'w').write('forgetful')
l = listener(); held = []
for _ in range(12):
    c, a = pair(l); c.close(); held.append(a)
print('held', flush=True)
sys.stdin.readline(); os._exit(0)
";

#[test]
fn a_daemon_whose_clock_is_set_finds_what_it_would_have_found() {
    if !is_our_machine() {
        return;
    }
    let netns = Netns::new();
    // A day is long enough for everything to be old, and two for nothing to be. An emulated processor
    // has looks that take seconds, and with their usual share of it the next would be minutes away.
    let daemon = Daemon::start(
        "[detect]\nevery = \"1s\"\nshare = 1.0\n[detect.close_wait]\nshown = \"20s\"\n",
    );
    let found = || {
        let told = daemon.rows(&["leaks", "-o", "json", "--netns", netns.name()]);
        told.into_iter()
            .find(|row| row.text("kind") == Some("close_wait"))
    };
    let mut script = Dialogue::start(python(&netns, FORGETFUL));
    script.hear("held");
    set_clock_by(DAY);
    // What is to be found after twenty seconds is not found because of a day.
    let early = found();
    assert!(early.is_none(), "{early:?}");
    set_clock_by(-2 * DAY);
    wait("nothing found", || found().is_some());
    let row = found().unwrap();
    let oldest = row.number("oldest_seconds").unwrap();
    assert!((20..1000).contains(&oldest), "{row:?}");
    let mine = ["sockets", "-t", "-o", "json", "--netns", netns.name()];
    let held = daemon.rows(&mine);
    let held: Vec<_> = held
        .iter()
        .filter(|row| row.text("state") == Some("close_wait"))
        .collect();
    assert_eq!(held.len(), 12);
    for row in held {
        for key in ["age_seconds", "state_seconds"] {
            let seconds = row.float(key).unwrap();
            assert!((20.0..1000.0).contains(&seconds), "{key} of {row:?}");
        }
    }
    set_clock_by(DAY);
}
