//! The Unix socket, the client of the other commands, and sockets that systemd hands over.

use std::{
    fs,
    io::{self, Read as _},
    net::TcpListener,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use socktrace::http::{
    Limits, UnixPlace,
    client::{self, ClientError},
};
use tempfile::TempDir;

use crate::support::{Answered, Site, answered, curl, start_with, wait};

/// A user and a group that every system has and that own nothing.
const NOBODY: &str = "65534";
const GROUP: &str = "daemon";

struct Place {
    directory: TempDir,
    unix: UnixPlace,
}

impl Place {
    fn new(group: &str) -> Self {
        let directory = TempDir::new().unwrap();
        // Others may look in.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = directory.path().join("socktrace.sock");
        let group = group.to_owned();
        Self {
            directory,
            unix: UnixPlace { path, group },
        }
    }

    fn start(&self, arguments: &[&str]) -> Site {
        let site = start_with(arguments, Limits::default(), Some(&self.unix)).unwrap();
        site.content.open();
        site
    }

    fn path(&self) -> &Path {
        &self.unix.path
    }

    /// curl over the socket, by way of another command.
    fn curl_by(&self, by: &[&str], path: &str) -> Answered {
        let url = format!("http://localhost{path}");
        let mut command = Command::new(by[0]);
        command
            .args(&by[1..])
            .args(["curl", &url, "--unix-socket"])
            .arg(self.path());
        answered(&mut command)
    }
}

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("not run: it needs root to be another user");
    }
    is_root
}

#[test]
fn the_socket_asks_for_no_tls_and_no_password() {
    let place = Place::new(GROUP);
    let file = place.directory.path().join("web.yml");
    fs::write(&file, "basic_auth_users:\n  alice: $2y$05$9Knr7MTLpkzkvALgCWpvOezdQxa5MUiRDoaiMlHTUX/Eq4U.Llhn.\n").unwrap();
    let site = place.start(&["--web.config.file", file.to_str().unwrap()]);
    assert_eq!(site.curl("/metrics", &[]).status, 401);
    assert_eq!(place.curl_by(&["env"], "/metrics").status, 200);
}

#[test]
fn the_socket_is_for_root_and_its_group() {
    if !is_root() {
        return;
    }
    let place = Place::new(GROUP);
    let _site = place.start(&[]);
    let file = fs::metadata(place.path()).unwrap();
    assert_eq!(file.mode() & 0o7777, 0o660);
    let group = file.gid().to_string();
    assert_ne!(group, "0", "the group {GROUP} is there");
    let stranger = [
        "setpriv",
        "--reuid",
        NOBODY,
        "--regid",
        NOBODY,
        "--clear-groups",
    ];
    let primary = [
        "setpriv",
        "--reuid",
        NOBODY,
        "--regid",
        &group,
        "--clear-groups",
    ];
    let member = [
        "setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--groups", &group,
    ];
    let status = |by: &[&str]| place.curl_by(by, "/api/v1/sockets").status;
    assert_eq!(status(&stranger), 0, "the kernel lets nobody else connect");
    assert_eq!((status(&primary), status(&member)), (200, 200));
    // Somebody widens the mode: then the daemon itself asks who it is.
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(status(&stranger), 403);
    assert_eq!((status(&primary), status(&member)), (200, 200));
}

#[test]
fn without_its_group_the_socket_is_for_the_daemons_user_alone() {
    let place = Place::new("no such group");
    let _site = place.start(&[]);
    let file = fs::metadata(place.path()).unwrap();
    assert_eq!(
        (file.mode() & 0o7777, file.gid()),
        (0o660, rustix::process::getegid().as_raw())
    );
    assert_eq!(place.curl_by(&["env"], "/metrics").status, 200);
}

#[test]
fn a_socket_that_nobody_listens_on_is_replaced_and_nothing_else_is() {
    let place = Place::new(GROUP);
    drop(UnixListener::bind(place.path()).unwrap());
    assert!(place.path().exists(), "left behind");
    let site = place.start(&[]);
    assert_eq!(place.curl_by(&["env"], "/metrics").status, 200);
    let second = start_with(&[], Limits::default(), Some(&place.unix))
        .err()
        .unwrap();
    assert!(
        second.message.contains("another socktrace listens there"),
        "{second}"
    );
    drop(site);
    assert!(!place.path().exists(), "taken away at the end");
    fs::write(place.path(), "text").unwrap();
    let refused = start_with(&[], Limits::default(), Some(&place.unix))
        .err()
        .unwrap();
    assert!(refused.message.contains("no socket"), "{refused}");
    assert_eq!(fs::read(place.path()).unwrap(), b"text");
}

#[test]
fn the_client_gets_what_the_daemon_has() {
    let place = Place::new(GROUP);
    let site = place.start(&[]);
    let mut output = Vec::new();
    let target = client::target("sockets", [("netns", "1")]);
    let head = client::get(place.path(), &target, &mut output).unwrap();
    assert_eq!(output, br#"sockets [("netns", "1")]"#);
    assert_eq!(head["x-socktrace-complete"], "true");
    let mut huge = Vec::new();
    client::get(place.path(), "/api/v1/ports", &mut huge).unwrap();
    assert_eq!(huge.len(), crate::support::HUGE);
    let refused = client::get(place.path(), "/api/v1/hooks", &mut Vec::new()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the daemon says: no such \"hook\" (400)"
    );
    let gone = client::get(place.path(), "/api/v1/ports", &mut Closed).unwrap_err();
    assert!(matches!(&gone, ClientError::Output(e) if e.kind() == io::ErrorKind::BrokenPipe));
    drop(site);
    let none = client::get(place.path(), "/", &mut Vec::new()).unwrap_err();
    assert!(
        none.to_string().starts_with("no daemon is running"),
        "{none}"
    );
}

/// A pipe that nobody reads.
struct Closed;

impl io::Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
#[ignore = "it is a part of the next test, as another user"]
fn asks_as_whoever_it_is() {
    let path = PathBuf::from(std::env::var_os("SOCKTRACE_TEST_SOCKET").unwrap());
    match client::get(&path, "/metrics", &mut Vec::new()) {
        Ok(_) => println!("it was answered"),
        Err(error) => println!("{error}"),
    }
}

#[test]
fn who_may_not_ask_is_told_how_to_get_in() {
    if !is_root() {
        return;
    }
    let place = Place::new(GROUP);
    let _site = place.start(&[]);
    // Where another user can run it.
    let program = place.directory.path().join("http");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let ask = || {
        let output = Command::new("setpriv")
            .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"])
            .arg(&program)
            .args([
                "--exact",
                "local::asks_as_whoever_it_is",
                "--ignored",
                "--nocapture",
            ])
            .env("SOCKTRACE_TEST_SOCKET", place.path())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let refused = ask();
    assert!(refused.contains("usermod -aG socktrace"), "{refused}");
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o666)).unwrap();
    let refused = ask();
    assert!(refused.contains("usermod -aG socktrace"), "{refused}");
}

#[test]
#[ignore = "it is a part of the next test, started by systemd-socket-activate"]
fn serves_what_systemd_hands_over() {
    let place = Place::new(GROUP);
    let arguments = ["--web.systemd-socket"];
    let site = start_with(&arguments, Limits::default(), Some(&place.unix)).unwrap();
    site.content.open();
    // Until whoever started it is gone.
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn sockets_that_systemd_hands_over_are_served() {
    let program = "systemd-socket-activate";
    if Command::new(program).arg("--version").output().is_err() {
        return println!("not run: there is no {program} (package systemd)");
    }
    let place = Place::new(GROUP);
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut activate = Command::new(program)
        .arg(format!("--listen=127.0.0.1:{port}"))
        .arg("--listen")
        .arg(place.path())
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "local::serves_what_systemd_hands_over",
            "--ignored",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let is_socket =
        || fs::symlink_metadata(place.path()).is_ok_and(|file| file.file_type().is_socket());
    wait("it listens", is_socket);
    let url = format!("http://127.0.0.1:{port}/metrics");
    assert_eq!(curl(&[&url]).status, 200);
    assert_eq!(place.curl_by(&["env"], "/metrics").status, 200);
    drop(activate.stdin.take());
    assert!(activate.wait().unwrap().success());
}
