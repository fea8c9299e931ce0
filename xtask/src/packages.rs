//! What is linked into socktrace, or runs while it is built: the packages that cargo resolves, without
//! those of the tests.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::util::{cargo, output, workspace};

/// What is shipped: the program, and the object that is in it.
const ROOTS: [&str; 2] = ["socktrace", "socktrace-ebpf"];
/// What the packages are made for; others need other crates.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

/// A package, as cargo tells of it.
#[derive(Clone, Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) repository: Option<String>,
    /// `None`: it is one of ours.
    pub(crate) source: Option<String>,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Clone, Deserialize)]
struct Target {
    kind: Vec<String>,
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
    kind: Option<String>,
}

/// The packages and which needs which, by id.
pub(crate) struct Packages {
    pub(crate) all: BTreeMap<String, Package>,
    pub(crate) needs: BTreeMap<String, BTreeSet<String>>,
    /// SHA-256 of the archives, by name and version, from Cargo.lock.
    pub(crate) checksums: HashMap<(String, String), String>,
}

impl Package {
    pub(crate) fn is_ours(&self) -> bool {
        self.source.is_none()
    }

    /// Has it a target of this kind: `custom-build`, `proc-macro`?
    pub(crate) fn has(&self, kind: &str) -> bool {
        let mut kinds = self.targets.iter().flat_map(|it| &it.kind);
        kinds.any(|it| it == kind)
    }

    /// Is there a line of code in it with the word `unsafe`? Its own tests count, too.
    pub(crate) fn has_unsafe(&self) -> Result<bool> {
        let folder = self.manifest_path.parent().unwrap_or(Path::new("/"));
        says_unsafe(&folder.join("src"))
    }
}

fn says_unsafe(folder: &Path) -> Result<bool> {
    if !folder.is_dir() {
        return Ok(false);
    }
    for file in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = file?.path();
        let found = if path.is_dir() {
            says_unsafe(&path)?
        } else if path.extension().is_some_and(|it| it == "rs") {
            String::from_utf8_lossy(&fs::read(&path)?)
                .lines()
                .map(str::trim_start)
                .filter(|line| !line.starts_with("//"))
                .any(|line| {
                    ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"]
                        .iter()
                        .any(|it| line.contains(it))
                })
        } else {
            false
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Packages {
    pub(crate) fn read() -> Result<Self> {
        let mut metadata = cargo("metadata");
        metadata.args(["--locked", "--format-version", "1"]);
        metadata.args(["--filter-platform", PLATFORM]);
        let metadata: Metadata = serde_json::from_str(&output(&mut metadata)?)?;
        let known: HashMap<_, _> = metadata
            .packages
            .into_iter()
            .map(|it| (it.id.clone(), it))
            .collect();
        let nodes: HashMap<_, _> = metadata
            .resolve
            .nodes
            .into_iter()
            .map(|it| (it.id.clone(), it))
            .collect();
        let built = built()?;
        let is_built = |id: &String| {
            known
                .get(id)
                .is_some_and(|it| built.contains(&(it.name.clone(), it.version.clone())))
        };
        let mut waiting: Vec<String> = known
            .values()
            .filter(|it| it.is_ours() && ROOTS.contains(&it.name.as_str()))
            .map(|it| it.id.clone())
            .collect();
        let (mut all, mut needs) = (BTreeMap::new(), BTreeMap::new());
        while let Some(id) = waiting.pop() {
            if all.contains_key(&id) {
                continue;
            }
            let package = known.get(&id).context("a package without a description")?;
            all.insert(id.clone(), package.clone());
            let deps = nodes.get(&id).into_iter().flat_map(|it| &it.deps);
            let needed: BTreeSet<String> = deps
                .filter(|it| {
                    it.dep_kinds
                        .iter()
                        .any(|it| it.kind.as_deref() != Some("dev"))
                })
                .map(|it| it.pkg.clone())
                .filter(is_built)
                .collect();
            waiting.extend(needed.iter().cloned());
            needs.insert(id, needed);
        }
        Ok(Self {
            all,
            needs,
            checksums: checksums()?,
        })
    }

    /// What our own packages name themselves.
    pub(crate) fn direct(&self) -> BTreeSet<&str> {
        let ours = self.needs.iter().filter(|(id, _)| self.all[*id].is_ours());
        let needed = ours.flat_map(|(_, needed)| needed);
        needed.map(|id| self.all[id].name.as_str()).collect()
    }
}

/// Names and versions of what a build has. `cargo metadata` tells more: it adds up the features that
/// anybody asks for, the tests included, and so names what is never compiled.
fn built() -> Result<HashSet<(String, String)>> {
    let mut tree = cargo("tree");
    tree.args(["--locked", "--edges", "normal,build", "--target", PLATFORM]);
    tree.args(["--prefix", "none", "--format", "{p}"]);
    for root in ROOTS {
        tree.args(["--package", root]);
    }
    let told = output(&mut tree)?;
    // `name v1.2.3`, and then where it is.
    let words = told.lines().map(|line| line.split(' '));
    Ok(words
        .filter_map(|mut words| {
            let name = words.next()?.to_owned();
            Some((name, words.next()?.strip_prefix('v')?.to_owned()))
        })
        .collect())
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

fn checksums() -> Result<HashMap<(String, String), String>> {
    let lock: Lock = toml::from_str(&fs::read_to_string(workspace().join("Cargo.lock"))?)?;
    let locked = lock.package.into_iter();
    Ok(locked
        .filter_map(|it| Some(((it.name, it.version), it.checksum?)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::Packages;

    #[test]
    fn what_is_never_compiled_is_not_among_them() {
        let packages = Packages::read().unwrap();
        let names: Vec<_> = packages.all.values().map(|it| it.name.as_str()).collect();
        for part in ["aws-lc-sys", "aya-ebpf", "serde_derive", "rustix"] {
            assert!(names.contains(&part), "{part}");
        }
        // The other cryptography of rustls, and what only tests have.
        for none in ["ring", "proptest", "insta"] {
            assert!(!names.contains(&none), "{none}");
        }
    }
}
