//! A compiler together with all that goes with it: its sources, its objcopy and a bpf-linker.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use crate::{
    compiler::{Compiler, field, llvm_major},
    linker,
    util::{output, workspace},
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
    compiler: Compiler,
    /// As `rustc -vV` tells it.
    version: String,
    pub(crate) sysroot: PathBuf,
    pub(crate) tools: Tools,
}

impl Toolchain {
    /// The one that made the recorded object if it is here, else the first that is complete.
    pub(crate) fn find(recorded: Option<&Tools>) -> Result<Self> {
        let (mut found, mut lacking) = (Vec::new(), Vec::new());
        for compiler in [Compiler::System, Compiler::Nightly] {
            match Self::probe(compiler) {
                Ok(toolchain) => found.push(toolchain),
                Err(error) => lacking.push(format!("  {}: {error:#}", compiler.name())),
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

    fn probe(compiler: Compiler) -> Result<Self> {
        compiler.command("cargo")?;
        let version = output(compiler.command("rustc")?.arg("-vV"))?;
        let sysroot = output(compiler.command("rustc")?.args(["--print", "sysroot"]))?;
        let sysroot = PathBuf::from(sysroot.trim());
        if !sysroot.join("lib/rustlib/src/rust/library/core").is_dir() {
            bail!(
                "the sources of its core are missing ({})",
                compiler.sources()
            );
        }
        let linker = linker::find_for(llvm_major(&version)?)?;
        let objcopy = output(compiler.objcopy(&sysroot, &version)?.arg("--version"))?;
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
            compiler,
            version,
            sysroot,
            tools,
        })
    }

    /// This toolchain's cargo, with nothing of the one that runs this xtask.
    pub(crate) fn cargo(&self, subcommand: &str) -> Result<Command> {
        let mut cargo = self.compiler.command("cargo")?;
        cargo.arg(subcommand).current_dir(workspace());
        Ok(cargo)
    }

    pub(crate) fn objcopy(&self) -> Result<Command> {
        self.compiler.objcopy(&self.sysroot, &self.version)
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
