//! A database of its own for each test, on the server of `WORKFLOWS_TEST_DATABASE_URL`, and short names for what tests do.
#![allow(dead_code)] // each test file uses its part
pub mod pooler;
use currant::base::types::*;
use currant::store::commit;
pub use currant::store::conn::Conn;
use currant::store::enqueue;
use currant::store::migrate;
use currant::store::url::Target;
use currant::store::workers;
use uuid::Uuid;

pub const NONE: [Uuid; 0] = [];

pub struct Database {
    pub url: String,
    server: String,
    name: String,
}

impl Database {
    pub async fn empty() -> Database {
        let server = std::env::var("WORKFLOWS_TEST_DATABASE_URL").expect(
            "WORKFLOWS_TEST_DATABASE_URL must lead to a server where tests may create databases; `make test` starts one",
        );
        let name = format!("currant_test_{}", Uuid::now_v7().simple());
        let mut conn = Target::parse(&server).unwrap().connect().await.expect("the test server can be reached");
        run(&mut conn, format!("create database {name}")).await;
        let (base, query) = server.split_once('?').unwrap_or((&server, ""));
        let host = base.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        let url = format!("{host}/{name}?{query}");
        Database { url, server, name }
    }

    pub async fn new() -> Database {
        let database = Database::empty().await;
        let mut conn = database.connect().await;
        migrate::migrate(&mut conn).await.expect("migrations run");
        run(&mut conn, include_str!("../../invariants.sql").into()).await;
        // Tests hold a row for as long as they want, however slow the machine is.
        for function in ["commit_batch", "claim"] {
            run(&mut conn, format!("alter function currant.{function} reset lock_timeout")).await;
        }
        take_rule_out(&mut conn).await;
        database
    }

    /// Lets nobody in any more, or everybody again.
    pub async fn allow_connections(&self, allow: bool) {
        let mut conn = Target::parse(&self.server).unwrap().connect().await.expect("the test server can be reached");
        run(&mut conn, format!("alter database {} allow_connections {allow}", self.name)).await;
    }

    pub async fn connect(&self) -> Conn {
        Target::parse(&self.url).expect("a URL").connect().await.expect("the test database can be reached")
    }
}

/// `tests/naive.sh` shows that a test fails without the rule that it is for: NAIVE is a function of the schema, a part of its text,
/// and what takes its place, with `|` between.
async fn take_rule_out(conn: &mut Conn) {
    let Ok(naive) = std::env::var("CURRANT_TEST_NAIVE") else { return };
    let [function, from, to] = naive.split('|').collect::<Vec<_>>()[..] else {
        panic!("CURRANT_TEST_NAIVE does not contain three parts")
    };
    let definition = text(conn, &format!("select pg_get_functiondef('currant.{function}'::regproc)")).await;
    assert!(definition.contains(from), "currant.{function} does not contain {from}");
    run(conn, definition.replace(from, to)).await;
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                if let Ok(mut conn) = Target::parse(&server).unwrap().connect().await {
                    run(&mut conn, format!("drop database {name} with (force)")).await;
                }
            });
        });
        let _ = dropped.join();
    }
}

/// A statement of the test itself.
pub async fn run(conn: &mut Conn, sql: String) {
    conn.text(sql).await.expect("the test's own statement runs");
}

pub async fn text(conn: &mut Conn, sql: &str) -> String {
    let sql = format!("select coalesce(({sql})::text, 'null')");
    let mut scope = conn.run().await.expect("the connection is there");
    let answer = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(scope.conn()).await;
    scope.done().await.expect("the test's own query ends");
    answer.expect("the test's own query runs")
}

/// Returns when somebody waits for a lock in this database.
pub async fn until_one_waits(conn: &mut Conn) {
    until_so_many_wait(conn, 1).await;
}

pub async fn until_so_many_wait(conn: &mut Conn, sessions: usize) {
    let waiting = format!(
        "select count(*) >= {sessions} from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    );
    while text(conn, &waiting).await != "true" {
        tokio::task::yield_now().await;
    }
}

pub async fn state(conn: &mut Conn, id: Uuid) -> String {
    text(conn, &format!("select state from currant.executions where id = '{id}'")).await
}

/// No time-out, and a retry policy of their own.
pub fn options(max_attempts: i32) -> Options {
    let non_retryable = vec!["Fatal".into()];
    let retry = Policy { max_attempts, max_delay: 60.0, jitter: 0.0, non_retryable, ..Policy::default() };
    Options { timeout: None, retry, ..Options::of(Kind::Task) }
}

/// As `options`, of a call that may have lost so many workers.
pub fn may_lose(max_worker_losses: i32) -> Options {
    Options { max_worker_losses, ..options(1) }
}

/// SQL for the options of a row of `currant.executions`, with blanks between them.
pub fn stored(paths: &[&str]) -> String {
    let option = |path: &&str| format!("currant.option(kind, options, '{{{path}}}')");
    format!("concat_ws(' ', {})", paths.iter().map(option).collect::<Vec<_>>().join(", "))
}

pub fn given(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

pub fn call(kind: Kind, queue: &str) -> Call {
    Call {
        kind,
        function: format!("f.{}", kind.as_str()),
        queue: queue.into(),
        priority: 5,
        args: br#"{"args": [1], "kwargs": {}}"#.to_vec(),
        options: options(4),
        delay: None,
        run_at: None,
        given: Vec::new(),
        headers: None,
    }
}

pub fn new(call: Call) -> NewExecution {
    NewExecution { id: Uuid::now_v7(), call, idempotency_key: None, checked: None }
}

pub async fn enqueue(conn: &mut Conn, kind: Kind, queue: &str) -> Uuid {
    enqueue::create_executions(conn, &[new(call(kind, queue))]).await.unwrap()[0]
}

pub fn info(queues: &[&str]) -> WorkerInfo {
    WorkerInfo {
        id: Uuid::now_v7(),
        name: "w".into(),
        host: "h".into(),
        pid: 1,
        build: "b1".into(),
        queues: queues.iter().map(|queue| queue.to_string()).collect(),
        tasks: vec!["f.task".into()],
        workflows: vec!["f.workflow".into()],
        functions: "[]".into(),
        concurrency: 10,
        timeout: 30.0,
        pod: Pod::default(),
    }
}

pub async fn register(conn: &mut Conn, queues: &[&str]) -> Uuid {
    let info = info(queues);
    workers::register(conn, &info).await.unwrap();
    info.id
}

pub async fn claim(conn: &mut Conn, worker: Uuid, queues: &[&str], limit: i32) -> Vec<Claimed> {
    let request = ClaimRequest {
        queues: queues.iter().map(|queue| queue.to_string()).collect(),
        limit,
        ..ClaimRequest::default()
    };
    commit::commit_and_claim(conn, worker, &Batch::default(), Some(&request)).await.unwrap().claimed
}

pub async fn claim_one(conn: &mut Conn, worker: Uuid, queue: &str) -> Claimed {
    claim(conn, worker, &[queue], 1).await.pop().expect("something is ready")
}

pub async fn commit(conn: &mut Conn, worker: Uuid, batch: &Batch) -> BatchReply {
    commit::commit_batch(conn, worker, batch, None).await.unwrap()
}

pub fn outcome(id: Uuid, action: Action, payload: Option<&str>) -> Outcome {
    Outcome::new(id, action, payload.map(|text| text.as_bytes().to_vec()))
}

/// A batch that writes one outcome under the lease of `claimed`.
pub fn ends(claimed: &Claimed, action: Action, payload: Option<&str>) -> Batch {
    Batch {
        fences: vec![(claimed.id, claimed.lease)],
        outcomes: vec![outcome(claimed.id, action, payload)],
        ..Batch::default()
    }
}

/// Ends well; gives whom to wake.
pub async fn complete(conn: &mut Conn, worker: Uuid, claimed: &Claimed) -> Wakes {
    commit(conn, worker, &ends(claimed, Action::Complete, Some("1"))).await.wakes
}

pub fn suspends(run: &Claimed, wakes: i64, due: Option<Micros>) -> Batch {
    let mut batch = ends(run, Action::Suspend, None);
    batch.outcomes[0].wakes = Some(wakes);
    batch.outcomes[0].due = due;
    batch
}

/// A child step of `run`, to be merged into a batch under its lease.
pub fn child(run: &Claimed, key: &str, call: Call, eager: bool) -> NewChild {
    NewChild {
        run: run.id,
        id: currant::base::ids::derive_id(run.id, key),
        root: run.root,
        parent: Some(run.id),
        epoch: run.epoch,
        key: key.into(),
        after_seq: 0,
        call,
        run_at: None,
        eager,
    }
}

pub fn starts(run: &Claimed, children: Vec<NewChild>) -> Batch {
    Batch { fences: vec![(run.id, run.lease)], children, progressed: vec![run.id], ..Batch::default() }
}

/// Commits until when the worker means to sleep; None: it is awake. What became ready before is for its next heartbeat.
pub async fn falls_asleep(conn: &mut Conn, worker: Uuid, until: Option<Micros>) {
    workers::heartbeat(conn, worker, until, false, None, &Ranges::default()).await.unwrap();
}

/// As if the worker had not been heard of for an hour.
pub async fn silence(conn: &mut Conn, worker: Uuid) {
    run(conn, format!("update currant.workers set last_heartbeat = now() - interval '1 hour' where id = '{worker}'"))
        .await;
}
