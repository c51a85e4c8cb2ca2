//! The I/O of a worker: Rust threads that carry out what `decide` decides, and tell it what came of it.
pub(in crate::engine) mod firing;
pub(in crate::engine) mod health;
mod pickups;
mod upkeep;
mod verbs;
pub(in crate::engine) mod wake_fd;
pub(in crate::engine) mod writer;
