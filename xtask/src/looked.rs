//! What of others' code was looked at, and how far. Whoever looks adds a line; whoever takes a new version
//! of a package changes nothing here, and the page then says that it was another version.

/// How far.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// The build script, from its first line to its last.
    Script,
    /// The build script was searched: for the programs that it starts, for what it writes, and for the network.
    Searched,
}

impl Depth {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Script => "the build script, whole",
            Self::Searched => "the build script, searched",
        }
    }
}

use Depth::{Script, Searched};

/// Package, version, how far, and what it does.
pub(crate) const LOOKED: [(&str, &str, Depth, &str); 31] = [
    ("anyhow", "1.0.104", Searched, RUSTC_PROBE),
    ("aws-lc-rs", "1.19.0", Script, "hands on variables"),
    (
        "aws-lc-sys",
        "0.47.0",
        Searched,
        "8,000 lines: compiles C and assembly, with cc or cmake; copies headers",
    ),
    ("aya-ebpf", "0.2.1", Script, RUSTC),
    ("aya-ebpf-bindings", "0.2.0", Script, RUSTC),
    ("aya-ebpf-cty", "0.3.0", Script, RUSTC),
    ("blazesym", "0.2.7", Script, NOTHING),
    ("camino", "1.2.6", Searched, RUSTC),
    ("cpp_demangle", "0.5.1", Searched, "makes tests of its own"),
    ("crc32fast", "1.5.4", Script, RUSTC),
    ("encoding_rs", "0.8.44", Script, NOTHING),
    ("generic-array", "0.14.7", Script, RUSTC),
    ("getrandom", "0.4.3", Script, NOTHING),
    ("httparse", "1.10.1", Searched, RUSTC),
    (
        "libc",
        "0.2.191",
        Searched,
        "asks the compiler for its version; freebsd-version and emcc for other targets",
    ),
    ("num-traits", "0.2.19", Script, RUSTC_PROBE),
    ("object", "0.39.1", Script, RUSTC),
    ("parking_lot_core", "0.9.12", Script, NOTHING),
    ("proc-macro2", "1.0.107", Searched, RUSTC_PROBE),
    ("proc-macro2-diagnostics", "0.10.1", Script, RUSTC),
    ("prometheus", "0.14.0", Script, NOTHING),
    ("quote", "1.0.47", Script, RUSTC),
    ("rustix", "1.1.6", Searched, RUSTC_PROBE),
    ("rustls", "0.23.46", Script, NOTHING),
    ("rustversion", "1.0.23", Searched, RUSTC),
    ("serde", "1.0.229", Searched, RUSTC),
    ("serde_core", "1.0.229", Searched, RUSTC),
    ("serde_json", "1.0.154", Script, NOTHING),
    ("thiserror", "2.0.21", Searched, RUSTC_PROBE),
    ("zerocopy", "0.8.63", Searched, RUSTC),
    ("zmij", "1.0.23", Script, RUSTC),
];

const NOTHING: &str = "starts nothing";
const RUSTC: &str = "asks the compiler for its version";
const RUSTC_PROBE: &str = "has the compiler try a few lines";
