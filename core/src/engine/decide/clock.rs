//! The server's clock, estimated between heartbeats.
use std::time::{Duration, Instant};

use crate::base::types::Micros;

/// Reads the server's clock by the local monotonic one; `adjust` corrects it at each heartbeat.
///
/// An answer bounds the time on the server's clock: at least the time that it names, at most that time plus the whole round trip. The estimate
/// moves only as far as these bounds ask for. A slow network therefore does not make it jump, and no timer fires early because of one.
#[derive(Clone, Debug)]
pub struct Clock {
    base: Instant,
    server: Micros,
    guessed: bool,
    #[cfg(test)]
    stands: bool,
}

impl Clock {
    pub fn new(server: Micros, at: Instant) -> Clock {
        Clock {
            base: at,
            server,
            guessed: true,
            #[cfg(test)]
            stands: false,
        }
    }

    /// A clock that stands at the time it was given: the model explores the same worlds however long it takes.
    #[cfg(test)]
    pub fn standing(server: Micros) -> Clock {
        Clock { stands: true, ..Clock::new(server, Instant::now()) }
    }

    /// The server's clock read `server` at some time between `sent` and `received`. For the first answer the middle is the best guess.
    pub fn adjust(&mut self, server: Micros, sent: Instant, received: Instant) {
        let trip = received.saturating_duration_since(sent).as_micros() as Micros;
        let known = if std::mem::take(&mut self.guessed) { server + trip / 2 } else { self.at(received) };
        self.server = known.clamp(server, server + trip);
        self.base = received;
    }

    pub fn now(&self) -> Micros {
        self.at(Instant::now())
    }

    fn at(&self, when: Instant) -> Micros {
        #[cfg(test)]
        if self.stands {
            return self.server;
        }
        self.server + when.saturating_duration_since(self.base).as_micros() as Micros
    }

    /// How long from now until the server's clock reads `due`.
    pub fn until(&self, due: Micros) -> Duration {
        Duration::from_micros((due - self.now()).max(0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_the_server_clock_from_the_middle_of_the_round_trip() {
        let sent = Instant::now();
        let mut clock = Clock::new(0, sent);
        clock.adjust(1_000_000, sent, sent + Duration::from_millis(10));
        assert!(clock.now() >= 995_000);
        assert!(clock.until(3_000_000_000) > Duration::from_secs(2_000));
        assert_eq!(clock.until(0), Duration::ZERO);
    }

    const fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn a_slow_answer_does_not_move_what_is_known_better() {
        let start = Instant::now();
        let mut clock = Clock::new(0, start);
        clock.adjust(1_000_000, start, start);
        // Its request took 700 ms, the answer 0 ms: the middle of the way would be 350 ms ahead.
        clock.adjust(1_700_000, start, start + millis(700));
        assert_eq!(clock.at(start + millis(700)), 1_700_000);
        // The other way round it would be as much behind.
        clock.adjust(1_700_000, start + millis(700), start + millis(1_400));
        assert_eq!(clock.at(start + millis(1_400)), 2_400_000);
    }

    #[test]
    fn what_cannot_be_true_any_more_is_corrected_as_far_as_the_answer_says() {
        let start = Instant::now();
        let mut clock = Clock::new(0, start);
        clock.adjust(1_000_000, start, start);
        clock.adjust(9_000_000, start, start + millis(10));
        assert_eq!(clock.at(start + millis(10)), 9_000_000, "another server, whose clock is ahead");
        clock.adjust(1_000_000, start + millis(10), start + millis(20));
        assert_eq!(clock.at(start + millis(20)), 1_010_000, "and one whose clock is behind");
    }
}
