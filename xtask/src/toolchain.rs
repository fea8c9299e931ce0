//! Which compilers for the kernel side this machine has.
//!
//! `-Z build-std=core` asks for a nightly rustc, or any rustc with `RUSTC_BOOTSTRAP=1`, and for
//! that rustc's own sources.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use crate::{
    linker,
    util::{cargo_home, find, output, workspace},
};

/// What decides, with the sources, over the bytes of the object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Tools {
    pub(crate) rustc: String,
    pub(crate) bpf_linker: String,
    pub(crate) objcopy: String,
}

/// A rustc that is able to compile the kernel side, and what goes with it.
pub(crate) struct Toolchain {
    kind: Kind,
    /// As `rustc -vV` tells it.
    version: String,
    pub(crate) sysroot: PathBuf,
    pub(crate) tools: Tools,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The distribution's, under /usr.
    System,
    /// rustup's nightly.
    Nightly,
}

impl Toolchain {
    /// The one that made the recorded object if it is here, else the first that is complete.
    pub(crate) fn find(recorded: Option<&Tools>) -> Result<Self> {
        let (mut found, mut lacking) = (Vec::new(), Vec::new());
        for kind in [Kind::System, Kind::Nightly] {
            match Self::probe(kind) {
                Ok(toolchain) => found.push(toolchain),
                Err(error) => lacking.push(format!("  {}: {error:#}", kind.name())),
            }
        }
        let same = found.iter().position(|it| Some(&it.tools) == recorded);
        found.into_iter().nth(same.unwrap_or(0)).ok_or_else(|| {
            anyhow!(
                "no compiler for the kernel side is complete: `cargo xtask bpf --install` \
                 installs one\n{}",
                lacking.join("\n")
            )
        })
    }

    fn probe(kind: Kind) -> Result<Self> {
        kind.command("cargo")?;
        let version = output(kind.command("rustc")?.arg("-vV"))?;
        let sysroot = output(kind.command("rustc")?.args(["--print", "sysroot"]))?;
        let sysroot = PathBuf::from(sysroot.trim());
        if !sysroot.join("lib/rustlib/src/rust/library/core").is_dir() {
            bail!("the sources of its core are missing ({})", kind.sources());
        }
        let linker = linker::find_for(llvm_major(&version)?)?;
        let objcopy = output(kind.objcopy(&sysroot, &version)?.arg("--version"))?;
        let llvm = objcopy.lines().find(|line| line.contains("LLVM version"));
        let tools = Tools {
            rustc: format!(
                "{}, LLVM {}",
                first_line(&version),
                field(&version, "LLVM version")?
            ),
            bpf_linker: first_line(&output(Command::new(linker).arg("--version"))?).to_owned(),
            objcopy: llvm.context("its objcopy is not LLVM's")?.trim().to_owned(),
        };
        Ok(Self {
            kind,
            version,
            sysroot,
            tools,
        })
    }

    /// This toolchain's cargo, with nothing of the one that runs this xtask.
    pub(crate) fn cargo(&self, subcommand: &str) -> Result<Command> {
        let mut cargo = self.kind.command("cargo")?;
        cargo.arg(subcommand).current_dir(workspace());
        Ok(cargo)
    }

    pub(crate) fn objcopy(&self) -> Result<Command> {
        self.kind.objcopy(&self.sysroot, &self.version)
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::System => "the system's rustc",
            Self::Nightly => "rustup's nightly",
        }
    }

    fn sources(self) -> &'static str {
        match self {
            Self::System => "Debian's package rust-web-src",
            Self::Nightly => "`rustup component add rust-src --toolchain nightly`",
        }
    }

    fn command(self, program: &str) -> Result<Command> {
        let mut path = Vec::new();
        let mut command = match self {
            Self::System => {
                let file = Path::new("/usr/bin").join(program);
                if !file.is_file() {
                    bail!("there is no {}", file.display());
                }
                // Before rustup's shims, or cargo would take their cargo-clippy.
                path.push(PathBuf::from("/usr/bin"));
                Command::new(file)
            }
            Self::Nightly => {
                let mut rustup = Command::new(find("rustup").context("there is no rustup")?);
                rustup.args(["run", "nightly", program]);
                rustup
            }
        };
        path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        // cargo installs bpf-linker here, and not everybody has it on their PATH.
        path.extend(cargo_home().map(|home| home.join("bin")));
        for (name, _) in env::vars_os().filter(|(name, _)| is_foreign(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        if self == Self::System {
            command
                .env("RUSTC", "/usr/bin/rustc")
                .env("RUSTDOC", "/usr/bin/rustdoc")
                .env("RUSTC_BOOTSTRAP", "1");
        }
        // To look for a toolchain must not download it.
        command.env("RUSTUP_AUTO_INSTALL", "0");
        command.env("PATH", env::join_paths(path).context("cannot extend PATH")?);
        Ok(command)
    }

    fn objcopy(self, sysroot: &Path, version: &str) -> Result<Command> {
        let (file, from) = match self {
            Self::System => {
                let llvm = llvm_major(version)?;
                let file = Path::new(&linker::prefix(llvm)).join("bin/llvm-objcopy");
                (file, format!("Debian's package llvm-{llvm}"))
            }
            Self::Nightly => {
                let host = sysroot.join("lib/rustlib").join(field(version, "host")?);
                (
                    host.join("bin/rust-objcopy"),
                    "rustup's component rustc".to_owned(),
                )
            }
        };
        if !file.is_file() {
            bail!("there is no {} ({from})", file.display());
        }
        let mut objcopy = Command::new(file);
        if self == Self::Nightly {
            // rustup's objcopy does not find its LLVM library by itself.
            objcopy.env("LD_LIBRARY_PATH", sysroot.join("lib"));
        }
        Ok(objcopy)
    }
}

/// What cargo and rustup put into an xtask's environment, and what people set there for their own
/// builds: handed on, it would make a mixture of two toolchains.
fn is_foreign(variable: &str) -> bool {
    const NAMES: [&str; 9] = [
        "CARGO",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_INCREMENTAL",
        "RUSTC",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTDOC",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
    ];
    const PREFIXES: [&str; 3] = ["CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_TARGET_"];
    NAMES.contains(&variable) || PREFIXES.iter().any(|prefix| variable.starts_with(prefix))
}

/// The major version of the LLVM that `rustc -vV` names.
pub(crate) fn llvm_major(version: &str) -> Result<u32> {
    let llvm = field(version, "LLVM version")?;
    let major = llvm.split('.').next().unwrap_or_default();
    major
        .parse()
        .with_context(|| format!("LLVM version `{llvm}` has no major number"))
}

/// A line of `rustc -vV`, such as `host: x86_64-unknown-linux-gnu`.
pub(crate) fn field<'a>(version: &'a str, name: &str) -> Result<&'a str> {
    version
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .with_context(|| format!("`rustc -vV` names no {name}"))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: &str = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)
host: x86_64-unknown-linux-gnu
LLVM version: 22.1.8
";

    #[test]
    fn rustc_tells_its_host_and_its_llvm() {
        assert_eq!(field(VERSION, "host").unwrap(), "x86_64-unknown-linux-gnu");
        assert_eq!(llvm_major(VERSION).unwrap(), 22);
        assert!(llvm_major("rustc 1.96.0\n").is_err());
    }

    #[test]
    fn what_the_registry_needs_is_handed_on_and_the_outer_toolchain_is_not() {
        assert!(is_foreign("RUSTUP_TOOLCHAIN") && is_foreign("CARGO_PROFILE_RELEASE_LTO"));
        assert!(!is_foreign("CARGO_HOME") && !is_foreign("CARGO_HTTP_PROXY"));
    }
}
