//! `cargo xtask bpf`: the kernel side, from its sources to the object that is kept in the tree.
//!
//! The same sources and tools give the same bytes, in whatever folder they lie.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    btf, install,
    record::{Record, object},
    sources, stack,
    toolchain::Toolchain,
    util::{cargo_home, output, run, target_dir, workspace},
};

const TARGET: &str = "bpfel-unknown-none";

const RUSTC_FLAGS: [&str; 3] = [
    // One object for every machine: aya would take the architecture of the one that compiles.
    "--cfg=bpf_target_arch=\"x86_64\"",
    // bpf-linker makes the BTF from the debug information.
    "-Cdebuginfo=2",
    "-Clink-arg=--btf",
];

/// Said here, so that a change for the user side's sake does not reach the object.
const PROFILE: [&str; 5] = [
    "profile.release.codegen-units=1",
    "profile.release.lto=false",
    "profile.release.opt-level=3",
    "profile.release.overflow-checks=false",
    "profile.release.strip=false",
];

const REMEDY: &str = "run `cargo xtask bpf` and commit the object";

pub(crate) fn bpf(check: bool, install: bool) -> Result<()> {
    if install {
        install::kernel_side()?;
    }
    if check { self::check() } else { update() }
}

fn update() -> Result<()> {
    let before = Record::read()?;
    let toolchain = Toolchain::find(before.as_ref().map(|it| &it.tools))?;
    let bytes = compile(&toolchain)?;
    let file = object();
    fs::create_dir_all(file.parent().context("the object has no folder")?)?;
    fs::write(&file, &bytes).with_context(|| format!("cannot write {}", file.display()))?;
    let record = Record {
        object_sha256: sources::hash_of(&bytes),
        sources_sha256: sources_hash()?,
        tools: toolchain.tools,
    };
    record.write()?;
    let news = match before {
        Some(before) if before == record => "as it was",
        Some(before) if before.object_sha256 == record.object_sha256 => {
            "as it was, but the record beside it is new: commit that"
        }
        Some(_) | None => "new: commit it, and the record beside it",
    };
    eprintln!("{} is {news} ({} bytes)", file.display(), bytes.len());
    Ok(())
}

fn check() -> Result<()> {
    let file = object();
    let bytes =
        fs::read(&file).with_context(|| format!("cannot read {}: {REMEDY}", file.display()))?;
    let Some(record) = Record::read()? else {
        bail!("nothing is recorded beside {}: {REMEDY}", file.display());
    };
    if sources::hash_of(&bytes) != record.object_sha256 {
        bail!(
            "{} is not the object that the record beside it describes: {REMEDY}",
            file.display()
        );
    }
    if sources_hash()? != record.sources_sha256 {
        bail!("the sources of the kernel side have changed since the object was made: {REMEDY}");
    }
    match Toolchain::find(Some(&record.tools)) {
        Ok(toolchain) if toolchain.tools == record.tools => {
            if compile(&toolchain)? != bytes {
                bail!(
                    "the object is not what its sources give with the tools recorded beside it: {REMEDY}"
                );
            }
            eprintln!(
                "checked by bytes: the object is what its sources give with {}",
                record.tools.rustc
            );
        }
        Ok(other) => eprintln!(
            "checked by hash: the sources are those that the object was made from; its bytes can \
             be compared with {} and {}, and here are {} and {}",
            record.tools.rustc, record.tools.bpf_linker, other.tools.rustc, other.tools.bpf_linker
        ),
        Err(reason) => eprintln!(
            "checked by hash: the sources are those that the object was made from; its bytes were \
             not compared: {reason:#}"
        ),
    }
    Ok(())
}

/// The bytes of the object, fresh from the sources.
fn compile(toolchain: &Toolchain) -> Result<Vec<u8>> {
    run(cargo(toolchain, "build")?.args(["--bin", "socktrace"]))?;

    let built = target_dir()
        .join("bpf")
        .join(TARGET)
        .join("release/socktrace");
    let stripped = built.with_extension("bpf.o");
    // DWARF is nine tenths of the object, and neither kernel nor loader reads it: BTF stays.
    run(toolchain
        .objcopy()?
        .arg("--strip-debug")
        .arg(&built)
        .arg(&stripped))?;
    let bytes =
        fs::read(&stripped).with_context(|| format!("cannot read {}", stripped.display()))?;
    btf::check(&bytes)?;
    stack::check(&bytes)?;
    Ok(bytes)
}

/// A cargo command over the kernel side. What the host runs for it, macros and build scripts, is
/// most of the work: it is compiled once for all such commands, as they differ in nothing here.
pub(crate) fn cargo(toolchain: &Toolchain, subcommand: &str) -> Result<Command> {
    // The remapping of paths wants the folders of the registry to be there.
    output(
        toolchain
            .cargo("fetch")?
            .args(["--quiet", "--locked", "--target", TARGET]),
    )?;
    let mut cargo = toolchain.cargo(subcommand)?;
    cargo
        .args(["--release", "--locked", "--package", "socktrace-ebpf"])
        .args(["--target", TARGET, "-Z", "build-std=core"])
        .args(PROFILE.iter().flat_map(|setting| ["--config", setting]))
        .arg("--target-dir")
        .arg(target_dir().join("bpf"))
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            rustc_flags(toolchain)?.join("\x1f"),
        );
    Ok(cargo)
}

fn rustc_flags(toolchain: &Toolchain) -> Result<Vec<String>> {
    let mut flags: Vec<String> = RUSTC_FLAGS.map(str::to_owned).into();
    let mut remap = |from: &Path, to: &str| {
        flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    };
    remap(&workspace(), ".");
    for registry in registries() {
        remap(&registry, "registry");
    }
    // Debian's is a link to a folder with the version in its name; rustc names either.
    let rust_src = toolchain.sysroot.join("lib/rustlib/src/rust");
    let resolved = rust_src
        .canonicalize()
        .context("cannot resolve rustc's sources")?;
    remap(&resolved, "rust-src");
    remap(&rust_src, "rust-src");
    Ok(flags)
}

/// A folder for each registry: its name differs with cargo's version and with mirrors.
fn registries() -> Vec<PathBuf> {
    let folder = cargo_home().map(|home| home.join("registry/src"));
    let listed = folder.and_then(|folder| fs::read_dir(folder).ok());
    let mut found: Vec<PathBuf> = listed
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

fn sources_hash() -> Result<String> {
    sources::hash(
        &workspace(),
        &[RUSTC_FLAGS.as_slice(), PROFILE.as_slice()].concat(),
    )
}
