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
                    looked = workers::heartbeat(&mut worker_conn, me, until, false, None).await.unwrap().ready;
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
        workers::heartbeat(&mut worker_conn, me, None, false, None).await.unwrap();
        claim_one(&mut worker_conn, me, "q").await;
    }
}
