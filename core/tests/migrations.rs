//! Migrations and what clients make of a schema that is not theirs.
mod support;
use currant::client::Client;
use currant::db;
use currant::error::Error;
use currant::verbs::{Answer, Verb};
use support::*;

#[tokio::test]
async fn ten_that_start_at_once_all_end_with_the_same_schema() {
    let database = Database::empty().await;
    let mut starts = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let mut conn = database.connect().await;
        starts.spawn(async move { db::migrate(&mut conn).await });
    }
    while let Some(version) = starts.join_next().await {
        assert_eq!(version.unwrap().unwrap(), db::SCHEMA_VERSION);
    }
    let mut conn = database.connect().await;
    assert_eq!(text(&mut conn, "select count(*) from currant.migrations").await, db::SCHEMA_VERSION.to_string());
}

#[tokio::test]
async fn a_database_without_or_with_an_older_or_newer_schema_is_refused_with_what_to_run() {
    let database = Database::empty().await;
    let mut conn = database.connect().await;
    assert_eq!(db::schema_version(&mut conn).await.unwrap(), 0);
    let refused = db::check_schema(&mut conn).await.unwrap_err();
    assert!(
        matches!(&refused, Error::SchemaMismatch(m) if m.contains("no schema") && m.contains("currant migrate")),
        "{refused}"
    );

    db::migrate(&mut conn).await.unwrap();
    assert_eq!(db::check_schema(&mut conn).await.unwrap(), db::SCHEMA_VERSION);

    run(&mut conn, "update currant.schema_info set min_client = 99".into()).await;
    let refused = db::check_schema(&mut conn).await.unwrap_err();
    assert!(
        matches!(&refused, Error::SchemaMismatch(m) if m.contains("version 99") && m.contains("pip install")),
        "{refused}"
    );

    run(&mut conn, "update currant.schema_info set min_client = 1".into()).await;
    run(&mut conn, format!("delete from currant.migrations where version = {}", db::SCHEMA_VERSION)).await;
    let refused = db::check_schema(&mut conn).await.unwrap_err();
    assert!(matches!(&refused, Error::SchemaMismatch(m) if m.contains("currant migrate")), "{refused}");
}

#[tokio::test]
async fn a_newer_schema_that_still_takes_this_client_is_fine() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    run(&mut conn, "insert into currant.migrations (version, name, checksum) values (1000, '1000_later', '')".into())
        .await;
    assert_eq!(db::check_schema(&mut conn).await.unwrap(), 1000);
    assert_eq!(db::migrate(&mut conn).await.unwrap(), 1000);
}

#[tokio::test]
async fn an_edited_migration_is_refused() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    run(&mut conn, "update currant.migrations set checksum = 'other' where version = 1".into()).await;
    let refused = db::migrate(&mut conn).await.unwrap_err();
    assert!(matches!(&refused, Error::SchemaMismatch(m) if m.contains("0001_schema")), "{refused}");
}

#[tokio::test]
async fn a_client_migrates_an_empty_database_and_refuses_it_before() {
    let database = Database::empty().await;
    let client = Client::new(&database.url, 2).unwrap();
    assert!(matches!(client.ask(Verb::Queues).await, Err(Error::SchemaMismatch(_))));
    assert_eq!(client.ask(Verb::Migrate).await.unwrap(), Answer::Number(db::SCHEMA_VERSION));
    assert_eq!(client.ask(Verb::Queues).await.unwrap(), Answer::Json(b"[]".to_vec()));
}

/// Where the server compiles dear plans, one that makes do without what is turned off looks dearest of all: a claim took seconds.
#[tokio::test]
async fn no_function_that_narrows_its_plans_is_compiled() {
    let database = Database::new().await;
    let sql = "select string_agg(proname, ' ') from pg_proc where pronamespace = 'currant'::regnamespace
        and array_to_string(proconfig, ' ') like '%enable_%' and not proconfig @> array['jit=off']";
    assert_eq!(text(&mut database.connect().await, sql).await, "null");
}

/// `function: its settings` for every function that has some, as the database has them after all migrations.
async fn function_settings(database: &Database) -> String {
    let sql = "select string_agg(p.proname || ': ' || array_to_string(p.proconfig, ', '), e'\n')
        from pg_proc p where p.pronamespace = 'currant'::regnamespace and p.proconfig is not null";
    text(&mut database.connect().await, sql).await
}

/// `create or replace` drops a setting that its header does not repeat, and nothing but a slow query in a large table tells.
#[tokio::test]
async fn every_function_has_exactly_its_settings() {
    let database = Database::empty().await;
    db::migrate(&mut database.connect().await).await.unwrap();
    let settings = function_settings(&database).await;
    let there: Vec<&str> = settings.lines().collect();
    let expected: Vec<&str> = include_str!("function_settings.txt").lines().collect();
    let lost: Vec<_> = expected.iter().filter(|line| !there.contains(line)).collect();
    let unexpected: Vec<_> = there.iter().filter(|line| !expected.contains(line)).collect();
    assert!(
        lost.is_empty() && unexpected.is_empty(),
        "tests/function_settings.txt and the migrations differ.\nonly in the file: {lost:#?}\nonly in the database: {unexpected:#?}"
    );
}

#[test]
fn settings_are_in_the_header_of_their_function() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    for file in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        let sql = std::fs::read_to_string(&file).unwrap().to_lowercase();
        let words =
            sql.lines().filter(|line| !line.starts_with("--")).flat_map(str::split_whitespace).collect::<Vec<_>>();
        let altered = words.windows(2).any(|pair| pair[0] == "alter" && ["function", "routine"].contains(&pair[1]));
        assert!(!altered, "{}: a setting of a function goes into its header", file.display());
    }
}
