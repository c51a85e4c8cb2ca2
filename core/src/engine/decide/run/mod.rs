//! One workflow in memory: which steps it waits for, which outcomes it was given and how numbered. No I/O, no clock.
//!
//! Rule a: outcomes are delivered one at a time, numbered from the run's counter; live and replay alike.
mod history;

use std::collections::{BTreeMap, HashMap, VecDeque};

use uuid::Uuid;

use crate::base::ids::derive_id;
use crate::base::types::*;
use crate::engine::decide::group::{Lease, WriteGroup};
use crate::engine::items::{Activation, Command, Record, RunItem, Verb, VerbRequest};

pub const CANCEL_KEY: &str = "!cancel";
pub const TIMEOUT_KEY: &str = "!timeout";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its history is being read.
    Loading,
    /// Ready for Python to start or rebuild; not pulled yet.
    Ready,
    /// In Python's hands; its answer is due.
    Active,
    /// Waits in memory.
    Idle,
    /// Python was asked to put it out.
    Evicting,
}

/// A step that the run waits for.
#[derive(Clone, Debug, PartialEq)]
enum Open {
    /// With its id: a child of an earlier epoch may end late, under the same key.
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
    status: &'static str,
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
    Own(&'static str),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    Completed(Vec<u8>),
    Failed { error: Vec<u8>, retry: bool },
    Cancelled,
    Held(Vec<u8>),
}

/// What became of an answer: the writes, the eager children (in memory from now on, started once they are committed), ...
#[derive(Debug, Default)]
pub struct Answer {
    pub group: WriteGroup,
    pub eager: Vec<Claimed>,
    /// (due, key) to be fired when the clock reads due.
    pub timers: Vec<(Micros, String)>,
    pub end: Option<End>,
}

/// What the run needs to know of its worker.
pub struct Surroundings<'a> {
    pub now: Micros,
    /// May this child start right here? Asked once per child; a yes takes a slot.
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

fn status_name(status: &str) -> &'static str {
    match status {
        "completed" => "completed",
        "failed" => "failed",
        "cancelled" => "cancelled",
        "fired" => "fired",
        _ => "timeout",
    }
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

    /// The SDK is asked to drop it.
    pub fn evict(&mut self) {
        self.phase = Phase::Evicting;
    }

    /// It heard of an outcome in memory, and the database wakes it for the same: that wake is no news.
    pub fn wake_was_heard(&mut self) {
        self.wakes_seen += 1;
    }

    /// Whether the database has woken it more often than it knows.
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

    /// When the run must be looked at even if nobody wakes it.
    pub fn next_due(&self) -> Option<Micros> {
        self.timers().into_iter().map(|(due, _)| due).min()
    }

    /// True when only something later than `horizon`, or a signal, or nothing in sight can wake it.
    pub fn waits_beyond(&self, horizon: Micros) -> bool {
        self.open.values().all(|open| match open {
            Open::Timer { due } => *due > horizon,
            Open::Signal { due, .. } => due.is_none_or(|due| due > horizon),
            Open::Child(_) | Open::Verb => false,
        })
    }

    /// Hands the run to Python for the first time (here).
    pub fn start(&mut self) -> (RunItem, Vec<VerbRequest>) {
        self.phase = Phase::Active;
        let (records, outcomes) = self.history.take().unwrap_or_default();
        let mut claimed = self.claimed.clone();
        claimed.args = std::mem::take(&mut self.claimed.args);
        let (run, lease, epoch) = (claimed.id, claimed.lease, claimed.epoch);
        let verbs = std::mem::take(&mut self.unfinished_verbs)
            .into_iter()
            .map(|(key, verb)| VerbRequest { run, lease, epoch, key, verb })
            .collect();
        (RunItem { clock: claimed.started, claimed, records, outcomes }, verbs)
    }

    /// A child's outcome came from the database or from this worker. False if the run does not wait for it (any more).
    pub fn child_ended(&mut self, key: &str, id: Uuid, status: &'static str, payload: Vec<u8>) -> bool {
        if !self.waits_for(key, id) || self.inbox.iter().any(|news| news.key == key) {
            return false;
        }
        self.inbox.push_back(News { key: key.into(), status, payload, source: Source::Child(id) });
        true
    }

    pub fn verb_done(&mut self, key: &str, status: &'static str, payload: Vec<u8>) {
        if matches!(self.open.get(key), Some(Open::Verb)) && !self.inbox.iter().any(|news| news.key == key) {
            self.inbox.push_back(News { key: key.into(), status, payload, source: Source::Step { ordinal: None } });
        }
    }

    /// Something came due. False if it is no longer waited for.
    pub fn fire(&mut self, due: Micros, key: &str) -> bool {
        if key == TIMEOUT_KEY {
            let wanted = !self.timeout_delivered && !self.inbox.iter().any(|news| news.key == TIMEOUT_KEY);
            if wanted {
                self.inbox.push_back(own_news(TIMEOUT_KEY, "timeout"));
            }
            return wanted;
        }
        if self.inbox.iter().any(|news| news.key == key) {
            return false; // a signal was first
        }
        let status = match self.open.get(key) {
            Some(Open::Timer { due: wanted }) if *wanted == due => "fired",
            Some(Open::Signal { name, due: Some(wanted) }) if *wanted == due => {
                if let Some(queue) = self.waits.get_mut(name) {
                    queue.retain(|wait| wait != key);
                }
                "timeout"
            }
            _ => return false,
        };
        let source = Source::Step { ordinal: None };
        self.inbox.push_back(News { key: key.into(), status, payload: Vec::new(), source });
        true
    }

    fn receive_signal(&mut self, name: String, ordinal: i64, payload: Vec<u8>) {
        if ordinal > self.last_ordinal {
            self.last_ordinal = ordinal;
            self.mail.entry(name).or_default().push_back((ordinal, payload));
        }
    }

    fn match_signals(&mut self) {
        for (name, letters) in &mut self.mail {
            let Some(waits) = self.waits.get_mut(name) else {
                continue;
            };
            while !letters.is_empty() && !waits.is_empty() {
                let (Some((ordinal, payload)), Some(key)) = (letters.pop_front(), waits.pop_front()) else {
                    break;
                };
                let source = Source::Step { ordinal: Some(ordinal) };
                self.inbox.push_back(News { key, status: "completed", payload, source });
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
        Some(Activation { run, key: news.key, seq, clock, status: news.status.into(), payload: news.payload })
    }

    /// A child of this worker ended while the run was idle with nothing else to hear: recorded and delivered in one commit.
    /// `writes` are the child's other ones, its fence among them. Only after `can_deliver`.
    pub fn deliver_child(
        &mut self,
        key: &str,
        mut outcome: Outcome,
        status: &str,
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
        Activation { run: self.claimed.id, key: key.into(), seq, clock, status: status.into(), payload }
    }

    /// True when the outcome of its step `key`, the child `id`, may be handed over here and now.
    pub fn can_deliver(&self, key: &str, id: Uuid) -> bool {
        self.phase == Phase::Idle && !self.has_news() && self.waits_for(key, id)
    }

    fn waits_for(&self, key: &str, child: Uuid) -> bool {
        self.open.get(key) == Some(&Open::Child(child))
    }

    pub fn cancel_delivered(&self) -> bool {
        self.cancel_delivered
    }

    fn number(&mut self, now: Micros) -> (i64, Micros) {
        self.seq += 1;
        self.clock = self.clock.max(now);
        (self.seq, self.clock)
    }

    /// Rule k: cancel and time-out are outcomes; outstanding children are cancelled in that commit, their outcomes still come.
    fn deliver_own(&mut self, kind: &'static str, key: &str, seq: i64, clock: Micros) {
        self.cancel_delivered |= kind == "cancel";
        self.timeout_delivered |= kind == "timeout";
        let (run, epoch) = (self.claimed.id, self.claimed.epoch);
        self.current.batch.steps.push(NewStep {
            run,
            epoch,
            key: key.into(),
            kind,
            name: String::new(),
            due: None,
            after_seq: seq,
            status: Some("completed"),
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

    /// Python's answer to a start or an activation.
    pub fn answer(&mut self, commands: Vec<Command>, around: &mut Surroundings<'_>) -> Answer {
        let mut answer = Answer { group: std::mem::take(&mut self.current), ..Answer::default() };
        self.touched = around.now;
        self.phase = Phase::Idle;
        let mut news_possible = false;
        for command in commands {
            news_possible |= matches!(command, Command::Signal { .. });
            self.obey(command, around, &mut answer);
        }
        if news_possible {
            self.match_signals();
        }
        answer.group.batch.fences.push((self.claimed.id, self.claimed.lease));
        if answer.end.is_none() && !self.progress_marked {
            self.progress_marked = true;
            answer.group.batch.progressed.push(self.claimed.id);
        }
        answer
    }

    fn obey(&mut self, command: Command, around: &mut Surroundings<'_>, answer: &mut Answer) {
        match command {
            Command::Execute { key, call } => self.execute(key, call, around, answer),
            Command::Detach { key, call } => {
                let id = derive_id(self.claimed.id, &key);
                let request = Some(("completed", call.args.clone()));
                answer.group.batch.steps.push(self.step(&key, "detach", call.function.clone(), request));
                answer.group.batch.children.push(self.child(key, id, call, None, around.now));
            }
            Command::Timer { key, due } => {
                let mut step = self.step(&key, "timer", String::new(), None);
                step.due = Some(due);
                answer.group.batch.steps.push(step);
                answer.timers.push((due, key.clone()));
                self.open.insert(key, Open::Timer { due });
            }
            Command::Signal { key, name, due } => {
                let mut step = self.step(&key, "signal", name.clone(), None);
                step.due = due;
                answer.group.batch.steps.push(step);
                answer.timers.extend(due.map(|due| (due, key.clone())));
                self.waits.entry(name.clone()).or_default().push_back(key.clone());
                self.open.insert(key, Open::Signal { name, due });
            }
            Command::Cancel { key } => self.give_up(key, answer),
            Command::Version { key, name, value } => {
                answer.group.batch.steps.push(self.step(&key, "version", name, Some(("completed", value))));
            }
            Command::SideEffect { key, value } => {
                answer.group.batch.steps.push(self.step(
                    &key,
                    "side_effect",
                    String::new(),
                    Some(("completed", value)),
                ));
            }
            Command::Verb { key, verb } => {
                let mut step = self.step(&key, "verb", verb.name().into(), None);
                step.payload = serde_json::to_vec(&verb).ok();
                answer.group.batch.steps.push(step);
                self.open.insert(key.clone(), Open::Verb);
                let (run, lease, epoch) = (self.claimed.id, self.claimed.lease, self.claimed.epoch);
                answer.group.verbs.push(VerbRequest { run, lease, epoch, key, verb });
            }
            Command::Headers(headers) => answer.group.batch.headers.push((self.claimed.id, headers)),
            Command::Complete(result) => answer.end = Some(End::Completed(result)),
            Command::Fail { error, retry } => answer.end = Some(End::Failed { error, retry }),
            Command::Cancelled => answer.end = Some(End::Cancelled),
            Command::Hold(error) => answer.end = Some(End::Held(error)),
        }
    }

    fn execute(&mut self, key: String, call: Call, around: &mut Surroundings<'_>, answer: &mut Answer) {
        let id = child_id(self.claimed.id, self.claimed.epoch, &key);
        let mut child = self.child(key.clone(), id, call, Some(self.claimed.id), around.now);
        child.eager = child.run_at.is_none() && (around.eager)(&child.call);
        if child.eager {
            answer.eager.push(eager_claim(&child, around.now));
        }
        self.open.insert(key, Open::Child(id));
        answer.group.batch.children.push(child);
    }

    fn step(&self, key: &str, kind: &'static str, name: String, done: Option<(&'static str, Vec<u8>)>) -> NewStep {
        let (status, payload) = done.unzip();
        NewStep {
            run: self.claimed.id,
            epoch: self.claimed.epoch,
            key: key.into(),
            kind,
            name,
            due: None,
            after_seq: self.seq,
            status,
            payload,
            seq: None,
            clock: None,
        }
    }

    fn child(&self, key: String, id: Uuid, call: Call, parent: Option<Uuid>, now: Micros) -> NewChild {
        let run_at = call.run_at.or(call.delay.map(|delay| now + (delay * 1e6) as Micros));
        NewChild {
            run: self.claimed.id,
            id,
            root: if parent.is_some() { self.claimed.root } else { id },
            parent,
            epoch: self.claimed.epoch,
            key,
            after_seq: self.seq,
            call,
            run_at,
            eager: false,
        }
    }

    /// The workflow stopped waiting for a step. A signal that was meant for it goes back to the front of its line.
    fn give_up(&mut self, key: String, answer: &mut Answer) {
        let Some(open) = self.open.remove(&key) else { return };
        if let Some(place) = self.inbox.iter().position(|news| news.key == key) {
            let news = self.inbox.remove(place);
            if let (
                Some(News { source: Source::Step { ordinal: Some(ordinal) }, payload, .. }),
                Open::Signal { name, .. },
            ) = (news, &open)
            {
                self.mail.entry(name.clone()).or_default().push_front((ordinal, payload));
                self.match_signals();
            }
        }
        if let Open::Signal { name, .. } = &open
            && let Some(waits) = self.waits.get_mut(name)
        {
            waits.retain(|wait| *wait != key);
        }
        let (run, epoch, seq) = (self.claimed.id, self.claimed.epoch, self.seq);
        answer.group.batch.abandoned.push(Abandoned { run, epoch, key, seq, abandon: true });
    }

    /// The executions whose outcome was in Python's hands with this run when it was dropped.
    pub fn unwritten(self) -> Vec<Uuid> {
        self.current.closes
    }

    /// Something that this worker does for the run is under way. What comes of it is nowhere but in memory.
    pub fn waits_for_verb(&self) -> bool {
        self.open.values().any(|open| *open == Open::Verb)
    }

    /// Put out of memory: its lease goes. With news in hand it is claimed again at once; with a verb under way too, since whoever
    /// has the run next does that again, and nobody else would wake it.
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

fn own_news(key: &str, kind: &'static str) -> News {
    News { key: key.into(), status: "completed", payload: Vec::new(), source: Source::Own(kind) }
}

/// The lease under which an eager child is inserted: the first.
fn eager_claim(child: &NewChild, now: Micros) -> Claimed {
    let call = &child.call;
    Claimed {
        id: child.id,
        lease: 1,
        kind: call.kind,
        function: call.function.clone(),
        queue: call.queue.clone(),
        priority: call.priority,
        attempt: 1,
        worker_losses: 0,
        args: call.args.clone(),
        timeout: call.timeout,
        deadline: None,
        policy: call.policy.clone(),
        parent: child.parent,
        step_key: child.parent.map(|_| child.key.clone()),
        root: child.root,
        epoch: 0,
        wakes: 0,
        started: now,
        fresh: true,
        poison_suspect: false,
        headers: call.headers.clone(),
        ready_xid: 0, // it never was
    }
}
