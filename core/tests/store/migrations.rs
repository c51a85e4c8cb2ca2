//! Migrations and what clients make of a schema that is not theirs.
use crate::support::*;
use currant::base::error::Error;
use currant::client::Client;
use currant::client::verbs::{Migrate, Queues};
use currant::store::migrate;
use currant::store::url::Target;
use uuid::Uuid;

#[tokio::test]
async fn ten_that_start_at_once_all_end_with_the_same_schema() {
    let database = Database::empty().await;
    let mut starts = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let mut conn = database.connect().await;
        starts.spawn(async move { migrate::migrate(&mut conn).await });
    }
    while let Some(version) = starts.join_next().await {
        assert_eq!(version.unwrap().unwrap().version, migrate::SCHEMA_VERSION);
    }
    let mut conn = database.connect().await;
    assert_eq!(text(&mut conn, "select count(*) from currant.migrations").await, migrate::SCHEMA_VERSION.to_string());
}

#[tokio::test]
async fn a_database_without_or_with_an_older_or_newer_schema_is_refused_with_what_to_run() {
    let database = Database::empty().await;
    let mut conn = database.connect().await;
    assert_eq!(migrate::schema_version(&mut conn).await.unwrap(), 0);
    let refused = migrate::check_schema(&mut conn).await.unwrap_err();
    assert!(
        matches!(&refused, Error::SchemaMismatch(m) if m.contains("no schema") && m.contains("currant migrate")),
        "{refused}"
    );

    migrate::migrate(&mut conn).await.unwrap();
    assert_eq!(migrate::check_schema(&mut conn).await.unwrap(), migrate::SCHEMA_VERSION);

    run(&mut conn, "update currant.schema_info set min_client = 99".into()).await;
    let refused = migrate::check_schema(&mut conn).await.unwrap_err();
    assert!(
        matches!(&refused, Error::SchemaMismatch(m) if m.contains("version 99") && m.contains("pip install")),
        "{refused}"
    );

    run(&mut conn, "update currant.schema_info set min_client = 1".into()).await;
    run(&mut conn, format!("delete from currant.migrations where version = {}", migrate::SCHEMA_VERSION)).await;
    let refused = migrate::check_schema(&mut conn).await.unwrap_err();
    assert!(matches!(&refused, Error::SchemaMismatch(m) if m.contains("currant migrate")), "{refused}");
}

#[tokio::test]
async fn a_newer_schema_that_still_takes_this_client_is_fine() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    run(&mut conn, "insert into currant.migrations (version, name, checksum) values (1000, '1000_later', '')".into())
        .await;
    assert_eq!(migrate::check_schema(&mut conn).await.unwrap(), 1000);
    assert_eq!(migrate::migrate(&mut conn).await.unwrap().version, 1000);

    // Two builds of one release: the one with the newer tables has the functions.
    run(&mut conn, "update currant.schema_info set functions_digest = 'other'".into()).await;
    let done = migrate::migrate(&mut conn).await.unwrap();
    assert!(done.functions.is_empty() && done.newer.is_some(), "{done:?}");
    assert_eq!(migrate::check_schema(&mut conn).await.unwrap(), 1000);
}

#[tokio::test]
async fn an_edited_migration_is_refused() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    run(&mut conn, "update currant.migrations set checksum = 'other' where version = 1".into()).await;
    let refused = migrate::migrate(&mut conn).await.unwrap_err();
    assert!(matches!(&refused, Error::SchemaMismatch(m) if m.contains("0001_tables")), "{refused}");
}

/// What the database says of a function: where it is and its text.
async fn function(conn: &mut Conn, name: &str) -> String {
    let sql = "select string_agg(p.xmin || ' ' || p.oid || ' ' || p.prosrc, '; ') from pg_proc p
        where p.pronamespace = 'currant'::regnamespace and p.proname";
    text(conn, &format!("{sql} = '{name}'")).await
}

#[tokio::test]
async fn a_function_whose_text_is_another_is_created_anew_and_only_that() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let (new_id, iso) = (function(&mut conn, "new_id").await, function(&mut conn, "iso").await);
    assert_eq!(migrate::migrate(&mut conn).await.unwrap().functions, [""; 0], "nothing to do");

    // As an earlier build has left it.
    run(
        &mut conn,
        "create or replace function currant.iso(at timestamptz) returns text language sql as $$ select '' $$".into(),
    )
    .await;
    run(&mut conn, "update currant.function_files set checksum = 'other' where name in ('iso', 'runs')".into()).await;
    run(&mut conn, "update currant.schema_info set functions_release = '0.0.1', functions_digest = 'other'".into())
        .await;
    let refused = migrate::check_schema(&mut conn).await.unwrap_err();
    assert!(
        matches!(&refused, Error::SchemaMismatch(m) if m.contains("Currant 0.0.1") && m.contains("currant migrate")),
        "{refused}"
    );

    let done = migrate::migrate(&mut conn).await.unwrap();
    assert_eq!(done.functions, ["iso", "runs"], "views come last");
    assert_eq!(migrate::check_schema(&mut conn).await.unwrap(), migrate::SCHEMA_VERSION);
    let body = |function: &str| function.splitn(3, ' ').nth(2).map(str::to_owned);
    let now = function(&mut conn, "iso").await;
    assert_eq!(body(&now), body(&iso), "its text is back");
    assert_ne!(now, iso, "it was created anew");
    assert_eq!(function(&mut conn, "new_id").await, new_id, "others were not touched");
}

#[tokio::test]
async fn an_older_release_leaves_the_functions_of_a_newer_one_alone_and_says_so() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    run(
        &mut conn,
        "create or replace function currant.iso(at timestamptz) returns text language sql as $$ select 'newer' $$"
            .into(),
    )
    .await;
    run(&mut conn, "update currant.function_files set checksum = 'newer' where name = 'iso'".into()).await;
    run(&mut conn, "update currant.schema_info set functions_release = '99.1.0', functions_digest = 'newer'".into())
        .await;
    let done = migrate::migrate(&mut conn).await.unwrap();
    assert_eq!((done.functions, done.newer.as_deref()), (vec![], Some("99.1.0")));
    assert_eq!(text(&mut conn, "select currant.iso(now())").await, "newer");
    assert_eq!(
        migrate::check_schema(&mut conn).await.unwrap(),
        migrate::SCHEMA_VERSION,
        "the last release's pods still run"
    );
}

#[tokio::test]
async fn a_function_that_is_there_keeps_its_arguments_and_its_result() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    // What an earlier release had: other types of arguments, another name of one, another result, other columns.
    for (file, earlier) in [
        ("iso", "create function currant.iso(at timestamp) returns text language sql as $$ select '' $$"),
        (
            "check_options",
            "drop function currant.check_options; create function currant.check_options(p_options jsonb, p_known text[], p_other text)
            returns void language sql as ''",
        ),
        ("wake", "drop function currant.wake; create function currant.wake(uuid[]) returns void language sql as ''"),
        (
            "statuses",
            "drop function currant.statuses; create function currant.statuses(p_ids uuid[], p_unseen uuid[]) returns text language sql as $$ select '' $$",
        ),
        ("runs", "drop view currant.runs; create view currant.runs as select 1 as one"),
    ] {
        run(&mut conn, "update currant.schema_info set functions_digest = 'other'".into()).await;
        run(&mut conn, format!("begin; {earlier}; delete from currant.function_files where name = '{file}'; commit"))
            .await;
        let refused = migrate::migrate(&mut conn).await.unwrap_err().to_string();
        assert!(
            refused.starts_with(&format!("migrations/functions/{file}.sql: a function that is there keeps")),
            "{refused}"
        );
        match file {
            "iso" => run(&mut conn, "drop function currant.iso(timestamp)".into()).await,
            "wake" => run(&mut conn, "drop function currant.wake(uuid[])".into()).await,
            "runs" => run(&mut conn, "drop view currant.runs".into()).await,
            _ => run(&mut conn, format!("drop function currant.{file}")).await,
        }
        assert_eq!(migrate::migrate(&mut conn).await.unwrap().functions, [file]);
    }
}

/// While they are created nothing reads the bodies of SQL functions, which may name each other.
#[tokio::test]
async fn every_body_is_one_that_the_server_understands() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/functions");
    run(&mut conn, "set check_function_bodies = on".into()).await;
    for file in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_some_and(|extension| extension == "sql") {
            let created = conn.text(std::fs::read_to_string(&file).unwrap()).await;
            assert!(created.is_ok(), "{}: {created:?}", file.display());
        }
    }
}

#[tokio::test]
async fn a_client_migrates_an_empty_database_and_refuses_it_before() {
    let database = Database::empty().await;
    let client = Client::new(&database.url, 2).unwrap();
    assert!(matches!(client.ask(Queues {}).await, Err(Error::SchemaMismatch(_))));
    let done: serde_json::Value = serde_json::from_slice(&client.ask(Migrate {}).await.unwrap()).unwrap();
    assert_eq!((&done["version"], &done["newer"]), (&migrate::SCHEMA_VERSION.into(), &serde_json::Value::Null));
    assert!(done["functions"].as_array().unwrap().contains(&"enqueue".into()));
    assert_eq!(client.ask(Queues {}).await.unwrap(), b"[]");
}

/// A role of its own in a database of its own; dropped before the database is.
struct Role {
    name: String,
    url: String,
}

impl Role {
    async fn new(database: &Database, admin: &mut Conn) -> Role {
        let name = format!("role_{}", Uuid::now_v7().simple());
        run(admin, format!("create role {name} login password 'p'")).await;
        let (base, query) = database.url.split_once('?').unwrap_or((&database.url, ""));
        let address = base.split('@').nth(1).unwrap();
        let role = Role { url: format!("postgresql://{name}:p@{address}?{query}"), name };
        assert!(role.migrate().await.unwrap_err().to_string().contains("create schema currant authorization"));
        role
    }

    async fn migrate(&self) -> Result<i32, Error> {
        let mut conn = Target::parse(&self.url).unwrap().connect().await.unwrap();
        Ok(migrate::migrate(&mut conn).await?.version)
    }

    async fn drop(self, admin: &mut Conn) {
        run(admin, format!("drop owned by {0} cascade; drop role {0}", self.name)).await;
    }
}

#[tokio::test]
async fn the_owner_of_the_schema_migrates_without_a_right_to_the_database() {
    let database = Database::empty().await;
    let mut admin = database.connect().await;
    let role = Role::new(&database, &mut admin).await;
    run(&mut admin, format!("create schema currant authorization {}", role.name)).await;
    assert_eq!(role.migrate().await.unwrap(), migrate::SCHEMA_VERSION);
    assert_eq!(role.migrate().await.unwrap(), migrate::SCHEMA_VERSION, "again, with nothing to do");
    role.drop(&mut admin).await;
}

#[tokio::test]
async fn a_role_that_may_not_migrate_is_told_in_one_line_what_to_grant() {
    let database = Database::empty().await;
    let mut admin = database.connect().await;
    let role = Role::new(&database, &mut admin).await;
    let owner = text(&mut admin, "select current_user").await;
    let name = &role.name;

    run(&mut admin, "create schema currant".into()).await;
    let grant = format!("grant usage, create on schema currant to {name}");
    for right in ["", "usage"] {
        if !right.is_empty() {
            run(&mut admin, format!("grant {right} on schema currant to {name}")).await;
        }
        let refused = role.migrate().await.unwrap_err();
        let said = format!("the schema currant belongs to {owner}");
        assert!(matches!(&refused, Error::Refused(m) if m.contains(&said) && m.contains(&grant)), "{refused}");
    }
    run(&mut admin, grant).await;
    assert_eq!(role.migrate().await.unwrap(), migrate::SCHEMA_VERSION, "what was said to grant is enough");

    run(&mut admin, format!("drop owned by {name} cascade")).await;
    migrate::migrate(&mut admin).await.unwrap();
    run(&mut admin, format!("grant usage, create on schema currant to {name}")).await;
    run(&mut admin, format!("grant select on currant.migrations, currant.schema_info to {name}")).await;
    assert_eq!(role.migrate().await.unwrap(), migrate::SCHEMA_VERSION, "with nothing to do, to read is enough");
    run(&mut admin, format!("delete from currant.migrations where version = {}", migrate::SCHEMA_VERSION)).await;
    let refused = role.migrate().await.unwrap_err();
    let said = format!("the tables of Currant belong to {owner}, and the role {name} may not change them");
    assert!(matches!(&refused, Error::Refused(m) if m.contains(&said)), "{refused}");
    role.drop(&mut admin).await;
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
    migrate::migrate(&mut database.connect().await).await.unwrap();
    let settings = function_settings(&database).await;
    let there: Vec<&str> = settings.lines().collect();
    let expected: Vec<&str> = include_str!("../function_settings.txt").lines().collect();
    let lost: Vec<_> = expected.iter().filter(|line| !there.contains(line)).collect();
    let unexpected: Vec<_> = there.iter().filter(|line| !expected.contains(line)).collect();
    assert!(
        lost.is_empty() && unexpected.is_empty(),
        "tests/function_settings.txt and the migrations differ.\nonly in the file: {lost:#?}\nonly in the database: {unexpected:#?}"
    );
}

#[test]
fn settings_are_in_the_header_of_their_function() {
    let migrations = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let files =
        [migrations.clone(), migrations.join("functions")].map(|directory| std::fs::read_dir(directory).unwrap());
    let files: Vec<_> = files.into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    assert!(files.iter().any(|file| file.ends_with("functions/commit_batch.sql")), "the check sees nothing any more");
    for file in files.into_iter().filter(|file| file.is_file()) {
        let sql = std::fs::read_to_string(&file).unwrap().to_lowercase();
        let words =
            sql.lines().filter(|line| !line.starts_with("--")).flat_map(str::split_whitespace).collect::<Vec<_>>();
        let altered = words.windows(2).any(|pair| pair[0] == "alter" && ["function", "routine"].contains(&pair[1]));
        assert!(!altered, "{}: a setting of a function goes into its header", file.display());
    }
}
