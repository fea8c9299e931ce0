//! Writes `docs/metrics.md` to standard output; `cargo xtask docs` puts it in its place.

#![allow(clippy::print_stdout, reason = "that is what it is for")]

fn main() {
    print!("{}", socktrace::exporter::page());
}
