//! The command line: help, messages, exit codes. Nothing here needs privileges or a kernel.

#![allow(clippy::unwrap_used, reason = "it is all tests")]

use std::{fs, path::Path, process::Output};

use assert_cmd::Command;
use clap::CommandFactory as _;
use socktrace::cli::Cli;

/// The program, where nothing of the terminal and the environment shows in what it writes.
fn socktrace(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_socktrace"));
    command.args(args);
    for (name, value) in [("COLUMNS", "100"), ("NO_COLOR", "1"), ("TZ", "UTC")] {
        command.env(name, value);
    }
    command.env_remove("CLICOLOR_FORCE");
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Compares with what is in `snapshots`.
fn golden(name: &str, text: &str) {
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(name, text) });
}

/// Standard output of a command that must succeed.
fn stdout(args: &[&str]) -> String {
    let output = socktrace(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    assert_eq!(text(&output.stderr), "", "{args:?}");
    text(&output.stdout)
}

/// A command line that is wrong, as a person sees it.
fn transcript(args: &[&str], output: &Output) -> String {
    let status = output.status.code().unwrap();
    assert_eq!(text(&output.stdout), "", "a message is no data: {args:?}");
    let line = [&["$ socktrace"], args].concat().join(" ");
    format!("{line}\n{}[{status}]\n\n", text(&output.stderr))
}

fn testdata(file: &str) -> Vec<u8> {
    fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("testdata")
            .join(file),
    )
    .unwrap()
}

#[test]
fn help_says_what_there_is() {
    golden("help", &stdout(&["--help"]));
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        golden(&format!("help-{name}"), &stdout(&[name, "--help"]));
    }
}

#[test]
fn the_version_is_the_packages() {
    assert_eq!(
        stdout(&["--version"]),
        format!("socktrace {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_command_line_that_makes_no_sense_is_refused_with_2_and_a_reason() {
    let cases: [&[&str]; 24] = [
        &[],
        &["look"],
        &["trace", "--fields", "pid,nope"],
        &["trace", "--filter", "nope==1"],
        &["trace", "--filter", "pid=1"],
        &["trace", "--filter", "rport>many"],
        &["trace", "--filter", "comm~("],
        &["trace", "--duration", "30"],
        &["trace", "--duration=-5s"],
        &["trace", "--state", "closed"],
        &["trace", "--event", "reset"],
        &["trace", "--proto", "sctp"],
        &["trace", "-o", "xml"],
        &["trace", "-4", "-6"],
        &["trace", "-T", "-t"],
        &["trace", "-p", "1", "--", "true"],
        &["trace", "-p", "one"],
        &["trace", "-L", "70000"],
        &["trace", "--count", "0"],
        &["trace", "--ring-size", "5000"],
        &["trace", "--netns", "no-such-namespace"],
        &["record"],
        &["replay"],
        &["completions", "tcsh"],
    ];
    let mut all = String::new();
    for args in cases {
        let output = socktrace(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        all += &transcript(args, &output);
    }
    golden("usage", &all);
}

#[test]
fn a_process_that_does_not_exist_is_named() {
    // One more than the kernel gives out (PID_MAX_LIMIT).
    let args = ["trace", "-p", "4194305"];
    let output = socktrace(&args).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    golden("no-process", &transcript(&args, &output));
}

#[test]
fn a_file_that_is_no_whole_recording_is_refused_with_1_and_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    let echo = testdata("echo.rec");
    fs::create_dir(folder.path().join("folder")).unwrap();
    write("empty.rec", b"");
    write("program.rec", b"\x7fELF and what follows");
    write("only-magic.rec", &echo[..8]);
    write("later-version.rec", b"SOCKTRC\x02 and what follows");
    write("no-header.rec", &[&echo[..8], b"S\0\0\0\0"].concat());
    write(
        "strange-frame.rec",
        &[&echo[..8], &header("little"), b"?\0\0\0\0"].concat(),
    );
    write(
        "endless-frame.rec",
        &[&echo[..8], &header("little"), b"R\xff\xff\xff\xff"].concat(),
    );
    write(
        "other-machine.rec",
        &[&echo[..8], &header("middle")].concat(),
    );
    let mut all = String::new();
    for file in [
        "missing.rec",
        "folder",
        "empty.rec",
        "program.rec",
        "only-magic.rec",
        "later-version.rec",
        "no-header.rec",
        "strange-frame.rec",
        "endless-frame.rec",
        "other-machine.rec",
    ] {
        let args = ["replay", file];
        let output = socktrace(&args)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{file}: {output:?}");
        all += &transcript(&args, &output);
    }
    golden("recordings", &all);
}

/// The first frame of a recording, made on a machine with this byte order.
fn header(byte_order: &str) -> Vec<u8> {
    let body = format!(r#"{{"byte_order":"{byte_order}","kernel":"","ahead_ns":0,"began_ns":0}}"#);
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    [b"H", &length[..], body.as_bytes()].concat()
}

#[test]
fn a_recording_that_is_cut_off_is_shown_up_to_there_and_fails() {
    let folder = tempfile::tempdir().unwrap();
    let echo = testdata("echo.rec");
    fs::write(folder.path().join("cut-off.rec"), &echo[..echo.len() / 2]).unwrap();
    let mut replay = socktrace(&["replay", "cut-off.rec"]);
    let output = replay.current_dir(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let rows = text(&output.stdout);
    assert!(
        rows.starts_with("PID ") && rows.lines().count() > 10,
        "{rows}"
    );
    golden("cut-off", &text(&output.stderr));
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/echo.rec");
    let recording = recording.to_str().unwrap();
    for args in [
        &["replay", recording][..],
        &["replay", recording, "-o", "wide"],
        &["replay", recording, "-o", "json"],
        &["replay", recording, "-o", "jsonpretty"],
        &["replay", recording, "-o", "csv"],
        &["replay", recording, "--life"],
        &["completions", "bash"],
        &["man"],
        &["--help"],
    ] {
        // Nobody reads from the beginning: every write fails, where `| head -1` fails some.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_socktrace"))
            .args(args)
            .stdout(writer)
            .output()
            .unwrap();
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {message}");
        assert!(
            !message.to_lowercase().contains("pipe"),
            "{args:?}: {message}"
        );
    }
}

#[test]
fn head_takes_what_it_wants_and_nobody_complains() {
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/holders.rec");
    let script = format!(
        r#"set -o pipefail; "{}" replay "{}" 2>/dev/null | head -1"#,
        env!("CARGO_BIN_EXE_socktrace"),
        recording.display()
    );
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).starts_with("PID "));
}

#[test]
fn a_full_disk_is_said() {
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/echo.rec");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_socktrace"))
        .arg("replay")
        .arg(recording)
        .stdout(fs::File::options().write(true).open("/dev/full").unwrap())
        .output()
        .unwrap();
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("No space left on device"), "{message}");
}

#[test]
fn shells_get_completions_that_they_can_read() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = stdout(&["completions", shell]);
        for word in ["replay", "ring-size"] {
            assert!(script.contains(word), "{shell} completes {word}");
        }
        // A shell that is not installed cannot be asked.
        if ["bash", "zsh", "fish"].contains(&shell)
            && let Ok(output) = Command::new(shell).arg("-n").write_stdin(script).output()
        {
            assert!(output.status.success(), "{shell}: {}", text(&output.stderr));
        }
    }
}

#[test]
fn the_man_page_begins_as_man_pages_do() {
    let page = stdout(&["man"]);
    assert!(
        page.starts_with(".ie \\n(.g .ds Aq"),
        "{}",
        &page[..page.len().min(80)]
    );
    assert!(page.contains("\n.TH socktrace 1 "), "{page}");
    for section in [
        ".SH NAME",
        ".SH SYNOPSIS",
        ".SH DESCRIPTION",
        ".SH SUBCOMMANDS",
    ] {
        assert!(page.contains(section), "{section}");
    }
}

#[test]
fn every_command_has_a_man_page() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man/man1");
    assert_eq!(stdout(&["man", pages.to_str().unwrap()]), "");
    let mut expected: Vec<_> = Cli::command()
        .get_subcommands()
        .map(|command| format!("socktrace-{}.1", command.get_name()))
        .collect();
    expected.push("socktrace.1".to_owned());
    for page in expected {
        let page = fs::read_to_string(pages.join(&page)).expect(&page);
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
    }
}
