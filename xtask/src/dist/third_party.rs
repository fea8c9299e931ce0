//! The terms of the crates that are linked in: most of them ask that their text goes with copies.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::util::{cargo, output};

/// What `cargo metadata` says, as far as it is needed.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    manifest_path: String,
    /// None: it is in this workspace.
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    /// None: it is linked in. Others are for builds and tests.
    kind: Option<String>,
}

/// One text after the other, each below the crates that it is of.
pub(super) fn licences() -> Result<String> {
    let host = output(std::process::Command::new("rustc").arg("-vV"))?;
    let host = crate::compiler::field(&host, "host")?;
    let text = output(
        cargo("metadata")
            .args(["--locked", "--format-version", "1"])
            .args(["--filter-platform", host]),
    )?;
    let metadata: Metadata = serde_json::from_str(&text).context("cargo metadata")?;
    let linked = linked(&metadata)?;
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut out = String::from("What is linked into socktrace, and its terms\n\n");
    for package in &metadata.packages {
        if package.source.is_none() || !linked.contains(package.id.as_str()) {
            continue;
        }
        let name = format!("{} {}", package.name, package.version);
        writeln!(
            out,
            "{name}: {}",
            package.license.as_deref().unwrap_or("see below")
        )?;
        for text in of(Path::new(&package.manifest_path))? {
            texts.entry(text).or_default().push(name.clone());
        }
    }
    for (text, names) in texts {
        writeln!(
            out,
            "\n{}\n{}\n\n{}",
            "=".repeat(78),
            names.join(", "),
            text.trim_end()
        )?;
    }
    Ok(out)
}

/// What socktrace needs to run, and what that needs.
fn linked(metadata: &Metadata) -> Result<BTreeSet<&str>> {
    let ours = |it: &&Package| it.source.is_none() && it.name == "socktrace";
    let ours = metadata.packages.iter().find(ours);
    let mut open = vec![
        ours.context("cargo metadata names no socktrace")?
            .id
            .as_str(),
    ];
    let mut linked = BTreeSet::new();
    while let Some(id) = open.pop() {
        if !linked.insert(id) {
            continue;
        }
        let node = metadata.resolve.nodes.iter().find(|node| node.id == id);
        for dependency in &node.context("cargo metadata is not complete")?.deps {
            if dependency.dep_kinds.iter().any(|it| it.kind.is_none()) {
                open.push(&dependency.pkg);
            }
        }
    }
    Ok(linked)
}

/// The texts in a crate's folder.
fn of(manifest: &Path) -> Result<Vec<String>> {
    let Some(folder) = manifest.parent() else {
        bail!("{} is in no folder", manifest.display());
    };
    let mut texts = Vec::new();
    for file in fs::read_dir(folder)? {
        let file = file?;
        let name = file.file_name().to_string_lossy().to_uppercase();
        let kinds = [
            "LICENSE",
            "LICENCE",
            "COPYING",
            "NOTICE",
            "UNLICENSE",
            "COPYRIGHT",
        ];
        if kinds.iter().any(|kind| name.starts_with(kind)) && file.path().is_file() {
            let bytes = fs::read(file.path())?;
            texts.push(String::from_utf8_lossy(&bytes).replace("\r\n", "\n"));
        }
    }
    Ok(texts)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "it is all tests")]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn package(name: &str, source: Option<&str>) -> Value {
        json!({"id": name, "name": name, "version": "1.0.0", "license": null,
            "manifest_path": "/nowhere/Cargo.toml", "source": source})
    }

    fn node(name: &str, needs: &[(&str, Option<&str>)]) -> Value {
        let needs: Vec<_> = needs
            .iter()
            .map(|(pkg, kind)| json!({"pkg": pkg, "dep_kinds": [{"kind": kind}]}))
            .collect();
        json!({"id": name, "deps": needs})
    }

    #[test]
    fn what_is_only_for_builds_and_tests_is_not_linked_in() {
        let registry = Some("registry");
        let metadata = json!({
            "packages": [package("xtask", None), package("socktrace", None), package("near", registry),
                package("far", registry), package("cc", registry), package("insta", registry)],
            "resolve": {"nodes": [
                node("xtask", &[("insta", None)]),
                node("socktrace", &[("near", None), ("insta", Some("dev"))]),
                node("near", &[("far", None), ("cc", Some("build"))]),
                node("far", &[]), node("cc", &[]), node("insta", &[]),
            ]},
        });
        let metadata: Metadata = serde_json::from_value(metadata).unwrap();
        let linked: Vec<_> = linked(&metadata).unwrap().into_iter().collect();
        assert_eq!(linked, ["far", "near", "socktrace"]);
    }

    #[test]
    fn every_text_in_a_crates_folder_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in [("LICENSE-MIT", "a\r\nb"), ("Copying", "c"), ("README", "d")] {
            fs::write(folder.path().join(file), text).unwrap();
        }
        let mut texts = of(&folder.path().join("Cargo.toml")).unwrap();
        texts.sort();
        assert_eq!(texts, ["a\nb", "c"]);
    }
}
