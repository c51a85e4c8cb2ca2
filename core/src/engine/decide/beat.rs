//! The rhythm of a worker: when to send a heartbeat, when a claim may find something, and for how long nothing is to be done. It reads no
//! clock: every time is an argument.
use std::time::{Duration, Instant};

use crate::base::types::{Heartbeat, Micros};

/// The time within which the next due time is asked for, after a notification that may have announced delayed work.
const PEEK_MICROS: Micros = 500_000;
/// The time after which a promotion is tried again that could not make all that is due ready, for instance because it is locked.
const RETRY_DUE_MICROS: Micros = 50_000;
/// A heartbeat about everything that the database believes to run here, which finds dead rows under an old snapshot, has taken long if its answer
/// took this time.
const LONG: Duration = Duration::from_millis(100);
/// Where it takes long, the longest time between two of them; the others are about what is in hand.
const STRANGERS_MICROS: Micros = 30_000_000;

#[derive(Clone, Debug, Default)]
pub struct Beat {
    /// Whether a claim may find something: this worker was notified, or has never claimed.
    expects_work: bool,
    /// Whether a heartbeat is to be sent as soon as possible.
    wanted: bool,
    /// Whether LISTEN is in force, so that notifications come.
    listening: bool,
    last: Option<Instant>,
    /// Since when the heartbeats have been committed without a gap (rule g).
    steady_since: Option<Instant>,
    next_due: Option<Micros>,
    peek_by: Option<Micros>,
    /// The time until which enqueuers see that this worker sleeps, and notify it (rule e).
    flag_until: Micros,
    claims: usize,
    /// Whether this worker was notified in place of others that sleep: if it cannot take all that there is, they are to be notified.
    told: bool,
    /// When a heartbeat last asked for all that the database believes to run here.
    asked_for_all: Micros,
    /// Whether the last heartbeat that is answered, or under way, asks for all.
    asks_for_all: bool,
    /// Whether that question took long the last time.
    all_is_slow: bool,
}

/// The answer to one heartbeat, and what the worker knows besides.
pub struct Answered<'a> {
    pub reply: &'a Heartbeat,
    /// Until when the heartbeat said that this worker sleeps.
    pub flag: Option<Micros>,
    pub sent: Instant,
    pub received: Instant,
    /// The server's time when the answer was received.
    pub now: Micros,
    /// The time without a heartbeat after which others declare this worker dead.
    pub timeout: Duration,
    /// Whether something is not committed yet, so that the answer cannot know when that is due.
    pub unwritten: bool,
}

impl Beat {
    /// Work in this worker's queues becomes due at this time.
    pub fn expect(&mut self, due: Option<Micros>) {
        self.next_due = self.next_due.into_iter().chain(due).min();
    }

    pub fn expect_work(&mut self) {
        self.expects_work = true;
    }

    pub fn expects_work(&self) -> bool {
        self.expects_work
    }

    /// A heartbeat is to be sent as soon as possible.
    pub fn want(&mut self) {
        self.wanted = true;
    }

    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// One of this worker's queues got work, or delayed work.
    pub fn queue_notified(&mut self, now: Micros) {
        self.expects_work = true;
        self.peek_by.get_or_insert(now + PEEK_MICROS);
    }

    /// As `queue_notified`, for one of several workers that slept. The database has this one as awake from now on.
    pub fn told(&mut self, now: Micros) {
        self.flag_until = Micros::MIN;
        self.told = true;
        self.queue_notified(now);
    }

    /// A claim was answered, and has taken all that this worker has room for, or not. Returns whether others are to be notified.
    pub fn claimed(&mut self, full: bool) -> bool {
        std::mem::take(&mut self.told) && full
    }

    pub fn listening_began(&mut self) {
        self.listening = true;
        self.expects_work = true;
        self.wanted = true;
    }

    pub fn listening_ended(&mut self) {
        self.listening = false;
    }

    /// A claim is made. Returns how many were made before.
    pub fn claim(&mut self) -> usize {
        self.expects_work = false;
        self.claims += 1;
        self.claims - 1
    }

    /// This worker takes work from now on, or stops to take any. The next heartbeat tells the database; before that nobody else knows it.
    pub fn draining_changed(&mut self, draining: bool) {
        self.wanted = true;
        self.expects_work = !draining;
    }

    /// Whether it is time for a heartbeat: the interval is over, something became due, or the worker is about to sleep without a flag.
    pub fn is_due(&self, at: Instant, now: Micros, interval: Duration, has_room: bool) -> bool {
        let due = |when: Option<Micros>| when.is_some_and(|when| when <= now);
        self.wanted
            || self.last.is_none_or(|last| at.saturating_duration_since(last) >= interval)
            || due(self.next_due)
            || due(self.peek_by)
            || (self.is_sleepy(has_room) && self.flag_until <= now)
    }

    /// Whether the worker has nothing to claim, and could take more.
    fn is_sleepy(&self, has_room: bool) -> bool {
        self.listening && !self.expects_work && has_room
    }

    /// A heartbeat is sent. Returns until when it is to say that this worker sleeps.
    pub fn send(&mut self, now: Micros, interval: Duration, has_room: bool) -> Option<Micros> {
        self.wanted = false;
        self.is_sleepy(has_room).then_some(now + 3 * interval.as_micros() as Micros)
    }

    /// Whether the next heartbeat asks for all that the database believes to run here. Where that takes long, it does so only for a reason, and
    /// now and then.
    pub fn asks_for_all(&mut self, now: Micros) -> bool {
        let all = self.wanted || !self.all_is_slow || now >= self.asked_for_all + STRANGERS_MICROS;
        if all {
            self.asked_for_all = now;
        }
        self.asks_for_all = all;
        all
    }

    /// A heartbeat is committed. Returns whether this worker may declare others dead (rule g).
    pub fn answered(&mut self, answered: &Answered<'_>) -> bool {
        let Answered { reply, flag, sent, received, now, timeout, unwritten } = *answered;
        let gap = self.last.is_none_or(|last| sent.saturating_duration_since(last) >= timeout);
        if gap || !reply.known {
            self.steady_since = None;
        }
        if self.asks_for_all {
            self.all_is_slow = received.saturating_duration_since(sent) >= LONG;
        }
        let steady_since = *self.steady_since.get_or_insert(sent);
        self.last = Some(sent);
        // A due execution that could not be made ready is tried again soon.
        let unwritten = self.next_due.filter(|due| *due > now && unwritten);
        self.next_due = reply.next_due.map(|due| due.max(now + RETRY_DUE_MICROS)).into_iter().chain(unwritten).min();
        self.peek_by = None;
        let had_flag = self.flag_until > now;
        self.flag_until = flag.unwrap_or(Micros::MIN);
        // Rule e: after the flag is committed, one more claim before sleeping.
        self.expects_work |= reply.ready || (flag.is_some() && !had_flag);
        received.saturating_duration_since(steady_since) >= timeout
    }

    /// A heartbeat could not be committed: others may have declared this worker dead, and it may not judge them.
    pub fn failed(&mut self) {
        self.steady_since = None;
        self.wanted = true;
        self.flag_until = Micros::MIN;
    }

    /// How long until the next heartbeat by the interval.
    pub fn idle_time(&self, at: Instant, interval: Duration) -> Duration {
        self.last.map_or(Duration::ZERO, |last| (last + interval).saturating_duration_since(at))
    }

    /// Times at which a heartbeat is needed besides the interval.
    pub fn dues(&self) -> [Option<Micros>; 2] {
        [self.next_due, self.peek_by]
    }
}
