//! Every decision of a worker. No I/O: `drive` carries out what is decided here, and reports the results.
pub(in crate::engine) mod attempt;
pub(in crate::engine) mod beat;
pub mod clock;
pub mod config;
pub(in crate::engine) mod deferred;
pub(in crate::engine) mod dues;
pub(in crate::engine) mod echo;
pub(in crate::engine) mod errors;
mod firing;
#[cfg(test)]
pub(in crate::engine) mod fixtures;
pub mod floors;
pub(in crate::engine) mod group;
pub(in crate::engine) mod metrics;
mod pulse;
pub(in crate::engine) mod run;
pub(in crate::engine) mod state;
