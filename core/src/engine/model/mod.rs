//! Every order of events in small worlds of two workers and one or two runs, crashes at every point: leases, workflows in memory, eviction,
//! wake-ups, signals and time-outs. The workers are the engine's own decisions; docs/internals/model.md says what is modelled and what is not.
mod database;
mod program;
mod world;

use std::collections::HashSet;
use std::sync::Mutex;

use stateright::{Checker, HasDiscoveries, Model, Property};

use self::database::Without;
use self::program::{Program, result};
use self::world::{Budget, Step, World};
use crate::base::types::{ExecutionState, Kind, Status};

/// More steps than any fair schedule of these worlds takes.
const LONGEST: usize = 1_000;

struct Small {
    programs: &'static [Program],
    budget: Budget,
    without: Without,
    /// The fingerprints of worlds from which a fair schedule is known to end every run.
    ending: Mutex<HashSet<u64>>,
}

impl Small {
    fn new(programs: &'static [Program], budget: Budget, without: Without) -> Small {
        Small { programs, budget, without, ending: Mutex::default() }
    }

    /// Whether every run ends from here if nothing fails any more.
    fn ends(&self, world: &World) -> bool {
        let known = |world: &World| self.ending.lock().unwrap().contains(&world.fingerprint);
        let mut path = HashSet::new();
        let mut here = world.clone();
        while !known(&here) {
            let Some(next) = here.fair_step() else {
                if !here.ended() {
                    return false;
                }
                path.insert(here.fingerprint);
                break;
            };
            if !path.insert(here.fingerprint) || path.len() > LONGEST {
                return false; // the schedule goes in a circle, perhaps with leases that grow
            }
            here = next;
        }
        self.ending.lock().unwrap().extend(path);
        true
    }
}

impl Model for Small {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.programs, self.budget, self.without)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Step>) {
        if world.violations.is_empty() {
            actions.extend(world.steps());
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        Some(world.after(&step)).filter(|next| next != world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::<Self>::always("each execution has one recorded outcome", |_, world| {
                world.db.executions.values().all(|row| row.endings <= 1)
            }),
            Property::<Self>::always("a step has one outcome: a signal or its time-out, never both", |_, world| {
                world.db.steps.values().all(|step| !step.overwritten)
            }),
            Property::<Self>::always("a signal is consumed once, by the step that it ended", consumed_once),
            Property::<Self>::always("outcomes are numbered from 1, each number once", |_, world| {
                runs(world).all(|run| (1..).zip(world.db.delivered(run)).all(|(number, told)| told.0 == number))
            }),
            Property::<Self>::always("a result follows from the recorded outcomes in their order", |_, world| {
                runs(world).all(|run| {
                    let row = &world.db.executions[&run];
                    let told: Vec<_> =
                        world.db.delivered(run).into_iter().map(|(_, key, status)| (key, status)).collect();
                    row.state != ExecutionState::Completed || row.payload == result(&told)
                })
            }),
            Property::<Self>::always("nothing starts too early or again, no replay differs", |_, world| {
                world.violations.is_empty()
            }),
            Property::<Self>::always("a fair schedule ends every run", |model, world| model.ends(world)),
            Property::<Self>::sometimes("all ends", |_, world| world.ended()),
        ]
    }
}

fn runs(world: &World) -> impl Iterator<Item = uuid::Uuid> + '_ {
    world.db.executions.iter().filter(|(_, row)| row.kind == Kind::Workflow).map(|(id, _)| *id)
}

fn consumed_once(_: &Small, world: &World) -> bool {
    let takers: Vec<_> =
        world.db.signals.iter().filter_map(|((run, _), signal)| Some((*run, signal.consumed_by.clone()?))).collect();
    let once = takers.iter().collect::<HashSet<_>>().len() == takers.len();
    let ended_by_it = takers.iter().all(|taker| world.db.steps[taker].status == Some(Status::Completed));
    once && ended_by_it && world.db.signals.values().all(|signal| !signal.taken_again)
}

const NONE: Budget = Budget { crashes: 0, mistakes: 0, losses: 0, evictions: 0, signals: 0 };

/// The programs that run in a world, and the faults that may happen there.
type Setting = (&'static [Program], Budget);

const CRASH: Setting = (&[Program::Both], Budget { crashes: 1, signals: 1, ..NONE });
const MISTAKE: Setting = (&[Program::FanOut], Budget { mistakes: 1, ..NONE });
const LOSS: Setting = (&[Program::FanOut], Budget { losses: 1, ..NONE });
const EVICTION: Setting = (&[Program::Listens], Budget { evictions: 2, signals: 1, ..NONE });
const TIME_OUT: Setting = (&[Program::Waits], Budget { evictions: 1, signals: 1, crashes: 1, ..NONE });
const PARENT: Setting = (&[Program::FanOut], Budget { evictions: 1, ..NONE });
const REPLAY: Setting = (&[Program::FanOutThen], Budget { crashes: 1, ..NONE });
const DEAD: Setting = (&[Program::One], Budget { mistakes: 1, crashes: 1, ..NONE });
const AT_MOST_ONCE: Setting = (&[Program::Once], Budget { crashes: 1, mistakes: 1, ..NONE });
const TWO_RUNS: Setting = (&[Program::FanOut, Program::Listens], Budget { crashes: 1, signals: 1, ..NONE });

/// Explores all states of a world, and prints their number.
fn explore(name: &str, (programs, budget): Setting) {
    let began = std::time::Instant::now();
    let checker = Small::new(programs, budget, Without::Nothing).checker().threads(2).spawn_bfs().join();
    let states = checker.unique_state_count();
    let (properties, seconds) = (checker.model().properties().len(), began.elapsed().as_secs_f64());
    println!("{name}: {states} states, {} steps deep, {properties} properties, {seconds:.1} s", checker.max_depth());
    checker.assert_properties();
    assert!(states > 200, "{name}: {states} states are too few to mean anything");
}

#[test]
fn a_run_survives_a_crash_at_every_point() {
    explore("crash", CRASH);
}

#[test]
fn a_worker_declared_dead_by_mistake_changes_nothing_any_more() {
    explore("mistake", MISTAKE);
}

#[test]
fn a_request_whose_answer_is_lost_or_that_arrives_late_is_recorded_once() {
    explore("loss", LOSS);
}

#[test]
fn no_signal_is_slept_through_by_a_run_that_is_put_out_of_memory() {
    explore("eviction", EVICTION);
}

#[test]
fn a_run_put_out_of_memory_hears_of_its_steps() {
    explore("parent", PARENT);
}

#[test]
fn a_wait_ends_by_its_signal_or_by_its_time_out() {
    explore("time-out", TIME_OUT);
}

#[test]
fn a_replay_tells_outcomes_in_the_order_of_their_delivery() {
    explore("replay", REPLAY);
}

#[test]
fn one_declared_dead_by_mistake_may_die_all_the_same() {
    explore("dead", DEAD);
}

#[test]
fn a_task_that_may_lose_no_worker_is_never_started_twice() {
    explore("at most once", AT_MOST_ONCE);
}

#[test]
fn two_workers_share_two_runs_and_one_of_them_crashes() {
    explore("two runs", TWO_RUNS);
}

/// The model shows why a rule is needed: without it a property breaks.
fn breaks(without: Without, (programs, budget): Setting) {
    let small = Small::new(programs, budget, without);
    let checker = small.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let broken: Vec<_> = checker.discoveries().into_keys().filter(|name| *name != "all ends").collect();
    println!("without {without:?}: {broken:?}");
    assert!(!broken.is_empty(), "nothing breaks without {without:?}");
}

#[test]
fn without_the_fence_something_breaks() {
    breaks(Without::Fence, MISTAKE);
}

#[test]
fn without_the_look_at_wakes_something_breaks() {
    breaks(Without::Wakes, EVICTION);
}

#[test]
fn without_waking_parents_something_breaks() {
    breaks(Without::WakeParents, PARENT);
}

#[test]
fn without_done_already_being_a_success_something_breaks() {
    breaks(Without::Done, LOSS);
}

#[test]
fn without_the_look_at_heartbeats_something_breaks() {
    breaks(Without::Expiry, CRASH);
}

#[test]
fn without_the_dead_claiming_nothing_something_breaks() {
    breaks(Without::DeadClaimNothing, DEAD);
}

#[test]
fn without_the_order_of_replay_something_breaks() {
    breaks(Without::ReplayOrder, REPLAY);
}

#[test]
fn without_the_end_of_what_may_lose_no_worker_something_breaks() {
    breaks(Without::AtMostOnce, AT_MOST_ONCE);
}
