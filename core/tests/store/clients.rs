//! A client and its connections: shared commits and waits, lost connections, poolers, several hosts, every verb.
use crate::enqueues::keyed;
use crate::support::pooler::Pooler;
use crate::support::*;
use currant::base::error::Error;
use currant::base::types::*;
use currant::client::Client;
use currant::client::verbs::*;
use currant::store::commit;
use currant::store::history;
use currant::store::read;
use currant::store::url::Target;
use currant::store::workers;
use sqlx::Connection;
use std::time::Duration;
use uuid::Uuid;

#[tokio::test]
async fn many_wait_for_results_and_each_gets_its_own() {
    let database = Database::new().await;
    let client = Client::new(&database.url, 2).unwrap();
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    let items: Vec<NewExecution> = (0..50).map(|_| new(call(Kind::Task, "q"))).collect();
    let ids = client.create_executions(items).await.unwrap();
    let mut waiters = tokio::task::JoinSet::new();
    for id in ids {
        let client = client.clone();
        waiters.spawn(async move { (id, client.wait_execution(id, None).await.unwrap()) });
    }
    for task in claim(&mut conn, me, &["q"], 50).await {
        commit(&mut conn, me, &ends(&task, Action::Complete, Some(&format!("\"{}\"", task.id)))).await;
    }
    while let Some(done) = waiters.join_next().await {
        let (id, standing) = done.unwrap();
        assert_eq!((standing.state, standing.payload), ("completed".into(), format!("\"{id}\"").into_bytes()));
    }
    assert!(matches!(client.wait_execution(Uuid::now_v7(), None).await, Err(Error::NotFound(_))));
    let unfinished = client.create_executions(vec![new(call(Kind::Task, "q"))]).await.unwrap()[0];
    let standing = client.wait_execution(unfinished, Some(0.05)).await.unwrap();
    assert_eq!((standing.state.as_str(), standing.finished), ("pending", false));
}

#[tokio::test]
async fn a_client_goes_on_after_its_connections_were_cut() {
    let database = Database::new().await;
    let client = Client::new(&database.url, 4).unwrap();
    let id = client.create_executions(vec![new(call(Kind::Workflow, "q"))]).await.unwrap()[0];
    let mut conn = database.connect().await;
    let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
    for round in 0..3 {
        text(&mut conn, cut).await;
        client.create_executions(vec![new(call(Kind::Task, "q"))]).await.unwrap();
        client.send_signal(id, "go".into(), b"1".to_vec(), None).await.unwrap();
        let signals = text(&mut conn, "select count(*) from currant.signals").await;
        assert_eq!(signals, (round + 1).to_string());
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_database_is_told_in_one_line_without_the_password() {
    let database = Database::new().await;
    let unreachable = "postgresql://ann:secret@127.0.0.1:1/nowhere?connect_timeout=0.3".to_string();
    let (base, _) = database.url.split_once('?').unwrap_or((&database.url, ""));
    let missing = format!("{}/currant_no_such_database?connect_timeout=5", base.rsplit_once('/').unwrap().0);
    for (url, says) in [(unreachable, "refused"), (missing, "does not exist")] {
        let client = Client::new(&url, 2).unwrap();
        for error in [
            client.ask(Queues {}).await.unwrap_err(),
            client.create_executions(vec![new(call(Kind::Task, "q"))]).await.unwrap_err(),
            client.wait_execution(Uuid::now_v7(), None).await.unwrap_err(),
        ] {
            assert!(matches!(error, Error::Unavailable(_) | Error::Refused(_)), "{error:?}");
            let text = error.to_string();
            assert!(text.contains(says) && !text.contains("secret") && !text.contains('\n'), "{text}");
        }
    }
}

#[tokio::test]
async fn a_database_that_takes_no_connections_is_waited_for() {
    let database = Database::new().await;
    database.allow_connections(false).await;
    let error = Target::parse(&database.url).unwrap().connect().await.err().expect("it is closed");
    assert!(matches!(&error, Error::Unavailable(m) if m.contains("not currently accepting connections")), "{error:?}");
    let client = Client::new(&database.url, 2).unwrap();
    let (asked, ()) = tokio::join!(client.ask(Queues {}), database.allow_connections(true));
    asked.expect("it went on when the database was open again");
}

#[tokio::test]
async fn a_setting_of_the_url_that_the_server_does_not_know_is_no_matter_of_the_schema() {
    let database = Database::new().await;
    let join = if database.url.contains('?') { '&' } else { '?' };
    let url = format!("{}{join}options=-c%20no_such_setting%3D1", database.url);
    let error = Target::parse(&url).unwrap().connect().await.err().expect("it is refused");
    assert!(
        matches!(&error, Error::Refused(m) if m.contains("no_such_setting") && !m.contains("migrate")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_closed_client_says_so_at_once() {
    let database = Database::new().await;
    let client = Client::new(&database.url, 2).unwrap();
    client.ask(Queues {}).await.unwrap();
    client.close().await;
    let answer = tokio::time::timeout(Duration::from_secs(10), client.ask(Queues {})).await;
    assert!(matches!(answer, Ok(Err(Error::Refused(m))) if m.contains("closed")));
}

/// Rule o: with `pgbouncer=true` nothing is prepared or executed outside a transaction, where a pooler may change the server between the two.
#[tokio::test(flavor = "multi_thread")]
async fn behind_a_transaction_pooler_every_statement_is_in_a_transaction() {
    let database = Database::empty().await;
    let pooler = Pooler::of(&database);
    let client = Client::new(&pooler.url, 2).unwrap();
    client.ask(SchemaVersion {}).await.unwrap();
    client.ask(Migrate {}).await.unwrap();
    client.create_executions(vec![new(call(Kind::Task, "q"))]).await.unwrap();
    let ids = client.create_executions(vec![new(call(Kind::Workflow, "q")), keyed("k")]).await.unwrap();
    client.wait_execution(ids[0], Some(0.1)).await.unwrap();
    ask_every_verb(&client, ids[0]).await;
    let mut conn = Target::parse(&pooler.url).unwrap().connect().await.unwrap();
    let me = register(&mut conn, &["q"]).await;
    let claimed = claim_one(&mut conn, me, "q").await;
    workers::heartbeat(&mut conn, me, None, false, Some(&[claimed.id]), &Ranges::default()).await.unwrap();
    history::load_runs(&mut conn, &[claimed.id], false).await.unwrap();
    commit::locked(&mut conn, &[claimed.id], &[]).await.unwrap();
    complete(&mut conn, me, &claimed).await;
    workers::take_over(&mut conn, me).await.unwrap();
    workers::stop_worker(&mut conn, me).await.unwrap();
    assert_eq!(pooler.split(), Vec::<String>::new());
}

/// What the proxy of the test before notes of a client that does not know of the pooler.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_parameter_statements_are_split() {
    let database = Database::new().await;
    let pooler = Pooler::of(&database);
    let client = Client::new(&pooler.url.replace("&pgbouncer=true", ""), 2).unwrap();
    client.ask(Queues {}).await.unwrap();
    assert!(pooler.split().iter().any(|message| message.starts_with("P:") && message.contains("queue_stats")));
}

/// Two ways to one server stand for two hosts.
fn two_hosts(database: &Database) -> (Pooler, Pooler, String) {
    let (first, second) = (Pooler::of(database), Pooler::of(database));
    let both = format!("{},{}", first.address, second.address);
    let url = first.url.replace(&first.address, &both).replace("&pgbouncer=true", "");
    (first, second, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_first_of_two_hosts_goes_everybody_moves_to_the_second() {
    let database = Database::new().await;
    let (first, second, url) = two_hosts(&database);
    let client = Client::new(&url, 2).unwrap();
    let target = Target::parse(&url).unwrap();
    let mut listener = target.listener().await.unwrap().unwrap();
    let mut conn = target.connect().await.unwrap();
    client.create_executions(vec![new(call(Kind::Task, "q"))]).await.unwrap();
    assert!(second.split().is_empty(), "the first serves as long as it is there");

    first.go_down();
    assert!(matches!(listener.hear().await, Err(Error::Unavailable(_))), "a lost listener says so");
    assert!(conn.run().await.unwrap().conn().ping().await.is_err());
    client.create_executions(vec![new(call(Kind::Task, "q"))]).await.unwrap();
    assert!(!second.split().is_empty(), "the second serves now");
    let mut listener = target.listener().await.unwrap().unwrap();
    let mut conn = target.connect().await.unwrap();
    listener.listen(&["currant".into()]).await.unwrap();
    run(&mut conn, "notify currant, 'heard'".into()).await;
    assert_eq!(listener.hear().await.unwrap(), "heard");

    second.go_down();
    let refused = target.connect().await.err().unwrap().to_string();
    assert!(refused.contains(&first.address) && refused.contains(&second.address), "{refused}");
    assert!(!refused.contains('\n') && !refused.contains("password"), "{refused}");
}

#[tokio::test]
async fn a_server_that_is_not_what_was_asked_for_is_passed_over() {
    let database = Database::new().await;
    let separator = if database.url.contains('?') { "&" } else { "?" };
    let connect = async |more: &str| {
        let url = format!("{}{separator}target_session_attrs={more}", database.url);
        Target::parse(&url).unwrap().connect().await.err().map(|error| error.to_string())
    };
    for fine in
        ["any", "read-write", "primary", "prefer-standby", "read-only&options=-c%20default_transaction_read_only=on"]
    {
        assert_eq!(connect(fine).await, None, "{fine}");
    }
    for (wrong, said) in [
        ("standby", "it is no stand-by"),
        ("read-only", "it takes writes"),
        ("read-write&options=-c%20default_transaction_read_only=on", "it is read-only"),
    ] {
        let refused = connect(wrong).await.unwrap();
        assert!(refused.contains(said), "{wrong}: {refused}");
    }
}

/// Asks every verb that there is, so that none is forgotten. Each leaves the others what they need; a definition with a limit marks the
/// executions that are there.
async fn ask_every_verb(client: &Client, id: Uuid) {
    let mut asked = Vec::new();
    macro_rules! ask {
        ($($name:ident { $($fields:tt)* },)*) => {$(
            client.ask($name { $($fields)* }).await.unwrap_or_else(|error| panic!("{}: {error}", stringify!($name)));
            asked.push(stringify!($name));
        )*};
    }
    let (pools, queues) = (r#"[{"key": "p", "queues": ["q"]}]"#.to_string(), vec!["q".to_string()]);
    let definition = r#"[{"function": "f.task", "owner": "o", "concurrency_limit": 2,
        "schedules": [{"name": "s", "cron": "0 0 1 1 *"}]}]"#;
    let (payload, worker_id) = (b"1".to_vec(), Uuid::now_v7());
    ask! {
        SchemaVersion {},
        Migrate {},
        ApplyDefinitions { items: definition.into() },
        ListDefinitions {},
        DefinitionStats { functions: vec!["f.task".into()] },
        ListSchedules {},
        FireSchedules {},
        DeleteDefinitions { owners: vec!["o".into()] },
        SetQueueRetention { queue: "q".into(), retention: Some(60.0) },
        QueueRetentions {},
        Sweep { limit: 10, begin: false },
        CreateKeyed { items: vec![keyed("other")] },
        GetExecution { id },
        GetStatus { id },
        Show { id },
        ListExecutions { filters: read::Filters::parse(b"{}").unwrap() },
        Queues {},
        Workers {},
        Doctor {},
        Fleet { pools: pools.clone() },
        Scaling { pools },
        AnyReady { queues: queues.clone() },
        SleepFor { watcher: Uuid::now_v7(), queues: queues.clone(), seconds: 0.0 },
        AskToDrain { pod_uids: vec!["pod".into()], drain: true },
        EndPods { pods: vec![("pod".into(), "Evicted".into())] },
        EndContainers { containers: vec![("pod".into(), "OOMKilled".into(), 0)] },
        PickUps { ids: vec![id] },
        SendSignal { id, name: "go".into(), payload: payload.clone(), dedup_key: "k".into() },
        ResumeWorkflows { ids: vec![id] },
        CancelExecution { id, force: false },
        RetryExecution { id },
        UpdateHeartbeat { worker_id, name: "w".into(), queues },
        ClaimExecutions { worker_id, queues: vec!["empty".into()], limit: 1 },
        CompleteExecutions { worker_id, items: vec![(id, 1, payload.clone())] },
        FailExecutions { worker_id, items: vec![(id, 1, payload, true)] },
        SuspendWorkflows { worker_id, items: vec![(id, 1)] },
    }
    let forgotten: Vec<_> = NAMES.iter().flat_map(|list| list.iter()).filter(|name| !asked.contains(name)).collect();
    assert!(forgotten.is_empty(), "verbs that this test does not ask: {forgotten:?}");
}
