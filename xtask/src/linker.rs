//! bpf-linker: it reads LLVM bitcode, so it must be built for the LLVM of the rustc that writes it.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::util::{cargo, find};

const VERSION: &str = "0.13.0";

/// The bpf-linker to use with an LLVM of this major version.
pub(crate) fn find_for(llvm: u32) -> Result<PathBuf> {
    let Some(linker) = find("bpf-linker") else {
        bail!("bpf-linker is missing: `{}`", remedy(llvm));
    };
    let bytes = fs::read(&linker).with_context(|| format!("cannot read {}", linker.display()))?;
    match built_for(&bytes) {
        Some(other) if other != llvm => bail!(
            "{} is built for LLVM {other} and this rustc has {llvm}: `{} --force`",
            linker.display(),
            remedy(llvm)
        ),
        // Linked statically, it does not tell; should it not fit, it fails on the first bitcode.
        Some(_) | None => Ok(linker),
    }
}

/// Builds bpf-linker against the LLVM that Debian's packages put on the machine.
pub(crate) fn install(llvm: u32) -> Command {
    let mut install = cargo("install");
    install
        .env("LLVM_PREFIX", prefix(llvm))
        .args([
            "bpf-linker",
            "--version",
            VERSION,
            "--locked",
            "--no-default-features",
        ])
        .args(["--features", &format!("llvm-{llvm}"), "--force"]);
    install
}

fn remedy(llvm: u32) -> String {
    format!(
        "LLVM_PREFIX={} cargo install bpf-linker --version {VERSION} --locked \
         --no-default-features --features llvm-{llvm}",
        prefix(llvm)
    )
}

/// Where Debian's packages of this LLVM are.
pub(crate) fn prefix(llvm: u32) -> String {
    format!("/usr/lib/llvm-{llvm}")
}

/// `bpf-linker --version` is silent about LLVM, but the name of the shared library is in the file.
fn built_for(elf: &[u8]) -> Option<u32> {
    const LIBRARY: &[u8] = b"libLLVM.so.";
    let name = elf
        .windows(LIBRARY.len())
        .position(|window| window == LIBRARY)?;
    let digits: String = elf[name + LIBRARY.len()..]
        .iter()
        .map(|&byte| char::from(byte))
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_linkers_llvm_is_read_from_the_library_it_names() {
        assert_eq!(built_for(b"\0libz.so.1\0libLLVM.so.22.1\0"), Some(22));
        assert_eq!(built_for(b"\0libz.so.1\0"), None);
        assert_eq!(built_for(b"libLLVM.so."), None);
    }
}
