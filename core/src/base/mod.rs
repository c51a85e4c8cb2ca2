//! Parts that every layer uses, and that depend on no layer above: types, limits, checks, errors, ids, retries, cron, the runtime.
pub(crate) mod calls;
pub mod cron;
pub mod error;
pub(crate) mod http;
pub mod ids;
pub mod limits;
pub mod retry;
pub mod runtime;
pub mod types;
