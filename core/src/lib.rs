//! Durable workflows with nothing but Postgres. Four layers, each calls only downward:
//! SDK (Python) -> bridge (`python`) -> engine and client (decisions) -> store (all SQL) -> base.
pub mod base;
pub mod client;
pub mod engine;
#[cfg(feature = "python")]
mod python;
pub mod store;
