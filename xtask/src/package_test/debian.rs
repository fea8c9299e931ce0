//! The Debian that the package is installed on: made once, never changed after.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::util::{as_root, run};

/// Of the same release as the machine that packages are built on.
const SUITE: &str = "bookworm";
/// What a machine has, and curl, to scrape.
const WITH: &str = "--include=systemd,systemd-sysv,curl";

/// In this folder, unless it is there.
pub(super) fn make(root: &Path) -> Result<()> {
    // debootstrap takes its own folder away when it has come to its end.
    if root.join("usr/bin/curl").exists() && !root.join("debootstrap").exists() {
        return Ok(());
    }
    run(as_root("rm")?.arg("-rf").arg("--one-file-system").arg(root))?;
    let mut debootstrap = as_root("debootstrap")?;
    debootstrap
        .args(["--variant=minbase", WITH, SUITE])
        .arg(root);
    debootstrap.args(mirror());
    run(&mut debootstrap).context("debootstrap needs a mirror of Debian that can be reached")
}

/// The one that this machine uses, if it is a Debian; else debootstrap's own.
fn mirror() -> Option<String> {
    let sources = fs::read_to_string("/etc/apt/sources.list.d/debian.sources").ok()?;
    let mut uris = sources
        .lines()
        .filter_map(|line| line.strip_prefix("URIs:"));
    Some(uris.next()?.split_whitespace().next()?.to_owned())
}
