//! Whether notifications reach this worker. It cannot see a pooler that keeps them away, so it notifies itself while it rests, and believes in
//! notifications once it hears one. What comes while a statement runs proves nothing: then even such a pooler passes on what there is.
use std::time::{Duration, Instant};

/// The time until the worker notifies itself again, if it has heard nothing: first, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The knowledge about one connection.
#[derive(Debug)]
pub struct Echo {
    heard: bool,
    due: Option<Instant>,
    pause: Duration,
}

impl Default for Echo {
    fn default() -> Echo {
        Echo { heard: false, due: None, pause: FIRST_PAUSE }
    }
}

impl Echo {
    /// The worker begins to rest. Returns whether it is to notify itself.
    pub fn rests(&mut self, at: Instant) -> bool {
        if self.heard || self.due.is_some_and(|due| at < due) {
            return false;
        }
        self.due = Some(at + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }

    /// The longest time that the worker may rest: then it notifies itself again. None: as long as it likes.
    pub fn longest_rest(&self, at: Instant) -> Option<Duration> {
        if self.heard {
            return None;
        }
        self.due.map(|due| due.saturating_duration_since(at))
    }

    /// A notification came while the worker rested. Returns whether it is the first.
    pub fn heard(&mut self) -> bool {
        !std::mem::replace(&mut self.heard, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_hears_itself_does_not_ask_again() {
        let (mut echo, start) = (Echo::default(), Instant::now());
        assert!(echo.rests(start));
        assert_eq!(echo.longest_rest(start), Some(FIRST_PAUSE));
        assert!(echo.heard());
        assert_eq!(echo.longest_rest(start), None);
        assert!(!echo.heard());
        assert!(!echo.rests(start + 2 * LONGEST_PAUSE));
    }

    #[test]
    fn one_that_hears_nothing_asks_ever_more_seldom() {
        let (mut echo, start) = (Echo::default(), Instant::now());
        let asked: Vec<u64> = (0..300).filter(|&at| echo.rests(start + Duration::from_secs(at))).collect();
        assert_eq!(asked, [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]);
    }
}
