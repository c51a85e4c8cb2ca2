//! Definitions of functions: rules outside their code, which apply to every enqueue, claim and clean-up.
use std::collections::HashMap;
use std::time::Duration;

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::base::error::{Error, Result};
use crate::base::limits;
use crate::base::types::{Options, Wakes};
use crate::store::conn::{Conn, Scope};
use crate::store::schedules::{self, Spec};

/// The number of rows that one statement marks, which bounds the time that they are locked.
const SETTLED_AT_ONCE: usize = 2_000;
/// How often a row is tried that somebody's open transaction has locked; after that it is left out of the count.
const SETTLE_TRIES: usize = 20;
const SETTLE_PAUSE: Duration = Duration::from_millis(100);

/// A definition as it is applied. Only its `owner` may change or delete it. Durations are in seconds; what is not given is left to the call, the
/// code and the settings. `options`: all other fields, of the form in which executions store them.
#[derive(Clone, Debug, Deserialize)]
struct Item {
    function: String,
    owner: String,
    version: Option<i32>,
    queue: Option<String>,
    priority: Option<i16>,
    concurrency_limit: Option<i32>,
    retention: Option<f64>,
    input_schema: Option<Value>,
    #[serde(default)]
    suspended: bool,
    #[serde(default)]
    schedules: Vec<Spec>,
    #[serde(flatten)]
    options: Map<String, Value>,
}

/// The columns of `currant.definitions`.
#[derive(Serialize)]
struct Row<'a> {
    function: &'a str,
    owner: &'a str,
    version: Option<i32>,
    queue: Option<&'a str>,
    priority: Option<i16>,
    options: Option<Value>,
    concurrency_limit: Option<i32>,
    suspended: bool,
    retention: Option<f64>,
    input_schema: Option<&'a Value>,
    input_hash: Option<String>,
    item: &'a str,
}

/// A refusal is a message for the item, not an error of the whole call.
fn said(checked: Result<()>) -> std::result::Result<(), String> {
    checked.map_err(|error| error.to_string())
}

fn number(what: &str, value: Option<impl Into<f64>>, range: limits::Range) -> std::result::Result<(), String> {
    value.map_or(Ok(()), |value| said(range.check_as(what, value)))
}

impl Item {
    fn parse(raw: &RawValue) -> std::result::Result<Item, String> {
        let mut item: Item = serde_json::from_str(raw.get()).map_err(|error| error.to_string())?;
        if raw.get().contains("\\u0000") {
            return Err("it holds a NUL, which Postgres cannot store".into());
        }
        item.input_schema = item.input_schema.filter(|schema| *schema != serde_json::json!({}));
        item.check().map(|()| item)
    }

    fn check(&self) -> std::result::Result<(), String> {
        said(limits::FUNCTION.check(&self.function))?;
        said(limits::OWNER.check(&self.owner))?;
        self.queue.as_ref().map_or(Ok(()), |queue| said(limits::QUEUE.check(queue)))?;
        number("priority", self.priority, limits::PRIORITY)?;
        number("retention", self.retention, limits::RETENTION)?;
        self.options()?;
        number("concurrency_limit", self.concurrency_limit, limits::CONCURRENCY_LIMIT)?;
        if self.input_schema.as_ref().is_some_and(|schema| !schema.is_object() && !schema.is_boolean()) {
            return Err("input_schema must be a JSON Schema: an object".into());
        }
        schedules::check(&self.schedules)
    }

    fn options(&self) -> std::result::Result<Option<Value>, String> {
        Options::of_definition(self.options.clone()).map_err(|error| error.to_string())
    }

    fn row<'a>(&'a self, raw: &'a RawValue) -> Row<'a> {
        Row {
            function: &self.function,
            owner: &self.owner,
            version: self.version,
            queue: self.queue.as_deref(),
            priority: self.priority,
            options: self.options().unwrap_or_default(), // checked before
            concurrency_limit: self.concurrency_limit,
            suspended: self.suspended,
            retention: self.retention,
            input_schema: self.input_schema.as_ref(),
            input_hash: self.input_schema.as_ref().map(|schema| format!("{:x}", Md5::digest(schema.to_string()))),
            item: raw.get(),
        }
    }
}

/// The result for one item.
#[derive(Serialize)]
struct Answer {
    function: String,
    status: &'static str,
    owner: String,
    message: String,
}

impl Answer {
    fn of(item: &Item, status: &'static str, owner: &str, message: String) -> Answer {
        Answer { function: item.function.clone(), status, owner: owner.into(), message }
    }

    fn invalid(raw: &RawValue, message: String) -> Answer {
        let value: Value = serde_json::from_str(raw.get()).unwrap_or_default();
        let field = |name: &str| value[name].as_str().unwrap_or_default().to_string();
        Answer { function: field("function"), status: "invalid", owner: field("owner"), message }
    }
}

fn to_json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::Other(format!("cannot show this as JSON: {error}")))
}

/// Applies a JSON array of definitions, in one transaction; returns a JSON array of what became of each, in order, and whom to wake.
/// A definition that is not right, or whose function another owner has defined, does not stop the others.
pub async fn apply(conn: &mut Conn, items: &str) -> Result<(Vec<u8>, Wakes)> {
    let items: Vec<Box<RawValue>> =
        serde_json::from_str(items).map_err(|error| Error::Invalid(format!("not a list of definitions: {error}")))?;
    let parsed: Vec<_> = items.iter().map(|raw| Item::parse(raw)).collect();
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|place| parsed[*place].as_ref().map(|item| item.function.clone()).unwrap_or_default());

    let mut answers: Vec<Option<Answer>> = items.iter().map(|_| None).collect();
    let mut applied = Vec::new();
    let mut transaction = conn.transaction().await?;
    lock_schedules(&mut transaction, &parsed).await?;
    let mut there = there(&mut transaction, &parsed).await?;
    for place in order {
        let raw = &items[place];
        let answer = match &parsed[place] {
            Err(message) => Answer::invalid(raw, message.clone()),
            Ok(item) => match there.get(&item.function) {
                Some((owner, _)) if *owner != item.owner => taken(item, owner),
                Some((owner, before)) if same(before, raw) => Answer::of(item, "unchanged", owner, String::new()),
                _ => apply_one(&mut transaction, item, raw).await?,
            },
        };
        if let (Ok(item), "applied") = (&parsed[place], answer.status) {
            there.insert(item.function.clone(), (item.owner.clone(), raw.get().to_string()));
            applied.push(item.function.clone());
        }
        answers[place] = Some(answer);
    }
    transaction.done().await?;
    mark_all_runs(conn).await?;
    Ok((to_json(&answers)?.into_bytes(), waiting_for(conn, &applied).await?))
}

fn functions(parsed: &[std::result::Result<Item, String>]) -> Vec<String> {
    parsed.iter().flatten().map(|item| item.function.clone()).collect()
}

/// Schedules come before executions, and those before definitions (docs/internals/locks.md): a worker that fires one may cancel a run.
async fn lock_schedules(scope: &mut Scope<'_>, parsed: &[std::result::Result<Item, String>]) -> Result<()> {
    let query = sqlx::query!(
        "select id from currant.schedules where function = any($1) order by function, name for update",
        &functions(parsed)
    );
    query.fetch_all(scope.conn()).await?;
    Ok(())
}

/// The definitions that these functions have: (owner, item).
async fn there(
    scope: &mut Scope<'_>,
    parsed: &[std::result::Result<Item, String>],
) -> Result<HashMap<String, (String, String)>> {
    let functions = functions(parsed);
    let query =
        sqlx::query!("select function, owner, item from currant.definitions where function = any($1)", &functions);
    let rows = query.fetch_all(scope.conn()).await?;
    Ok(rows.into_iter().map(|row| (row.function, (row.owner, row.item))).collect())
}

fn same(before: &str, raw: &RawValue) -> bool {
    let parse = |text: &str| serde_json::from_str::<Value>(text).ok();
    parse(before) == parse(raw.get())
}

fn taken(item: &Item, owner: &str) -> Answer {
    let message = format!("{} is defined by {owner}: delete that, or name another function", item.function);
    Answer::of(item, "taken", owner, message)
}

/// Applies one item in a savepoint: if the database refuses it, the other items are not affected.
async fn apply_one(scope: &mut Scope<'_>, item: &Item, raw: &RawValue) -> Result<Answer> {
    let mut savepoint = scope.savepoint().await?;
    let row = to_json(&item.row(raw))?;
    let written = async {
        let query = sqlx::query_scalar!(r#"select currant.apply_definition($1::text::jsonb) as "owner!""#, row);
        let owner = query.fetch_one(savepoint.conn()).await?;
        if owner == item.owner {
            schedules::apply(&mut savepoint, &item.function, &item.owner, item.suspended, &item.schedules).await?;
        }
        Ok(owner)
    };
    let written: Result<String> = written.await;
    match written {
        Ok(owner) if owner != item.owner => {
            savepoint.undo().await?;
            Ok(taken(item, &owner))
        }
        Ok(owner) => {
            savepoint.done().await?;
            Ok(Answer::of(item, "applied", &owner, String::new()))
        }
        Err(Error::Data { message, .. } | Error::Invalid(message)) => {
            savepoint.undo().await?;
            Ok(Answer::of(item, "invalid", &item.owner, message))
        }
        Err(error) => Err(error),
    }
}

/// Writes into the executions that existed before their definition or its limit whether they have a permit or await one, so that they count for
/// the limit; also into those that a caller left out when it died. Each part commits by itself, so that nobody waits for all of them.
async fn mark_all_runs(conn: &mut Conn) -> Result<()> {
    let functions = unmarked_functions(conn).await?;
    if functions.is_empty() {
        return Ok(());
    }
    let mut left = unmarked_runs(conn).await?;
    for _ in 0..SETTLE_TRIES {
        let mut locked = Vec::new();
        for some in left.chunks(SETTLED_AT_ONCE) {
            locked.extend(mark_runs(conn, some).await?);
        }
        left = locked;
        if left.is_empty() {
            break;
        }
        tokio::time::sleep(SETTLE_PAUSE).await;
    }
    let mut scope = conn.run().await?;
    sqlx::query!("select currant.runs_are_marked($1)", &functions).fetch_one(scope.conn()).await?;
    scope.done().await
}

async fn unmarked_functions(conn: &mut Conn) -> Result<Vec<String>> {
    let mut scope = conn.run().await?;
    let query = sqlx::query_scalar!(r#"select function as "function!" from currant.definitions where not runs_marked"#);
    let functions = query.fetch_all(scope.conn()).await?;
    scope.done().await?;
    Ok(functions)
}

async fn unmarked_runs(conn: &mut Conn) -> Result<Vec<Uuid>> {
    let mut scope = conn.run().await?;
    let query = sqlx::query_scalar!(r#"select id as "id!" from currant.unmarked_runs() id"#);
    let ids = query.fetch_all(scope.conn()).await?;
    scope.done().await?;
    Ok(ids)
}

/// Marks these executions. Returns those of `ids` that somebody else has locked.
async fn mark_runs(conn: &mut Conn, ids: &[Uuid]) -> Result<Vec<Uuid>> {
    let mut scope = conn.run().await?;
    let query = sqlx::query_scalar!(r#"select id as "id!" from currant.mark_runs($1) id"#, ids);
    let locked = query.fetch_all(scope.conn()).await?;
    scope.done().await?;
    Ok(locked)
}

/// The queues and workers to wake when functions may have more free permits.
async fn waiting_for(conn: &mut Conn, functions: &[String]) -> Result<Wakes> {
    let mut scope = conn.run().await?;
    let query = sqlx::query_scalar!(
        r#"select distinct queue as "queue!" from unnest($1::text[]) f(function), currant.awaiting_queues(f.function) queue"#,
        functions
    );
    let queues = query.fetch_all(scope.conn()).await?;
    scope.done().await?;
    Ok(Wakes { queues, ..Wakes::default() })
}

/// Deletes the definitions of these owners with their schedules; returns how many, and whom to wake.
pub async fn delete(conn: &mut Conn, owners: &[String]) -> Result<(i32, Wakes)> {
    let mut scope = conn.run().await?;
    let query =
        sqlx::query_scalar!(r#"select function as "function!" from currant.delete_definitions($1) function"#, owners);
    let functions = query.fetch_all(scope.conn()).await?;
    scope.done().await?;
    Ok((functions.len() as i32, waiting_for(conn, &functions).await?))
}

/// A JSON array of the definitions as they were applied.
pub async fn list(conn: &mut Conn) -> Result<Vec<u8>> {
    let mut scope = conn.run().await?;
    let query = sqlx::query_scalar!("select item from currant.definitions order by function");
    let items = query.fetch_all(scope.conn()).await?;
    scope.done().await?;
    Ok(format!("[{}]", items.join(",")).into_bytes())
}

/// A JSON object: for each function how its executions stand that were there or came since it was defined, and its schedules' times.
pub async fn stats(conn: &mut Conn, functions: &[String]) -> Result<Vec<u8>> {
    let mut scope = conn.run().await?;
    let query = sqlx::query_scalar!(r#"select currant.definition_stats($1)::text as "stats!""#, functions);
    let stats = query.fetch_one(scope.conn()).await?;
    scope.done().await?;
    Ok(stats.into_bytes())
}
