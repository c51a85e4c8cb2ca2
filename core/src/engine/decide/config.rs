//! How a worker is set up.
use crate::base::types::WorkerInfo;

/// How a worker is set up. Durations in seconds.
#[derive(Clone, Debug)]
pub struct Config {
    pub info: WorkerInfo,
    pub heartbeat_interval: f64,
    pub poll_interval: f64,
    /// The largest number of workflows in memory.
    pub max_hot: usize,
    /// A workflow that waits for longer than this is evicted from memory.
    pub long_wait: f64,
    /// The port where health and metrics are served, or None if they are not.
    pub http_port: Option<u16>,
    /// Whether the SDK wants the trace contexts of what it runs.
    pub tracing: bool,
}

impl Config {
    pub fn concurrency(&self) -> usize {
        self.info.concurrency.max(1) as usize
    }
}
