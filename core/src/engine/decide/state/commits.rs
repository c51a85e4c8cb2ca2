//! From decisions to transactions and back: what the next commit writes, and what its answer means.
use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::heartbeats::LEASE_LOST;
use super::{Attempt, Lease, State, TaskPhase, WriteGroup, error_json};
use crate::base::types::*;
use crate::engine::decide::run::{Phase, Run};
use crate::engine::items::{Item, VerbRequest};

/// Groups in one commit at most: a bound for its duration and memory.
const MAX_GROUPS: usize = 1_000;

impl WriteGroup {
    pub(in crate::engine) fn merge(&mut self, other: WriteGroup) {
        self.batch.merge(other.batch);
        self.eager.extend(other.eager);
        self.verbs.extend(other.verbs);
        self.closes.extend(other.closes);
        self.notified.extend(other.notified);
    }
}

impl State {
    pub fn take_groups(&mut self) -> Vec<WriteGroup> {
        let count = self.groups.len().min(MAX_GROUPS);
        self.groups.drain(..count).collect()
    }

    /// These groups are committed, but for what the database refused. Gives whom to wake in other workers.
    pub fn committed(&mut self, groups: Vec<WriteGroup>, claim: Option<&ClaimRequest>, reply: BatchReply) -> Wakes {
        let now = self.clock.now();
        self.counts.batches += 1;
        self.counts.written += groups.len() as u64;
        self.metrics.committed(groups.len());
        let refused: HashSet<Uuid> = reply.refused.iter().copied().collect();
        for id in &reply.postponed {
            self.attempts.remove(&(*id, 1));
        }
        let mut told = HashSet::new();
        for group in groups {
            told.extend(group.notified.iter().copied());
            self.settle(group, &refused, now);
        }
        let wakes = self.keep_own_wakes(reply.wakes, &told);
        if reply.unclaimed {
            self.claim_failed();
        } else if let Some(request) = claim {
            match reply.snapshot {
                Some(snapshot) => self.cursors.looked(request, &reply.claimed, &snapshot),
                None => self.cursors.looked_everywhere(reply.slow, now),
            }
            self.take_in(reply.claimed, request.limit as usize, now);
        }
        self.evict_excess();
        wakes
    }

    fn settle(&mut self, group: WriteGroup, refused: &HashSet<Uuid>, now: Micros) {
        self.closed(&group.closes);
        let lost: Vec<Lease> = group.batch.fences.iter().copied().filter(|(id, _)| refused.contains(id)).collect();
        if lost.is_empty() {
            for lease in group.eager {
                if self.draining {
                    self.hand_back(lease);
                } else {
                    self.put_in_buffer(lease, now);
                }
            }
            self.verbs.extend(group.verbs);
            return;
        }
        self.counts.refused += lost.len() as u64;
        for lease in group.eager {
            self.attempts.remove(&lease);
        }
        for (id, lease) in group.batch.fences {
            if lost.contains(&(id, lease)) || self.runs.get(&id).is_some_and(|run| run.claimed.lease == lease) {
                self.drop_execution((id, lease), LEASE_LOST);
                self.forget_groups((id, lease));
            }
        }
        // Guarantee 3: a run that heard in memory of an outcome which is not recorded does not go on.
        for id in group.notified {
            if let Some(lease) = self.runs.get(&id).map(|run| (id, run.claimed.lease)) {
                self.drop_execution(lease, LEASE_LOST);
                self.forget_groups(lease);
            }
        }
        // A run that is dropped because of its child is still ours in the database: hand it back soon.
        self.beat.wanted = true;
    }

    /// What a dropped run wanted to write next: its lease may still be good, so the database would take it.
    fn forget_groups(&mut self, lease: Lease) {
        let (gone, kept) =
            std::mem::take(&mut self.groups).into_iter().partition(|group| group.batch.fences.contains(&lease));
        self.groups = kept;
        for group in Vec::<WriteGroup>::from(gone) {
            self.closed(&group.closes);
            for eager in group.eager {
                self.attempts.remove(&eager);
            }
        }
    }

    /// These are written, or will never be: the next heartbeat hands back what the database still believes to be ours.
    fn closed(&mut self, ids: &[Uuid]) {
        for id in ids {
            if let Some(count) = self.closing.get_mut(id) {
                *count -= 1;
                if *count == 0 {
                    self.closing.remove(id);
                }
            }
        }
    }

    /// What is in memory of an execution goes; nothing more is written for it under this lease.
    pub(in crate::engine) fn drop_execution(&mut self, (id, lease): Lease, reason: &str) {
        if self.runs.get(&id).is_some_and(|run| run.claimed.lease == lease) {
            let unwritten = self.runs.remove(&id).map(Run::unwritten).unwrap_or_default();
            self.closed(&unwritten);
        }
        self.urgent.push_back(Item::Drop { id, lease, reason: reason.into() });
    }

    fn keep_own_wakes(&mut self, wakes: Wakes, told: &HashSet<Uuid>) -> Wakes {
        let me = self.config.info.id;
        if wakes.queues.iter().any(|queue| self.config.info.queues.contains(queue)) {
            self.beat.maybe_work = true;
        }
        let (own, others): (Vec<_>, _) = wakes.workers.iter().copied().partition(|(worker, _)| *worker == me);
        for (_, id) in own {
            match self.runs.get_mut(&id) {
                // It has heard already: this wake is no news, now or when the run is put out.
                Some(run) if told.contains(&id) => run.wakes_seen += 1,
                _ => self.notified(id),
            }
        }
        Wakes { workers: others, ..wakes }
    }

    fn take_in(&mut self, mut claimed: Vec<Claimed>, limit: usize, now: Micros) {
        self.counts.claimed += claimed.len() as u64;
        self.metrics.claimed(&claimed, now);
        if claimed.len() >= limit {
            self.beat.maybe_work = true;
        }
        claimed.sort_by_key(|claimed| (-claimed.priority, claimed.id));
        for claimed in claimed {
            let lease = (claimed.id, claimed.lease);
            if self.draining {
                self.hand_back_claimed(&claimed);
                continue;
            }
            match claimed.kind {
                Kind::Task => {
                    self.attempts.insert(lease, Attempt { claimed, phase: TaskPhase::Reserved });
                    self.put_in_buffer(lease, now);
                }
                Kind::Workflow => {
                    self.watch_deadline(&claimed);
                    let run = Run::new(claimed, now);
                    match run.phase {
                        Phase::Ready => self.starting.push_back(lease.0),
                        _ => drop(self.loads.insert(lease.0)),
                    }
                    self.runs.insert(lease.0, run);
                }
            }
        }
    }

    /// A task that has not started goes back to the queue; it costs no attempt.
    pub(in crate::engine) fn hand_back(&mut self, lease: Lease) {
        if let Some(attempt) = self.attempts.remove(&lease) {
            self.hand_back_claimed(&attempt.claimed);
        }
    }

    pub(in crate::engine) fn hand_back_claimed(&mut self, claimed: &Claimed) {
        self.hand_back_stranger((claimed.id, claimed.lease));
    }

    pub(in crate::engine) fn hand_back_stranger(&mut self, (id, lease): Lease) {
        let outcome = Outcome::new(id, Action::Handback, None);
        let batch = Batch { fences: vec![(id, lease)], outcomes: vec![outcome], ..Batch::default() };
        *self.closing.entry(id).or_default() += 1;
        self.groups.push_back(WriteGroup { batch, closes: vec![id], ..WriteGroup::default() });
    }

    /// The database cannot take this group's data, whenever it is tried: its executions fail, and say why.
    pub fn culprit(&mut self, group: WriteGroup, message: &str) {
        let error = error_json("DataError", message);
        for lease in group.eager {
            self.attempts.remove(&lease);
        }
        for (id, lease) in group.batch.fences {
            self.drop_execution((id, lease), message);
            let parents = group.batch.parents.clone();
            let payload = Some(error.clone());
            let outcome = Outcome::new(id, Action::Fail, payload);
            let batch = Batch { fences: vec![(id, lease)], parents, outcomes: vec![outcome], ..Batch::default() };
            *self.closing.entry(id).or_default() += 1;
            self.groups.push_back(WriteGroup { batch, closes: vec![id], ..WriteGroup::default() });
        }
        self.closed(&group.closes);
    }

    /// Runs whose whole history is to be read, and runs that have news in the database.
    pub fn take_loads(&mut self) -> (Vec<Uuid>, Vec<Uuid>) {
        let hot = |id: &Uuid| self.runs.get(id).is_some_and(|run| run.phase != Phase::Loading);
        let news = self.news.iter().copied().filter(hot).collect();
        self.news.clear();
        (self.loads.drain().collect(), news)
    }

    pub fn put_back_loads(&mut self, loads: Vec<Uuid>, news: Vec<Uuid>) {
        self.loads.extend(loads);
        self.news.extend(news);
    }

    pub fn loaded(&mut self, rows: Vec<HistoryRow>) {
        for (id, rows) in by_run(rows) {
            let Some(run) = self.runs.get_mut(&id).filter(|run| run.phase == Phase::Loading) else { continue };
            let lease = (id, run.claimed.lease);
            let timers = run.load(rows);
            self.starting.push_back(id);
            self.watch(lease, timers);
        }
    }

    pub fn heard(&mut self, rows: Vec<HistoryRow>) {
        for (id, rows) in by_run(rows) {
            if let Some(run) = self.runs.get_mut(&id).filter(|run| run.phase != Phase::Loading) {
                run.hear(rows);
                self.with_news.push_back(id);
            }
        }
    }

    pub fn take_verbs(&mut self) -> Vec<VerbRequest> {
        std::mem::take(&mut self.verbs)
    }
}

fn by_run(rows: Vec<HistoryRow>) -> HashMap<Uuid, Vec<HistorySource>> {
    let mut runs: HashMap<Uuid, Vec<HistorySource>> = HashMap::new();
    for row in rows {
        runs.entry(row.run).or_default().push(row.source);
    }
    runs
}
