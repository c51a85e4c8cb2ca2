//! Durable workflows with nothing but Postgres. Four layers, each calls only downward:
//! SDK (Python) -> bridge (`python`) -> engine (decisions) -> store (all SQL).
pub mod db;
pub mod error;
pub mod types;
pub mod worker;
