//! Packages of any suite, through apt with a state of its own: what is installed here, and what apt
//! knows of it, stays as it is. Needs no root.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::util::{output, run};

/// Where this machine has its packages from.
const SOURCES: &str = "/etc/apt/sources.list.d/debian.sources";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// apt for one suite.
pub(super) struct Apt {
    options: Vec<String>,
}

impl Apt {
    /// Knows what the suite has today; its state is kept in `folder`.
    pub(super) fn of(suite: &str, folder: &Path) -> Result<Self> {
        let state = folder.join(suite);
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(state.join(part))?;
        }
        let list = state.join("sources.list");
        let uri = mirror(suite)?;
        fs::write(
            &list,
            format!("deb [arch=amd64 signed-by={KEYRING}] {uri} {suite} main\n"),
        )?;
        let state = state.display();
        let mut options = vec![
            format!("Dir::Etc::SourceList={}", list.display()),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            "Dir::Etc::Preferences=/dev/null".to_owned(),
            "Dir::Etc::PreferencesParts=/dev/null".to_owned(),
            format!("Dir::State={state}"),
            "Dir::State::status=/dev/null".to_owned(),
            format!("Dir::Cache={state}/cache"),
            "APT::Architecture=amd64".to_owned(),
            "APT::Install-Recommends=false".to_owned(),
            // Nobody else may write where we may.
            "Debug::NoLocking=true".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::Languages=none".to_owned(),
        ];
        if crate::util::is_root() {
            options.push("APT::Sandbox::User=root".to_owned());
        }
        let apt = Self { options };
        run(apt.command("apt-get").arg("update"))?;
        Ok(apt)
    }

    /// The packages of which this one depends directly and whose name `fits`.
    pub(super) fn depends(
        &self,
        package: &str,
        fits: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>> {
        let text = output(self.command("apt-cache").args(["depends", package]))?;
        let names = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "));
        Ok(names.filter(|name| fits(name)).map(str::to_owned).collect())
    }

    /// Downloads these packages alone and unpacks them into `folder`; how many bytes they were.
    pub(super) fn unpack(&self, packages: &[String], folder: &Path) -> Result<u64> {
        let debs = folder.join("debs");
        fs::create_dir_all(&debs)?;
        run(self
            .command("apt-get")
            .arg("download")
            .args(packages)
            .current_dir(&debs))?;
        extract(&debs, folder)
    }

    /// The same with all that they depend on.
    pub(super) fn unpack_with_dependencies(&self, packages: &[&str], folder: &Path) -> Result<u64> {
        let debs = folder.join("debs");
        fs::create_dir_all(debs.join("partial"))?;
        run(self
            .command("apt-get")
            .arg("-o")
            .arg(format!("Dir::Cache::Archives={}", debs.display()))
            .args(["install", "--download-only", "--yes"])
            .args(packages))?;
        extract(&debs, folder)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("--quiet=2");
        for option in &self.options {
            command.args(["-o", option]);
        }
        command
    }
}

/// Unpacks every package of `debs` beside it, and takes `debs` away.
fn extract(debs: &Path, folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for deb in files(debs)? {
        if deb.extension().is_some_and(|it| it == "deb") {
            bytes += fs::metadata(&deb)?.len();
            output(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(folder))?;
        }
    }
    fs::remove_dir_all(debs)?;
    Ok(bytes)
}

/// What is in a folder.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("{}", folder.display()))?;
    Ok(entries
        .map(|it| it.map(|it| it.path()))
        .collect::<Result<_, _>>()?)
}

/// Security updates have a mirror of their own.
fn mirror(suite: &str) -> Result<String> {
    let sources = fs::read_to_string(SOURCES)
        .with_context(|| format!("kernels come from Debian's mirrors as {SOURCES} names them"))?;
    match uri(&sources, suite.ends_with("-security")) {
        Some(uri) => Ok(uri),
        None => bail!("{SOURCES} names no mirror for {suite}"),
    }
}

/// Of the first stanza with such suites.
fn uri(sources: &str, security: bool) -> Option<String> {
    sources.split("\n\n").find_map(|stanza| {
        let field = |name: &str| {
            let mut lines = stanza.lines();
            let value = lines.find_map(|line| line.strip_prefix(name))?;
            value.split_whitespace().next().map(str::to_owned)
        };
        let suite = field("Suites:")?;
        (suite.ends_with("-security") == security).then(|| field("URIs:"))?
    })
}

#[cfg(test)]
mod tests {
    use super::uri;

    #[test]
    fn the_mirror_is_the_one_for_such_a_suite() {
        let sources = "Types: deb\n# old\nURIs: http://a.invalid/debian\nSuites: bookworm bookworm-updates\n\n\
             Types: deb\nURIs: http://b.invalid/sec\nSuites: bookworm-security\n";
        assert_eq!(
            uri(sources, false).as_deref(),
            Some("http://a.invalid/debian")
        );
        assert_eq!(uri(sources, true).as_deref(), Some("http://b.invalid/sec"));
        assert_eq!(uri("", true), None);
    }
}
