//! Claims that read from their floors on (rule d): nothing is passed over, and what is long claimed is not walked.
use std::collections::HashSet;

use crate::support::*;
use currant::base::types::*;
use currant::engine::decide::floors::Floors;
use currant::store::commit;
use currant::store::enqueue::create_executions;
use currant::store::notify;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

/// A worker that has floors from its first claim on, and looks with each.
struct Claimer {
    id: Uuid,
    conn: Conn,
    floors: Floors,
}

impl Claimer {
    async fn new(database: &Database) -> Claimer {
        let mut conn = database.connect().await;
        let id = register(&mut conn, &["a", "b"]).await;
        let mut floors = Floors::default();
        let slow = BatchReply { slow: Some(1), ..BatchReply::default() };
        floors.claimed(&request(&Floors::default(), 1), &slow, 0);
        Claimer { id, conn, floors }
    }

    async fn claim(&mut self, limit: i32) -> Vec<Claimed> {
        let request = request(&self.floors, limit);
        assert!(!request.ranges.ends.is_empty());
        let batch = Batch::default();
        let reply = commit::commit_and_claim(&mut self.conn, self.id, &batch, Some(&request)).await.unwrap();
        self.floors.claimed(&request, &reply, 0);
        reply.claimed
    }

    async fn hand_back(&mut self, claimed: &Claimed) {
        commit(&mut self.conn, self.id, &ends(claimed, Action::Handback, None)).await;
    }
}

fn request(floors: &Floors, limit: i32) -> ClaimRequest {
    let queues = vec!["a".to_string(), "b".to_string()];
    ClaimRequest { ranges: floors.ranges(&queues), look: true, queues, limit, ..ClaimRequest::default() }
}

async fn enqueue_some(conn: &mut Conn, random: &mut StdRng) {
    let queue = if random.random_bool(0.5) { "a" } else { "b" };
    for _ in 0..random.random_range(1..4) {
        let priority = [2, 5, 5, 5, 9][random.random_range(0..5)];
        let options = format!(r#"{{"queue": "{queue}", "priority": {priority}}}"#);
        run(conn, format!(r#"select currant.enqueue('f.task', '{{"args": [], "kwargs": {{}}}}', '{options}')"#)).await;
    }
}

/// Enqueuers whose transactions end in another order than they begin, workers that hand back, claims in between.
async fn one_history(seed: u64) {
    let database = Database::new().await;
    let mut random = StdRng::seed_from_u64(seed);
    let mut enqueuers = Vec::new();
    for _ in 0..3 {
        enqueuers.push((database.connect().await, false));
    }
    let mut claimers = [Claimer::new(&database).await, Claimer::new(&database).await];
    let mut in_hand: Vec<(usize, Claimed)> = Vec::new();
    for _ in 0..80 {
        let who = random.random_range(0..enqueuers.len());
        let (conn, open) = &mut enqueuers[who];
        match random.random_range(0..10) {
            0..=3 => {
                if !*open && random.random_bool(0.7) {
                    run(conn, "begin".into()).await;
                    *open = true;
                }
                enqueue_some(conn, &mut random).await;
            }
            4 | 5 if *open => {
                run(conn, if random.random_bool(0.2) { "rollback" } else { "commit" }.into()).await;
                *open = false;
            }
            6 if !in_hand.is_empty() => {
                let (claimer, claimed) = in_hand.swap_remove(random.random_range(0..in_hand.len()));
                claimers[claimer].hand_back(&claimed).await;
            }
            _ => {
                let claimer = random.random_range(0..claimers.len());
                let claimed = claimers[claimer].claim(random.random_range(1..5)).await;
                in_hand.extend(claimed.into_iter().map(|claimed| (claimer, claimed)));
            }
        }
    }
    for (conn, open) in &mut enqueuers {
        if *open {
            run(conn, "commit".into()).await;
        }
    }
    for (number, claimer) in claimers.iter_mut().enumerate() {
        while let claimed @ [_, ..] = &claimer.claim(7).await[..] {
            in_hand.extend(claimed.iter().cloned().map(|claimed| (number, claimed)));
        }
    }
    let (conn, _) = &mut enqueuers[0];
    assert_eq!(text(conn, "select count(*) from currant.executions where state = 'pending'").await, "0", "seed {seed}");
    let ids: HashSet<Uuid> = in_hand.iter().map(|(_, claimed)| claimed.id).collect();
    assert_eq!(ids.len(), in_hand.len(), "seed {seed}: one was claimed twice");
}

#[tokio::test]
async fn whatever_order_transactions_end_in_nothing_is_passed_over() {
    for seed in 0..8 {
        one_history(seed).await;
    }
}

#[tokio::test]
async fn a_claim_that_is_undone_leaves_no_floor_above_what_it_had_taken() {
    let database = Database::new().await;
    let mut claimer = Claimer::new(&database).await;
    create_executions(&mut claimer.conn, &[new(call(Kind::Task, "a"))]).await.unwrap();
    let mut other = database.connect().await;
    let id = register(&mut other, &["a", "b"]).await;
    run(&mut other, "begin".into()).await;
    run(&mut other, format!("select count(*) from currant.claim('{id}', array['a', 'b'], 1, false)")).await;
    assert_eq!(claimer.claim(1).await.len(), 0, "another has it");
    run(&mut other, "rollback".into()).await;
    assert_eq!(claimer.claim(1).await.len(), 1);
}

#[tokio::test]
async fn above_floors_too_higher_priority_goes_first_and_within_it_what_became_ready_first() {
    let database = Database::new().await;
    let mut claimer = Claimer::new(&database).await;
    let items: Vec<NewExecution> =
        [3, 5, 9, 5].map(|priority| new(Call { priority, ..call(Kind::Task, "a") })).into_iter().collect();
    create_executions(&mut claimer.conn, &items).await.unwrap();
    let first = claimer.claim(3).await;
    assert_eq!(first.iter().map(|c| c.id).collect::<Vec<_>>(), [items[2].id, items[1].id, items[3].id]);
    let urgent = new(Call { priority: 9, ..call(Kind::Task, "a") });
    create_executions(&mut claimer.conn, std::slice::from_ref(&urgent)).await.unwrap();
    claimer.hand_back(&first[1]).await;
    let second = claimer.claim(10).await;
    assert_eq!(second.iter().map(|c| c.id).collect::<Vec<_>>(), [urgent.id, items[1].id, items[0].id]);
}

/// Pages that a claim looks at which finds nothing.
async fn pages(conn: &mut Conn, claim: &str) -> i64 {
    let sql = format!("explain (analyze, buffers, format json) select * from currant.claim({claim})");
    let plan: serde_json::Value = sqlx::query_scalar::<_, sqlx::types::JsonValue>(sqlx::AssertSqlSafe(sql))
        .fetch_one(conn.run().await.unwrap().conn())
        .await
        .expect("a plan");
    let node = &plan[0]["Plan"];
    assert!(node["Actual Rows"].as_f64() <= Some(1.0), "no row, or one that says that it was slow");
    node["Shared Hit Blocks"].as_i64().unwrap() + node["Shared Read Blocks"].as_i64().unwrap()
}

#[tokio::test]
async fn a_claim_does_not_walk_over_what_was_claimed_before_under_an_old_snapshot_neither() {
    let database = Database::new().await;
    for reader in [
        "begin isolation level repeatable read; select count(*) from currant.executions",
        "begin; select currant.xid()",
    ] {
        let mut old = database.connect().await;
        run(&mut old, reader.into()).await;
        let mut claimer = Claimer::new(&database).await;
        for _ in 0..20 {
            let items: Vec<NewExecution> = (0..500).map(|_| new(call(Kind::Task, "a"))).collect();
            create_executions(&mut claimer.conn, &items).await.unwrap();
            assert_eq!(claimer.claim(501).await.len(), 500);
        }
        claimer.claim(1).await;
        let Ranges { ends, ranges } = claimer.floors.ranges(&["a".to_string(), "b".to_string()]);
        let array =
            |values: Vec<i64>| format!("'{{{}}}'", values.iter().map(i64::to_string).collect::<Vec<_>>().join(","));
        let from_the_start = format!("'{}', array['a', 'b'], 10, false", claimer.id);
        let from_floors = [
            from_the_start.clone(),
            array(ends.iter().map(|end| i64::from(*end)).collect()),
            array(ranges.iter().map(|range| i64::from(range.top)).collect()),
            array(ranges.iter().map(|range| i64::from(range.bottom)).collect()),
            array(ranges.iter().map(|range| range.from).collect()),
            array(ranges.iter().map(|range| range.to).collect()),
        ]
        .join(", ");
        for _ in 0..3 {
            pages(&mut claimer.conn, &from_the_start).await; // what can be pruned is pruned
            pages(&mut claimer.conn, &from_floors).await;
        }
        let walked = pages(&mut claimer.conn, &from_the_start).await;
        let read = pages(&mut claimer.conn, &from_floors).await;
        assert!(walked > 600, "there is nothing to walk over: {walked} pages");
        assert!(read < 250, "{read} pages from the floors, {walked} from the start");
        run(&mut old, "rollback".into()).await;
    }
}

#[tokio::test]
async fn a_wake_up_is_about_what_its_own_transactions_made_ready() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    enqueue(&mut conn, Kind::Task, "q").await;
    let since: i64 = text(&mut conn, "select max(ready_xid) from currant.executions").await.parse().unwrap();
    let mut listener = sqlx::postgres::PgListener::connect(&database.url).await.unwrap();
    listener.listen(&notify::channels(me, &[])[0]).await.unwrap();
    falls_asleep(&mut conn, me, Some(Micros::MAX / 4)).await;
    for since in [since + 1, since] {
        notify::wake(&mut conn, &Wakes { queues: vec!["q".into()], since: Some(since), ..Wakes::default() })
            .await
            .unwrap();
    }
    notify::wake(&mut conn, &Wakes { workers: vec![(me, Uuid::nil())], ..Wakes::default() }).await.unwrap();
    let mut heard = Vec::new();
    while heard.last().is_none_or(|payload: &String| payload.is_empty()) {
        heard.push(listener.recv().await.unwrap().payload().to_string());
    }
    assert_eq!(
        heard,
        ["".to_string(), Uuid::nil().to_string()],
        "once, for the transaction that there is something of"
    );
}
