//! `docs/dependencies.md`: every package that is linked into socktrace or runs while it is built, and
//! why it is here. `cargo xtask docs` writes it.

use std::fmt::Write as _;

use anyhow::{Result, bail};

use crate::{
    looked::LOOKED,
    packages::{Package, Packages},
};

/// Why we have what we name ourselves. Whoever adds a crate adds a line.
const WHY: [(&str, &str); 55] = [
    ("anstyle", "colours of tables"),
    (
        "aws-lc-rs",
        "the seals of passwords that were right; the cryptography of rustls",
    ),
    ("axum", "routes of the HTTP server"),
    (
        "aya",
        "loads and attaches the kernel side, reads its maps and its ring",
    ),
    ("aya-ebpf", "the kernel side's helpers and maps"),
    ("aya-log", "what the kernel side logs"),
    ("aya-log-ebpf", "what the kernel side logs"),
    ("base64", "the header of basic authentication"),
    ("bcrypt", "hashes of passwords in the web configuration"),
    ("blazesym", "functions and lines of addresses"),
    ("btfparse", "the running kernel's types"),
    ("bytes", "bodies of HTTP"),
    ("caps", "gives up privileges"),
    ("clap", "the command line"),
    ("clap_complete", "completions for shells"),
    ("clap_mangen", "man pages"),
    ("csv", "CSV"),
    ("flate2", "compressed answers"),
    ("form_urlencoded", "queries of URLs"),
    ("gimli", "frames of call stacks"),
    ("hashbrown", "the tables' maps"),
    ("hdrhistogram", "percentiles"),
    ("http-body-util", "bodies of HTTP"),
    ("hyper", "HTTP, served and asked"),
    ("hyper-rustls", "webhooks over TLS"),
    ("hyper-util", "connections of HTTP"),
    ("jiff", "times and time zones"),
    ("landlock", "bounds which files a thread can open"),
    ("libc", "constants and structs that rustix does not have"),
    ("log", "what other crates log"),
    ("memmap2", "maps that the kernel side shares with us"),
    ("netlink-packet-core", "frames of netlink"),
    ("netlink-packet-sock-diag", "requests to sock_diag"),
    ("netlink-sys", "netlink sockets"),
    ("object", "sections of programs, for call stacks"),
    ("prometheus", "the text format of metrics"),
    ("regex-lite", "patterns in filters"),
    ("rustix", "system calls"),
    ("rustls", "TLS"),
    ("rustls-webpki", "names in clients' certificates"),
    ("sd-notify", "tells systemd when all is ready"),
    ("serde", "configuration, JSON"),
    ("serde-saphyr", "the web configuration, which is YAML"),
    ("serde_json", "JSON"),
    ("sha2", "keys of alerts"),
    ("smallvec", "short lists without an allocation"),
    ("strsim", "suggests the nearest word"),
    ("thiserror", "errors"),
    ("tokio", "the HTTP server's and the alerts' threads"),
    ("tokio-rustls", "the HTTP server's TLS"),
    ("toml", "the configuration file"),
    ("tracing", "the log"),
    ("tracing-journald", "the log, in systemd's journal"),
    ("tracing-subscriber", "the log's outputs"),
    ("zerocopy", "bytes as records, without unsafe code of ours"),
];

const HEAD: &str = "\
# Dependencies

Every package that is linked into socktrace, or runs while it is built, on x86-64 Linux with the versions of
`Cargo.lock`. `cargo xtask docs` writes this page. The tests' packages are not in it, as they are not shipped.

What this is and what not: a list to review by, and a record of the little that was looked at; not an audit. Nobody of us has
read the code that is linked in, and no audits of others are imported (`cargo vet` would get them from the network at each
run, and would show who vouches for which version; here nobody vouches). What is checked at each change: where packages
come from, their licences, and that none is there by a wildcard (`cargo deny check bans licenses sources`); that what is fetched is what
was fetched before (the checksums of `Cargo.lock`, `--locked`); known vulnerabilities with `cargo deny check advisories`, which
needs the network. `cargo xtask sbom` writes the same list as CycloneDX.

*build* runs code of the package while socktrace is built: a build script, or a macro. *unsafe* says that the word stands in the
package's code, which is to be expected where it talks to the kernel, and tells nothing of the packages that it needs.
";

pub(crate) fn page(packages: &Packages) -> Result<String> {
    let direct = packages.direct();
    let known: Vec<_> = WHY.iter().map(|(name, _)| *name).collect();
    let foreign = direct.iter().filter(|it| !it.starts_with("socktrace"));
    if let Some(name) = foreign.clone().find(|it| !known.contains(it)) {
        bail!("nobody says why {name} is here: xtask/src/dependencies.rs");
    }
    if let Some(name) = known.iter().find(|it| !direct.contains(**it)) {
        bail!("{name} is not here any more: xtask/src/dependencies.rs");
    }
    let (own, others): (Vec<_>, Vec<_>) = packages
        .all
        .values()
        .filter(|it| !it.is_ours())
        .partition(|it| direct.contains(it.name.as_str()));
    let mut page = HEAD.to_owned();
    let count = others.len();
    _ = write!(
        page,
        "\n## Named by us\n\n| package | version | licence | build | unsafe | what for |\n|---|---|---|---|---|---|\n"
    );
    for package in own {
        let why = WHY.iter().find(|(name, _)| *name == package.name);
        _ = writeln!(page, "{} {} |", row(package)?, why.map_or("", |it| it.1));
    }
    _ = write!(
        page,
        "\n## Needed by those\n\n{count} packages.\n\n| package | version | licence | build | unsafe |\n|---|---|---|---|---|\n"
    );
    for package in others {
        _ = writeln!(page, "{}", row(package)?);
    }
    page += &looked(packages)?;
    Ok(page)
}

const LOOKED_HEAD: &str = "
## What was looked at

What runs on the machine of whoever builds socktrace, as that is where a bad package does harm first. By one pair of eyes, on
2026-11-29. *Searched* is for the programs that a script starts, for files that it writes, and for the network: none asks it.

";

/// The record, and what it leaves out.
fn looked(packages: &Packages) -> Result<String> {
    let mut page = LOOKED_HEAD.to_owned();
    page += "| package | version | how far | what it does |\n|---|---|---|---|\n";
    let of = |name: &'static str| packages.all.values().filter(move |it| it.name == name);
    for (name, version, depth, what) in LOOKED {
        if of(name).next().is_none() {
            bail!("{name} is not here any more: xtask/src/looked.rs");
        }
        let same = of(name).any(|it| it.version == version);
        let other = if same { "" } else { ", and not the one above" };
        let depth = depth.words();
        _ = writeln!(page, "| {name} | {version}{other} | {depth} | {what} |");
    }
    let names = |what: &dyn Fn(&Package) -> bool| {
        let such = packages.all.values().filter(|it| !it.is_ours() && what(it));
        let mut names: Vec<_> = such.map(|it| it.name.as_str()).collect();
        names.dedup();
        names.join(", ")
    };
    let is_new = |it: &Package| {
        let same = |looked: &&(&str, &str, _, _)| looked.0 == it.name && looked.1 == it.version;
        !LOOKED.iter().any(|looked| same(&looked))
    };
    page += "\nNot looked at: the code that is linked in, with its unsafe parts; the C and assembly of aws-lc-sys; what scripts call \
             (aya-build, autocfg, cc, cmake, version_check).\n";
    let scripts = names(&|it| it.has("custom-build") && is_new(it));
    if !scripts.is_empty() {
        _ = writeln!(page, "Nor these scripts: {scripts}.");
    }
    let macros = names(&|it| it.has("proc-macro"));
    _ = writeln!(page, "Nor the macros: {macros}.");
    Ok(page)
}

fn row(package: &Package) -> Result<String> {
    let mut build = Vec::new();
    if package.has("custom-build") {
        build.push("script");
    }
    if package.has("proc-macro") {
        build.push("macro");
    }
    let unsafe_code = if package.has_unsafe()? { "yes" } else { "" };
    Ok(format!(
        "| {} | {} | {} | {} | {unsafe_code} |",
        package.name,
        package.version,
        package.license.as_deref().unwrap_or("none said"),
        build.join(", "),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_cargo_says() {
        let page = page(&Packages::read().unwrap()).unwrap();
        let written = include_str!("../../docs/dependencies.md");
        assert!(
            page == written,
            "`cargo xtask docs` writes docs/dependencies.md"
        );
    }
}
