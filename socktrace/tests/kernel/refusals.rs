//! Every hook is refused once: the others are attached all the same, and what that costs is said.

use std::{
    fs,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use serde_json::Value;
use socktrace::probe::{
    catalog::{Attach, CATALOG, FALLBACK_COSTS, Hook, Need},
    offsets::KERNEL_BTF,
};

use crate::support::socktrace;

/// For a shell: what makes this kernel one that does not have it. Nothing, where hooks can only be refused
/// together.
fn refuse(hook: &Hook, folder: &std::path::Path) -> Option<String> {
    match hook.attach {
        Attach::Tracepoint(category, name) => Some(format!(
            "mount -t tmpfs none /sys/kernel/tracing/events/{category}/{name}"
        )),
        // A typed tracepoint is there if its type is.
        Attach::TpBtf(name) | Attach::Renamed(name, _) => {
            let mut types = fs::read(KERNEL_BTF).unwrap();
            let name = format!("\0btf_trace_{name}\0");
            let found = types
                .windows(name.len())
                .position(|it| it == name.as_bytes());
            types[found.unwrap() + 1] = b'-';
            let file = folder.join(hook.name);
            fs::write(&file, types).unwrap();
            Some(format!("mount --bind {} {KERNEL_BTF}", file.display()))
        }
        // `families::without_cgroup_v2…` has both.
        Attach::CgroupSock => None,
    }
}

fn one_is_refused(hook: &Hook, refuse: &str) {
    let mut doctor = Command::new("unshare");
    doctor.args(["-m", "sh", "-c", &format!("{refuse} && exec \"$@\""), "sh"]);
    let doctor = doctor.arg(socktrace()).args(["doctor", "-o", "json"]);
    let told = doctor.output().unwrap();
    let errors = String::from_utf8_lossy(&told.stderr);
    assert_eq!(told.status.code(), Some(0), "{}: {errors}", hook.name);
    let lines = String::from_utf8(told.stdout).unwrap();
    let lines: Vec<Value> = lines
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    for other in CATALOG {
        let name = format!("hook {}", other.name);
        let line = lines
            .iter()
            .find(|it| it["check"] == name.as_str())
            .unwrap();
        let (status, message) = (&line["status"], line["message"].as_str().unwrap());
        // Two programs are attached to the completions of io_uring.
        if other.attach != hook.attach {
            assert_eq!(status, "ok", "without {}: {line}", hook.name);
            continue;
        }
        assert_eq!(status, "warn", "{line}");
        let cost = match other.need {
            Need::Optional(lost) => lost,
            Need::Required => FALLBACK_COSTS,
        };
        assert!(message.contains(cost), "{line}");
    }
}

#[test]
fn whichever_hook_is_refused_the_others_are_attached() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |hook: &'static Hook| Some((hook, refuse(hook, folder.path())?));
    let refused: Vec<_> = CATALOG.iter().filter_map(refused).collect();
    assert_eq!(refused.len(), CATALOG.len() - 2);
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((hook, refuse)) = refused.get(next.fetch_add(1, Ordering::Relaxed)) {
                    one_is_refused(hook, refuse);
                }
            });
        }
    });
}
