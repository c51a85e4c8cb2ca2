//! Signs of life of the two halves of a worker, and when it should be restarted.
use std::time::{Duration, Instant};

/// The driver's loop turns at least this often, even while the database does not answer.
const TURN_LIMIT: Duration = Duration::from_secs(120);
/// Python counts as stuck when it has left work for this time beyond the longest time-out.
const GRACE: Duration = Duration::from_secs(30);

/// When the driver last took a turn, and since when Python has left work.
#[derive(Clone, Debug)]
pub struct Pulse {
    turned: Instant,
    /// Since when there has been something that Python has not pulled.
    waiting: Option<Instant>,
}

impl Pulse {
    pub fn new(at: Instant) -> Pulse {
        Pulse { turned: at, waiting: None }
    }

    pub fn turned(&mut self, at: Instant) {
        self.turned = at;
    }

    pub fn pulled(&mut self) {
        self.waiting = None;
    }

    pub fn lies(&mut self, at: Instant) {
        self.waiting.get_or_insert(at);
    }

    /// Why the worker should be restarted, if it should. `longest` is the longest time-out of what runs.
    pub fn ailment(&self, at: Instant, longest: Duration) -> Option<&'static str> {
        if at.saturating_duration_since(self.turned) > TURN_LIMIT {
            return Some("the engine does not turn");
        }
        let lying = self.waiting.map(|since| at.saturating_duration_since(since)).unwrap_or_default();
        (lying > longest + GRACE).then_some("the interpreter is blocked")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_ill_when_its_loop_stands_or_work_lies_there_for_too_long() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pulse = Pulse::new(start);
        assert_eq!(pulse.ailment(at(1), Duration::ZERO), None);
        assert_eq!(pulse.ailment(at(121), Duration::ZERO), Some("the engine does not turn"));
        pulse.lies(at(1));
        pulse.turned(at(50));
        assert_eq!(
            pulse.ailment(at(50), Duration::from_secs(60)),
            None,
            "a task may block for as long as its time-out"
        );
        assert_eq!(pulse.ailment(at(50), Duration::from_secs(10)), Some("the interpreter is blocked"));
        pulse.pulled();
        assert_eq!(pulse.ailment(at(51), Duration::ZERO), None);
    }
}
