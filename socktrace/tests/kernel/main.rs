//! Real sockets, real hooks: each test in a network namespace of its own. Needs root, python3,
//! iproute2, nginx, ab, Alertmanager and, for the comparison with the peers, libbpf-tools. Tests that watch other
//! programs pass without them and say so.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "it is all tests")]

mod adopted;
mod alerts;
mod attribution;
mod churn;
mod created;
mod crowds;
mod daemon;
mod doctor;
mod families;
mod faults;
mod filters;
mod findings;
mod full;
mod hostile;
mod listed;
mod lives;
mod lives_at_once;
mod loss;
mod many;
mod observe;
mod peers;
mod pidns;
mod ports;
mod programs;
mod readers;
mod reconcile;
mod refusals;
mod ring;
mod sandbox;
mod scene;
mod shelves;
mod snapshot;
mod sockets;
mod ss;
mod stacks;
mod starts;
mod support;
mod traffic;
mod uring;
mod uring_program;
mod verifier;
mod wall_clock;
mod ways;
