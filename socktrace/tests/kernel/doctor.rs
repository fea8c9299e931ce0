//! What can be missing: privileges, tracefs, BTF. `doctor` names it, `trace` does without it or says
//! why not.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use socktrace::probe::catalog::CATALOG;
use tempfile::TempDir;

use crate::support::{Netns, rows, socktrace};

/// A client and a server, for whoever has python3 only.
const TRAFFIC: &str = "
import socket
l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen()
c = socket.socket(); c.connect(l.getsockname()); a, _ = l.accept()
c.close(); a.close()
";

/// The program in a place where everybody may run it.
struct Public(TempDir);

impl Public {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let everybody = fs::Permissions::from_mode(0o755);
        fs::set_permissions(directory.path(), everybody.clone()).unwrap();
        let program = directory.path().join("socktrace");
        fs::copy(socktrace(), &program).unwrap();
        fs::set_permissions(program, everybody).unwrap();
        Self(directory)
    }

    /// The program, run by nobody with these capabilities (`+bpf,+perfmon`).
    fn nobody(&self, capabilities: &str) -> Vec<String> {
        let mut words = vec![
            "setpriv".to_owned(),
            "--reuid=65534".to_owned(),
            "--regid=65534".to_owned(),
            "--clear-groups".to_owned(),
        ];
        if !capabilities.is_empty() {
            words.push(format!("--inh-caps={capabilities}"));
            words.push(format!("--ambient-caps={capabilities}"));
        }
        words.push(self.0.path().join("socktrace").display().to_string());
        words
    }
}

/// The program, run by root after `change` was made to what is mounted where.
fn changed(change: &str) -> Vec<String> {
    let script = format!("{change} && exec \"$@\"");
    let program = socktrace();
    [
        "unshare",
        "-m",
        "sh",
        "-c",
        &script,
        "sh",
        program.to_str().unwrap(),
    ]
    .map(str::to_owned)
    .into()
}

/// What was said, and the status.
struct Told {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Told {
    fn by(program: &[String], arguments: &[&str]) -> Self {
        Self::new(&command(program, arguments).output().unwrap())
    }

    fn new(output: &Output) -> Self {
        Self {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout.clone()).unwrap(),
            stderr: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    /// Asserts that nothing happened but one message with these words.
    #[track_caller]
    fn refuses(&self, status: i32, words: &[&str]) {
        assert_eq!(self.status, Some(status), "{}", self.stderr);
        assert_eq!(self.stdout, "");
        assert_eq!(self.messages().len(), 1, "{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "{word} in {}", self.stderr);
        }
    }

    /// Messages, without the lines that continue them.
    fn messages(&self) -> Vec<&str> {
        self.stderr.split("socktrace: ").skip(1).collect()
    }
}

fn command(program: &[String], arguments: &[&str]) -> Command {
    let mut command = Command::new(&program[0]);
    // nobody may not be where the tests are.
    command.args(&program[1..]).args(arguments).current_dir("/");
    command
}

/// What `doctor` said.
struct Doctor {
    status: Option<i32>,
    lines: Vec<Value>,
}

impl Doctor {
    fn asked_by(program: &[String]) -> Self {
        let told = Told::by(program, &["doctor", "-o", "json"]);
        assert_eq!(told.stderr, "");
        Self {
            status: told.status,
            lines: told
                .stdout
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect(),
        }
    }

    #[track_caller]
    fn line(&self, check: &str) -> &Value {
        let line = self.lines.iter().find(|line| line["check"] == check);
        line.unwrap_or_else(|| panic!("{check} in {:?}", self.lines))
    }

    fn status(&self, check: &str) -> &str {
        self.line(check)["status"].as_str().unwrap()
    }

    /// Asserts the status of a line, and words in its message or remedy.
    #[track_caller]
    fn expect(&self, check: &str, status: &str, words: &[&str]) -> &Self {
        let line = self.line(check);
        assert_eq!(line["status"], status, "{line}");
        for word in words {
            assert!(line.to_string().contains(word), "{word} in {line}");
        }
        // Whatever a line asks for, it says how to get it.
        assert!(
            status == "ok" || check == "verdict" || line["remedy"].is_string(),
            "{line}"
        );
        self
    }
}

fn root() -> Vec<String> {
    vec![socktrace().display().to_string()]
}

#[test]
fn root_may_trace() {
    let doctor = Doctor::asked_by(&root());
    assert_eq!(doctor.status, Some(0), "{:?}", doctor.lines);
    for check in [
        "btf",
        "lockdown",
        "ring_buffer",
        "capabilities",
        "tracefs",
        "stacks",
    ] {
        doctor.expect(check, "ok", &[]);
    }
    // Of the kernel alone: an older one has less.
    doctor.expect("port_rule", "ok", &["6.18"]);
    for check in ["bound_sockets", "landlock"] {
        assert_ne!(doctor.status(check), "fail");
    }
    for hook in CATALOG {
        let status = doctor.status(&format!("hook {}", hook.name)).to_owned();
        assert!(
            status == "ok" || status == "warn",
            "{}: {status}",
            hook.name
        );
    }
    doctor.expect("hook tcp_destroy_sock", "ok", &[]);
    doctor.expect("hook inet_sock_set_state", "ok", &[]);
}

#[test]
fn quiet_says_only_what_is_not_ok() {
    let public = Public::new();
    let told = Told::by(
        &public.nobody(""),
        &["--color", "always", "doctor", "--quiet"],
    );
    assert_eq!(told.status, Some(77));
    assert!(
        told.stdout.contains("\u{1b}[1m\u{1b}[31mFAIL"),
        "{}",
        told.stdout
    );
    assert!(!told.stdout.contains("OK  "), "{}", told.stdout);
}

#[test]
fn nobody_is_told_what_is_missing() {
    let public = Public::new();
    let doctor = Doctor::asked_by(&public.nobody(""));
    assert_eq!(doctor.status, Some(77));
    doctor.expect(
        "capabilities",
        "fail",
        &["CAP_BPF", "CAP_PERFMON", "sudo", "setcap cap_bpf,"],
    );
    doctor.expect("verdict", "fail", &["privileges"]);
    let doctor = Doctor::asked_by(&public.nobody("+bpf"));
    assert_eq!(doctor.status, Some(77));
    let line = doctor
        .expect("capabilities", "fail", &["missing: CAP_PERFMON"])
        .line("capabilities");
    assert!(
        !line["message"].as_str().unwrap().contains("CAP_BPF"),
        "{line}"
    );
}

#[test]
fn nobody_may_not_trace() {
    let public = Public::new();
    let mark = public.0.path().join("mark");
    let program = public.nobody("");
    let words = ["CAP_BPF", "CAP_PERFMON", "sudo", "setcap"];
    Told::by(&program, &["trace"]).refuses(77, &words);
    Told::by(&program, &["life", "-o", "json"]).refuses(77, &words);
    let touch = ["trace", "--", "touch", mark.to_str().unwrap()];
    Told::by(&program, &touch).refuses(77, &words);
    assert!(!mark.exists(), "the command ran");
}

#[test]
fn two_capabilities_are_enough_for_state_changes() {
    let public = Public::new();
    let nobody = public.nobody("+bpf,+perfmon");
    let doctor = Doctor::asked_by(&nobody);
    assert_eq!(doctor.status, Some(0), "{:?}", doctor.lines);
    doctor.expect(
        "tracefs",
        "warn",
        &["may not be read", "CAP_DAC_READ_SEARCH"],
    );
    doctor.expect("CAP_NET_ADMIN", "warn", &["sock_create"]);
    doctor.expect("other_processes", "warn", &["CAP_SYS_PTRACE"]);
    doctor.expect("hook inet_sock_set_state", "ok", &[]);
    doctor.expect(
        "hook sys_enter_close",
        "warn",
        &["no close events", "since Linux 4.7"],
    );
    doctor.expect("hook sock_create", "warn", &["CAP_NET_ADMIN is missing"]);
    doctor.expect("verdict", "warn", &[]);

    let netns = Netns::new();
    let mut trace = netns.command(&nobody[0]);
    trace
        .args(&nobody[1..])
        .args(["trace", "-o", "json", "--", "python3", "-c", TRAFFIC]);
    let told = Told::new(&trace.current_dir("/").output().unwrap());
    assert_eq!(told.status, Some(0), "{}", told.stderr);
    let established = rows(&told.stdout)
        .into_iter()
        .filter(|row| row.text("new") == Some("established"))
        .count();
    assert!(established > 0, "{}{}", told.stdout, told.stderr);
    // One message for ten hooks, one for another reason.
    let about = |word: &str| {
        told.messages()
            .iter()
            .filter(|line| line.contains(word))
            .count()
    };
    assert_eq!(about("tracefs is at"), 1, "{}", told.stderr);
    assert_eq!(about("CAP_NET_ADMIN is missing"), 1, "{}", told.stderr);
}

#[test]
fn a_third_one_opens_tracefs() {
    let public = Public::new();
    let nobody = public.nobody("+bpf,+perfmon,+dac_read_search");
    let doctor = Doctor::asked_by(&nobody);
    assert_eq!(doctor.status, Some(0), "{:?}", doctor.lines);
    doctor.expect("tracefs", "ok", &[]);
    // Whether the tracepoints may be opened is up to the kernel; the lines agree.
    assert_eq!(
        doctor.status("hook sys_exit_socket"),
        doctor.status("perf_event_paranoid")
    );
}

/// A sysctl that is put back.
struct Sysctl(&'static str, String);

impl Sysctl {
    fn set(path: &'static str, value: &str) -> Self {
        let before = fs::read_to_string(path).unwrap();
        fs::write(path, value).unwrap();
        Self(path, before)
    }
}

impl Drop for Sysctl {
    fn drop(&mut self) {
        fs::write(self.0, &self.1).unwrap();
    }
}

#[test]
fn what_debian_sets_is_judged_by_what_it_does() {
    let public = Public::new();
    let _three = Sysctl::set("/proc/sys/kernel/perf_event_paranoid", "3");
    let doctor = Doctor::asked_by(&public.nobody("+bpf,+perfmon,+dac_read_search"));
    assert_eq!(doctor.status, Some(0), "{:?}", doctor.lines);
    let paranoid = doctor.status("perf_event_paranoid");
    assert_eq!(doctor.status("hook sys_exit_socket"), paranoid);
    if paranoid == "warn" {
        doctor.expect(
            "hook sys_exit_socket",
            "warn",
            &["sysctl kernel.perf_event_paranoid=2"],
        );
    }
    // Nobody could try: it is told as a possibility.
    let doctor = Doctor::asked_by(&public.nobody("+bpf,+perfmon"));
    doctor.expect(
        "perf_event_paranoid",
        "warn",
        &["sysctl kernel.perf_event_paranoid=2"],
    );
    Doctor::asked_by(&root()).expect("perf_event_paranoid", "ok", &[]);
}

#[test]
fn without_tracefs_there_is_one_message_and_the_rest() {
    // As on a system where nobody mounted it; it may be below debugfs, too.
    let program = changed(
        "for it in tracing debug; do \
         [ ! -d /sys/kernel/$it ] || mount -t tmpfs none /sys/kernel/$it; done",
    );
    Doctor::asked_by(&program).expect("tracefs", "warn", &["not mounted", "mount -t tracefs"]);
    let told = Told::by(&program, &["trace", "--", "python3", "-c", TRAFFIC]);
    assert_eq!(told.status, Some(0), "{}", told.stderr);
    assert!(
        told.stdout.contains("-> established"),
        "{}{}",
        told.stdout,
        told.stderr
    );
    assert_eq!(
        told.stderr.matches("tracefs is not mounted").count(),
        1,
        "{}",
        told.stderr
    );
    assert_eq!(
        told.stderr.matches("that means:").count(),
        1,
        "{}",
        told.stderr
    );
}

#[test]
fn without_btf_nothing_runs() {
    let program = changed("mount -t tmpfs none /sys/kernel/btf");
    let doctor = Doctor::asked_by(&program);
    assert_eq!(doctor.status, Some(69));
    doctor.expect("btf", "fail", &["CONFIG_DEBUG_INFO_BTF"]);
    Told::by(&program, &["trace"])
        .refuses(69, &["/sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF"]);
    let told = Told::by(&program, &["trace", "--", "echo", "it ran"]);
    told.refuses(69, &[]);
}

#[test]
fn a_command_that_was_held_ends_with_us() {
    // The preflight sees a file; that it makes no sense is found when the command waits already.
    let program =
        changed("mount -t tmpfs none /sys/kernel/btf && echo x > /sys/kernel/btf/vmlinux");
    let doctor = Doctor::asked_by(&program);
    assert_eq!(doctor.status, Some(69));
    doctor.expect("btf", "fail", &["/sys/kernel/btf/vmlinux"]);
    // While it lived it would hold these pipes open.
    let told = Told::by(&program, &["trace", "--", "echo", "it ran"]);
    told.refuses(69, &["/sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF"]);
}

#[test]
fn a_command_that_has_not_ended_when_we_do_goes_on_and_is_named() {
    let netns = Netns::new();
    // It must not hold our pipes open.
    let script = "import socket, time; s = socket.socket(); time.sleep(600)";
    let script = format!("exec python3 -c '{script}' > /dev/null 2>&1");
    let mut command = netns.command(socktrace().to_str().unwrap());
    command.args(["trace", "--count", "1", "--", "sh", "-c", &script]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap().lines().count(),
        2,
        "a title and a row"
    );
    let said = String::from_utf8(output.stderr).unwrap();
    let pid = said.lines().find_map(|line| {
        let rest = line.strip_prefix("socktrace: sh (pid ")?;
        rest.strip_suffix(") goes on without socktrace")
    });
    let pid = pid.expect(&said);
    assert_eq!(
        fs::read_to_string(format!("/proc/{pid}/comm")).unwrap(),
        "python3\n"
    );
    assert!(
        Command::new("kill").arg(pid).status().unwrap().success(),
        "{said}"
    );
}

#[test]
fn under_confidentiality_nothing_runs() {
    if !Path::new("/sys/kernel/security").exists() {
        println!("skipped: there is nowhere to mount a securityfs");
        return;
    }
    let program = changed(
        "mount -t tmpfs none /sys/kernel/security \
         && echo 'none integrity [confidentiality]' > /sys/kernel/security/lockdown",
    );
    let doctor = Doctor::asked_by(&program);
    assert_eq!(doctor.status, Some(69));
    doctor.expect("lockdown", "fail", &["lockdown=integrity"]);
    Told::by(&program, &["trace"]).refuses(69, &["lockdown=confidentiality"]);
}

#[test]
fn root_of_a_user_namespace_is_nobody() {
    let mut program = vec!["unshare".to_owned(), "-Ur".to_owned()];
    program.extend(root());
    Told::by(&program, &["trace"]).refuses(77, &["user namespace"]);
}

#[test]
fn in_another_pid_namespace_only_a_foreign_proc_is_a_lack() {
    let contained = |options: &[&str]| {
        let words = ["unshare", "-pf"].iter().chain(options);
        let mut program: Vec<_> = words.map(|word| (*word).to_owned()).collect();
        program.extend(root());
        program
    };
    let program = contained(&["--mount-proc"]);
    let doctor = Doctor::asked_by(&program);
    assert_eq!(doctor.status, Some(0), "{:?}", doctor.lines);
    doctor.expect("pid_namespace", "ok", &["those of this namespace"]);
    let told = Told::by(&program, &["trace", "--", "true"]);
    assert!(!told.stderr.contains("/proc"), "{}", told.stderr);

    let program = contained(&[]);
    let doctor = Doctor::asked_by(&program);
    assert_eq!(doctor.status, Some(0), "{:?}", doctor.lines);
    doctor.expect("pid_namespace", "warn", &["mount -t proc proc /proc"]);
    let told = Told::by(&program, &["trace", "--", "true"]);
    assert_eq!(
        told.stderr.matches("/proc shows another").count(),
        1,
        "{}",
        told.stderr
    );
}

#[test]
fn a_process_that_is_not_there_cannot_be_followed() {
    // More than the kernel ever gives (PID_MAX_LIMIT).
    Told::by(&root(), &["trace", "-p", "4194305"]).refuses(1, &["there is no process 4194305"]);
}
