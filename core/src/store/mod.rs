//! All SQL: one function a verb. `conn` alone executes statements.
pub mod baseline;
pub mod conn;
pub mod definitions;
pub mod doctor;
pub mod executions;
pub mod fleet;
pub mod migrate;
pub mod retention;
pub mod schedules;
pub mod signals;
pub mod url;
pub mod worker;
