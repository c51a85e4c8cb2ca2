//! The verbs that a client asks of the database one at a time, as values: so that one loop can try any of them again.
use uuid::Uuid;

use crate::base::error::{Error, Result};
use crate::base::types::{Created, Micros, NewExecution, Wakes};
use crate::store::conn::Conn;
use crate::store::control;
use crate::store::definitions;
use crate::store::doctor;
use crate::store::enqueue;
use crate::store::fleet;
use crate::store::migrate;
use crate::store::one_by_one;
use crate::store::read;
use crate::store::read::{Filters, Standing};
use crate::store::retention::{self, Swept};
use crate::store::schedules::{self, Fired};

#[derive(Clone, Debug)]
pub enum Verb {
    Migrate,
    SchemaVersion,
    Create(Vec<NewExecution>),
    Get(Uuid),
    Show(Uuid),
    List(Filters),
    Queues,
    Workers,
    Doctor,
    /// JSON: `[{"key", "queues"}]`
    Fleet(String),
    Schedules,
    FireSchedules,
    /// How long each of these that is still in its first moments had been ready when it was claimed.
    PickUps(Vec<Uuid>),
    /// A JSON array.
    ApplyDefinitions(String),
    /// By their owners.
    DeleteDefinitions(Vec<String>),
    Definitions,
    QueueRetentions,
    /// In seconds; None: for ever.
    SetQueueRetention {
        queue: String,
        retention: Option<f64>,
    },
    /// Delete so many runs past their retention; `begin`: if nobody does.
    Sweep {
        limit: i32,
        begin: bool,
    },
    /// By their functions.
    DefinitionStats(Vec<String>),
    /// The UIDs of pods, and why each has ended.
    EndPods(Vec<String>, Vec<String>),
    /// The UIDs of pods that go on, why a container of each has ended, and when.
    EndContainers(Vec<String>, Vec<String>, Vec<Micros>),
    /// Who is to be woken when something becomes ready in these queues, and for so many seconds.
    SleepFor(Uuid, Vec<String>, f64),
    /// Whether anything is ready in these queues: 1 or 0.
    AnyReady(Vec<String>),
    /// The UIDs of pods whose workers are to take nothing more, or to go on.
    AskToDrain(Vec<String>, bool),
    /// All that pools are sized by.
    Scaling(String),
    Standing(Uuid),
    Cancel {
        id: Uuid,
        force: bool,
    },
    Retry(Uuid),
    Signal {
        id: Uuid,
        name: String,
        payload: Vec<u8>,
        dedup_key: String,
    },
    Claim {
        worker: Uuid,
        queues: Vec<String>,
        limit: i32,
    },
    Complete {
        worker: Uuid,
        items: Vec<(Uuid, i64, Vec<u8>)>,
    },
    Fail {
        worker: Uuid,
        items: Vec<(Uuid, i64, Vec<u8>, bool)>,
    },
    Suspend {
        worker: Uuid,
        items: Vec<(Uuid, i64)>,
    },
    Resume(Vec<Uuid>),
    Heartbeat {
        worker: Uuid,
        name: String,
        queues: Vec<String>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Nothing,
    Number(i32),
    Ids(Vec<Uuid>),
    Created(Vec<Created>),
    Json(Vec<u8>),
    Standing(Standing),
    Fired(Fired),
    Swept(Swept),
    Seconds(Vec<f64>),
    /// (id, lease, JSON)
    Claimed(Vec<(Uuid, i64, Vec<u8>)>),
}

impl Verb {
    /// Whether it may run on any schema.
    pub fn needs_no_schema(&self) -> bool {
        matches!(self, Verb::Migrate | Verb::SchemaVersion)
    }

    /// What a refusal means after a try whose answer was lost: that try may have done it already.
    pub fn done_already(&self, refusal: &Error) -> bool {
        matches!((self, refusal), (Verb::Cancel { .. }, Error::NotRunning(_)) | (Verb::Retry(_), Error::Other(_)))
    }

    /// Does it once. Whom to wake then is for a second statement (rule e).
    pub async fn run(&self, conn: &mut Conn) -> Result<(Answer, Wakes)> {
        let nobody = Wakes::default();
        Ok(match self {
            Verb::Migrate => (Answer::Number(migrate::migrate(conn).await?), nobody),
            Verb::SchemaVersion => (Answer::Number(migrate::schema_version(conn).await?), nobody),
            Verb::Create(items) => {
                let created = enqueue::create(conn, items).await?;
                (Answer::Created(created.clone()), enqueued(&created, None))
            }
            Verb::Get(id) => (Answer::Json(read::get_execution(conn, *id).await?), nobody),
            Verb::Show(id) => (Answer::Json(read::show(conn, *id).await?), nobody),
            Verb::List(filters) => (Answer::Json(read::list_executions(conn, filters).await?), nobody),
            Verb::Queues => (Answer::Json(read::queues(conn).await?), nobody),
            Verb::Workers => (Answer::Json(read::workers(conn).await?), nobody),
            Verb::Doctor => (Answer::Json(doctor::facts(conn).await?), nobody),
            Verb::EndPods(pods, reasons) => (Answer::Nothing, fleet::end_pods(conn, pods, reasons).await?),
            Verb::EndContainers(pods, reasons, ended) => {
                (Answer::Nothing, fleet::end_containers(conn, pods, reasons, ended).await?)
            }
            Verb::SleepFor(id, queues, seconds) => {
                fleet::sleep_for(conn, *id, queues, *seconds).await?;
                (Answer::Nothing, nobody)
            }
            Verb::AnyReady(queues) => (Answer::Number(fleet::any_ready(conn, queues).await?.into()), nobody),
            Verb::AskToDrain(pods, drain) => {
                fleet::ask_to_drain(conn, pods, *drain).await?;
                (Answer::Nothing, nobody)
            }
            Verb::Scaling(pools) => (Answer::Json(fleet::scaling(conn, pools).await?), nobody),
            Verb::Fleet(pools) => (Answer::Json(fleet::fleet(conn, pools).await?), nobody),
            Verb::Schedules => (Answer::Json(schedules::list(conn).await?), nobody),
            Verb::PickUps(ids) => (Answer::Seconds(read::pick_ups(conn, ids).await?), nobody),
            Verb::FireSchedules => {
                let (fired, wakes) = schedules::fire(conn).await?;
                (Answer::Fired(fired), wakes)
            }
            Verb::ApplyDefinitions(items) => {
                let (answers, wakes) = definitions::apply(conn, items).await?;
                (Answer::Json(answers), wakes)
            }
            Verb::DeleteDefinitions(owners) => {
                let (deleted, wakes) = definitions::delete(conn, owners).await?;
                (Answer::Number(deleted), wakes)
            }
            Verb::Sweep { limit, begin } => (Answer::Swept(retention::sweep(conn, *limit, *begin).await?), nobody),
            Verb::QueueRetentions => (Answer::Json(retention::list(conn).await?), nobody),
            Verb::SetQueueRetention { queue, retention } => {
                retention::set(conn, queue, *retention).await?;
                (Answer::Nothing, nobody)
            }
            Verb::Definitions => (Answer::Json(definitions::list(conn).await?), nobody),
            Verb::DefinitionStats(functions) => (Answer::Json(definitions::stats(conn, functions).await?), nobody),
            Verb::Standing(id) => {
                let found = read::standings(conn, &[], &[*id]).await?.pop();
                (Answer::Standing(found.ok_or_else(|| read::not_found(*id))?), nobody)
            }
            Verb::Cancel { id, force } => (Answer::Nothing, control::cancel(conn, *id, *force).await?),
            Verb::Retry(id) => (Answer::Nothing, control::retry(conn, *id).await?),
            Verb::Signal { id, name, payload, dedup_key } => {
                (Answer::Nothing, control::send_signal(conn, *id, name, payload, Some(dedup_key)).await?)
            }
            Verb::Claim { worker, queues, limit } => {
                (Answer::Claimed(one_by_one::claim_executions(conn, *worker, queues, *limit).await?), nobody)
            }
            Verb::Complete { worker, items } => ids(one_by_one::complete_executions(conn, *worker, items).await?),
            Verb::Fail { worker, items } => {
                ids(one_by_one::fail_executions(conn, *worker, items, rand::random()).await?)
            }
            Verb::Suspend { worker, items } => ids(one_by_one::suspend_workflows(conn, *worker, items).await?),
            Verb::Resume(runs) => ids(control::resume_workflows(conn, runs).await?),
            Verb::Heartbeat { worker, name, queues } => {
                (Answer::Nothing, one_by_one::update_heartbeat(conn, *worker, name, queues).await?)
            }
        })
    }
}

fn ids((ids, wakes): (Vec<Uuid>, Wakes)) -> (Answer, Wakes) {
    (Answer::Ids(ids), wakes)
}

/// Whom to wake after an enqueue; `since`: the transaction that made it, if it is known for all of them.
pub fn enqueued(created: &[Created], since: Option<i64>) -> Wakes {
    let queue = |created: &Created| match created {
        Created::Stored { queue, .. } => queue.clone(),
        Created::Unchecked { .. } => None,
    };
    let mut queues: Vec<String> = created.iter().filter_map(queue).collect();
    queues.sort_unstable();
    queues.dedup();
    Wakes { queues, workers: Vec::new(), since }
}
