//! A web server under load: the numbers must be those of the kernel and of the server.

use std::{fs, process::Command};

use tempfile::TempDir;

use crate::support::{Background, Netns, Row, rows, run, socktrace};

const CONNECTIONS: usize = 20_000;

/// nginx in a namespace, gone when it is dropped.
struct Nginx<'a> {
    netns: &'a Netns,
    folder: TempDir,
}

impl<'a> Nginx<'a> {
    fn new(netns: &'a Netns) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let configuration = format!(
            "pid {path}/pid; error_log {path}/error.log; worker_processes 2;
             events {{ worker_connections 1024; }}
             http {{ access_log off; keepalive_timeout 0;
                server {{ listen 127.0.0.1:8080 backlog=1024;
                  location / {{ return 200 'hello'; }}
                  location /status {{ stub_status; }} }} }}"
        );
        fs::write(folder.path().join("nginx.conf"), configuration).unwrap();
        let nginx = Self { netns, folder };
        run(&mut nginx.command());
        nginx
    }

    fn command(&self) -> Command {
        let mut command = self.netns.command("nginx");
        command.arg("-c").arg(self.folder.path().join("nginx.conf"));
        command
    }

    /// Connections that it has taken, this question's included.
    fn handled(&self) -> usize {
        let ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/status').read().decode())";
        let text = run(self.netns.command("python3").args(["-c", ask]));
        let counts = text.lines().nth(2).expect("three numbers");
        counts.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Nginx<'_> {
    fn drop(&mut self) {
        drop(self.command().args(["-s", "quit"]).status());
    }
}

/// A counter of the namespace.
fn counter(netns: &Netns, name: &str) -> usize {
    let text = netns.sh(&format!("nstat -asz {name}"));
    let line = text
        .lines()
        .find(|line| line.starts_with(name))
        .expect(name);
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn tracer(netns: &Netns, arguments: &[&str]) -> Background {
    let mut command = Command::new(socktrace());
    command
        .args(arguments)
        .args(["-o", "json", "--netns", netns.name()]);
    Background::start(command, "Ctrl-C")
}

fn count(rows: &[Row], holds: impl Fn(&Row) -> bool) -> usize {
    rows.iter().filter(|row| holds(row)).count()
}

#[test]
fn twenty_thousand_connections_to_nginx() {
    let netns = Netns::new();
    let nginx = Nginx::new(&netns);
    let trace = tracer(&netns, &["trace"]);
    let life = tracer(&netns, &["life"]);
    let opened = counter(&netns, "TcpActiveOpens");
    let failed = counter(&netns, "TcpAttemptFails");
    let handled = nginx.handled();

    let requests = CONNECTIONS.to_string();
    let ab = ["-q", "-n", &requests, "-c", "20", "http://127.0.0.1:8080/"];
    run(netns.command("ab").args(ab));

    let handled = nginx.handled() - handled;
    let opened = counter(&netns, "TcpActiveOpens") - opened;
    let failed = counter(&netns, "TcpAttemptFails") - failed;
    assert!(handled > CONNECTIONS);
    let (lives, life_summary) = life.stop();
    let (changes, summary) = trace.stop();
    let (changes, lives) = (rows(&changes), rows(&lives));
    // What could be missing is told, and is as much at most.
    let lost = skipped(&summary);
    let lost_lives = skipped(&life_summary);

    // Two questions were asked while we looked; the first was answered, and accepted, before the
    // count began that it is compared with.
    let is = |row: &Row, event: &str| row.text("event") == Some(event);
    let connected = |row: &Row| is(row, "connect") && row.text("error").is_none();
    is_within(count(&changes, connected), opened - failed, lost);
    let accepted = |row: &Row| is(row, "accept");
    is_within(count(&changes, accepted), handled + 1, lost);

    let of_role = |row: &Row, role: &str| row.text("role") == Some(role);
    let clients = count(&lives, |row| of_role(row, "client"));
    is_within(clients, opened - failed, lost_lives);
    let servers = count(&lives, |row| of_role(row, "server"));
    is_within(servers, handled + 1, lost_lives);
    // Each line with its owner: the workers took them, and ab made them.
    let owned =
        |row: &Row, role: &str, comm: &str| of_role(row, role) && row.text("comm") == Some(comm);
    // ab begins a few more than it is asked for, and drops them.
    let by_ab = count(&lives, |row| owned(row, "client", "ab"));
    assert!(by_ab + lost_lives >= CONNECTIONS);
    let by_python = count(&lives, |row| owned(row, "client", "python3"));
    is_within(by_ab + by_python, opened - failed, lost_lives);
    let by_nginx = count(&lives, |row| owned(row, "server", "nginx"));
    is_within(by_nginx, handled + 1, lost_lives);
}

/// How often the kernel did not run a hook, as it was in another one on that CPU: that can happen,
/// and is told. Nothing else may be lost.
fn skipped(summary: &str) -> usize {
    assert!(summary.contains(" = emitted "), "{summary}");
    let number = |before: &str, after: &str| {
        let line = summary.lines().find_map(|line| line.split_once(before));
        let text = line.and_then(|(_, rest)| rest.split(after).next());
        text.and_then(|text| text.trim().parse::<usize>().ok())
    };
    let lost = number("lost: ", "\n").unwrap_or_else(|| panic!("{summary}"));
    if lost > 0 {
        let told = number("kernel map full, ", " skipped by the kernel");
        assert_eq!(told, Some(lost), "{summary}");
        println!("the kernel skipped {lost} hooks");
    }
    lost
}

/// Is it the number that is expected, or as many less as were lost?
#[track_caller]
fn is_within(found: usize, expected: usize, lost: usize) {
    assert!(
        found <= expected && found + lost >= expected,
        "{found} of {expected}, lost {lost}"
    );
}
