//! One hash over everything that the object is made from.
//!
//! It lets a machine without the recorded compiler notice that the object is stale.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// Relative to the workspace.
const SOURCES: [&str; 3] = [
    "socktrace-ebpf",
    "socktrace-common/Cargo.toml",
    "socktrace-common/src",
];

/// Packages of Cargo.lock whose code ends up in the object, by the start of their names.
const LOCKED: [&str; 3] = ["aya-ebpf", "aya-log-common", "aya-log-ebpf"];

#[derive(Deserialize)]
struct Lock {
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// The hash of the sources under `workspace` and of the flags that they are compiled with.
pub(crate) fn hash(workspace: &Path, flags: &[&str]) -> Result<String> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(&workspace.join(source), &mut files)?;
    }
    let mut entries = Vec::new();
    for file in files {
        let name = file.strip_prefix(workspace)?.to_string_lossy().into_owned();
        entries.push((name, read(&file)?));
    }
    entries.extend(locked(&read(&workspace.join("Cargo.lock"))?)?);
    // A folder lists its files in any order.
    entries.sort();
    entries.push(("flags".to_owned(), flags.join("\n")));

    let mut hash = Sha256::new();
    for (name, text) in &entries {
        // With the lengths, no two different sets of files are the same bytes.
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    Ok(format!("{:x}", hash.finalize()))
}

pub(crate) fn hash_of(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// Rust and TOML files only: notes, and what editors leave behind, do not change the object.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_dir() {
        let listed =
            fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))?;
        for entry in listed {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name != "target") {
                collect(&path, files)?;
            }
        }
    } else if path
        .extension()
        .is_some_and(|it| it == "rs" || it == "toml")
    {
        files.push(path.to_owned());
    }
    Ok(())
}

fn locked(lock: &str) -> Result<Vec<(String, String)>> {
    let lock: Lock = toml::from_str(lock).context("Cargo.lock is not readable")?;
    let ours = |package: &Package| LOCKED.iter().any(|start| package.name.starts_with(start));
    Ok(lock
        .package
        .into_iter()
        .filter(ours)
        .map(|it| {
            (
                format!("{} {}", it.name, it.version),
                it.checksum.unwrap_or_default(),
            )
        })
        .collect())
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(lock: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for folder in [
            "socktrace-ebpf/src",
            "socktrace-ebpf/target",
            "socktrace-common/src",
        ] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        fs::write(
            root.path().join("socktrace-ebpf/src/main.rs"),
            "fn main() {}",
        )
        .unwrap();
        fs::write(root.path().join("socktrace-common/Cargo.toml"), "[package]").unwrap();
        fs::write(root.path().join("Cargo.lock"), lock).unwrap();
        root
    }

    const LOCK: &str = "[[package]]\nname = \"aya-ebpf\"\nversion = \"0.2.1\"\nchecksum = \"aa\"\n";

    #[test]
    fn the_hash_does_not_depend_on_the_folder_or_on_notes() {
        let (one, other) = (tree(LOCK), tree(LOCK));
        fs::write(other.path().join("socktrace-ebpf/NOTES.md"), "later").unwrap();
        fs::write(
            other.path().join("socktrace-ebpf/target/gen.rs"),
            "fn f() {}",
        )
        .unwrap();
        assert_eq!(
            hash(one.path(), &[]).unwrap(),
            hash(other.path(), &[]).unwrap()
        );
    }

    #[test]
    fn a_source_a_dependency_or_a_flag_changes_the_hash() {
        let root = tree(LOCK);
        let before = hash(root.path(), &["-O"]).unwrap();
        assert_ne!(before, hash(root.path(), &["-g"]).unwrap());
        assert_ne!(
            before,
            hash(tree(&LOCK.replace("aa", "bb")).path(), &["-O"]).unwrap()
        );
        fs::write(root.path().join("socktrace-ebpf/src/more.rs"), "").unwrap();
        assert_ne!(before, hash(root.path(), &["-O"]).unwrap());
    }

    #[test]
    fn other_dependencies_do_not_change_the_hash() {
        let more = format!("{LOCK}[[package]]\nname = \"clap\"\nversion = \"4.0.0\"\n");
        assert_eq!(
            hash(tree(LOCK).path(), &[]).unwrap(),
            hash(tree(&more).path(), &[]).unwrap()
        );
    }
}
