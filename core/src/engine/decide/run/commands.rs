//! Commands of a workflow: what becomes of its answer to a start or an activation.
use uuid::Uuid;

use super::steps::Asking;
use super::{Answer, End, News, Open, Phase, Run, Source, Surroundings, child_id};
use crate::base::ids::derive_id;
use crate::base::types::*;
use crate::engine::items::Command;

impl Run {
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
                self.record(&key, Asking::Detach { function: &call.function, args: &call.args }, answer);
                let id = derive_id(self.claimed.id, &key);
                answer.group.batch.children.push(self.child(key, id, call, None, around.now));
            }
            Command::Timer { key, due } => self.record(&key, Asking::Timer { due }, answer),
            Command::Signal { key, name, due } => self.record(&key, Asking::Signal { name, due }, answer),
            Command::Version { key, name, value } => self.record(&key, Asking::Version { name, value }, answer),
            Command::SideEffect { key, value } => self.record(&key, Asking::SideEffect { value }, answer),
            Command::Verb { key, verb } => self.record(&key, Asking::Verb { verb }, answer),
            Command::Cancel { key } => self.give_up(key, answer),
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
}

/// The lease under which an eager child is inserted: its first.
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
        options: call.options.clone(),
        deadline: None,
        parent: child.parent,
        step_key: child.parent.map(|_| child.key.clone()),
        root: child.root,
        epoch: 0,
        wakes: 0,
        started: now,
        fresh: true,
        poison_suspect: false,
        headers: call.headers.clone(),
        ready_xid: 0, // an eager child never was ready
    }
}
