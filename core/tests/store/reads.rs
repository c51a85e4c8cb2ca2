//! What commands read: counts, one execution with its tree, lists.
use crate::enqueues::create;
use crate::support::*;
use currant::base::error::Error;
use currant::base::types::*;
use currant::store::control::send_signal;
use currant::store::enqueue::create_executions;
use currant::store::read;
use uuid::Uuid;

#[tokio::test]
async fn queue_stats_count_by_state() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q", "idle"]).await;
    for _ in 0..3 {
        enqueue(&mut conn, Kind::Workflow, "q").await;
    }
    create_executions(&mut conn, &[new(Call { delay: Some(60.0), ..call(Kind::Task, "q") })]).await.unwrap();
    let runs = claim(&mut conn, me, &["q"], 2).await;
    commit(&mut conn, me, &suspends(&runs[0], runs[0].wakes, None)).await;
    let sql = "select string_agg(concat_ws(' ', queue, ready, delayed, running, suspended, held, workers), ', ' order by queue) from currant.queue_stats";
    assert_eq!(text(&mut conn, sql).await, "idle 0 0 0 0 0 1, q 1 1 1 1 0 1");
    let json = String::from_utf8(read::queues(&mut conn).await.unwrap()).unwrap();
    assert!(json.contains(r#""queue":"q","ready":1,"delayed":1"#), "{json}");
}

#[tokio::test]
async fn show_gives_the_whole_tree_and_payloads_digit_for_digit() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let me = register(&mut conn, &["q"]).await;
    let args = br#"{"args": [1.00, 123456789012345678901234567890, "\u0000"], "kwargs": {"b": 1, "a": 2}}"#.to_vec();
    let root = create(&mut conn, &new(Call { args: args.clone(), ..call(Kind::Workflow, "q") })).await;
    let claimed = claim_one(&mut conn, me, "q").await;
    assert_eq!(claimed.args, args);
    commit(&mut conn, me, &starts(&claimed, vec![child(&claimed, "0", call(Kind::Task, "q"), true)])).await;
    send_signal(&mut conn, root, "go", b"1", None).await.unwrap();
    let shown = String::from_utf8(read::show(&mut conn, root).await.unwrap()).unwrap();
    assert!(shown.contains(std::str::from_utf8(&args).unwrap()), "{shown}");
    let tree: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(tree["executions"].as_array().unwrap().len(), 2);
    assert_eq!(tree["executions"][1]["step_key"], "0");
    assert_eq!(tree["executions"][0]["worker"], "w");
    assert_eq!(tree["signals"][0]["name"], "go");
    assert!(matches!(read::show(&mut conn, Uuid::now_v7()).await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn list_filters_and_gives_the_newest_first() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let ids = [enqueue(&mut conn, Kind::Task, "a").await, enqueue(&mut conn, Kind::Task, "b").await];
    let list = async |conn: &mut Conn, filters: &str| {
        let filters = read::Filters::parse(filters.as_bytes()).unwrap();
        let rows: serde_json::Value =
            serde_json::from_slice(&read::list_executions(conn, &filters).await.unwrap()).unwrap();
        rows.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(list(&mut conn, "{}").await, [ids[1].to_string(), ids[0].to_string()]);
    assert_eq!(list(&mut conn, r#"{"queue": "a"}"#).await, [ids[0].to_string()]);
    assert_eq!(list(&mut conn, r#"{"limit": 1, "roots": true}"#).await, [ids[1].to_string()]);
    assert!(
        list(&mut conn, r#"{"state": "failed"}"#).await.is_empty()
            && list(&mut conn, r#"{"held": true}"#).await.is_empty()
    );
    for wrong in [r#"{"colour": 1}"#, r#"{"state": "done"}"#, r#"{"limit": -1}"#, "["] {
        assert!(matches!(read::Filters::parse(wrong.as_bytes()), Err(Error::Invalid(_))), "{wrong}");
    }
}
