//! Firing schedules: any worker does it, beside its writer, so that a schedule that hangs does not stop the heart.
use std::sync::Arc;

use crate::base::error::Result;
use crate::base::types::Micros;
use crate::client::verbs::FireSchedules;
use crate::engine::Shared;
use crate::engine::decide::state::State;
use crate::store::schedules::Fired;

/// Another worker has them in hand, or our clock is a little ahead of the server's: look again after this time.
const LOOK_AGAIN_MICROS: Micros = 50_000;
/// When firing failed as a whole.
const FAILED_MICROS: Micros = 5_000_000;

/// What a worker knows of schedules; by the server's clock.
#[derive(Clone, Debug, Default)]
pub struct Firing {
    next: Option<Micros>,
    /// Not before then.
    after: Micros,
    under_way: bool,
}

impl Firing {
    /// A heartbeat said when the next schedule is due.
    pub fn expect(&mut self, next: Option<Micros>) {
        self.next = next;
    }

    /// When to fire next, as far as we know.
    pub fn due(&self) -> Option<Micros> {
        self.next.filter(|_| !self.under_way).map(|due| due.max(self.after))
    }
}

impl State {
    pub fn wants_fire(&self) -> bool {
        self.registered && !self.draining && self.firing.due().is_some_and(|due| due <= self.clock.now())
    }

    fn begin_fire(&mut self) -> bool {
        let wanted = self.wants_fire();
        self.firing.under_way |= wanted;
        wanted
    }

    /// Whatever came of it, the next heartbeat tells when to fire next.
    pub fn fired(&mut self, result: Result<Fired>) {
        let now = self.clock.now();
        self.firing.under_way = false;
        self.beat.wanted = true;
        match result {
            Ok(fired) => {
                self.firing.after = if fired.taken == 0 { now + LOOK_AGAIN_MICROS } else { now };
                self.firing.next = None;
                self.beat.maybe_work |= fired.started > 0;
                self.counts.scheduled += fired.started;
                for problem in fired.problems {
                    self.say("warning", format!("{problem}; it is tried again"));
                }
            }
            Err(error) => {
                self.firing.after = now + FAILED_MICROS;
                // An outage is told of by the writer, once.
                if !error.is_transient() {
                    self.say("warning", format!("schedules could not be fired, they are tried again: {error}"));
                }
            }
        }
    }
}

/// Fires what is due, if anything is and nobody in this worker is at it.
pub(in crate::engine) fn spawn(shared: &Arc<Shared>) {
    if !shared.state().begin_fire() {
        return;
    }
    let shared = shared.clone();
    tokio::spawn(async move {
        let result = shared.client.ask(FireSchedules {}).await;
        shared.state().fired(result);
        shared.kick.notify_one();
        shared.wake_fd.wake();
    });
}
