//! One workflow in memory: the steps that it waits for, and the outcomes that were delivered to it, with their numbers. No I/O, no clock.
mod commands;
mod history;
mod outcomes;
mod steps;
mod stored_verb;

use std::collections::{BTreeMap, HashMap, VecDeque};

use uuid::Uuid;

use crate::base::ids::derive_id;
use crate::base::types::*;
use crate::engine::decide::group::{Lease, WriteGroup};
use crate::engine::items::{Activation, Record, RunItem, Verb, VerbRequest};

pub const CANCEL_KEY: &str = "!cancel";
pub const TIMEOUT_KEY: &str = "!timeout";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The run's history is being read.
    Loading,
    /// The run is ready for Python to start or rebuild, and was not pulled yet.
    Ready,
    /// Python works on the run; its answer is awaited.
    Active,
    /// The run waits in memory.
    Idle,
    /// Python was asked to evict the run.
    Evicting,
}

/// A step that the run waits for.
#[derive(Clone, Debug, PartialEq)]
enum Open {
    /// A child, with its id: a child of an earlier epoch may end late, under the same key.
    Child(Uuid),
    Timer {
        due: Micros,
    },
    Signal {
        name: String,
        due: Option<Micros>,
    },
    Verb,
}

/// An outcome that is known here but not delivered yet.
#[derive(Clone, Debug, PartialEq)]
struct News {
    key: String,
    status: Status,
    payload: Vec<u8>,
    source: Source,
}

#[derive(Clone, Debug, PartialEq)]
enum Source {
    /// A child whose outcome is (or is being) recorded in its own row.
    Child(Uuid),
    /// A timer, a verb, or a signal wait with the ordinal of the signal it consumes.
    Step { ordinal: Option<i64> },
    /// The run's own `!cancel` or `!timeout`.
    Own(StepKind),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    Completed(Vec<u8>),
    Failed { error: Vec<u8>, retry: bool },
    Cancelled,
    Held(Vec<u8>),
}

/// The result of an answer: the writes, the eager children (in memory from now on, started once they are committed), the timers, the end.
#[derive(Debug, Default)]
pub struct Answer {
    pub group: WriteGroup,
    pub eager: Vec<Claimed>,
    /// (due, key) to be fired when the clock reads due.
    pub timers: Vec<(Micros, String)>,
    pub end: Option<End>,
}

/// Facts about the worker that a run needs.
pub struct Surroundings<'a> {
    pub now: Micros,
    /// Whether this child may start in this worker. It is asked once for each child; true takes a slot.
    pub eager: &'a mut dyn FnMut(&Call) -> bool,
}

#[derive(Clone, Debug)]
pub struct Run {
    claimed: Claimed,
    phase: Phase,
    wakes_seen: i64,
    /// When it last had something to do.
    touched: Micros,
    seq: i64,
    clock: Micros,
    progress_marked: bool,
    cancel_delivered: bool,
    timeout_delivered: bool,
    open: BTreeMap<String, Open>,
    /// Waits for signals, oldest first, and signals that no wait has taken.
    waits: HashMap<String, VecDeque<String>>,
    mail: HashMap<String, VecDeque<(i64, Vec<u8>)>>,
    last_ordinal: i64,
    inbox: VecDeque<News>,
    /// The writes of the activation that Python is working on.
    current: WriteGroup,
    history: Option<(Vec<Record>, Vec<Activation>)>,
    /// Verbs recorded before this worker had the run, whose outcome is missing: to be done (again).
    unfinished_verbs: Vec<(String, Verb)>,
}

impl Run {
    pub fn new(claimed: Claimed, now: Micros) -> Run {
        let phase = if claimed.fresh { Phase::Ready } else { Phase::Loading };
        Run {
            phase,
            wakes_seen: claimed.wakes,
            touched: now,
            seq: 0,
            clock: claimed.started,
            progress_marked: false,
            cancel_delivered: false,
            timeout_delivered: false,
            open: BTreeMap::new(),
            waits: HashMap::new(),
            mail: HashMap::new(),
            last_ordinal: 0,
            inbox: VecDeque::new(),
            current: WriteGroup::default(),
            history: None,
            unfinished_verbs: Vec::new(),
            claimed,
        }
    }

    pub fn id(&self) -> Uuid {
        self.claimed.id
    }

    pub fn lease(&self) -> Lease {
        (self.claimed.id, self.claimed.lease)
    }

    pub fn is_under(&self, lease: i64) -> bool {
        self.claimed.lease == lease
    }

    pub fn claimed(&self) -> &Claimed {
        &self.claimed
    }

    pub fn into_claimed(self) -> Claimed {
        self.claimed
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// When it last had something to do.
    pub fn touched(&self) -> Micros {
        self.touched
    }

    /// The SDK is asked to evict the run.
    pub fn evict(&mut self) {
        self.phase = Phase::Evicting;
    }

    /// The run heard of an outcome in memory, and the database wakes it for the same outcome: that wake is no news.
    pub fn wake_was_heard(&mut self) {
        self.wakes_seen += 1;
    }

    /// Whether the database has woken the run more often than this worker knows of.
    pub fn is_behind(&self, wakes: i64) -> bool {
        wakes > self.wakes_seen
    }

    pub fn has_news(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Everything that will come due: (due, key).
    pub fn timers(&self) -> Vec<(Micros, String)> {
        let deadline = self.claimed.deadline.filter(|_| !self.timeout_delivered);
        let waits = self.open.iter().filter_map(|(key, open)| match open {
            Open::Timer { due } => Some((*due, key.clone())),
            Open::Signal { due, .. } => due.map(|due| (due, key.clone())),
            _ => None,
        });
        waits.chain(deadline.map(|due| (due, TIMEOUT_KEY.to_string()))).collect()
    }

    /// When the run must go on even if nothing wakes it.
    pub fn next_due(&self) -> Option<Micros> {
        self.timers().into_iter().map(|(due, _)| due).min()
    }

    /// Whether the run waits only for signals, for something due after `horizon`, or for nothing that is known here.
    pub fn waits_beyond(&self, horizon: Micros) -> bool {
        self.open.values().all(|open| match open {
            Open::Timer { due } => *due > horizon,
            Open::Signal { due, .. } => due.is_none_or(|due| due > horizon),
            Open::Child(_) | Open::Verb => false,
        })
    }

    /// Hands the run to Python for the first time in this worker.
    pub fn start(&mut self) -> (RunItem, Vec<VerbRequest>) {
        self.phase = Phase::Active;
        let (records, outcomes) = self.history.take().unwrap_or_default();
        let mut claimed = self.claimed.clone();
        claimed.args = std::mem::take(&mut self.claimed.args);
        let unfinished = std::mem::take(&mut self.unfinished_verbs);
        let verbs = unfinished.into_iter().map(|(key, verb)| self.request(key, verb)).collect();
        (RunItem { clock: claimed.started, claimed, records, outcomes }, verbs)
    }

    pub fn cancel_delivered(&self) -> bool {
        self.cancel_delivered
    }

    /// The executions whose outcome was in Python's hands with this run when it was dropped.
    pub fn unwritten(self) -> Vec<Uuid> {
        self.current.closes
    }

    /// Whether this worker is doing a verb for the run. Its outcome will first be in memory only.
    pub fn waits_for_verb(&self) -> bool {
        self.open.values().any(|open| *open == Open::Verb)
    }

    /// The writes of a run that leaves memory and gives its lease up. If it has news in hand it is claimed again at once; if a verb is under
    /// way too, because the worker that has the run next does the verb again, and nothing else would wake it.
    pub fn suspend(&self) -> Batch {
        let wakes = if self.has_news() || self.waits_for_verb() { -1 } else { self.wakes_seen };
        let outcome = Outcome {
            due: self.next_due(),
            wakes: Some(wakes),
            ..Outcome::new(self.claimed.id, Action::Suspend, None)
        };
        Batch { fences: vec![(self.claimed.id, self.claimed.lease)], outcomes: vec![outcome], ..Batch::default() }
    }
}

fn child_id(run: Uuid, epoch: i32, key: &str) -> Uuid {
    derive_id(run, &format!("{epoch}:{key}"))
}

fn own_news(key: &str, kind: StepKind) -> News {
    News { key: key.into(), status: Status::Completed, payload: Vec::new(), source: Source::Own(kind) }
}
