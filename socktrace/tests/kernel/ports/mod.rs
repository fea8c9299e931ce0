//! Ephemeral ports: what the kernel really leaves, in namespaces with small ranges.

mod command;
mod experiments;
mod random;
mod world;
