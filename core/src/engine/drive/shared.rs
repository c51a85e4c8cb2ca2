//! State that the bridge's calls and the driver's tasks share.
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::base::error::{Error, Result};
use crate::client::Client;
use crate::engine::decide::config::Config;
use crate::engine::decide::state::State;
use crate::engine::drive::wake_fd::WakeFd;

pub struct Shared {
    state: Mutex<State>,
    /// The settings with which the worker was made.
    pub config: Config,
    pub wake_fd: WakeFd,
    /// Tells the driver that it has something to do.
    pub kick: Notify,
    /// True once the driver has recorded that the worker has stopped.
    pub gone: watch::Sender<bool>,
    stopping: Mutex<bool>,
    /// Whether runs past their retention are being deleted.
    pub sweeping: AtomicBool,
    pub client: Client,
}

impl Shared {
    pub fn new(client: Client, config: Config, state: State) -> Result<Shared> {
        let wake_fd = WakeFd::new().map_err(|error| Error::Other(format!("cannot make a pipe: {error}")))?;
        Ok(Shared {
            state: Mutex::new(state),
            config,
            wake_fd,
            kick: Notify::new(),
            gone: watch::Sender::new(false),
            stopping: Mutex::new(false),
            sweeping: AtomicBool::new(false),
            client,
        })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn stopping(&self) -> bool {
        *self.stopping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the driver to write what is left, and to record that the worker has stopped.
    pub fn stop(&self) {
        *self.stopping.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.kick.notify_one();
    }

    /// A line for the worker's log.
    pub fn say(&self, level: &'static str, message: String) {
        self.state().say(level, message);
        self.wake_fd.wake();
    }
}
