//! An operator's queries about all workers and queues at once.
use uuid::Uuid;

use crate::base::error::Result;
use crate::base::types::{Micros, Wakes};
use crate::store::conn::Conn;
use crate::store::notify::{Wake, wakes_of};

/// How these pools stand (`pools` is JSON: `[{"key", "queues"}]`) and every live worker, as JSON, in one statement (docs/internals/engine.md).
pub async fn fleet(conn: &mut Conn, pools: &str) -> Result<Vec<u8>> {
    let mut scope = conn.run().await?;
    let query = sqlx::query_scalar!(r#"select currant.fleet($1::text::jsonb)::text as "fleet!""#, pools);
    let fleet = query.fetch_one(scope.conn()).await?;
    scope.done().await?;
    Ok(fleet.into_bytes())
}

/// All that these pools are sized by (`pools` is JSON: `[{"key", "queues", "horizon"}]`), as JSON, in one statement.
pub async fn scaling(conn: &mut Conn, pools: &str) -> Result<Vec<u8>> {
    let mut scope = conn.run().await?;
    let query = sqlx::query_scalar!(r#"select currant.scaling($1::text::jsonb)::text as "scaling!""#, pools);
    let scaling = query.fetch_one(scope.conn()).await?;
    scope.done().await?;
    Ok(scaling.into_bytes())
}

/// Asks the workers of these pods to take nothing more (`drain`), or to go on.
pub async fn ask_to_drain(conn: &mut Conn, pod_uids: &[String], drain: bool) -> Result<()> {
    let mut scope = conn.run().await?;
    sqlx::query!("select currant.ask_to_drain($1, $2)", pod_uids, drain).execute(scope.conn()).await?;
    scope.done().await
}

/// Ends the workers of pods that are gone, so that what they ran is taken over at once, with the reason in its error. Returns whom to wake.
/// `pods`: (UID, reason).
pub async fn end_pods(conn: &mut Conn, pods: &[(String, String)]) -> Result<Wakes> {
    let (uids, reasons): (Vec<&str>, Vec<&str>) =
        pods.iter().map(|(uid, reason)| (uid.as_str(), reason.as_str())).unzip();
    let mut scope = conn.run().await?;
    let query = sqlx::query_as!(
        Wake,
        "select queue, worker_id, id from currant.end_pods($1, $2)",
        &uids as &[&str],
        &reasons as &[&str]
    );
    let rows = query.fetch_all(scope.conn()).await?;
    scope.done().await?;
    Ok(wakes_of(rows))
}

/// As `end_pods`, for containers that ended in pods that stay. Workers that began later are left alone.
/// `containers`: (UID of the pod, reason, end).
pub async fn end_containers(conn: &mut Conn, containers: &[(String, String, Micros)]) -> Result<Wakes> {
    let uids: Vec<&str> = containers.iter().map(|(uid, _, _)| uid.as_str()).collect();
    let reasons: Vec<&str> = containers.iter().map(|(_, reason, _)| reason.as_str()).collect();
    let ends: Vec<Micros> = containers.iter().map(|(_, _, end)| *end).collect();
    let mut scope = conn.run().await?;
    let query = sqlx::query_as!(
        Wake,
        "select queue, worker_id, id from currant.end_containers($1, $2, $3)",
        &uids as &[&str],
        &reasons as &[&str],
        &ends
    );
    let rows = query.fetch_all(scope.conn()).await?;
    scope.done().await?;
    Ok(wakes_of(rows))
}

/// Has a caller that is no worker notified like one when something becomes ready in these queues, for this number of seconds (0: no longer).
pub async fn sleep_for(conn: &mut Conn, id: Uuid, queues: &[String], seconds: f64) -> Result<()> {
    let mut scope = conn.run().await?;
    let query = sqlx::query!("select currant.sleep_for($1, 'watcher', $2, $3)", id, queues, seconds);
    query.execute(scope.conn()).await?;
    scope.done().await
}

/// Whether something is ready in these queues. To be asked after `sleep_for`, because what became ready before it notified nobody.
pub async fn any_ready(conn: &mut Conn, queues: &[String]) -> Result<bool> {
    let mut scope = conn.run().await?;
    let query = sqlx::query_scalar!(r#"select currant.any_ready($1) as "ready!""#, queues);
    let ready = query.fetch_one(scope.conn()).await?;
    scope.done().await?;
    Ok(ready)
}
