//! Schedules in the database: applied, fired once, skipped, replaced, caught up, suspended.
use crate::support::*;
use currant::base::cron::{CatchUp, Overlap};
use currant::base::types::Fired;
use currant::base::types::*;
use currant::store::control;
use currant::store::schedules::{self, Spec};
use currant::store::workers;
use serde_json::{Value, json};
use uuid::Uuid;

fn spec(name: &str, cron: &str) -> Spec {
    serde_json::from_value(json!({"name": name, "cron": cron, "overlap": "Allow", "catch_up": "None"})).unwrap()
}

async fn apply(conn: &mut Conn, specs: &[Spec]) -> bool {
    schedules::apply(&mut conn.run().await.unwrap(), "f.task", "shop/nightly", false, specs).await.unwrap()
}

async fn list(conn: &mut Conn) -> Vec<Value> {
    serde_json::from_slice(&schedules::list(conn).await.unwrap()).unwrap()
}

async fn fire(conn: &mut Conn) -> Fired {
    schedules::fire(conn).await.unwrap().0
}

/// As if the schedule had not fired in this hour.
async fn come_due(conn: &mut Conn) {
    let hour = "date_trunc('hour', now())";
    run(conn, format!("update currant.schedules set next_fire_at = {hour}, due_at = {hour}")).await;
}

async fn count(conn: &mut Conn, what: &str) -> i64 {
    text(conn, &format!("select count(*) from currant.executions where {what}")).await.parse().unwrap()
}

async fn outcome_of(conn: &mut Conn) -> String {
    text(conn, "select last_outcome from currant.schedules").await
}

/// Hourly, at no minute that a test would meet.
fn hourly() -> &'static str {
    "0 * * * *"
}

#[tokio::test]
async fn a_due_schedule_starts_a_run_with_its_arguments_as_any_enqueue_does() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let args = r#"{"shop": "a", "price": 12345678901234567890123.10}"#;
    let args_of_it = Some(serde_json::from_str(args).unwrap());
    let with_args = Spec { args: args_of_it, starting_deadline: Some(4000.0), ..spec("each", hourly()) };
    assert!(apply(&mut conn, &[with_args]).await);
    assert_eq!(fire(&mut conn).await.taken, 0, "nothing is due yet");
    come_due(&mut conn).await;
    let due = text(&mut conn, "select due_at from currant.schedules").await;
    assert_eq!(fire(&mut conn).await.started, 1);

    let me = register(&mut conn, &["default"]).await;
    let run = claim_one(&mut conn, me, "default").await;
    assert_eq!(
        (run.function.as_str(), run.priority, run.options.retry.max_attempts, run.options.timeout),
        ("f.task", 5, 4, Some(300.0))
    );
    assert_eq!(String::from_utf8(run.args).unwrap(), format!(r#"{{"args": [], "kwargs": {args}}}"#), "digit for digit");
    assert_eq!(
        count(&mut conn, &format!("fire_time = '{due}' and schedule_id = (select id from currant.schedules)")).await,
        1
    );
    let row = &list(&mut conn).await[0];
    assert!(row["last_outcome"].as_str().unwrap().starts_with("started"), "{row}");
    assert!(row["next_fire_at"].as_str() > row["last_fire_at"].as_str(), "{row}");
}

#[tokio::test]
async fn ten_that_fire_the_same_schedules_at_once_fire_each_once() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let specs: Vec<Spec> = (0..30).map(|n| spec(&format!("s{n}"), hourly())).collect();
    apply(&mut conn, &specs).await;
    run(
        &mut conn,
        "update currant.schedules set next_fire_at = date_trunc('hour', now()), due_at = now() - interval '1 second',
            starting_deadline = 4000"
            .into(),
    )
    .await;
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let mut conn = database.connect().await;
        workers.spawn(async move { fire(&mut conn).await });
    }
    let mut started = 0;
    while let Some(fired) = workers.join_next().await {
        let fired = fired.unwrap();
        assert_eq!(fired.problems, Vec::<String>::new());
        started += fired.started;
    }
    started += fire(&mut conn).await.started;
    assert_eq!((started, count(&mut conn, "true").await), (30, 30));
}

#[tokio::test]
async fn a_fire_time_that_has_its_run_starts_no_other_even_if_the_schedule_is_set_back() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    apply(&mut conn, &[Spec { starting_deadline: Some(4000.0), ..spec("s", hourly()) }]).await;
    let back =
        "update currant.schedules set next_fire_at = date_trunc('hour', now()), due_at = date_trunc('hour', now())";
    for _ in 0..2 {
        run(&mut conn, back.into()).await;
        let fired = fire(&mut conn).await;
        assert_eq!((fired.taken, fired.problems), (1, vec![]));
    }
    assert_eq!(count(&mut conn, "true").await, 1);
    let twice = "insert into currant.executions (id, root_id, kind, function, queue, args, schedule_id, open_schedule, fire_time, ready_xid)
        select gen_random_uuid(), id, kind, function, queue, args, schedule_id, open_schedule, fire_time, currant.xid() from currant.executions";
    assert!(conn.text(twice.into()).await.is_err(), "the database itself refuses a second one");
}

/// The schedule is due, and a run of an earlier fire time is there.
async fn overlapping(conn: &mut Conn, overlap: Overlap) -> Uuid {
    apply(conn, &[Spec { overlap, ..spec("s", "* * * * * *") }]).await;
    run(conn, "update currant.schedules set cron = '0 * * * *', starting_deadline = 4000".into()).await;
    let id = enqueue(conn, Kind::Task, "default").await;
    let earlier = "update currant.executions set schedule_id = (select id from currant.schedules), open_schedule = (select id from currant.schedules), fire_time = now() - interval '1 day'";
    run(conn, earlier.into()).await;
    run(
        conn,
        "update currant.schedules set next_fire_at = date_trunc('hour', now()), due_at = now() - interval '1 second'"
            .into(),
    )
    .await;
    id
}

#[tokio::test]
async fn allow_starts_a_run_beside_an_earlier_one() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let earlier = overlapping(&mut conn, Overlap::Allow).await;
    assert_eq!(fire(&mut conn).await.started, 1);
    assert_eq!((state(&mut conn, earlier).await.as_str(), count(&mut conn, "state = 'pending'").await), ("pending", 2));
}

#[tokio::test]
async fn forbid_skips_while_an_earlier_run_has_not_ended_says_so_and_goes_on_after_it() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let earlier = overlapping(&mut conn, Overlap::Forbid).await;
    assert_eq!(fire(&mut conn).await.started, 0);
    assert_eq!(outcome_of(&mut conn).await, "skipped 1: an earlier run has not ended");
    assert_eq!(text(&mut conn, "select next_fire_at > now() from currant.schedules").await, "true");
    assert_eq!(state(&mut conn, earlier).await, "pending");

    control::cancel(&mut conn, earlier, false).await.unwrap();
    run(&mut conn, "update currant.schedules set next_fire_at = date_trunc('hour', now()), due_at = now()".into())
        .await;
    assert_eq!(fire(&mut conn).await.started, 1);
}

#[tokio::test]
async fn replace_cancels_the_earlier_run_and_starts_another() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["default"]).await;
    let earlier = overlapping(&mut conn, Overlap::Replace).await;
    assert_eq!(claim_one(&mut conn, me, "default").await.id, earlier);
    let (fired, wakes) = schedules::fire(&mut conn).await.unwrap();
    assert_eq!((fired.started, wakes.workers), (1, vec![(me, earlier)]), "its worker is told");
    assert_eq!(state(&mut conn, earlier).await, "cancelled");
    assert_eq!(count(&mut conn, "state = 'pending'").await, 1);
}

#[tokio::test]
async fn what_nobody_was_there_for_is_left_out_or_caught_up_as_told() {
    for (catch_up, runs) in [(CatchUp::None, 0), (CatchUp::Last, 1), (CatchUp::All, 5)] {
        let database = Database::new().await;
        let mut conn = database.connect().await;
        // Half an hour away from now: a fire time of this minute would not be missed.
        let minute = text(&mut conn, "select (extract(minute from now() at time zone 'UTC')::integer + 30) % 60").await;
        let last = format!("date_trunc('hour', now() - interval '{minute} minutes') + interval '{minute} minutes'");
        apply(&mut conn, &[Spec { catch_up, ..spec("s", &format!("{minute} * * * *")) }]).await;
        let outage = format!(
            "update currant.schedules set next_fire_at = {last} - interval '4 hours', due_at = now() - interval '4 hours'"
        );
        run(&mut conn, outage).await;
        assert_eq!(fire(&mut conn).await.started, runs, "{catch_up:?}");
        assert_eq!(fire(&mut conn).await.taken, 0);
        let newest = count(&mut conn, &format!("fire_time = {last}")).await;
        assert_eq!((count(&mut conn, "true").await, newest), (runs as i64, (runs as i64).min(1)));
        assert_eq!(list(&mut conn).await[0]["missed"], 5 - runs, "{catch_up:?}");
    }
}

#[tokio::test]
async fn a_suspended_schedule_does_not_fire_and_leaves_out_what_it_missed_unless_it_catches_up() {
    for (catch_up, own, runs) in
        [(CatchUp::None, true, 0), (CatchUp::None, false, 0), (CatchUp::All, true, 3), (CatchUp::Last, false, 1)]
    {
        let database = Database::new().await;
        let mut conn = database.connect().await;
        // By its deadline it would run: it is the resume that leaves it out.
        let deadline = Some(1e6).filter(|_| catch_up == CatchUp::None);
        let spec = Spec { catch_up, starting_deadline: deadline, ..spec("s", hourly()) };
        let paused = [Spec { suspended: own, ..spec.clone() }];
        apply(&mut conn, &paused).await;
        schedules::apply(&mut conn.run().await.unwrap(), "f.task", "shop/nightly", !own, &paused).await.unwrap();
        let passed = "update currant.schedules set next_fire_at = date_trunc('hour', now()) - interval '2 hours', due_at = now() - interval '2 hours'";
        run(&mut conn, passed.into()).await;
        assert_eq!(fire(&mut conn).await.taken, 0);
        let me = register(&mut conn, &["q"]).await;
        assert_eq!(
            workers::heartbeat(&mut conn, me, None, false, None, &Ranges::default()).await.unwrap().next_schedule,
            None
        );
        let row = &list(&mut conn).await[0];
        assert_eq!((&row["suspended"], &row["next_fire_at"]), (&json!(true), &Value::Null));

        apply(&mut conn, &[spec]).await;
        assert_eq!(fire(&mut conn).await.started, runs, "{catch_up:?}");
        assert_eq!(text(&mut conn, "select next_fire_at > now() from currant.schedules").await, "true");
    }
}

#[tokio::test]
async fn jitter_delays_the_run_not_the_schedule() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    apply(&mut conn, &[Spec { jitter: Some(1e6), starting_deadline: Some(4000.0), ..spec("s", hourly()) }]).await;
    run(&mut conn, "update currant.schedules set next_fire_at = date_trunc('hour', now()), due_at = now()".into())
        .await;
    assert_eq!(fire(&mut conn).await.started, 1);
    let within =
        "run_at > now() and run_at < fire_time + interval '1000000 seconds' and fire_time = date_trunc('hour', now())";
    assert_eq!(count(&mut conn, within).await, 1);
}

#[tokio::test]
async fn a_schedule_that_fails_is_noted_and_tried_again_and_stops_no_other() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    apply(&mut conn, &[spec("bad", hourly()), spec("good", hourly()), spec("unreadable", hourly())]).await;
    let broken = "update currant.schedules set args = null where name = 'bad'";
    run(&mut conn, format!("alter table currant.schedules alter args drop not null; {broken}")).await;
    run(&mut conn, "update currant.schedules set cron = 'by a newer version' where name = 'unreadable'".into()).await;
    run(
        &mut conn,
        "update currant.schedules set starting_deadline = 4000, next_fire_at = date_trunc('hour', now()), due_at = now()".into(),
    )
    .await;
    let fired = fire(&mut conn).await;
    assert_eq!((fired.taken, fired.started, fired.problems.len()), (3, 1, 2), "{:?}", fired.problems);
    for row in list(&mut conn).await {
        let outcome = row["last_outcome"].as_str().unwrap();
        assert_eq!(outcome.starts_with("failed: "), row["name"] != "good", "{row}");
    }
    assert_eq!(fire(&mut conn).await.taken, 0, "not again at once");
    run(&mut conn, "update currant.schedules set args = '{}', due_at = now() where name = 'bad'".into()).await;
    assert_eq!(fire(&mut conn).await.started, 1, "the fire time is not lost");
}

#[tokio::test]
async fn applying_keeps_what_is_the_same_changes_what_is_not_and_removes_the_rest() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    assert!(apply(&mut conn, &[spec("a", "0 3 * * *"), spec("b", "0 3 * * *")]).await);
    let id = "select id from currant.schedules where name = 'a'";
    let (before, next) = (text(&mut conn, id).await, list(&mut conn).await[0]["next_fire_at"].clone());
    assert!(!apply(&mut conn, &[spec("a", "0 3 * * *"), spec("b", "0 3 * * *")]).await, "nothing changed");
    let berlin = Spec { time_zone: "Europe/Berlin".into(), ..spec("a", "0 3 * * *") };
    assert!(apply(&mut conn, &[berlin]).await);
    assert_eq!(text(&mut conn, id).await, before);
    let rows = list(&mut conn).await;
    assert_eq!(rows.len(), 1);
    assert_ne!(rows[0]["next_fire_at"], next);
    let times = "select last_schedule is null and next_schedule > currant.micros(now()) from currant.schedule_times('{f.task}')";
    assert_eq!(text(&mut conn, times).await, "true");
    assert_eq!(text(&mut conn, "select currant.delete_schedules('{shop/nightly}')").await, "1");
    assert!(list(&mut conn).await.is_empty());
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_with_a_line_that_says_what_to_write() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let array = Spec { args: Some(serde_json::from_str("[1]").unwrap()), ..spec("s", "0 3 * * *") };
    let cases = [
        (vec![spec("s", "0 3 * *")], "such as"),
        (vec![Spec { time_zone: "Berlin".into(), ..spec("s", "0 3 * * *") }], "no time zone \"Berlin\""),
        (vec![spec("", "0 3 * * *")], "1 to 200 characters"),
        (vec![spec("s", "0 3 * * *"), spec("s", "0 4 * * *")], "is there twice"),
        (vec![Spec { jitter: Some(-1.0), ..spec("s", "0 3 * * *") }], "jitter must be"),
        (vec![array], "args must be an object"),
    ];
    for (specs, message) in cases {
        let refusal = schedules::check(&specs).unwrap_err();
        assert!(refusal.contains(message) && !refusal.contains('\n'), "{refusal}");
        assert!(schedules::apply(&mut conn.run().await.unwrap(), "f.task", "o", false, &specs).await.is_err());
    }
    assert!(list(&mut conn).await.is_empty());
}

#[tokio::test]
async fn a_heartbeat_tells_when_the_next_schedule_is_due_whatever_queues_the_worker_serves() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["unrelated"]).await;
    apply(&mut conn, &[spec("s", hourly()), spec("t", "0 0 1 1 *")]).await;
    let beat = workers::heartbeat(&mut conn, me, None, false, None, &Ranges::default()).await.unwrap();
    let next = beat.next_schedule.expect("a time");
    assert!(next > beat.now && next <= beat.now + 3_600_000_000 && next % 3_600_000_000 == 0);
}
