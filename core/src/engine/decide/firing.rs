//! When this worker fires schedules next, by the server's clock.
use crate::base::types::Micros;

/// The time after which a worker tries again that found nothing to fire: another worker was firing, or our clock is a little ahead.
const AGAIN_MICROS: Micros = 50_000;
/// The time after which a worker tries again whose firing failed as a whole.
const FAILED_MICROS: Micros = 5_000_000;

/// A worker's knowledge of schedules.
#[derive(Clone, Debug, Default)]
pub struct Firing {
    next: Option<Micros>,
    /// The worker does not fire before this time.
    after: Micros,
    under_way: bool,
}

impl Firing {
    /// A heartbeat said when the next schedule is due.
    pub fn expect(&mut self, next: Option<Micros>) {
        self.next = next;
    }

    /// When to fire next, as far as is known.
    pub fn due(&self) -> Option<Micros> {
        self.next.filter(|_| !self.under_way).map(|due| due.max(self.after))
    }

    pub fn start(&mut self) {
        self.under_way = true;
    }

    /// A firing has ended. `found`: there was something to fire.
    pub fn ended(&mut self, now: Micros, found: bool) {
        self.under_way = false;
        self.after = if found { now } else { now + AGAIN_MICROS };
        self.next = None;
    }

    pub fn failed(&mut self, now: Micros) {
        self.under_way = false;
        self.after = now + FAILED_MICROS;
    }
}
