//! The I/O of a worker: Rust threads that carry out what `decide` decides, and report the results to it.
mod firing;
pub(in crate::engine) mod health;
pub(in crate::engine) mod listener;
mod pickups;
pub(in crate::engine) mod shared;
mod upkeep;
mod verbs;
mod wake_fd;
pub(in crate::engine) mod writer;

use std::time::Duration;

/// The pauses between two tries to reach a database that does not answer.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
