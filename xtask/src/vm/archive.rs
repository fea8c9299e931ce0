//! What the machine finds at its root: archives that the kernel unpacks one over the other, so that no
//! disk is needed.

use std::{
    fs::{self, File},
    io,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::apt::Apt;
use crate::util::{find, output};

/// What the tests run besides ours. Not what only some do: those say so and pass.
const PACKAGES: [&str; 10] = [
    "coreutils",
    "dash",
    "grep",
    "iproute2",
    "libgcc-s1",
    "mount",
    "procps",
    "python3",
    "sed",
    "util-linux",
];

/// Nobody reads there.
const NEEDLESS: [&str; 11] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/bash-completion",
    "usr/share/perl",
    "usr/lib/x86_64-linux-gnu/gconv",
    "usr/lib/python3.11/ensurepip",
    "usr/lib/x86_64-linux-gnu/perl-base",
    "var",
];

/// A small Debian of this machine's release, so that what was built here runs there. Made once.
pub(super) fn debian(vm: &Path) -> Result<std::path::PathBuf> {
    let archive = vm.join("debian.cpio");
    if archive.exists() {
        return Ok(archive);
    }
    let (root, suite) = (vm.join("debian"), suite()?);
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    fs::create_dir_all(&root)?;
    let apt = Apt::of(&suite, &vm.join("apt"))?;
    let bytes = apt.unpack_with_dependencies(&PACKAGES, &root)?;
    eprintln!("a Debian {suite}: {} kB of packages", bytes / 1000);
    for folder in NEEDLESS {
        let folder = root.join(folder);
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
    }
    let busybox = find("busybox").context("busybox is missing")?;
    fs::copy(busybox, root.join("busybox"))?;
    let part = vm.join("debian.part");
    pack(&root, &part)?;
    fs::rename(part, &archive)?;
    fs::remove_dir_all(root)?;
    Ok(archive)
}

/// The release that this machine is.
fn suite() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release")?;
    let name = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(name
        .context("/etc/os-release names no release of Debian")?
        .trim_matches('"')
        .to_owned())
}

/// Makes an archive of a folder, of which everything is root's.
pub(super) fn pack(folder: &Path, to: &Path) -> Result<()> {
    let list = output(
        Command::new("find")
            .args([".", "-mindepth", "1"])
            .current_dir(folder),
    )?;
    let names = to.with_extension("names");
    fs::write(&names, list)?;
    let status = Command::new("cpio")
        .args(["--quiet", "--create", "--format=newc", "--owner=+0:+0"])
        .current_dir(folder)
        .stdin(File::open(&names)?)
        .stdout(File::create(to)?)
        .stderr(Stdio::inherit())
        .status()
        .context("cannot start cpio")?;
    fs::remove_file(names)?;
    if !status.success() {
        bail!("cpio failed ({status})");
    }
    Ok(())
}

/// One archive after the other.
pub(super) fn join(parts: &[&Path], to: &Path) -> Result<()> {
    let mut whole = File::create(to)?;
    for part in parts {
        io::copy(&mut File::open(part)?, &mut whole)?;
    }
    Ok(())
}
