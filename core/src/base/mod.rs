//! What every layer uses and nothing here depends on a layer above: types, checks, errors, ids, retries, cron, the runtime.
pub(crate) mod calls;
pub mod cron;
pub mod error;
pub(crate) mod http;
pub mod ids;
pub mod limits;
pub mod retry;
pub mod runtime;
pub mod types;
