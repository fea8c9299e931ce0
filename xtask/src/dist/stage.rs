//! What is in the packages and not in the tree.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use super::third_party;
use crate::util::{output, run, workspace};

/// For each shell, the name that it wants in its folder.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "socktrace.bash"),
    ("zsh", "_socktrace"),
    ("fish", "socktrace.fish"),
];

/// Fills the folder, for this program and this time.
pub(super) fn stage(program: &Path, folder: &Path, time: &str) -> Result<()> {
    drop(fs::remove_dir_all(folder));
    let man = folder.join("man");
    fs::create_dir_all(&man)?;
    // Both packages have the same bytes.
    run(Command::new("strip")
        .args(["--remove-section=.comment", "--remove-section=.note", "-o"])
        .arg(folder.join("socktrace"))
        .arg(program))
    .context("strip is in Debian's package binutils")?;
    run(Command::new(program).arg("man").arg(&man))?;
    for page in fs::read_dir(&man)? {
        gzip(&page?.path())?;
    }
    for (shell, file) in COMPLETIONS {
        let script = output(Command::new(program).args(["completions", shell]))?;
        fs::write(folder.join(file), script)?;
    }
    fs::copy(workspace().join("CHANGELOG.md"), folder.join("changelog"))?;
    fs::write(folder.join("changelog.Debian"), changelog(time)?)?;
    fs::write(folder.join("third-party"), third_party::licences()?)?;
    for file in ["changelog", "changelog.Debian", "third-party"] {
        gzip(&folder.join(file))?;
    }
    Ok(())
}

/// Without its name and its time: the same text gives the same bytes.
fn gzip(file: &Path) -> Result<()> {
    output(Command::new("gzip").args(["-9", "-n"]).arg(file)).map(drop)
}

/// Debian wants one of the package, beside that of the program.
fn changelog(time: &str) -> Result<String> {
    let time = format!("@{time}");
    let date = output(
        Command::new("date")
            .args(["--utc", "--rfc-email", "--date"])
            .arg(&time)
            .env("LC_ALL", "C"),
    )?;
    Ok(format!(
        "socktrace ({}-1) unstable; urgency=medium\n\n  \
         * Built from its sources; changelog.gz tells what is new.\n\n \
         -- The socktrace developers <socktrace@localhost>  {}\n",
        env!("CARGO_PKG_VERSION"),
        date.trim()
    ))
}
