//! `cargo xtask docs`: writes the pages that come from the code.

use std::{fs, process::Command};

use anyhow::Result;

use crate::{
    dependencies,
    packages::Packages,
    util::{cargo, output, workspace},
};

pub(crate) fn docs() -> Result<()> {
    let mut example: Command = cargo("run");
    example.args(["--quiet", "--package", "socktrace", "--example", "metrics"]);
    let page = output(&mut example)?;
    fs::write(workspace().join("docs/metrics.md"), page)?;
    eprintln!("docs/metrics.md is written");
    let page = dependencies::page(&Packages::read()?)?;
    fs::write(workspace().join("docs/dependencies.md"), page)?;
    eprintln!("docs/dependencies.md is written");
    Ok(())
}
