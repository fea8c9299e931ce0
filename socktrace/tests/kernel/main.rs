//! Real sockets, real hooks: each test in a network namespace of its own. Needs root, python3 and
//! iproute2.

mod support;
mod lives;
