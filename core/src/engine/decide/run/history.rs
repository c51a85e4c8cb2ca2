//! A run as its history has it: its steps, the outcomes delivered to it, and those not delivered yet.
use uuid::Uuid;

use super::steps::Recorded;
use super::{CANCEL_KEY, News, Open, Phase, Run, Source, TIMEOUT_KEY, child_id, own_news};
use crate::base::types::{HistorySource, Kind, Micros, Status, StepKind};
use crate::engine::items::{Activation, Asked, Record};

/// The sum of the rows.
#[derive(Default)]
struct History {
    records: Vec<Record>,
    outcomes: Vec<Activation>,
    undelivered: Vec<News>,
    /// (key, name) of the waits for signals.
    waits: Vec<(String, String)>,
}

type Outcome = Option<(Status, Vec<u8>)>;
type Delivered = Option<(i64, Micros)>;

impl Run {
    /// Takes in the whole history; the run is then ready to be rebuilt. Returns the timers to watch. An error says what of it is unknown here:
    /// the run cannot go on in this worker.
    pub fn load(&mut self, rows: Vec<HistorySource>) -> Result<Vec<(Micros, String)>, String> {
        let mut history = History::default();
        for row in in_order(rows) {
            match row {
                HistorySource::Run { wakes, cancel_requested, deadline, .. } => {
                    self.wakes_seen = wakes;
                    self.claimed.deadline = deadline.or(self.claimed.deadline);
                    if cancel_requested {
                        history.undelivered.push(own_news(CANCEL_KEY, StepKind::Cancel));
                    }
                }
                HistorySource::Child { key, kind, function, id, args, outcome, delivered, abandoned, .. } => {
                    let retried = delivered.is_none() && self.is_of_earlier_epoch(&key, id, &outcome);
                    history.records.push(record(&key, kind, function, args, retried));
                    self.load_child(&mut history, key, id, outcome, delivered, abandoned);
                }
                HistorySource::Step { key, kind, name, outcome, request, delivered, due, abandoned } => {
                    let step = Recorded { key, kind, name, due, request };
                    self.load_step(&mut history, step, outcome, delivered, abandoned)?;
                }
                HistorySource::Signal { name, ordinal, payload } => self.receive_signal(name, ordinal, payload),
                HistorySource::Unknown(what) => return Err(what),
            }
        }
        self.settle(history);
        Ok(self.timers())
    }

    /// A child's id is made from the epoch in which it was asked for. One that has completed is not asked for again.
    fn is_of_earlier_epoch(&self, key: &str, id: Uuid, outcome: &Outcome) -> bool {
        let completed = outcome.as_ref().is_some_and(|(status, _)| *status == Status::Completed);
        !completed && id != child_id(self.claimed.id, self.claimed.epoch, key)
    }

    fn load_child(
        &mut self,
        history: &mut History,
        key: String,
        id: Uuid,
        outcome: Outcome,
        delivered: Delivered,
        abandoned: bool,
    ) {
        match (outcome, delivered) {
            (Some(outcome), Some(at)) => history.outcomes.push(self.past(key, outcome, at)),
            _ if abandoned => {}
            (outcome, _) => {
                self.open.insert(key.clone(), Open::Child(id));
                let source = Source::Child(id);
                history.undelivered.extend(outcome.map(|(status, payload)| News { key, status, payload, source }));
            }
        }
    }

    fn load_step(
        &mut self,
        history: &mut History,
        step: Recorded,
        outcome: Outcome,
        delivered: Delivered,
        abandoned: bool,
    ) -> Result<(), String> {
        let asked = step.asked().map_err(|unknown| format!("step {}: {unknown}", step.key))?;
        if let (Some(outcome), Some(at)) = (&outcome, delivered) {
            self.cancel_delivered |= step.key == CANCEL_KEY;
            self.timeout_delivered |= step.key == TIMEOUT_KEY;
            history.outcomes.push(self.past(step.key.clone(), outcome.clone(), at));
        } else if !abandoned {
            self.wait_again(history, &step, asked.as_ref(), &outcome);
        }
        if step.kind.is_command() {
            let value = step.kind.has_value().then(|| outcome.map(|(_, payload)| payload).unwrap_or_default());
            let (key, kind, name) = (step.key, step.kind.as_str(), step.name);
            history.records.push(Record { key, kind, name, value, asked, retried: false });
        }
        Ok(())
    }

    /// A step whose outcome was not delivered in this epoch. In a run that was retried the outcome may be known nevertheless.
    fn wait_again(&mut self, history: &mut History, step: &Recorded, asked: Option<&Asked>, outcome: &Outcome) {
        let Some(open) = step.open() else { return };
        match (&open, outcome, asked) {
            (Open::Signal { name, .. }, None, _) => history.waits.push((step.key.clone(), name.clone())),
            (Open::Verb, None, Some(Asked::Verb(verb))) => {
                self.unfinished_verbs.push((step.key.clone(), verb.clone()));
            }
            _ => {}
        }
        self.open.insert(step.key.clone(), open);
        if let Some((status, payload)) = outcome {
            let (key, status, payload) = (step.key.clone(), *status, payload.clone());
            history.undelivered.push(News { key, status, payload, source: Source::Step { ordinal: None } });
        }
    }

    /// Orders what was read: the past by its numbers, the rest as it was asked for.
    fn settle(&mut self, mut history: History) {
        history.waits.sort_by_key(|(key, _)| natural(key));
        for (key, name) in history.waits {
            self.waits.entry(name).or_default().push_back(key);
        }
        history.outcomes.sort_by_key(|outcome| outcome.seq);
        history.undelivered.retain(|news| news.key != CANCEL_KEY || !self.cancel_delivered);
        history.undelivered.sort_by_key(|news| natural(&news.key));
        self.inbox.extend(history.undelivered);
        self.match_signals();
        self.history = Some((history.records, history.outcomes));
        self.phase = Phase::Ready;
    }

    fn past(&mut self, key: String, (status, payload): (Status, Vec<u8>), (seq, clock): (i64, Micros)) -> Activation {
        self.seq = self.seq.max(seq);
        self.clock = self.clock.max(clock);
        Activation { run: self.claimed.id, key, seq, clock, status, payload }
    }

    /// Takes in what the database has that was not delivered yet (`load_runs` with news only). The run is in memory. Errors are as those of `load`.
    pub fn hear(&mut self, rows: Vec<HistorySource>) -> Result<(), String> {
        for row in in_order(rows) {
            match row {
                HistorySource::Run { wakes, cancel_requested, .. } => {
                    self.wakes_seen = self.wakes_seen.max(wakes);
                    let known = self.cancel_delivered || self.inbox.iter().any(|news| news.key == CANCEL_KEY);
                    if cancel_requested && !known {
                        self.inbox.push_back(own_news(CANCEL_KEY, StepKind::Cancel));
                    }
                }
                HistorySource::Child { key, id, outcome: Some((status, payload)), .. } => {
                    self.child_ended(&key, id, status, payload);
                }
                HistorySource::Signal { name, ordinal, payload } => self.receive_signal(name, ordinal, payload),
                HistorySource::Unknown(what) => return Err(what),
                HistorySource::Child { outcome: None, .. } | HistorySource::Step { .. } => {}
            }
        }
        self.match_signals();
        Ok(())
    }
}

fn record(key: &str, kind: Kind, function: String, args: Vec<u8>, retried: bool) -> Record {
    let asked = Some(Asked::Arguments(args));
    Record { key: key.into(), kind: kind.as_str(), name: function, value: None, asked, retried }
}

/// The database returns rows in any order; signals are received in the order they were sent.
fn in_order(mut rows: Vec<HistorySource>) -> Vec<HistorySource> {
    rows.sort_by_key(|row| match row {
        HistorySource::Signal { ordinal, .. } => *ordinal,
        _ => 0,
    });
    rows
}

/// Orders step keys as they were allotted: `0`, `2`, `10`, `1.0/0`.
fn natural(key: &str) -> Vec<u64> {
    key.split(['.', '/']).map(|part| part.parse().unwrap_or(u64::MAX)).collect()
}
