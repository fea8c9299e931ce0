//! `cargo xtask install`: what the other commands need and this machine lacks.
//!
//! Packages come from Debian's apt. Elsewhere the commands say by name what is missing.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{
    compiler::llvm_major,
    dist, linker,
    toolchain::Toolchain,
    util::{as_root, cargo, find, on_system, output, run},
};

/// Debian's package, and a program in it that tells that it is there.
const FOR_TESTS: [(&str, &str); 13] = [
    ("apache2-utils", "ab"),
    ("bpftool", "bpftool"),
    ("curl", "curl"),
    ("iproute2", "ip"),
    ("libbpf-tools", "tcplife"),
    ("nginx-light", "nginx"),
    ("openssl", "openssl"),
    ("procps", "ps"),
    ("prometheus", "promtool"),
    ("prometheus-alertmanager", "prometheus-alertmanager"),
    ("python3", "python3"),
    ("strace", "strace"),
    ("util-linux", "setpriv"),
];

/// Programs that tests watch at work, and how each of them hands descriptors on. A test whose
/// program is missing says so and passes, so nobody is made to install a database.
const WATCHED: [(&str, &str); 7] = [
    // Workers that are forked with the listener.
    ("gunicorn", "gunicorn"),
    // Gives its listener to the next one in a message (`SCM_RIGHTS`).
    ("haproxy", "haproxy"),
    // None: it has the kernel track connections.
    ("nftables", "nft"),
    // None: a client that keeps connections.
    ("nodejs", "node"),
    // A process for each connection, forked after `accept`.
    ("postgresql", "pgbench"),
    // None: one process, one thread that accepts.
    ("redis-server", "redis-server"),
    // Starts a service that inherits its listener through `exec`.
    ("systemd", "systemd-socket-activate"),
];

/// Those whose packages would have them started with the system.
const SERVICES: [(&str, &str); 6] = [
    ("haproxy", "haproxy"),
    ("nginx-light", "nginx"),
    ("postgresql", "postgresql"),
    ("prometheus", "prometheus"),
    ("prometheus-alertmanager", "prometheus-alertmanager"),
    ("redis-server", "redis-server"),
];

/// For the container in which the package is tested.
const FOR_PACKAGE_TEST: [(&str, &str); 3] = [
    ("binutils", "strip"),
    ("debootstrap", "debootstrap"),
    ("systemd-container", "systemd-nspawn"),
];

/// For the machines on which other kernels are tried.
const FOR_VM: [(&str, &str); 8] = [
    ("apt", "apt-get"),
    ("binutils", "strip"),
    ("busybox-static", "busybox"),
    ("cpio", "cpio"),
    ("lz4", "lz4"),
    ("qemu-system-x86", "qemu-system-x86_64"),
    ("xz-utils", "xz"),
    ("zstd", "zstd"),
];

const NEXTEST: (&str, &str) = ("cargo-nextest", "0.9.143");
const DENY: (&str, &str) = ("cargo-deny", "0.20.2");

/// The compiler of Debian 12 that is new enough, its sources and its clippy.
const COMPILER: [&str; 4] = ["cargo-web", "rust-web-clippy", "rust-web-src", "rustc-web"];

/// apt with two cares: no question is asked, and no service starts because its program was
/// installed. The policy file is Debian's own way to say so; one that is there already stays.
const APT: &str = r#"
set -e
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet --quiet
apt-get install --yes --quiet --quiet --no-install-recommends -o DPkg::Lock::Timeout=120 "$@"
"#;

pub(crate) fn everything() -> Result<()> {
    let packages = FOR_TESTS.iter().chain(&WATCHED);
    let packages: Vec<_> = packages.map(|&(package, _)| package).collect();
    let packages = packages.join(" ");
    eprintln!(
        "what is not here yet is installed:\n  \
         kernel side: {} and the LLVM they use, by apt; bpf-linker, by cargo\n  \
         tests: {packages}, by apt; {}, by cargo\n  \
         checks: {}, by cargo\n  \
         other kernels: {}, by apt",
        COMPILER.join(" "),
        NEXTEST.0,
        DENY.0,
        FOR_VM.map(|(package, _)| package).join(" ")
    );
    kernel_side()?;
    for_tests()?;
    for_checks()?;
    for_vm()?;
    eprintln!("all that the tasks need is installed");
    Ok(())
}

/// A compiler for the kernel side, where no complete one is here yet.
pub(crate) fn kernel_side() -> Result<()> {
    let Err(lacking) = Toolchain::find(None) else {
        return Ok(());
    };
    if find("apt-get").is_none() {
        bail!(
            "only Debian's packages are known here; elsewhere `rustup toolchain install nightly \
             --component rust-src --component clippy` and a bpf-linker for its LLVM do it\n{lacking:#}"
        );
    }
    apt(&COMPILER)?;
    // Debian moves to newer compilers with time: the rest follows the one that came.
    let llvm = llvm_major(&output(Command::new("/usr/bin/rustc").arg("-vV"))?)?;
    let (tools, headers) = (format!("llvm-{llvm}"), format!("llvm-{llvm}-dev"));
    apt(&[&tools, &headers, "libzstd-dev", "zlib1g-dev"])?;
    if linker::find_for(llvm).is_err() {
        run(&mut linker::install(llvm))?;
    }
    Toolchain::find(None)
        .map(drop)
        .context("installed, and still not complete")
}

/// The programs that the tests start, and cargo-nextest.
pub(crate) fn for_tests() -> Result<()> {
    let packages: Vec<&str> = FOR_TESTS
        .iter()
        .chain(&WATCHED)
        .filter(|(_, program)| !on_system(program))
        .map(|&(package, _)| package)
        .collect();
    if !packages.is_empty() {
        apt(&packages)?;
    }
    for (package, service) in SERVICES {
        if packages.contains(&package) {
            // The tests start their own: nobody asked for a server after the next boot.
            run(as_root("update-rc.d")?.args([service, "disable"]))?;
        }
    }
    cargo_tool(NEXTEST)
}

/// What `cargo xtask ci` needs beyond compilers and tests.
pub(crate) fn for_checks() -> Result<()> {
    cargo_tool(DENY)
}

/// What `cargo xtask package-test` needs.
pub(crate) fn for_package_test() -> Result<()> {
    let packages = FOR_PACKAGE_TEST
        .iter()
        .filter(|(_, program)| !on_system(program));
    let packages: Vec<_> = packages.map(|&(package, _)| package).collect();
    if !packages.is_empty() {
        apt(&packages)?;
    }
    cargo_tool(dist::DEB)
}

/// What `cargo xtask vm` needs.
pub(crate) fn for_vm() -> Result<()> {
    let packages = FOR_VM.iter().filter(|(_, program)| !on_system(program));
    let packages: Vec<_> = packages.map(|&(package, _)| package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    apt(&packages)
}

/// By name, all that it needs and `is_there` does not find.
pub(crate) fn missing_for_vm(is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let programs = FOR_VM.iter().map(|&(_, program)| program);
    programs.filter(|program| !is_there(program)).collect()
}

/// By name, all that it needs and `is_there` does not find; fewer where a package is there already.
pub(crate) fn missing_for_package_test(
    has_package: bool,
    is_there: impl Fn(&str) -> bool,
) -> Vec<&'static str> {
    let maker = (!has_package).then_some(dist::DEB.0);
    let programs = FOR_PACKAGE_TEST.iter().map(|&(_, program)| program);
    programs
        .chain(maker)
        .filter(|program| !is_there(program))
        .collect()
}

/// By name, all that the tests need and `is_there` does not find.
pub(crate) fn missing_for_tests(is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    FOR_TESTS
        .iter()
        .map(|&(_, program)| program)
        .chain([NEXTEST.0])
        .filter(|program| !is_there(program))
        .collect()
}

fn apt(packages: &[&str]) -> Result<()> {
    if find("apt-get").is_none() {
        bail!(
            "install by your system's own means what Debian calls {}",
            packages.join(", ")
        );
    }
    eprintln!("installing with apt: {}", packages.join(" "));
    let status = as_root("sh")?
        .args(["-c", APT, "apt"])
        .args(packages)
        .status()
        .context("cannot start apt")?;
    if !status.success() {
        bail!(
            "apt could not install {}; what it said is above",
            packages.join(", ")
        );
    }
    Ok(())
}

fn cargo_tool((tool, version): (&str, &str)) -> Result<()> {
    if find(tool).is_some() {
        return Ok(());
    }
    // Compiled for use now and then: half the minutes of a release build with its LTO.
    run(cargo("install")
        .args([tool, "--version", version, "--locked"])
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"))
}
