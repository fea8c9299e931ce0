//! `cargo xtask package-test`: the package for Debian, installed, used, upgraded and removed on a Debian
//! of its own that systemd has booted. What is done there is in packaging/test.
//!
//! It needs root (or sudo), debootstrap with a mirror for the first time, systemd-nspawn, and a kernel
//! that socktrace runs on: the container has the machine's own.

mod cgroups;
mod container;
mod debian;

use std::{fs, path::PathBuf};

use anyhow::{Result, bail};

use crate::{
    dist, install,
    util::{cargo, find, run, target_dir},
};

/// See the command line.
pub(crate) fn package_test(
    deb: Option<PathBuf>,
    root: Option<PathBuf>,
    install: bool,
) -> Result<()> {
    if install {
        install::for_package_test()?;
    }
    let missing = install::missing_for_package_test(deb.is_some(), |it| find(it).is_some());
    if !missing.is_empty() {
        bail!(
            "the package's test needs {}: `cargo xtask package-test --install` installs it, on Debian",
            missing.join(", ")
        );
    }
    let folder = target_dir().join("package-test");
    fs::create_dir_all(&folder)?;
    let deb = match deb {
        Some(deb) => deb,
        None => build(&folder)?,
    };
    let root = root.unwrap_or_else(|| folder.join("root"));
    debian::make(&root)?;
    eprintln!("{} on the Debian in {}", deb.display(), root.display());
    container::job(&root, &deb)
}

/// Of the program as the tests have it: what is tested here is not how fast it is.
fn build(folder: &std::path::Path) -> Result<PathBuf> {
    run(cargo("build").args(["--locked", "--package", "socktrace"]))?;
    dist::deb(&target_dir().join("debug/socktrace"), folder, folder)
}
