//! Durable workflows with nothing but Postgres. Four layers, each calls only downward:
//! SDK (Python) -> bridge (`python`) -> engine (decisions) -> store (all SQL).
mod calls;
pub mod client;
pub mod conn;
pub mod cron;
pub mod db;
pub mod definitions;
pub mod doctor;
pub mod engine;
pub mod error;
pub mod executions;
pub mod fleet;
mod http;
pub mod ids;
#[cfg(feature = "python")]
mod python;
mod results;
pub mod retention;
pub mod retry;
pub mod runtime;
pub mod schedules;
pub mod selftest;
pub mod signals;
pub mod types;
pub mod url;
pub mod verbs;
mod watcher;
pub mod worker;
