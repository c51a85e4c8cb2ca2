//! The kinds of steps that are no executions. For each kind: how it is recorded when the workflow asks for it, what of the record Python gets
//! to compare in a replay, and how a run that is rebuilt from its history waits for it again.
use super::stored_verb::{read_verb, write_verb};
use super::{Answer, Open, Run};
use crate::base::types::*;
use crate::engine::items::{Asked, Verb, VerbRequest};

/// A step that a workflow asks for.
pub(super) enum Asking<'a> {
    Timer { due: Micros },
    Signal { name: String, due: Option<Micros> },
    Version { name: String, value: Vec<u8> },
    SideEffect { value: Vec<u8> },
    Verb { verb: Verb },
    Detach { function: &'a str, args: &'a [u8] },
}

/// A step as it is recorded, except how it ended.
pub(super) struct Recorded {
    pub key: String,
    pub kind: StepKind,
    pub name: String,
    pub due: Option<Micros>,
    pub request: Option<Vec<u8>>,
}

impl Recorded {
    /// The request of the step besides its name; Python compares it in a replay. An error if the stored request cannot be read.
    pub fn asked(&self) -> Result<Option<Asked>, String> {
        Ok(match self.kind {
            StepKind::Timer | StepKind::Signal => Some(Asked::Due(self.due)),
            StepKind::Verb => self.request.as_deref().map(read_verb).transpose()?.map(Asked::Verb),
            StepKind::Detach => self.request.clone().map(Asked::Arguments),
            StepKind::Version | StepKind::SideEffect | StepKind::Cancel | StepKind::Timeout => None,
        })
    }

    /// How a run waits for it, or None if it has ended as soon as it is recorded.
    pub fn open(&self) -> Option<Open> {
        match self.kind {
            StepKind::Timer => Some(Open::Timer { due: self.due.unwrap_or(0) }),
            StepKind::Signal => Some(Open::Signal { name: self.name.clone(), due: self.due }),
            StepKind::Verb => Some(Open::Verb),
            _ => None,
        }
    }
}

impl Run {
    /// Records a step, and waits for it if it does not end at once.
    pub(super) fn record(&mut self, key: &str, asking: Asking<'_>, answer: &mut Answer) {
        let step = match asking {
            Asking::Timer { due } => {
                answer.timers.push((due, key.into()));
                self.open.insert(key.into(), Open::Timer { due });
                NewStep { due: Some(due), ..self.step(key, StepKind::Timer) }
            }
            Asking::Signal { name, due } => {
                answer.timers.extend(due.map(|due| (due, key.into())));
                self.waits.entry(name.clone()).or_default().push_back(key.into());
                self.open.insert(key.into(), Open::Signal { name: name.clone(), due });
                NewStep { name, due, ..self.step(key, StepKind::Signal) }
            }
            Asking::Version { name, value } => NewStep { name, ..self.ended_step(key, StepKind::Version, value) },
            Asking::SideEffect { value } => self.ended_step(key, StepKind::SideEffect, value),
            Asking::Detach { function, args } => {
                NewStep { name: function.into(), ..self.ended_step(key, StepKind::Detach, args.into()) }
            }
            Asking::Verb { verb } => {
                self.open.insert(key.into(), Open::Verb);
                let (name, payload) = (verb.name().into(), Some(write_verb(&verb)));
                answer.group.verbs.push(self.request(key.into(), verb));
                NewStep { name, payload, ..self.step(key, StepKind::Verb) }
            }
        };
        answer.group.batch.steps.push(step);
    }

    /// The request to do a verb, for this run under its present lease.
    pub(super) fn request(&self, key: String, verb: Verb) -> VerbRequest {
        let (run, lease, epoch) = (self.claimed.id, self.claimed.lease, self.claimed.epoch);
        VerbRequest { run, lease, epoch, key, verb }
    }

    fn step(&self, key: &str, kind: StepKind) -> NewStep {
        NewStep {
            run: self.claimed.id,
            epoch: self.claimed.epoch,
            key: key.into(),
            kind,
            name: String::new(),
            due: None,
            after_seq: self.seq,
            status: None,
            payload: None,
            seq: None,
            clock: None,
        }
    }

    fn ended_step(&self, key: &str, kind: StepKind, payload: Vec<u8>) -> NewStep {
        NewStep { status: Some(Status::Completed), payload: Some(payload), ..self.step(key, kind) }
    }
}
