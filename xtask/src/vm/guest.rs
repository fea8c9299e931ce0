//! What runs in the machine: `socktrace doctor`, then tests, each a process of its own so that one that
//! hangs is ended alone.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{archive, kernel::Kernel, modules};
use crate::util::{cargo, output, run};

/// Before what each test says, and after it with its status.
pub(super) const BEGIN: &str = "VM-TEST ";
pub(super) const END: &str = "VM-DONE ";
/// Before what `doctor` says.
pub(super) const DOCTOR: &str = "VM-DOCTOR";

/// In seconds, for one test: an emulated processor takes ten to twenty times as long.
const LIMIT: u32 = 240;

/// Tests of very many namespaces and descriptors: they take longer, and memory of the kernel.
const MANY: &str = "many::";
const LIMIT_OF_MANY: u32 = 3600;

/// Tests that start several daemons, or one several times.
const LONG: &str = "wall_clock::";
const LIMIT_OF_LONG: u32 = 720;

/// In MB. The kernel takes a quarter of one for a network namespace.
const MEMORY: u32 = 2048;
const MEMORY_OF_MANY: u32 = 6144;

/// What is tried without a filter, some of each kind: tests that state facts, have no narrow times and
/// need no servers. Those with a clock of their own (trends, floods, the comparisons with peers) run on
/// the machine itself. Each starts socktrace, for which an emulated processor takes half a minute.
const TESTS: [&str; 22] = [
    "adopted::with_everybody_followed_the_old_ones_have_owners_too",
    "created::sockets_that_do_nothing_are_told_with_their_owners_and_no_call_is_hooked_for_it",
    "doctor::root_may_trace",
    "families::a_pair_of_unix_sockets_of_which_one_is_sent",
    "families::a_udp_socket_that_is_bound_and_sends",
    "filters::by_process_with_its_future_children_only",
    "findings::limits::limits_are_those_of_proc_and_ss",
    "lives::a_client_and_a_server_on_loopback",
    "lives::a_connect_without_a_route_changes_no_state",
    "lives::bind_and_listen_that_fail",
    "lives::exec_closes_what_is_close_on_exec",
    "lives::the_peer_closes_first",
    "lives_at_once::steps_of_a_life_have_the_times_that_they_have_when_each_is_told",
    "pidns::in_a_container_p_takes_the_containers_pid_and_rows_show_it",
    "ports::experiments::a_listener_elsewhere_takes_its_port_from_every_connect",
    "reconcile::what_no_event_tells_of_other_protocols_is_learned",
    "snapshot::every_row_of_ss_is_in_the_snapshot",
    "snapshot::the_iterator_sees_what_proc_shows_and_more",
    "sockets::what_is_open_is_listed_with_all_its_holders",
    "uring::by_io_uring_rows_are_those_of_the_calls",
    "wall_clock::a_clock_that_is_set_changes_no_age_no_duration_and_no_distance_between_rows",
    "wall_clock::a_daemon_whose_clock_is_set_finds_what_it_would_have_found",
];

/// What there is time for in `ci`, on every kernel: the hooks are attached and tell of calls and of states, the
/// iterator over descriptors finds what is open.
pub(super) const FEW: [&str; 3] = [
    "lives::a_connect_without_a_route_changes_no_state",
    "lives::bind_and_listen_that_fail",
    "snapshot::the_iterator_sees_what_proc_shows_and_more",
];

/// What some of them cannot do without, as `doctor` names it: where that is not there, they fail. Without
/// the helper rows of accepted connections have no cookie to find them by; lives are told at once from the
/// same version on.
const NEEDS: [(&str, &str); 8] = [
    (
        "adopted::with_everybody_followed_the_old_ones_have_owners_too",
        "cookie_helper",
    ),
    ("lives::a_client_and_a_server_on_loopback", "cookie_helper"),
    (
        "lives::exec_closes_what_is_close_on_exec",
        "hook sched_prepare_exec",
    ),
    ("lives::the_peer_closes_first", "cookie_helper"),
    (
        "lives_at_once::steps_of_a_life_have_the_times_that_they_have_when_each_is_told",
        "cookie_helper",
    ),
    (
        "pidns::in_a_container_p_takes_the_containers_pid_and_rows_show_it",
        "cookie_helper",
    ),
    (
        "sockets::what_is_open_is_listed_with_all_its_holders",
        "cookie_helper",
    ),
    (
        "wall_clock::a_clock_that_is_set_changes_no_age_no_duration_and_no_distance_between_rows",
        "cookie_helper",
    ),
];

fn limit_of(test: &str) -> u32 {
    if test.starts_with(MANY) {
        LIMIT_OF_MANY
    } else if test.starts_with(LONG) {
        LIMIT_OF_LONG
    } else {
        LIMIT
    }
}

/// What a machine needs for these tests, in MB.
pub(super) fn memory_for(tests: &[String]) -> u32 {
    if tests.iter().any(|test| test.starts_with(MANY)) {
        MEMORY_OF_MANY
    } else {
        MEMORY
    }
}

/// What the test cannot do without.
pub(super) fn need_of(test: &str) -> Option<&'static str> {
    let need = NEEDS.iter().find(|(name, _)| *name == test);
    need.map(|&(_, need)| need)
}

/// A program that is to be in the machine, where it is on this one.
pub(super) struct Programs {
    socktrace: PathBuf,
    tests: PathBuf,
}

impl Programs {
    /// Builds them.
    pub(super) fn build() -> Result<Self> {
        // The packages that the tests are built of: others may want other features of what they depend on, and
        // in `ci` the tests are running from these files.
        let build = [
            "--locked",
            "--workspace",
            "--exclude",
            "socktrace-ebpf",
            "--test",
            "kernel",
            "--no-run",
        ];
        run(cargo("test").args(build))?;
        let messages =
            output(
                cargo("test")
                    .args(build)
                    .args(["--quiet", "--message-format", "json"]),
            )?;
        let executable = |name: &str| {
            messages.lines().find_map(|line| {
                let message: Value = serde_json::from_str(line).ok()?;
                let target = message.get("target")?.get("name")?.as_str()?;
                let file = message.get("executable")?.as_str()?;
                (target == name).then(|| PathBuf::from(file))
            })
        };
        Ok(Self {
            socktrace: executable("socktrace").context("cargo names no socktrace")?,
            tests: executable("kernel").context("cargo names no kernel tests")?,
        })
    }

    /// The tests that fit `filter`; without one, those that are known to do in an emulated machine.
    pub(super) fn tests(&self, filter: &[String]) -> Result<Vec<String>> {
        let list = output(Command::new(&self.tests).args(["--list", "--format", "terse"]))?;
        let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
        let wanted = |name: &&str| {
            if filter.is_empty() {
                TESTS.contains(name)
            } else {
                filter.iter().any(|part| name.contains(part.as_str()))
            }
        };
        Ok(names.filter(wanted).map(str::to_owned).collect())
    }

    /// The archive with these programs, the kernel's modules and the job.
    pub(super) fn pack(&self, kernel: &Kernel, tests: &[String], folder: &Path) -> Result<PathBuf> {
        let root = folder.join("root");
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        fs::create_dir_all(&root)?;
        modules::collect(kernel, &root.join("modules"))?;
        // The tests know the program by its path.
        put(&self.socktrace, &root)?;
        put(&self.tests, &root)?;
        fs::write(root.join("init"), include_str!("init"))?;
        run(Command::new("chmod").arg("+x").arg(root.join("init")))?;
        fs::write(root.join("job"), self.job(tests))?;
        let archive = folder.join("programs.cpio");
        archive::pack(&root, &archive)?;
        fs::remove_dir_all(root)?;
        Ok(archive)
    }

    fn job(&self, tests: &[String]) -> String {
        let (socktrace, kernel) = (self.socktrace.display(), self.tests.display());
        let tests: Vec<_> = tests
            .iter()
            .map(|test| format!("{test}={}", limit_of(test)))
            .collect();
        let tests = tests.join(" ");
        // The machine is theirs: its clock may be set, its memory be filled.
        format!(
            "export SOCKTRACE_TEST_PATIENCE=10 SOCKTRACE_TEST_MACHINE=own\n\
             echo {DOCTOR}\n\
             {socktrace} doctor -o json\n\
             failed=0\n\
             for test in {tests}; do\n\
             limit=${{test##*=}} test=${{test%=*}}\n\
             echo \"{BEGIN}$test\"\n\
             timeout -k 5 $limit {kernel} --exact \"$test\" --test-threads 1 --show-output 2>&1\n\
             status=$?\n\
             [ $status = 0 ] || failed=1\n\
             echo \"{END}$status\"\n\
             done\n\
             exit $failed\n"
        )
    }
}

/// Lays the program where it is here, without what only a debugger reads.
fn put(program: &Path, root: &Path) -> Result<()> {
    let to = root.join(program.strip_prefix("/").unwrap_or(program));
    let folder = to.parent().context("a program is in a folder")?;
    fs::create_dir_all(folder)?;
    output(
        Command::new("strip")
            .arg("--strip-debug")
            .arg("-o")
            .arg(&to)
            .arg(program),
    )?;
    Ok(())
}
