//! `cargo xtask run`: socktrace as a person runs it, built first and with the rights it needs.

use std::{ffi::OsString, os::unix::process::CommandExt as _};

use anyhow::{Context as _, Result};

use crate::util;

/// Does not come back: the process becomes socktrace, or sudo, whose exit status is ours.
pub(crate) fn run(args: &[OsString]) -> Result<()> {
    util::run(util::cargo("build").args(["--quiet", "--release", "--package", "socktrace"]))?;
    let socktrace = util::target_dir().join("release/socktrace");
    let error = util::as_root(&socktrace)?.args(args).exec();
    Err(error).with_context(|| format!("cannot start {}", socktrace.display()))
}
