//! Real sockets, real hooks: each test in a network namespace of its own. Needs root, python3,
//! iproute2, nginx, ab and, for the comparison with the peers, libbpf-tools.

mod doctor;
mod filters;
mod lives;
mod peers;
mod support;
mod traffic;
