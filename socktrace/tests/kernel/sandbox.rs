//! What the daemon's threads may open once it runs.

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;

use crate::{
    daemon::{Daemon, wait},
    support::run,
};

/// A certificate and its key, as `cert.pem` and `key.pem`.
fn certificate(folder: &Path) {
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-nodes",
        "-newkey",
        "ec",
        "-subj",
        "/CN=localhost",
    ]);
    openssl.args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2"]);
    openssl.arg("-keyout").arg(folder.join("key.pem"));
    run(openssl.arg("-out").arg(folder.join("cert.pem")));
}

/// A web configuration with the certificate of this folder.
fn tls(folder: &Path) -> String {
    let folder = folder.display();
    format!("tls_server_config:\n  cert_file: {folder}/cert.pem\n  key_file: {folder}/key.pem\n")
}

/// Does it answer over TLS?
fn answers(daemon: &Daemon) -> bool {
    let mut curl = Command::new("curl");
    let url = format!("https://{}/-/healthy", daemon.address());
    let curl = curl.args(["-sk", "-m", "5", &url]).output().unwrap();
    String::from_utf8_lossy(&curl.stdout).contains("socktrace runs")
}

#[test]
fn who_serves_opens_no_file_outside_of_its_folders_and_a_reload_goes_where_it_is_told() {
    let (mine, other): (TempDir, TempDir) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    certificate(mine.path());
    certificate(other.path());
    let web = mine.path().join("web.yml");
    fs::write(&web, "").unwrap();
    let more = ["--web.config.file", web.to_str().unwrap()];
    let daemon = Daemon::start_with(&[], &more, "");
    if !daemon.log().contains("opens only its own files") {
        println!("not tested: {}", daemon.log());
        return;
    }

    // It is root's thread, and root's file: nothing but Landlock refuses.
    fs::write(&web, tls(other.path())).unwrap();
    wait("it was let in", || !answers(&daemon));
    let refused = || daemon.log().contains("start socktrace again");
    wait("not told", refused);
    // The folder of the web configuration is its own.
    fs::write(&web, tls(mine.path())).unwrap();
    wait("it does not answer", || answers(&daemon));

    // The loop reads the configuration, and starts outputs, which are in bounds of their own.
    let alerts = other.path().join("alerts.json");
    daemon.configure(&format!("[alerts.file]\npath = \"{}\"\n", alerts.display()));
    run(Command::new("kill").args(["-HUP", &daemon.pid().to_string()]));
    wait("not read", || {
        daemon.log().contains("the configuration was read again")
    });
    wait("no thread for it", || {
        let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
        let mut names =
            tasks.filter_map(|it| fs::read_to_string(it.unwrap().path().join("comm")).ok());
        names.any(|name| name.trim() == "to-file")
    });
    assert!(
        !daemon.log().contains("cannot be put out of reach"),
        "{}",
        daemon.log()
    );
}
