//! Schedules in Postgres: definitions make them, and the worker that comes first fires them.
use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::base::cron::{CatchUp, Decision, Overlap, Schedule, Timetable, decide};
use crate::base::error::{Error, Result};
use crate::base::types::{Fired, Micros, Wakes};
use crate::store::conn::{Conn, Scope};
use crate::store::read::to_json;

/// The largest number of schedules that one transaction fires, which bounds its duration.
const MAX_AT_ONCE: i32 = 100;

/// A schedule as its definition has it. Durations in seconds; `args` are the keyword arguments of the function, as JSON.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    pub name: String,
    pub cron: String,
    #[serde(default = "utc")]
    pub time_zone: String,
    #[serde(default)]
    pub args: Option<Box<RawValue>>,
    #[serde(default)]
    pub overlap: Overlap,
    #[serde(default)]
    pub catch_up: CatchUp,
    #[serde(default)]
    pub starting_deadline: Option<f64>,
    #[serde(default)]
    pub jitter: Option<f64>,
    #[serde(default)]
    pub suspended: bool,
}

fn utc() -> String {
    "UTC".into()
}

impl Spec {
    /// The arguments as executions have them.
    fn stored_args(&self) -> String {
        let kwargs = self.args.as_deref().map_or("{}", RawValue::get);
        format!(r#"{{"args": [], "kwargs": {kwargs}}}"#)
    }

    fn check(&self) -> std::result::Result<Timetable, String> {
        let of_this = |message: String| format!("schedule {:?}: {message}", self.name);
        if self.name.is_empty() || self.name.chars().count() > 200 {
            return Err(of_this("its name must have 1 to 200 characters".into()));
        }
        for (what, seconds) in [("starting_deadline", self.starting_deadline), ("jitter", self.jitter)] {
            if seconds.is_some_and(|seconds| !(0.0..=1e9).contains(&seconds)) {
                return Err(of_this(format!("{what} must be a number of seconds from 0 to 1000000000")));
            }
        }
        let args = self.args.as_deref().map(|args| args.get().trim_start());
        if args.is_some_and(|args| !args.starts_with('{') || args.contains('\0')) {
            return Err(of_this("args must be an object of keyword arguments".into()));
        }
        Timetable::parse(&self.cron, &self.time_zone).map_err(of_this)
    }
}

/// Refuses schedules of one definition that are not valid, with one line that says what to write.
pub fn check(specs: &[Spec]) -> std::result::Result<(), String> {
    let mut names = HashSet::new();
    for spec in specs {
        spec.check()?;
        if !names.insert(spec.name.as_str()) {
            return Err(format!("schedule {:?} is there twice: names must differ", spec.name));
        }
    }
    Ok(())
}

/// The old form of a schedule, with which the new one is compared.
struct Before {
    cron: String,
    time_zone: String,
    next_fire_at: Option<Micros>,
    suspended: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    cron: &'a str,
    time_zone: &'a str,
    args: String,
    overlap: Overlap,
    catch_up: CatchUp,
    starting_deadline: Option<f64>,
    jitter: f64,
    suspended: bool,
    next_fire_at: Option<Micros>,
}

/// Makes these the schedules of a function, in the caller's transaction. Returns whether that changed anything, or `Invalid` when one of them
/// is not valid. A new schedule, and one with another cron expression or zone, begins after now; others go on where they were.
/// A schedule that is no longer suspended leaves out what it missed meanwhile, unless it catches up.
pub async fn apply(
    scope: &mut Scope<'_>,
    function: &str,
    owner: &str,
    definition_suspended: bool,
    specs: &[Spec],
) -> Result<bool> {
    check(specs).map_err(Error::Invalid)?;
    let before = before(scope, function).await?;
    let query = sqlx::query_scalar!(r#"select currant.micros(clock_timestamp()) as "now!""#);
    let now = query.fetch_one(scope.conn()).await?;
    let mut rows = Vec::with_capacity(specs.len());
    for spec in specs {
        let timetable = spec.check().map_err(Error::Invalid)?;
        let suspended = definition_suspended || spec.suspended;
        rows.push(Row {
            name: &spec.name,
            cron: &spec.cron,
            time_zone: &spec.time_zone,
            args: spec.stored_args(),
            overlap: spec.overlap,
            catch_up: spec.catch_up,
            starting_deadline: spec.starting_deadline,
            jitter: spec.jitter.unwrap_or(0.0),
            suspended: spec.suspended,
            next_fire_at: next_fire_at(spec, &timetable, before.get(&spec.name), suspended, now),
        });
    }
    let rows = serde_json::to_string(&rows).map_err(|error| Error::Invalid(error.to_string()))?;
    let query = sqlx::query_scalar!(
        r#"select currant.apply_schedules($1, $2, $3, $4::text::jsonb) as "changed!""#,
        function,
        owner,
        definition_suspended,
        rows
    );
    Ok(query.fetch_one(scope.conn()).await?)
}

fn next_fire_at(
    spec: &Spec,
    timetable: &Timetable,
    before: Option<&Before>,
    suspended: bool,
    now: Micros,
) -> Option<Micros> {
    match before {
        Some(before) if before.cron == spec.cron && before.time_zone == spec.time_zone => {
            let resumed = before.suspended && !suspended;
            if resumed && spec.catch_up == CatchUp::None { timetable.next(now) } else { before.next_fire_at }
        }
        _ => timetable.next(now),
    }
}

/// Reads the schedules and locks them, so that no worker fires them at the same time.
async fn before(scope: &mut Scope<'_>, function: &str) -> Result<HashMap<String, Before>> {
    let rows = sqlx::query!(
        r#"select name, cron, time_zone, currant.micros(next_fire_at) as next_fire_at,
            suspended or definition_suspended as "suspended!"
        from currant.schedules where function = $1 order by name for update"#,
        function
    )
    .fetch_all(scope.conn())
    .await?;
    let before = rows.into_iter().map(|row| {
        let (cron, time_zone, next_fire_at, suspended) = (row.cron, row.time_zone, row.next_fire_at, row.suspended);
        (row.name, Before { cron, time_zone, next_fire_at, suspended })
    });
    Ok(before.collect())
}

/// Fires the schedules that are due and that no other worker has in hand, in one transaction.
pub async fn fire(conn: &mut Conn) -> Result<(Fired, Wakes)> {
    let mut transaction = conn.transaction().await?;
    let query = sqlx::query_scalar!(r#"select id as "id!" from currant.take_due_schedules($1)"#, MAX_AT_ONCE);
    let ids = query.fetch_all(transaction.conn()).await?;
    let mut fired = Fired { taken: ids.len(), ..Fired::default() };
    let mut wakes = Wakes::default();
    if !ids.is_empty() {
        let decisions = decisions(&mut transaction, &ids, &mut fired).await?;
        carry_out(&mut transaction, decisions, &mut fired, &mut wakes).await?;
    }
    transaction.done().await?;
    Ok((fired, wakes))
}

#[derive(Serialize)]
struct DecisionJson {
    id: Uuid,
    fires: Vec<crate::base::cron::Fire>,
    replace: bool,
    next_fire_at: Option<Micros>,
    outcome: Option<String>,
    missed: usize,
}

/// Reads the schedules in a statement after the one that locked them: only its snapshot has the runs that another worker started
/// just before. A schedule that cannot be read does not stop the others.
async fn decisions(scope: &mut Scope<'_>, ids: &[Uuid], fired: &mut Fired) -> Result<Vec<DecisionJson>> {
    let rows = sqlx::query!(
        r#"select s.id, s.function, s.name, s.cron, s.time_zone, s.overlap, s.catch_up, s.starting_deadline, s.jitter,
            currant.micros(s.next_fire_at) as next_fire_at, currant.micros(clock_timestamp()) as "now!",
            exists (select 1 from currant.executions e
                where e.open_schedule = s.id) as "busy!"
        from currant.schedules s where s.id = any($1)"#,
        ids
    )
    .fetch_all(scope.conn())
    .await?;
    let mut decisions = Vec::with_capacity(rows.len());
    for row in rows {
        let rules = Overlap::parse(&row.overlap).zip(CatchUp::parse(&row.catch_up));
        let readable = match (Timetable::parse(&row.cron, &row.time_zone), rules) {
            (Ok(timetable), Some(rules)) => Ok((timetable, rules)),
            (Err(problem), _) => Err(problem),
            (_, None) => Err("this version of Currant does not know its overlap or catch_up".into()),
        };
        let (timetable, (overlap, catch_up)) = match readable {
            Ok(readable) => readable,
            Err(problem) => {
                sqlx::query!("select currant.defer_schedule($1, $2)", row.id, problem).fetch_one(scope.conn()).await?;
                fired.problems.push(format!("schedule {} of {}: {problem}", row.name, row.function));
                continue;
            }
        };
        let schedule = Schedule {
            id: row.id,
            timetable,
            overlap,
            catch_up,
            starting_deadline: row.starting_deadline,
            jitter: row.jitter,
            next_fire_at: row.next_fire_at.unwrap_or(row.now),
            busy: row.busy,
        };
        let Decision { fires, replace, next_fire_at, outcome, missed } = decide(&schedule, row.now);
        decisions.push(DecisionJson { id: row.id, fires, replace, next_fire_at, outcome, missed });
    }
    Ok(decisions)
}

async fn carry_out(
    scope: &mut Scope<'_>,
    decisions: Vec<DecisionJson>,
    fired: &mut Fired,
    wakes: &mut Wakes,
) -> Result<()> {
    let decisions = serde_json::to_string(&decisions).map_err(|error| Error::Other(error.to_string()))?;
    let rows = sqlx::query!(
        r#"select schedule as "schedule!", started as "started!", problem, queues as "queues!", workers as "workers!", ids as "ids!"
        from currant.fire_schedules($1::text::jsonb)"#,
        decisions
    )
    .fetch_all(scope.conn())
    .await?;
    for row in rows {
        fired.started += row.started as u64;
        fired.problems.extend(row.problem.map(|problem| format!("schedule {}: {problem}", row.schedule)));
        wakes.queues.extend(row.queues);
        wakes.workers.extend(row.workers.into_iter().zip(row.ids));
    }
    Ok(())
}

#[derive(Serialize)]
struct Details {
    function: Option<String>,
    name: Option<String>,
    owner: Option<String>,
    cron: Option<String>,
    time_zone: Option<String>,
    overlap: Option<String>,
    catch_up: Option<String>,
    starting_deadline: Option<f64>,
    jitter: Option<f64>,
    suspended: Option<bool>,
    last_fire_at: Option<String>,
    next_fire_at: Option<String>,
    last_outcome: Option<String>,
    missed: Option<i64>,
}

/// Every schedule as JSON, by function and name (docs/internals/engine.md).
pub async fn list(conn: &mut Conn) -> Result<Vec<u8>> {
    let mut scope = conn.run().await?;
    let query = sqlx::query_as!(Details, "select * from currant.schedule_details order by function, name");
    let rows = query.fetch_all(scope.conn()).await?;
    scope.done().await?;
    to_json(&rows)
}
