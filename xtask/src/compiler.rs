//! The compilers that are able to compile the kernel side, and how to start each.
//!
//! `-Z build-std=core` asks for a nightly rustc, or any rustc with `RUSTC_BOOTSTRAP=1`.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    linker,
    util::{cargo_home, find},
};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compiler {
    /// The distribution's, under /usr.
    System,
    /// rustup's nightly.
    Nightly,
}

impl Compiler {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::System => "the system's rustc",
            Self::Nightly => "rustup's nightly",
        }
    }

    pub(crate) fn sources(self) -> &'static str {
        match self {
            Self::System => "Debian's package rust-web-src",
            Self::Nightly => "`rustup component add rust-src --toolchain nightly`",
        }
    }

    pub(crate) fn command(self, program: &str) -> Result<Command> {
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

    pub(crate) fn objcopy(self, sysroot: &Path, version: &str) -> Result<Command> {
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
