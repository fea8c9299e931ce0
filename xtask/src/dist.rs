//! `cargo xtask dist`: the packages, for Debian and for those with rpm, in `target/dist`.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::util::{cargo, find, output, run, target_dir, workspace};

/// cargo's plugins that make packages.
pub(crate) const MAKERS: [(&str, &str); 2] =
    [("cargo-deb", "3.8.0"), ("cargo-generate-rpm", "0.21.1")];

pub(crate) fn dist() -> Result<()> {
    for (maker, version) in MAKERS {
        if find(maker).is_none() {
            bail!("{maker} is missing: `cargo install --locked {maker}@{version}` installs it");
        }
    }
    run(cargo("build").args(["--locked", "--release", "--package", "socktrace"]))?;
    generate()?;
    let out = workspace().join("target/dist");
    let out = out.to_str().context("the path is no UTF-8")?;
    run(cargo("deb").args(["--no-build", "--package", "socktrace", "--output", out]))?;
    run(cargo("generate-rpm").args(["--package", "socktrace", "--output", out]))?;
    eprintln!("the packages are in target/dist");
    Ok(())
}

/// Man pages and completions, by the program itself.
fn generate() -> Result<()> {
    let folder = workspace().join("target/dist");
    let man = folder.join("man");
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(&man)?;
    let program = target_dir().join("release/socktrace");
    run(Command::new(&program).arg("man").arg(&man))?;
    for (shell, file) in [
        ("bash", "socktrace.bash"),
        ("zsh", "_socktrace"),
        ("fish", "socktrace.fish"),
    ] {
        let script = output(Command::new(&program).args(["completions", shell]))?;
        fs::write(folder.join(file), script)?;
    }
    Ok(())
}
