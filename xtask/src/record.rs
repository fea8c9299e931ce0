//! What is kept beside the object: how it was made, so that anybody can check it.

use std::{fs, io, path::PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{toolchain::Tools, util::workspace};

const HEADER: &str =
    "# Written by `cargo xtask bpf`: how socktrace.bpf.o beside this file was made.\n\n";

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Record {
    pub(crate) object_sha256: String,
    /// Over the sources, the locked dependencies and the flags.
    pub(crate) sources_sha256: String,
    pub(crate) tools: Tools,
}

impl Record {
    /// None where there is no record yet.
    pub(crate) fn read() -> Result<Option<Self>> {
        let file = Self::file();
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", file.display()));
            }
        };
        toml::from_str(&text)
            .with_context(|| {
                format!(
                    "{} is not readable: delete it, then `cargo xtask bpf`",
                    file.display()
                )
            })
            .map(Some)
    }

    pub(crate) fn write(&self) -> Result<()> {
        let file = Self::file();
        let text = toml::to_string(self).context("cannot write the record as TOML")?;
        fs::write(&file, format!("{HEADER}{text}"))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    fn file() -> PathBuf {
        object().with_extension("toml")
    }
}

/// The object that is kept in the tree, and built into socktrace.
pub(crate) fn object() -> PathBuf {
    workspace().join("socktrace/bpf/socktrace.bpf.o")
}
