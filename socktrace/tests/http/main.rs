//! The HTTP server as its clients see it: real curl, real TLS, clients that misbehave. What it serves is
//! made up here.

#![allow(clippy::unwrap_used, reason = "it is all tests")]
#![allow(clippy::print_stdout, reason = "a test that cannot run here says so")]

mod config;
mod limits;
mod local;
mod routes;
mod support;
mod tls;
