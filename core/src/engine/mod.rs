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
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use self::decide::clock::Clock;
use self::decide::config::Config;
use self::decide::state::State;
use self::drive::shared::Shared;
use self::drive::{health, listener, writer};
use self::items::{Activation, Command, Item};
use crate::base::error::{Error, Result};
use crate::base::http;
use crate::base::runtime;
use crate::client::Client;

pub struct Engine {
    shared: Arc<Shared>,
}

impl Engine {
    pub fn new(client: Client, config: Config) -> Result<Engine> {
        if config.info.queues.is_empty() {
            return Err(Error::Invalid("a worker needs at least one queue".into()));
        }
        client.target().check_writes()?;
        // A guess until the first heartbeat tells the server's time.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as i64;
        let state = State::new(config.clone(), Clock::new(wall, Instant::now()));
        Ok(Engine { shared: Arc::new(Shared::new(client, config, state)?) })
    }

    pub fn worker_id(&self) -> Uuid {
        self.shared.config.info.id
    }

    /// Registers the worker and begins to claim, on Rust threads.
    pub fn start(&self) -> Result<()> {
        if let Some(port) = self.shared.config.http_port {
            let health = self.shared.clone();
            let server = http::serve(port, Arc::new(move |path: &str| health::answer(&health, path)))?;
            let mut gone = self.shared.gone.subscribe();
            runtime::handle().spawn(async move {
                let _ = gone.wait_for(|gone| *gone).await;
                server.abort();
            });
        }
        runtime::handle().spawn(writer::drive(self.shared.clone()));
        runtime::handle().spawn(listener::listen(self.shared.clone()));
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

    /// No more claims; what waits goes back, hot workflows are evicted, attempts that run go on.
    pub fn drain(&self) {
        self.call(State::drain);
        self.shared.kick.notify_one();
    }

    /// Hands back what is still running, writes what is left and records that the worker has stopped, or gives up after `timeout`.
    pub async fn stop(&self, timeout: Duration) -> Result<()> {
        self.shared.state().halt();
        self.shared.stop();
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
        let (wake, kick) = (state.has_items(), state.wants_driver());
        drop(state);
        if wake {
            self.shared.wake_fd.wake();
        }
        if kick {
            self.shared.kick.notify_one();
        }
    }
}
