//! The systemd unit, as systemd sees it.

use std::{fs, process::Command};

use crate::{document, place};

/// Is systemd here? Its tools run without it as the first process.
fn lacks_systemd() -> bool {
    let lacks = Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err();
    if lacks {
        println!("skipped: systemd-analyze is missing (Debian's package systemd)");
    }
    lacks
}

#[test]
fn the_unit_is_exposed_no_more_than_it_says() {
    if lacks_systemd() {
        return;
    }
    let unit = place("packaging/socktrace.service");
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["security", "--offline=true", "--threshold=25"]);
    let output = analyze.arg(&unit).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    // docs/daemon.md names the figure.
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("exposure level for socktrace.service: 2.4"),
        "{said}"
    );
}

#[test]
fn systemd_understands_every_line_of_the_unit() {
    if lacks_systemd() {
        return;
    }
    // What it starts need not be installed.
    let folder = tempfile::tempdir().unwrap();
    let text = document("packaging/socktrace.service");
    let unit = folder.path().join("socktrace.service");
    let text = text.replace("/usr/bin/socktrace", "/bin/true");
    let text: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with("Documentation="))
        .collect();
    fs::write(&unit, text.join("\n")).unwrap();
    let output = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&unit)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}
