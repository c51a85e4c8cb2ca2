//! The server's clock, estimated between heartbeats.
use std::time::{Duration, Instant};

use crate::types::Micros;

/// Reads the server's clock by the local monotonic one; `adjust` corrects it at each heartbeat.
#[derive(Clone, Debug)]
pub struct Clock {
    /// When the server's clock read `server`; None: it stands still.
    base: Option<Instant>,
    server: Micros,
}

impl Clock {
    pub fn new(server: Micros, at: Instant) -> Clock {
        Clock { base: Some(at), server }
    }

    #[cfg(test)]
    pub fn standing(server: Micros) -> Clock {
        Clock { base: None, server }
    }

    /// The server said `server` somewhere between `sent` and `received`: the middle is the best guess.
    pub fn adjust(&mut self, server: Micros, sent: Instant, received: Instant) {
        self.base = self.base.map(|_| sent + received.saturating_duration_since(sent) / 2);
        self.server = server;
    }

    pub fn now(&self) -> Micros {
        self.server + self.base.map_or(0, |base| base.elapsed().as_micros()) as Micros
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
}
