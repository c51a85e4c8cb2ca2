//! The verbs of a client, each one transaction, as values: one loop can try any of them again.
//!
//! A verb that Python has too is one line of `list.rs`: the struct here, the method of `Core`, and its signature in `_core.pyi` follow
//! from it. Only Rust calls the verbs at the end of this file.
mod list;

use std::time::Duration;

use uuid::Uuid;

use crate::base::error::{Error, Result};
use crate::base::types::{Created, Fired, NewExecution, Wakes};
use crate::store::conn::Conn;
use crate::store::read::{self, ExecutionStatus, Filters};
use crate::store::retention::{self, Swept};
use crate::store::schedules;
use crate::store::{control, definitions, doctor, enqueue, fleet, migrate, one_by_one};

pub(crate) use self::list::for_each_verb;

/// One query of the database, or one change of it.
pub trait Verb: Send + Sync {
    type Answer: Send;

    /// Whether the verb may run on any schema.
    const NEEDS_NO_SCHEMA: bool = false;

    const LIMIT: Limit = Limit::Patience;

    /// Does the verb once. A second statement then wakes the workers that it returns (rule e).
    fn run(&self, conn: &mut Conn) -> impl Future<Output = Result<(Self::Answer, Wakes)>> + Send;

    /// The answer, if this refusal, after a try whose answer was lost, means that the lost try has done the work.
    fn done_already(&self, _refusal: &Error) -> Option<Self::Answer> {
        None
    }
}

/// How long one try may take before the connection counts as broken.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// A part of the client's time-out, so that there is time for another try.
    Patience,
    /// All of the client's time-out.
    WholeTimeout,
    Exactly(Duration),
}

/// JSON as UTF-8 bytes: it crosses to Python as it is.
pub type Json = Vec<u8>;

/// `Name = method(field: Type) -> Answer = |conn| try, { overrides of Verb };` makes a struct with these fields, which is a `Verb`. All names go
/// into a constant.
macro_rules! verbs {
    ($names:ident; $(
        $(#[$about:meta])*
        $name:ident = $method:ident($($field:ident: $type:ty $(= $default:tt)?),*) -> $answer:ty
            = |$conn:ident| $try:expr $(, { $($override:tt)* })?;
    )*) => {
        const $names: &[&str] = &[$(stringify!($name)),*];

        $(
        $(#[$about])*
        #[derive(Clone, Debug)]
        pub struct $name {
            $(pub $field: $type,)*
        }

        impl Verb for $name {
            type Answer = $answer;

            async fn run(&self, $conn: &mut Conn) -> Result<($answer, Wakes)> {
                let $name { $($field),* } = self;
                $try
            }

            $($($override)*)?
        }
        )*
    };
}

for_each_verb!(verbs, OF_PYTHON);

/// The names of all verbs, for tests.
pub const NAMES: [&[&str]; 2] = [OF_PYTHON, OF_RUST];

verbs! {
    OF_RUST;

    /// Stores executions of which some have an idempotency key.
    CreateKeyed = create_keyed(items: Vec<NewExecution>) -> Vec<Created> = |conn| {
        let created = enqueue::create(conn, items).await?;
        let wakes = enqueued(&created, None);
        Ok((created, wakes))
    }, {
        // Another transaction may have the key, for as long as it takes.
        const LIMIT: Limit = Limit::WholeTimeout;
    };

    /// The state of one execution, and its result or error once it has ended.
    GetStatus = get_status(id: Uuid) -> ExecutionStatus = |conn| {
        let found = read::statuses(conn, &[], &[*id]).await?.pop();
        quiet(found.ok_or_else(|| read::not_found(*id)))
    };

    /// A signal to a workflow; a second one with the same key changes nothing.
    SendSignal = send_signal(id: Uuid, name: String, payload: Vec<u8>, dedup_key: String) -> () = |conn| {
        waking(control::send_signal(conn, *id, name, payload, Some(dedup_key)).await)
    };

    /// Starts the runs of all schedules that are due.
    FireSchedules = fire_schedules() -> Fired = |conn| schedules::fire(conn).await;

    /// For how many seconds each of these executions had been ready when it was claimed, if no other attempt of it has begun since.
    PickUps = pick_ups(ids: Vec<Uuid>) -> Vec<f64> = |conn| quiet(read::pick_ups(conn, ids).await);

    /// Deletes up to `limit` runs past their retention. `begin`: only if no other worker deletes.
    Sweep = sweep(limit: i32, begin: bool) -> Swept = |conn| quiet(retention::sweep(conn, *limit, *begin).await);

    /// `watcher` is notified when something becomes ready in these queues, for this number of seconds.
    SleepFor = sleep_for(watcher: Uuid, queues: Vec<String>, seconds: f64) -> () = |conn| {
        quiet(fleet::sleep_for(conn, *watcher, queues, *seconds).await)
    };

    /// Whether anything is ready in these queues.
    AnyReady = any_ready(queues: Vec<String>) -> bool = |conn| quiet(fleet::any_ready(conn, queues).await);
}

/// The outcome of a verb that wakes no worker.
fn quiet<T>(answer: Result<T>) -> Result<(T, Wakes)> {
    answer.map(|answer| (answer, Wakes::default()))
}

/// The outcome of a verb that answers nothing.
fn waking(wakes: Result<Wakes>) -> Result<((), Wakes)> {
    wakes.map(|wakes| ((), wakes))
}

/// The wake-ups that follow an enqueue; `since`: the transaction that made it, if it is known for all of them.
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
