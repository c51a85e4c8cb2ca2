//! Schedules that come due: any worker fires them, beside its writer.
use crate::base::error::Result;
use crate::base::types::*;
use crate::engine::decide::state::State;

impl State {
    /// Whether a schedule is due that this worker is to fire now.
    pub fn wants_fire(&self) -> bool {
        self.is_registered && !self.draining && self.firing.due().is_some_and(|due| due <= self.clock.now())
    }

    /// Whether schedules are to be fired now. If so, `fired` must follow.
    pub fn begin_fire(&mut self) -> bool {
        let wanted = self.wants_fire();
        if wanted {
            self.firing.start();
        }
        wanted
    }

    /// Schedules were fired, or the firing failed. The next heartbeat says when the next one is due.
    pub fn fired(&mut self, result: Result<Fired>) {
        let now = self.clock.now();
        self.beat.want();
        match result {
            Ok(fired) => {
                self.firing.ended(now, fired.taken > 0);
                if fired.started > 0 {
                    self.beat.expect_work();
                }
                self.counts.scheduled += fired.started;
                for problem in fired.problems {
                    self.say("warning", format!("{problem}; it is tried again"));
                }
            }
            Err(error) => {
                self.firing.failed(now);
                // The writer reports an outage, once.
                if !error.is_transient() {
                    self.say("warning", format!("schedules could not be fired, they are tried again: {error}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::engine::decide::fixtures::*;
    use crate::engine::items::Item;

    fn beats(state: &mut State, next_schedule: Option<Micros>) {
        let reply = Heartbeat { now: state.clock.now(), next_schedule, ..heartbeat(vec![]) };
        state.registered();
        state.beaten(None, &reply, Instant::now(), Instant::now());
    }

    #[test]
    fn a_worker_sleeps_no_longer_than_until_the_next_schedule_and_fires_it_then() {
        let mut state = worker(1);
        let soon = state.clock.now() + 200_000;
        beats(&mut state, Some(soon));
        assert!(!state.wants_fire());
        assert!(state.idle_time(Instant::now()) <= Duration::from_millis(200));
        let due = state.clock.now();
        beats(&mut state, Some(due));
        assert!(state.wants_fire());
        state.drain();
        assert!(!state.wants_fire(), "a draining worker leaves it to others");
    }

    #[test]
    fn what_goes_wrong_with_a_schedule_is_told_and_tried_later() {
        let mut state = worker(1);
        let due = state.clock.now();
        beats(&mut state, Some(due));
        state.fired(Err(crate::base::error::Error::Other("no room".into())));
        assert!(state.beat.is_wanted(), "the heart beats on");
        beats(&mut state, Some(due));
        assert!(!state.wants_fire() && state.idle_time(Instant::now()) > Duration::from_secs(3));
        let told =
            |state: &mut State| state.pull(10).iter().any(|item| matches!(item, Item::Log { level: "warning", .. }));
        assert!(told(&mut state));
        let problems = vec!["schedule s: bad".to_owned()];
        state.fired(Ok(Fired { taken: 1, started: 0, problems }));
        assert!(told(&mut state));
        let due = state.clock.now();
        beats(&mut state, Some(due));
        assert!(state.wants_fire(), "the next one is fired as soon as it is due");
    }
}
