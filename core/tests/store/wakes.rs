//! Which sleeping workers are notified, and that no wake-up is lost.
use crate::support::*;
use currant::base::types::*;
use currant::store::enqueue::create_executions;
use currant::store::notify;
use currant::store::workers;
use sqlx::postgres::PgListener;
use uuid::Uuid;

/// Rule e: only who sleeps past what is there now is notified.
#[tokio::test]
async fn only_workers_that_sleep_past_the_work_are_woken() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let now = text(&mut conn, "select currant.micros(clock_timestamp())").await.parse::<i64>().unwrap();
    let awake = register(&mut conn, &["q"]).await;
    let asleep = register(&mut conn, &["q"]).await;
    let elsewhere = register(&mut conn, &["other"]).await;
    for sleeper in [asleep, elsewhere] {
        falls_asleep(&mut conn, sleeper, Some(now + 60_000_000)).await;
    }
    let mut listener = PgListener::connect(&database.url).await.unwrap();
    let channels: Vec<String> = [awake, asleep, elsewhere].iter().flat_map(|w| notify::channels(*w, &[])).collect();
    listener.listen_all(channels.iter().map(String::as_str)).await.unwrap();

    let wakes = Wakes { queues: vec!["q".into()], ..Wakes::default() };
    let late = new(Call { delay: Some(3600.0), ..call(Kind::Task, "q") });
    create_executions(&mut conn, &[late]).await.unwrap();
    notify::wake(&mut conn, &wakes).await.unwrap(); // due after both wake by themselves
    let soon = new(Call { delay: Some(30.0), ..call(Kind::Task, "q") });
    create_executions(&mut conn, &[soon]).await.unwrap();
    notify::wake(&mut conn, &wakes).await.unwrap();
    enqueue(&mut conn, Kind::Task, "q").await;
    notify::wake(&mut conn, &wakes).await.unwrap();
    notify::wake(&mut conn, &Wakes { workers: vec![(awake, Uuid::nil())], ..Wakes::default() }).await.unwrap();

    let mut heard = Vec::new();
    loop {
        let notification = listener.recv().await.unwrap();
        heard.push(notification.channel().to_owned());
        if notification.payload() == Uuid::nil().to_string() {
            break;
        }
    }
    let (asleep, awake) = (format!("currant_w_{asleep}"), format!("currant_w_{awake}"));
    assert_eq!(
        heard,
        [asleep.clone(), asleep, awake],
        "once for what is due soon, once for what is ready; the last is the test's own"
    );
}

/// The channels on which workers were notified since the last call, and the payloads.
async fn heard(conn: &mut Conn, listener: &mut PgListener, end: Uuid) -> Vec<(String, String)> {
    notify::wake(conn, &Wakes { workers: vec![(end, Uuid::nil())], ..Wakes::default() }).await.unwrap();
    let mut heard = Vec::new();
    loop {
        let notification = listener.recv().await.unwrap();
        if notification.payload() == Uuid::nil().to_string() {
            return heard;
        }
        heard.push((notification.channel().to_owned(), notification.payload().to_owned()));
    }
}

/// An enqueue whose own commit notifies, as the client makes it; of one, and of two.
const NOTIFYING: &str = "select currant.create_execution(p_id => currant.new_id(), p_args => '{}', p_key => null, p_kind => 'task',
    p_function => 'f.task', p_queue => 'q', p_priority => 5::smallint, p_options => null, p_delay => null, p_run_at => null, p_given => '',
    p_checked => null, p_notify => true)";
const NOTIFYING_OF_TWO: &str = "select currant.create_executions(p_ids => array[currant.new_id(), currant.new_id()],
    p_args => array['{}', '{}']::bytea[], p_calls => array[1, 1], p_keys => '{}', k_kinds => array['task'], k_functions => array['f.task'],
    k_queues => array['q'], k_priorities => array[5]::smallint[], k_options => array[null], k_delays => array[null]::float8[],
    k_run_ats => array[null]::bigint[], k_given => array[''], k_checked => array[null], p_notify => true)";

/// A fleet that is idle: the work of one is told to one, each time to another, until nobody sleeps any more.
#[tokio::test]
async fn as_many_workers_are_woken_as_there_is_work_for() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let mut sleepers = Vec::new();
    let awake = register(&mut conn, &["q"]).await;
    let now = text(&mut conn, "select currant.micros(clock_timestamp())").await.parse::<i64>().unwrap();
    for _ in 0..6 {
        let sleeper = register(&mut conn, &["q", "other"]).await;
        falls_asleep(&mut conn, sleeper, Some(now + 60_000_000)).await;
        sleepers.push(sleeper);
    }
    let mut listener = PgListener::connect(&database.url).await.unwrap();
    let channels: Vec<String> = sleepers.iter().chain([&awake]).flat_map(|w| notify::channels(*w, &[])).collect();
    listener.listen_all(channels.iter().map(String::as_str)).await.unwrap();

    let wakes = Wakes { queues: vec!["q".into()], ..Wakes::default() };
    let mut told = Vec::new();
    for _ in 0..2 {
        run(&mut conn, NOTIFYING.into()).await;
        told.push(heard(&mut conn, &mut listener, awake).await);
    }
    run(&mut conn, NOTIFYING_OF_TWO.into()).await;
    told.push(heard(&mut conn, &mut listener, awake).await);
    assert_eq!(told.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 2]);

    // The second statement after a commit finds four that are ready, and two that sleep. One is alone then: it is notified as before.
    run(
        &mut conn,
        "delete from currant.executions where id <> (select min(id::text)::uuid from currant.executions)".into(),
    )
    .await;
    notify::wake(&mut conn, &wakes).await.unwrap();
    told.push(heard(&mut conn, &mut listener, awake).await);
    notify::wake(&mut conn, &wakes).await.unwrap();
    told.push(heard(&mut conn, &mut listener, awake).await);
    let told: Vec<_> = told.concat();
    assert_eq!(
        told.iter().map(|(_, payload)| payload.as_str()).collect::<Vec<_>>(),
        ["told", "told", "told", "told", "told", ""]
    );
    let mut each: Vec<_> = told.iter().map(|(channel, _)| channel.clone()).collect();
    each.sort();
    each.dedup();
    assert_eq!(each.len(), 6, "nobody was told twice: {told:?}");
    notify::wake(&mut conn, &wakes).await.unwrap();
    assert_eq!(heard(&mut conn, &mut listener, awake).await.len(), 1, "whoever sleeps alone keeps its flag");
}

/// Rule e: the flag is committed before the look, the work before the wake-up, so that in every order one sees the other. The look
/// takes two steps: what it writes is not seen until its transaction ends.
#[tokio::test]
async fn no_order_of_falling_asleep_and_enqueuing_loses_the_wake_up() {
    let database = Database::new().await;
    let (mut worker_conn, mut client) = (database.connect().await, database.connect().await);
    let me = register(&mut worker_conn, &["q"]).await;
    let mut listener = PgListener::connect(&database.url).await.unwrap();
    listener.listen(&notify::channels(me, &[])[0]).await.unwrap();
    let until = Some(i64::MAX / 1000);
    // w: the worker's next step (flag, look, end of the look); c: the client's (commit, wake).
    for order in ["wwwcc", "wwcwc", "wwccw", "wcwwc", "wcwcw", "wccww", "cwwwc", "cwwcw", "cwcww", "ccwww"] {
        let (mut worker_steps, mut client_steps, mut looked) = (0, 0, false);
        for step in order.chars() {
            match (step, worker_steps, client_steps) {
                ('w', 0, _) => falls_asleep(&mut worker_conn, me, until).await,
                ('w', 1, _) => {
                    run(&mut worker_conn, "begin".into()).await;
                    looked = workers::heartbeat(&mut worker_conn, me, until, false, None, &Ranges::default())
                        .await
                        .unwrap()
                        .ready;
                }
                ('w', ..) => run(&mut worker_conn, "commit".into()).await,
                (_, _, 0) => {
                    enqueue(&mut client, Kind::Task, "q").await;
                }
                _ => notify::wake(&mut client, &Wakes { queues: vec!["q".into()], ..Wakes::default() }).await.unwrap(),
            }
            if step == 'w' { worker_steps += 1 } else { client_steps += 1 }
        }
        let end = Wakes { workers: vec![(me, Uuid::nil())], ..Wakes::default() };
        notify::wake(&mut client, &end).await.unwrap();
        let mut notified = false;
        while listener.recv().await.unwrap().payload() != Uuid::nil().to_string() {
            notified = true;
        }
        assert!(looked || notified, "{order}: the worker sleeps over the work");
        workers::heartbeat(&mut worker_conn, me, None, false, None, &Ranges::default()).await.unwrap();
        claim_one(&mut worker_conn, me, "q").await;
    }
}
