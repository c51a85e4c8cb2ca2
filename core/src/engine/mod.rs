//! A worker's half in Rust: claims, leases, heartbeats, the order of outcomes, and the one writer.
//!
//! `decide` decides and does no I/O; `drive` carries it out on Rust threads; this file is what the
//! bridge calls, from Python's one thread, never waiting for the database.
pub mod decide;
mod drive;
pub mod items;
#[cfg(test)]
mod model;

use std::os::fd::RawFd;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, watch};
use uuid::Uuid;

use self::decide::clock::Clock;
pub use self::decide::state::Config;
use self::decide::state::State;
use self::drive::wake_fd::WakeFd;
use self::drive::{health, writer};
use self::items::{Activation, Command, Item};
use crate::base::error::{Error, Result};
use crate::base::http;
use crate::base::runtime;
use crate::client::Client;

pub struct Engine {
    shared: Arc<Shared>,
}

/// What the bridge and the driver share.
struct Shared {
    state: Mutex<State>,
    wake_fd: WakeFd,
    /// The driver has something to do.
    kick: Notify,
    /// True once the driver has said goodbye.
    gone: watch::Sender<bool>,
    stopping: Mutex<bool>,
    /// Runs past their retention are being deleted.
    sweeping: AtomicBool,
    client: Client,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopping(&self) -> bool {
        *self.stopping.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    pub fn new(client: Client, config: Config) -> Result<Engine> {
        if config.info.queues.is_empty() {
            return Err(Error::Invalid("a worker needs at least one queue".into()));
        }
        client.target().check_writes()?;
        let wake_fd = WakeFd::new().map_err(|error| Error::Other(format!("cannot make a pipe: {error}")))?;
        // A guess until the first heartbeat tells the server's time.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as i64;
        let state = State::new(config, Clock::new(wall, Instant::now()));
        let shared = Shared {
            state: Mutex::new(state),
            wake_fd,
            kick: Notify::new(),
            gone: watch::Sender::new(false),
            stopping: Mutex::new(false),
            sweeping: AtomicBool::new(false),
            client,
        };
        Ok(Engine { shared: Arc::new(shared) })
    }

    pub fn worker_id(&self) -> Uuid {
        self.shared.state().config.info.id
    }

    /// Registers the worker and begins to claim, on Rust threads.
    pub fn start(&self) -> Result<()> {
        let port = self.shared.state().config.http_port;
        if let Some(port) = port {
            let health = self.shared.clone();
            let server = http::serve(port, Arc::new(move |path: &str| health::answer(&health, path)))?;
            let mut gone = self.shared.gone.subscribe();
            runtime::handle().spawn(async move {
                let _ = gone.wait_for(|gone| *gone).await;
                server.abort();
            });
        }
        runtime::handle().spawn(writer::drive(self.shared.clone()));
        runtime::handle().spawn(writer::listen(self.shared.clone()));
        Ok(())
    }

    pub fn fileno(&self) -> RawFd {
        self.shared.wake_fd.fileno()
    }

    pub fn pull(&self, limit: usize) -> Vec<Item> {
        self.shared.wake_fd.clear();
        let mut state = self.shared.state();
        let items = state.pull(limit);
        self.after(state);
        items
    }

    pub fn complete(&self, id: Uuid, lease: i64, payload: Vec<u8>) -> Option<Activation> {
        self.call(|state| state.complete(id, lease, payload))
    }

    pub fn fail(&self, id: Uuid, lease: i64, error: Vec<u8>, retryable: bool) -> Option<Activation> {
        self.call(|state| state.fail(id, lease, error, retryable))
    }

    pub fn release(&self, id: Uuid, lease: i64) {
        self.call(|state| state.release(id, lease));
    }

    pub fn commands(&self, run: Uuid, lease: i64, commands: Vec<Command>) -> Option<Activation> {
        self.call(|state| state.commands(run, lease, commands))
    }

    pub fn suspended(&self, run: Uuid, lease: i64) {
        self.call(|state| state.suspended(run, lease));
    }

    /// No more claims; what waits goes back, hot workflows are put out, what runs goes on.
    pub fn drain(&self) {
        self.call(State::drain);
        self.shared.kick.notify_one();
    }

    /// Hands back what is still running, writes what is left and says goodbye, or gives up after `timeout`.
    pub async fn stop(&self, timeout: Duration) -> Result<()> {
        self.shared.state().halt();
        *self.shared.stopping.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.kick.notify_one();
        let mut gone = self.shared.gone.subscribe();
        let waited = tokio::time::timeout(timeout, gone.wait_for(|gone| *gone)).await;
        match waited {
            Ok(_) => Ok(()),
            Err(_) => {
                self.shared.gone.send_replace(true);
                let left = match self.shared.state().take_groups().len() {
                    0 => "nothing is unwritten, and it counts as alive until its heartbeat time-out".into(),
                    unwritten => format!("{unwritten} outcomes are not written, their executions will run again"),
                };
                Err(Error::Unavailable(format!("the worker stopped without the database: {left}")))
            }
        }
    }

    pub fn stats(&self) -> Vec<(&'static str, u64)> {
        self.shared.state().stats()
    }

    fn call<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.shared.state();
        let answer = act(&mut state);
        self.after(state);
        answer
    }

    fn after(&self, state: MutexGuard<'_, State>) {
        let (ring, kick) = (state.has_items(), state.wants_driver());
        drop(state);
        if ring {
            self.shared.wake_fd.wake();
        }
        if kick {
            self.shared.kick.notify_one();
        }
    }
}
