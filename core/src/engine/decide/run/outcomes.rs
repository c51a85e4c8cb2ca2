//! Outcomes of steps: how a run hears of them, and how they are delivered, one at a time and numbered (rule a).
use uuid::Uuid;

use super::{News, Open, Phase, Run, Source, TIMEOUT_KEY, own_news};
use crate::base::types::*;
use crate::engine::decide::group::WriteGroup;
use crate::engine::items::Activation;

impl Run {
    /// A child's outcome came from the database or from this worker. Returns false if the run does not wait for it (any more).
    pub fn child_ended(&mut self, key: &str, id: Uuid, status: Status, payload: Vec<u8>) -> bool {
        if !self.waits_for(key, id) || self.inbox.iter().any(|news| news.key == key) {
            return false;
        }
        self.inbox.push_back(News { key: key.into(), status, payload, source: Source::Child(id) });
        true
    }

    pub fn verb_done(&mut self, key: &str, status: Status, payload: Vec<u8>) {
        if matches!(self.open.get(key), Some(Open::Verb)) && !self.inbox.iter().any(|news| news.key == key) {
            self.inbox.push_back(News { key: key.into(), status, payload, source: Source::Step { ordinal: None } });
        }
    }

    /// A timer or a wait became due. Returns false if the run no longer waits for it.
    pub fn fire(&mut self, due: Micros, key: &str) -> bool {
        if key == TIMEOUT_KEY {
            let wanted = !self.timeout_delivered && !self.inbox.iter().any(|news| news.key == TIMEOUT_KEY);
            if wanted {
                self.inbox.push_back(own_news(TIMEOUT_KEY, StepKind::Timeout));
            }
            return wanted;
        }
        if self.inbox.iter().any(|news| news.key == key) {
            return false; // a signal came first
        }
        let status = match self.open.get(key) {
            Some(Open::Timer { due: wanted }) if *wanted == due => Status::Fired,
            Some(Open::Signal { name, due: Some(wanted) }) if *wanted == due => {
                if let Some(queue) = self.waits.get_mut(name) {
                    queue.retain(|wait| wait != key);
                }
                Status::Timeout
            }
            _ => return false,
        };
        let source = Source::Step { ordinal: None };
        self.inbox.push_back(News { key: key.into(), status, payload: Vec::new(), source });
        true
    }

    pub(super) fn receive_signal(&mut self, name: String, ordinal: i64, payload: Vec<u8>) {
        if ordinal > self.last_ordinal {
            self.last_ordinal = ordinal;
            self.mail.entry(name).or_default().push_back((ordinal, payload));
        }
    }

    pub(super) fn match_signals(&mut self) {
        for (name, letters) in &mut self.mail {
            let Some(waits) = self.waits.get_mut(name) else {
                continue;
            };
            while !letters.is_empty() && !waits.is_empty() {
                let (Some((ordinal, payload)), Some(key)) = (letters.pop_front(), waits.pop_front()) else {
                    break;
                };
                let source = Source::Step { ordinal: Some(ordinal) };
                self.inbox.push_back(News { key, status: Status::Completed, payload, source });
            }
        }
    }

    /// The next outcome, if the run is idle and there is one. Its writes wait for Python's answer.
    pub fn deliver(&mut self, now: Micros) -> Option<Activation> {
        debug_assert!(self.phase != Phase::Active);
        let news = self.inbox.pop_front()?;
        let (seq, clock) = self.number(now);
        let (run, epoch) = (self.claimed.id, self.claimed.epoch);
        match news.source {
            Source::Child(id) => self.current.batch.deliveries.push(Delivery { run, id, seq, clock }),
            Source::Step { ordinal } => self.current.batch.step_outcomes.push(StepOutcome {
                run,
                epoch,
                key: news.key.clone(),
                status: news.status,
                payload: Some(news.payload.clone()),
                seq,
                clock,
                ordinal,
            }),
            Source::Own(kind) => self.deliver_own(kind, &news.key, seq, clock),
        }
        self.open.remove(&news.key);
        self.phase = Phase::Active;
        Some(Activation { run, key: news.key, seq, clock, status: news.status, payload: news.payload })
    }

    /// A child of this worker ended while the run was idle with nothing else to hear: recorded and delivered in one commit.
    /// `writes` are the child's other ones, its fence among them. Only after `can_deliver`.
    pub fn deliver_child(
        &mut self,
        key: &str,
        mut outcome: Outcome,
        status: Status,
        writes: WriteGroup,
        now: Micros,
    ) -> Activation {
        self.open.remove(key);
        let (seq, clock) = self.number(now);
        let payload = outcome.payload.clone().unwrap_or_default();
        outcome.delivered = Some((self.claimed.id, seq, clock));
        self.current.merge(writes);
        self.current.batch.outcomes.push(outcome);
        self.phase = Phase::Active;
        Activation { run: self.claimed.id, key: key.into(), seq, clock, status, payload }
    }

    /// Whether the outcome of the run's step `key`, which is the child `id`, may be delivered at once.
    pub fn can_deliver(&self, key: &str, id: Uuid) -> bool {
        self.phase == Phase::Idle && !self.has_news() && self.waits_for(key, id)
    }

    fn waits_for(&self, key: &str, child: Uuid) -> bool {
        self.open.get(key) == Some(&Open::Child(child))
    }

    fn number(&mut self, now: Micros) -> (i64, Micros) {
        self.seq += 1;
        self.clock = self.clock.max(now);
        (self.seq, self.clock)
    }

    /// Rule k: cancel and time-out are outcomes; outstanding children are cancelled in that commit, their outcomes still come.
    fn deliver_own(&mut self, kind: StepKind, key: &str, seq: i64, clock: Micros) {
        self.cancel_delivered |= kind == StepKind::Cancel;
        self.timeout_delivered |= kind == StepKind::Timeout;
        let (run, epoch) = (self.claimed.id, self.claimed.epoch);
        self.current.batch.steps.push(NewStep {
            run,
            epoch,
            key: key.into(),
            kind,
            name: String::new(),
            due: None,
            after_seq: seq,
            status: Some(Status::Completed),
            payload: Some(Vec::new()),
            seq: Some(seq),
            clock: Some(clock),
        });
        for (key, open) in &self.open {
            if matches!(open, Open::Child(_)) {
                self.current.batch.abandoned.push(Abandoned { run, epoch, key: key.clone(), seq, abandon: false });
            }
        }
    }
}
