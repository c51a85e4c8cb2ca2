//! `core/.sqlx` has for each query what a database of this schema answers: a build without a database trusts it.
//!
//! The macros write these files with the same call (`cargo sqlx prepare`), but need a build of everything for it. That each query
//! has a file is what every build checks; that each file has a query is checked by `python -m scripts.generate --check sqlx`.
use crate::support::*;
use currant::store::migrate::migrate;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqlSafeStr};
use std::path::Path;

#[tokio::test]
async fn each_kept_answer_is_what_the_database_says() {
    let database = Database::empty().await;
    migrate(&mut database.connect().await).await.unwrap();
    let mut conn = PgConnection::connect(&database.url).await.unwrap();
    let mut differing = Vec::new();
    let mut count = 0;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx")).unwrap() {
        let path = entry.unwrap().path();
        let kept: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let query = kept["query"].as_str().unwrap();
        count += 1;
        match (&mut conn).describe(AssertSqlSafe(query).into_sql_str()).await {
            Ok(found) if serde_json::to_value(&found).unwrap() == kept["describe"] => {}
            Ok(_) => differing.push(format!("{query}: other columns, types or nulls")),
            Err(error) => differing.push(format!("{query}: {error}")),
        }
    }
    assert!(count > 0);
    assert!(differing.is_empty(), "run make generate; core/.sqlx is old for:\n{}", differing.join("\n"));
}
