//! Sockets that were open before the tracer was.

use std::process::Command;

use crate::support::{Background, Dialogue, Netns, rows, run, socktrace};

/// Listens and holds a connection before anybody looks; then accepts one more and closes all.
const SERVER: &str = r"
import os, socket, struct, sys
def cookie(s): return struct.unpack('=Q', s.getsockopt(socket.SOL_SOCKET, 57, 8))[0]
l = socket.create_server(('127.0.0.1', 0))
c = socket.create_connection(l.getsockname()); a, _ = l.accept()
print('pid', os.getpid(), flush=True)
print('cookies', cookie(l), cookie(c), cookie(a), l.getsockname()[1], flush=True)
if not sys.stdin.readline(): os._exit(0)
b, _ = l.accept(); print('late', cookie(b), flush=True)
c.close(); a.recv(1); a.close(); l.close()
sys.stdin.readline()
";

fn story(options: &[&str]) {
    let netns = Netns::new();
    let mut command = netns.command("python3");
    command.args(["-c", SERVER]);
    let mut server = Dialogue::start(command);
    let pid = server.hear("pid");
    let told = server.hear("cookies");
    let told: Vec<i64> = told.split(' ').map(|it| it.parse().unwrap()).collect();
    let mut tracer = Command::new(socktrace());
    tracer.args(["trace", "-o", "json", "--netns", netns.name()]);
    let by_pid = ["-p", &pid];
    tracer.args(options);
    if !options.contains(&"-4") {
        tracer.args(by_pid);
    }
    let tracer = Background::start(tracer, "Ctrl-C");
    let connect = format!(
        "import socket; c = socket.create_connection(('127.0.0.1', {})); c.recv(1)",
        told[3]
    );
    let mut client = netns.command("python3");
    let client = client.args(["-c", &connect]).spawn().unwrap();
    server.say("go");
    let late: i64 = server.hear("late").parse().unwrap();
    server.say("end");
    drop(server);
    let status = { client }.wait().unwrap();
    assert!(status.success());
    let (json, _) = tracer.stop();
    let rows = rows(&json);
    let pid: i64 = pid.parse().unwrap();
    let of = |cookie: i64| {
        rows.iter()
            .filter(move |row| row.number("cookie") == Some(cookie))
    };

    for (cookie, role) in [(told[0], "listener"), (told[2], "server")] {
        let end = of(cookie).find(|row| row.text("event") == Some("end"));
        let end = end.unwrap_or_else(|| panic!("no end of {role}: {rows:?}"));
        end.expect("role", role)
            .expect("owner", "adopted")
            .expect("pid", pid);
        // How old it was, and what it sent before we looked, nobody can know.
        end.expect_null("lifetime_us");
    }
    // The other side, whose port nobody listens on: what it was is not guessed.
    let end = of(told[1])
        .find(|row| row.text("event") == Some("end"))
        .unwrap();
    end.expect("role", "unknown")
        .expect("owner", "adopted")
        .expect("pid", pid);
    let states = of(told[1])
        .filter(|row| row.text("event") == Some("state"))
        .filter_map(|row| row.text("new"))
        .collect::<Vec<_>>();
    assert_eq!(states, ["fin_wait1", "fin_wait2", "time_wait"]);
    // A child of the old listener is followed from its handshake.
    let born = of(late).find(|row| row.text("new") == Some("syn_recv"));
    born.expect("a handshake").expect("owner", "unknown");
    let accept = of(late).find(|row| row.text("event") == Some("accept"));
    accept
        .unwrap()
        .expect("owner", "exact")
        .expect("listener_cookie", told[0]);
}

#[test]
fn a_process_that_was_there_first_is_followed_with_all_it_holds() {
    story(&[]);
}

#[test]
fn with_everybody_followed_the_old_ones_have_owners_too() {
    story(&["-4"]);
}

#[test]
fn a_recording_keeps_what_was_there_first() {
    let netns = Netns::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("recording");
    let mut command = netns.command("python3");
    command.args(["-c", SERVER]);
    let mut server = Dialogue::start(command);
    let pid = server.hear("pid");
    server.hear("cookies");
    let mut tracer = Command::new(socktrace());
    tracer.arg("record").arg(&file).args(["-p", &pid]);
    let tracer = Background::start(tracer, "Ctrl-C");
    // End of input: the script dies, and with it all that it holds.
    drop(server);
    tracer.stop();
    let mut replay = Command::new(socktrace());
    let json = run(replay
        .arg("replay")
        .arg(&file)
        .args(["-o", "json", "--event", "end"]));
    let ends = rows(&json);
    assert_eq!(ends.len(), 3, "{json}");
    for end in &ends {
        end.expect("owner", "adopted")
            .expect("pid", pid.parse::<i64>().unwrap());
    }
}
