//! Every decision of a worker. No I/O: `drive` carries out what is decided here.
pub(in crate::engine) mod clock;
pub mod cursors;
pub(in crate::engine) mod deferred;
pub(in crate::engine) mod metrics;
pub(in crate::engine) mod run;
pub(in crate::engine) mod state;
#[cfg(test)]
pub(in crate::engine) mod tests;
