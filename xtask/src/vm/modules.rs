//! Modules that the tests need, in the order in which they can be put in.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{apt::files, kernel::Kernel};

/// What lists sockets, and what makes interfaces. Where a kernel has one built in, or not at all,
/// there is no file.
const WANTED: [&str; 11] = [
    "inet_diag",
    "tcp_diag",
    "udp_diag",
    "raw_diag",
    "mptcp_diag",
    "unix_diag",
    "netlink_diag",
    "af_packet_diag",
    "af_packet",
    "veth",
    "dummy",
];

/// Puts them into `to`, unpacked, with a file `order` that names them.
pub(super) fn collect(kernel: &Kernel, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let mut all = HashMap::new();
    find(&kernel.modules(), &mut all)?;
    let mut order = Vec::new();
    for name in WANTED {
        add(name, &all, to, &mut BTreeSet::new(), &mut order)?;
    }
    let names: Vec<_> = order.iter().map(|name| format!("{name}.ko\n")).collect();
    fs::write(to.join("order"), names.concat())?;
    Ok(())
}

/// What it depends on goes first.
fn add(
    name: &str,
    all: &HashMap<String, PathBuf>,
    to: &Path,
    above: &mut BTreeSet<String>,
    order: &mut Vec<String>,
) -> Result<()> {
    let Some(file) = all.get(name) else {
        return Ok(());
    };
    if order.iter().any(|it| it == name) || !above.insert(name.to_owned()) {
        return Ok(());
    }
    let unpacked = to.join(format!("{name}.ko"));
    unpack(file, &unpacked)?;
    let bytes = fs::read(&unpacked)?;
    for dependency in depends(&bytes) {
        add(&dependency, all, to, above, order)?;
    }
    order.push(name.to_owned());
    Ok(())
}

/// By name, with `_` where a file's name has `-`.
fn find(folder: &Path, all: &mut HashMap<String, PathBuf>) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for path in files(folder)? {
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            find(&path, all)?;
        } else if let Some(name) = path.file_name().and_then(|it| it.to_str())
            && let Some((name, "ko" | "ko.xz" | "ko.zst")) = name.split_once('.')
        {
            all.insert(name.replace('-', "_"), path);
        }
    }
    Ok(())
}

fn unpack(file: &Path, to: &Path) -> Result<()> {
    let program = match file.extension().and_then(|it| it.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => {
            fs::copy(file, to)?;
            return Ok(());
        }
    };
    let status = Command::new(program)
        .arg("-dc")
        .stdin(File::open(file)?)
        .stdout(File::create(to)?)
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    if !status.success() {
        bail!("{program} cannot unpack {} ({status})", file.display());
    }
    Ok(())
}

/// As the module says of itself: `depends=a,b`, among strings that each end with a NUL.
fn depends(module: &[u8]) -> Vec<String> {
    let mut strings = module.split(|&byte| byte == 0);
    let list = strings
        .find_map(|it| it.strip_prefix(b"depends="))
        .unwrap_or_default();
    let names = list.split(|&byte| byte == b',').filter(|it| !it.is_empty());
    names
        .map(|it| String::from_utf8_lossy(it).replace('-', "_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::depends;

    #[test]
    fn a_module_says_what_it_depends_on() {
        let module = b"\x7fELF\0license=GPL\0depends=inet_diag,a-b\0retpoline=Y\0";
        assert_eq!(depends(module), ["inet_diag", "a_b"]);
        assert!(depends(b"license=GPL\0depends=\0").is_empty());
        assert!(depends(b"nothing").is_empty());
    }
}
