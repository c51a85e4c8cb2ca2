//! Workflows in hand: their commands, their ends, and the outcomes that they get.
use std::collections::HashMap;

use uuid::Uuid;

use crate::base::types::*;
use crate::engine::decide::attempt::{Attempt, TaskPhase};
use crate::engine::decide::dues::Due;
use crate::engine::decide::errors::{error_json, names_type};
use crate::engine::decide::group::WriteGroup;
use crate::engine::decide::metrics::Ending;
use crate::engine::decide::run::{End, Phase, Surroundings};
use crate::engine::decide::state::State;
use crate::engine::items::{Activation, Command, Item, VerbRequest};

impl State {
    pub(super) fn next_activation(&mut self, now: Micros) -> Option<Item> {
        while let Some(id) = self.with_news.pop_front() {
            if let Some(run) = self.runs.get_mut(&id).filter(|run| run.phase() == Phase::Idle)
                && let Some(activation) = run.deliver(now)
            {
                return Some(Item::Activate(activation));
            }
        }
        None
    }

    pub(super) fn next_start(&mut self) -> Option<Item> {
        while let Some(id) = self.starting.pop_front() {
            if let Some(run) = self.runs.get_mut(&id).filter(|run| run.phase() == Phase::Ready) {
                let (item, verbs) = run.start();
                self.counts.replays += u64::from(!item.claimed.fresh);
                self.verbs.extend(verbs);
                return Some(Item::Run(Box::new(item)));
            }
        }
        None
    }

    /// Takes a workflow's answer to its start or activation. Returns the next outcome for that run or for its parent, if there is one.
    pub fn commands(&mut self, id: Uuid, lease: i64, commands: Vec<Command>) -> Option<Activation> {
        let now = self.clock.now();
        let mut room = self.eager_room();
        let draining = self.draining;
        let info = &self.config.info;
        let mut eager = |call: &Call| {
            let ours =
                call.kind == Kind::Task && info.tasks.contains(&call.function) && info.queues.contains(&call.queue);
            let yes = !draining && room > 0 && ours;
            room -= usize::from(yes);
            yes
        };
        let run = self.runs.get_mut(&id).filter(|run| run.is_under(lease) && run.phase() == Phase::Active)?;
        let mut answer = run.answer(commands, &mut Surroundings { now, eager: &mut eager });
        for claimed in answer.eager {
            let lease = (claimed.id, claimed.lease);
            answer.group.eager.push(lease);
            self.attempts.insert(lease, Attempt { claimed, phase: TaskPhase::Reserved });
        }
        for (due, key) in answer.timers {
            self.dues.push(due, Due::Run((id, lease), key));
        }
        for child in &answer.group.batch.children {
            self.beat.expect(child.run_at);
        }
        match answer.end {
            None => {
                self.groups.push_back(answer.group);
                if draining {
                    self.evict(id);
                    return None;
                }
                self.runs.get_mut(&id)?.deliver(now)
            }
            Some(end) => self.end_run(id, end, answer.group),
        }
    }

    fn end_run(&mut self, id: Uuid, end: End, mut group: WriteGroup) -> Option<Activation> {
        let run = self.runs.remove(&id)?;
        let cancelled = run.cancel_delivered();
        let claimed = run.into_claimed();
        group.closes.push(id);
        *self.closing.entry(id).or_default() += 1;
        let mut due = None;
        let (action, payload) = match end {
            End::Completed(result) => (Action::Complete, Some(result)),
            End::Cancelled => (Action::Cancel, None),
            End::Held(error) => (Action::Hold, Some(error)),
            End::Failed { error, retry } => {
                let for_good = !retry || cancelled || names_type(&claimed.options.retry.non_retryable, &error);
                due = self.retry_due(&claimed, !for_good);
                (if due.is_some() { Action::Retry } else { Action::Fail }, Some(error))
            }
        };
        self.beat.expect(due);
        let took = (!matches!(action, Action::Hold | Action::Retry)).then(|| self.clock.now() - claimed.started);
        self.metrics.ended(&claimed.function, Ending::of(action), took);
        let outcome = Outcome { due, ..Outcome::new(id, action, payload) };
        // Steps and verbs that this group starts must not wait for another answer of Python's.
        let answering = group.eager.is_empty() && group.verbs.is_empty();
        self.hand_over(claimed.parent, claimed.step_key, outcome, group, answering)
    }

    /// Python has evicted the run.
    pub fn suspended(&mut self, id: Uuid, lease: i64) {
        if self.runs.get(&id).is_none_or(|run| !run.is_under(lease)) {
            return;
        }
        if let Some(run) = self.runs.remove(&id) {
            self.counts.evictions += 1;
            self.beat.expect(run.next_due());
            *self.closing.entry(id).or_default() += 1;
            self.groups.push_back(WriteGroup { batch: run.suspend(), closes: vec![id], ..WriteGroup::default() });
        }
    }

    /// A verb that a workflow asked for is done.
    pub fn verb_done(&mut self, request: &VerbRequest, status: Status, payload: Vec<u8>) {
        if let Some(run) = self.runs.get_mut(&request.run).filter(|run| run.claimed().lease == request.lease) {
            run.verb_done(&request.key, status, payload);
            self.with_news.push_back(request.run);
        }
    }

    /// Whether the run that asked for it is still here, under the same lease.
    pub fn waits_for_verb(&self, request: &VerbRequest) -> bool {
        self.runs.get(&request.run).is_some_and(|run| run.claimed().lease == request.lease)
    }

    pub fn take_verbs(&mut self) -> Vec<VerbRequest> {
        std::mem::take(&mut self.verbs)
    }

    /// Runs whose whole history is to be read, and runs that have news in the database.
    pub fn take_loads(&mut self) -> (Vec<Uuid>, Vec<Uuid>) {
        let hot = |id: &Uuid| self.runs.get(id).is_some_and(|run| run.phase() != Phase::Loading);
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
            let Some(run) = self.runs.get_mut(&id).filter(|run| run.phase() == Phase::Loading) else { continue };
            let lease = run.lease();
            let timers = match run.load(rows) {
                Ok(timers) => timers,
                Err(what) => {
                    self.hold_unknown(id, &what);
                    continue;
                }
            };
            self.starting.push_back(id);
            self.watch(lease, timers);
        }
    }

    pub fn heard(&mut self, rows: Vec<HistoryRow>) {
        for (id, rows) in by_run(rows) {
            if let Some(run) = self.runs.get_mut(&id).filter(|run| run.phase() != Phase::Loading) {
                match run.hear(rows) {
                    Ok(()) => self.with_news.push_back(id),
                    Err(what) => self.hold_unknown(id, &what),
                }
            }
        }
    }

    /// Something of the run's history was written by a newer Currant. The run is incompatible: a worker that knows more goes on with it.
    fn hold_unknown(&mut self, id: Uuid, what: &str) {
        let Some(run) = self.runs.get(&id) else { return };
        let (lease, in_python) = (run.lease(), matches!(run.phase(), Phase::Active | Phase::Idle | Phase::Evicting));
        let message = format!("this worker cannot go on with it, {what}: install a newer Currant");
        self.metrics.ended(&run.claimed().function, Some(Ending::Held), None);
        if in_python {
            self.drop_execution(lease, &message);
        } else {
            self.runs.remove(&id);
        }
        *self.closing.entry(id).or_default() += 1;
        let outcome = Outcome::new(id, Action::Hold, Some(error_json("SchemaMismatch", &message)));
        let batch = Batch { fences: vec![lease], outcomes: vec![outcome], ..Batch::default() };
        self.groups.push_back(WriteGroup { batch, closes: vec![id], ..WriteGroup::default() });
        self.say("error", format!("execution {id} is incompatible: {message}"));
    }
}

fn by_run(rows: Vec<HistoryRow>) -> HashMap<Uuid, Vec<HistorySource>> {
    let mut runs: HashMap<Uuid, Vec<HistorySource>> = HashMap::new();
    for row in rows {
        runs.entry(row.run).or_default().push(row.source);
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::{derive_id, new_id};
    use crate::engine::decide::fixtures::*;
    use crate::engine::items::{Asked, Verb};

    #[test]
    fn a_step_starts_only_after_the_commit_that_records_it() {
        let mut state = worker(4);
        let run = started_run(&mut state);
        assert_eq!(state.commands(run.id, 1, vec![execute("0")]), None);
        assert!(state.pull(10).is_empty(), "started before it was committed");
        let batch = commit(&mut state);
        assert!(batch.children[0].eager && batch.fences == vec![(run.id, 1)]);
        pulled_task(&mut state);
    }

    #[test]
    fn an_outcome_its_delivery_and_the_next_step_are_one_commit() {
        let mut state = worker(4);
        let run = started_run(&mut state);
        state.commands(run.id, 1, vec![execute("0")]);
        commit(&mut state);
        let (task, lease) = pulled_task(&mut state);
        let next = state.complete(task, lease, b"7".to_vec()).expect("delivered at once");
        assert_eq!(
            (next.key.as_str(), next.seq, next.status, next.payload.as_slice()),
            ("0", 1, Status::Completed, &b"7"[..])
        );
        assert!(state.take_groups().is_empty(), "written before Python answered");
        state.commands(run.id, 1, vec![execute("1")]);
        let batch = commit(&mut state);
        assert_eq!(batch.outcomes[0].delivered, Some((run.id, 1, next.clock)));
        assert_eq!((batch.children[0].key.as_str(), batch.children[0].after_seq), ("1", 1));
    }

    #[test]
    fn outcomes_are_delivered_one_at_a_time_and_numbered_in_that_order() {
        let mut state = worker(4);
        let run = started_run(&mut state);
        state.commands(run.id, 1, vec![execute("0"), execute("1"), execute("2")]);
        commit(&mut state);
        let tasks: Vec<_> = (0..3).map(|_| pulled_task(&mut state)).collect();
        let first = state.complete(tasks[2].0, 1, b"2".to_vec()).unwrap();
        // While Python works on the first outcome it gets no other.
        assert_eq!(state.complete(tasks[0].0, 1, b"0".to_vec()), None);
        assert_eq!(state.complete(tasks[1].0, 1, b"1".to_vec()), None);
        assert!(state.pull(10).is_empty());
        let second = state.commands(run.id, 1, vec![]).unwrap();
        let third = state.commands(run.id, 1, vec![]).unwrap();
        let order: Vec<_> = [&first, &second, &third].map(|next| (next.seq, next.payload.clone())).into();
        assert_eq!(order, vec![(1, b"2".to_vec()), (2, b"0".to_vec()), (3, b"1".to_vec())]);
        assert!(first.clock <= second.clock && second.clock <= third.clock);
    }

    #[test]
    fn signals_go_to_the_waits_in_order_and_each_is_consumed_once() {
        let mut state = worker(4);
        let run = started_run(&mut state);
        state.commands(run.id, 1, vec![wait("0", None), wait("1", None)]);
        // The database returns rows in any order.
        let heard = hear(&mut state, run.id, vec![signal(2, b"2"), signal(1, b"1")]);
        assert_eq!((heard[0].key.as_str(), heard[0].payload.as_slice()), ("0", &b"1"[..]));
        let next = state.commands(run.id, 1, vec![]).unwrap();
        assert_eq!((next.key.as_str(), next.payload.as_slice()), ("1", &b"2"[..]));
        state.commands(run.id, 1, vec![]);
        // The same rows again, as a second fetch may return them.
        assert!(hear(&mut state, run.id, vec![signal(1, b"1"), signal(2, b"2")]).is_empty());
        let ordinals: Vec<_> = commit(&mut state).step_outcomes.iter().map(|outcome| outcome.ordinal).collect();
        assert_eq!(ordinals, vec![Some(1), Some(2)]);
    }

    #[test]
    fn the_late_end_of_a_child_of_an_earlier_epoch_is_not_taken_for_that_of_this_one() {
        let mut state = worker(4);
        let run = Claimed { epoch: 1, ..claimed(Kind::Workflow) };
        let old = Claimed { parent: Some(run.id), step_key: Some("0".into()), ..claimed(Kind::Task) };
        commit_with(&mut state, reply(vec![run.clone(), old.clone()]));
        assert_eq!(state.pull(10).len(), 2);
        state.commands(run.id, 1, vec![execute("0")]);
        assert_eq!(state.complete(old.id, 1, b"old".to_vec()), None);
        assert!(state.pull(10).iter().all(|item| !matches!(item, Item::Activate(_))));
    }

    #[test]
    fn outcomes_that_a_retried_run_was_not_told_again_are_told() {
        let mut state = worker(4);
        let run = Claimed { fresh: false, lease: 2, epoch: 1, ..claimed(Kind::Workflow) };
        commit_with(&mut state, reply(vec![run.clone()]));
        state.take_loads();
        let known = |key: &str, kind: StepKind, status: Status| HistorySource::Step {
            key: key.into(),
            kind,
            name: "s".into(),
            outcome: Some((status, b"1".to_vec())),
            request: None,
            delivered: None,
            due: None,
            abandoned: false,
        };
        let rows = [
            known("2", StepKind::Verb, Status::Failed),
            known("1", StepKind::Timer, Status::Fired),
            known("0", StepKind::Signal, Status::Completed),
        ];
        state.loaded(rows.into_iter().map(|source| HistoryRow { run: run.id, source }).collect());
        assert_eq!(state.pull(10).len(), 1);
        let mut told = Vec::new();
        while let Some(next) = state.commands(run.id, 2, vec![]) {
            told.push((next.key, next.status));
        }
        let expected = [("0", Status::Completed), ("1", Status::Fired), ("2", Status::Failed)];
        assert_eq!(told, expected.map(|(key, status)| (key.to_string(), status)));
        assert!(state.take_verbs().is_empty());
    }

    #[test]
    fn a_workflow_that_fails_while_it_is_cancelled_is_not_retried() {
        let mut state = worker(4);
        let run = Claimed { options: attempts(5), ..claimed(Kind::Workflow) };
        commit_with(&mut state, reply(vec![run.clone()]));
        state.pull(10);
        state.commands(run.id, 1, vec![]);
        let asked = HistorySource::Run { wakes: 1, lease: 1, deadline: None, cancel_requested: true };
        assert_eq!(hear(&mut state, run.id, vec![HistoryRow { run: run.id, source: asked }]).len(), 1);
        state.commands(run.id, 1, vec![Command::Fail { error: b"{}".to_vec(), retry: true }]);
        assert_eq!(commit(&mut state).outcomes[0].action, Action::Fail);
    }

    #[test]
    fn a_workflow_that_fails_by_a_mistake_of_the_program_is_not_retried() {
        for (retry, action) in [(true, Action::Retry), (false, Action::Fail)] {
            let mut state = worker(4);
            let run = Claimed { options: attempts(5), ..claimed(Kind::Workflow) };
            commit_with(&mut state, reply(vec![run.clone()]));
            state.pull(10);
            state.commands(run.id, 1, vec![Command::Fail { error: b"{}".to_vec(), retry }]);
            assert_eq!(commit(&mut state).outcomes[0].action, action);
        }
    }

    #[test]
    fn a_signal_meant_for_a_wait_that_is_given_up_goes_to_the_next_wait() {
        let mut state = worker(4);
        let run = started_run(&mut state);
        state.commands(run.id, 1, vec![wait("0", None), execute("1")]);
        commit(&mut state);
        let (task, _) = pulled_task(&mut state);
        let next = state.complete(task, 1, b"1".to_vec()).unwrap();
        assert_eq!(next.key, "1");
        state.heard(vec![HistoryRow { run: run.id, ..signal(1, b"1") }]);
        let next = state.commands(run.id, 1, vec![Command::Cancel { key: "0".into() }, wait("2", None)]).unwrap();
        assert_eq!((next.key.as_str(), next.payload.as_slice()), ("2", &b"1"[..]));
    }

    #[test]
    fn cancel_is_an_outcome_delivered_once_that_cancels_outstanding_children() {
        let mut state = worker(4);
        let run = started_run(&mut state);
        state.commands(run.id, 1, vec![execute("0")]);
        commit(&mut state);
        let asked = HistorySource::Run { wakes: 1, lease: 1, deadline: None, cancel_requested: true };
        let row = HistoryRow { run: run.id, source: asked };
        let heard = hear(&mut state, run.id, vec![row.clone()]);
        assert_eq!(heard[0].key, "!cancel");
        state.commands(run.id, 1, vec![]);
        let batch = commit(&mut state);
        assert_eq!((batch.steps[0].key.as_str(), batch.steps[0].seq), ("!cancel", Some(1)));
        assert_eq!((batch.abandoned[0].key.as_str(), batch.abandoned[0].abandon), ("0", false));
        assert!(hear(&mut state, run.id, vec![row]).is_empty());
    }

    #[test]
    fn a_rebuilt_run_gets_its_history_in_order_and_then_what_it_has_not_heard() {
        let mut state = worker(4);
        let run = Claimed { fresh: false, lease: 2, ..claimed(Kind::Workflow) };
        commit_with(&mut state, reply(vec![run.clone()]));
        assert!(state.pull(10).is_empty());
        let (loads, _) = state.take_loads();
        assert_eq!(loads, vec![run.id]);
        let child = |key: &str, outcome: Option<&[u8]>, delivered| HistorySource::Child {
            key: key.into(),
            kind: Kind::Task,
            function: "f".into(),
            id: new_id(),
            lease: 1,
            args: Vec::new(),
            outcome: outcome.map(|payload| (Status::Completed, payload.to_vec())),
            delivered,
            abandoned: false,
        };
        let rows = [
            child("0", Some(b"a"), Some((2, 20))),
            child("1", Some(b"b"), Some((1, 10))),
            child("2", Some(b"c"), None),
            child("3", None, None),
        ];
        state.loaded(rows.into_iter().map(|source| HistoryRow { run: run.id, source }).collect());
        match state.pull(10).as_slice() {
            [Item::Run(item)] => {
                assert_eq!(item.outcomes.iter().map(|past| past.key.as_str()).collect::<Vec<_>>(), vec!["1", "0"]);
                assert_eq!(item.records.len(), 4);
            }
            other => panic!("{other:?}"),
        }
        let next = state.commands(run.id, 2, vec![]).unwrap();
        assert_eq!((next.key.as_str(), next.seq), ("2", 3));
    }

    #[test]
    fn a_rebuilt_run_gets_what_its_steps_asked_for_and_which_of_them_failed_before_its_epoch() {
        let mut state = worker(4);
        let run = Claimed { fresh: false, lease: 2, epoch: 1, ..claimed(Kind::Workflow) };
        commit_with(&mut state, reply(vec![run.clone()]));
        state.take_loads();
        let child = |key: &str, epoch: i32, status: Option<Status>, delivered| HistorySource::Child {
            key: key.into(),
            kind: Kind::Task,
            function: "f".into(),
            id: derive_id(run.id, &format!("{epoch}:{key}")),
            lease: 1,
            args: key.into(),
            outcome: status.map(|status| (status, Vec::new())),
            delivered,
            abandoned: false,
        };
        let step = |key: &str, kind: StepKind, request: Option<Vec<u8>>, due| HistorySource::Step {
            key: key.into(),
            kind,
            name: "s".into(),
            outcome: Some((Status::Completed, Vec::new())),
            request,
            delivered: Some((2, 20)),
            due,
            abandoned: false,
        };
        let verb = Verb::Status { target: run.id };
        let rows = [
            child("0", 0, Some(Status::Failed), Some((1, 10))),
            child("1", 0, None, None),
            child("2", 0, Some(Status::Completed), None),
            child("3", 1, None, None),
            step(
                "4",
                StepKind::Verb,
                Some(format!(r#"{{"verb": "status", "target": "{}"}}"#, run.id).into_bytes()),
                None,
            ),
            step("5", StepKind::Detach, Some(b"5".to_vec()), None),
            step("6", StepKind::Timer, None, Some(60)),
            step("7", StepKind::SideEffect, None, None),
        ];
        state.loaded(rows.into_iter().map(|source| HistoryRow { run: run.id, source }).collect());
        let items = state.pull(10);
        let [Item::Run(item)] = items.as_slice() else { panic!("{items:?}") };
        let retried: Vec<_> =
            item.records.iter().filter(|record| record.retried).map(|record| &record.key[..]).collect();
        assert_eq!(retried, ["1"]);
        let asked: Vec<_> = item.records.iter().map(|record| record.asked.clone()).collect();
        let arguments = |key: &str| Some(Asked::Arguments(key.into()));
        assert_eq!(asked[..4], ["0", "1", "2", "3"].map(arguments));
        assert_eq!(asked[4..], [Some(Asked::Verb(verb)), arguments("5"), Some(Asked::Due(Some(60))), None]);
    }

    /// A worker after a run has read a row that is unknown here: in its history, or (`hot`) as news while it is in memory.
    fn after_unknown(hot: bool) -> (State, Claimed) {
        let mut state = worker(4);
        let unknown = HistorySource::Unknown("step 3: the kind of step \"lottery\" is unknown".into());
        let run = if hot {
            let run = started_run(&mut state);
            state.commands(run.id, 1, vec![wait("0", None)]);
            commit(&mut state);
            state.heard(vec![HistoryRow { run: run.id, source: unknown }]);
            run
        } else {
            let run = Claimed { fresh: false, ..claimed(Kind::Workflow) };
            commit_with(&mut state, reply(vec![run.clone()]));
            state.take_loads();
            state.loaded(vec![HistoryRow { run: run.id, source: unknown }]);
            run
        };
        (state, run)
    }

    #[test]
    fn a_run_with_something_unknown_in_its_history_is_held_and_says_why() {
        for hot in [false, true] {
            let (mut state, run) = after_unknown(hot);
            let items = state.pull(10);
            let dropped = items.iter().any(|item| matches!(item, Item::Drop { id, .. } if *id == run.id));
            assert_eq!(dropped, hot, "{items:?}");
            assert!(!items.iter().any(|item| matches!(item, Item::Run(_))), "{items:?}");
            let batch = commit(&mut state);
            assert_eq!((batch.outcomes[0].id, batch.outcomes[0].action), (run.id, Action::Hold));
            assert_eq!(batch.fences, [(run.id, 1)]);
            let error = String::from_utf8(batch.outcomes[0].payload.clone().unwrap()).unwrap();
            assert!(error.contains("lottery") && error.contains("install a newer Currant"), "{error}");
            beat(&mut state, &heartbeat(vec![]));
            assert!(state.take_groups().is_empty(), "it is not handed back as well");
        }
    }

    #[test]
    fn a_run_whose_stored_verb_cannot_be_read_is_held() {
        let mut state = worker(4);
        let run = Claimed { fresh: false, ..claimed(Kind::Workflow) };
        commit_with(&mut state, reply(vec![run.clone()]));
        state.take_loads();
        let source = HistorySource::Step {
            key: "0".into(),
            kind: StepKind::Verb,
            name: "sing".into(),
            outcome: None,
            request: Some(br#"{"verb": "sing"}"#.to_vec()),
            delivered: None,
            due: None,
            abandoned: false,
        };
        state.loaded(vec![HistoryRow { run: run.id, source }]);
        assert_eq!(commit(&mut state).outcomes[0].action, Action::Hold);
    }
}
