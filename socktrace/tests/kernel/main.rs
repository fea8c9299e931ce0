//! Real sockets, real hooks: each test in a network namespace of its own. Needs root, python3,
//! iproute2, nginx, ab and, for the comparison with the peers, libbpf-tools.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "it is all tests")]

mod adopted;
mod doctor;
mod families;
mod filters;
mod lives;
mod loss;
mod peers;
mod snapshot;
mod sockets;
mod ss;
mod support;
mod traffic;
