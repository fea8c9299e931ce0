//! `cargo xtask docs`: writes the pages that come from the code.

use std::{fs, process::Command};

use anyhow::Result;

use crate::util::{cargo, output, workspace};

pub(crate) fn docs() -> Result<()> {
    let mut example: Command = cargo("run");
    example.args(["--quiet", "--package", "socktrace", "--example", "metrics"]);
    let page = output(&mut example)?;
    fs::write(workspace().join("docs/metrics.md"), page)?;
    eprintln!("docs/metrics.md is written");
    Ok(())
}
