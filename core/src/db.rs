//! The way to the database: URL, connections, the schema's version and its migrations.
//!
//! The URL is that of libpq (`postgresql://user:password@host:port/database`) with its usual parameters (`sslmode`, `sslrootcert`,
//! `options`, ...) and three of our own:
//! - `connect_timeout`: seconds that clients wait for a database that does not answer; default 30
//! - `pgbouncer=true`: the URL leads to a pooler in transaction mode. Statements are then not cached by name, and each runs in an
//!   explicit transaction, since a prepared statement would not meet its own server again (rule o). It costs two round trips a statement;
//!   with PgBouncer 1.21 or later and `max_prepared_statements` above 0 it is not needed.
//! - `direct_url`: (percent-encoded) a URL past the pooler, for LISTEN. Without it a worker behind a pooler polls.
use std::time::Duration;

use md5::{Digest, Md5};
use sqlx::postgres::PgConnectOptions;

use crate::conn::{Conn, Scope};
use crate::error::{Error, Result};

/// One file of `migrations/`; the number is its place.
struct Migration {
    version: i32,
    name: &'static str,
    sql: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "0001_schema", sql: include_str!("../migrations/0001_schema.sql") },
    Migration { version: 2, name: "0002_client", sql: include_str!("../migrations/0002_client.sql") },
    Migration { version: 3, name: "0003_worker", sql: include_str!("../migrations/0003_worker.sql") },
    Migration { version: 4, name: "0004_control", sql: include_str!("../migrations/0004_control.sql") },
    Migration { version: 5, name: "0005_definitions", sql: include_str!("../migrations/0005_definitions.sql") },
    Migration { version: 6, name: "0006_schedules", sql: include_str!("../migrations/0006_schedules.sql") },
    Migration { version: 7, name: "0007_scaling", sql: include_str!("../migrations/0007_scaling.sql") },
];

/// The schema that this build needs; a newer one will do as long as its `min_client` is not above this.
pub const SCHEMA_VERSION: i32 = MIGRATIONS[MIGRATIONS.len() - 1].version;

/// Any number, the same in every release: one migration at a time in a database.
const MIGRATION_LOCK: i64 = 0x0063_7572_7261_6e74;

/// A parsed URL.
#[derive(Clone, Debug)]
pub struct Target {
    pub options: PgConnectOptions,
    pub connect_timeout: Duration,
    /// The URL leads to a transaction pooler.
    pub pooler: bool,
    /// Where LISTEN works; None: nowhere.
    pub listen: Option<PgConnectOptions>,
}

impl Target {
    pub fn parse(url: &str) -> Result<Target> {
        let (ours, theirs) = split_parameters(url)?;
        let pooler = ours.pgbouncer;
        let options = connect_options(&theirs, pooler)?;
        let listen = match (&ours.direct_url, pooler) {
            (Some(direct), _) => Some(connect_options(direct, false)?),
            (None, false) => Some(options.clone()),
            (None, true) => None,
        };
        Ok(Target { options, connect_timeout: ours.connect_timeout, pooler, listen })
    }

    /// Adds to an error of connecting where it was that we could not connect.
    pub fn explain(&self, error: sqlx::Error) -> Error {
        match Error::from(error) {
            Error::Unavailable(message) => Error::Unavailable(format!("{message} ({})", self.address())),
            Error::Refused(message) => Error::Refused(format!("{message} ({})", self.address())),
            other => other,
        }
    }

    pub(crate) fn address(&self) -> String {
        let host = match self.options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => self.options.get_host().to_owned(),
        };
        format!(
            "{host}:{}/{}",
            self.options.get_port(),
            self.options.get_database().unwrap_or(self.options.get_username())
        )
    }
}

struct OurParameters {
    connect_timeout: Duration,
    pgbouncer: bool,
    direct_url: Option<String>,
}

/// Takes our own parameters out of the URL; sqlx gets the rest.
fn split_parameters(url: &str) -> Result<(OurParameters, String)> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(wrong_url("it must start with postgresql://"));
    }
    let mut ours = OurParameters { connect_timeout: Duration::from_secs(30), pgbouncer: false, direct_url: None };
    let Some((base, query)) = url.split_once('?') else { return Ok((ours, url.to_owned())) };
    let mut kept = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "connect_timeout" => {
                let seconds = value.parse::<f64>().ok().filter(|seconds| (0.0..=86_400.0).contains(seconds));
                let seconds = seconds.ok_or_else(|| wrong_url("connect_timeout must be a number of seconds"))?;
                ours.connect_timeout = Duration::from_secs_f64(seconds);
            }
            "pgbouncer" => {
                ours.pgbouncer = value.parse().map_err(|_| wrong_url("pgbouncer must be true or false"))?;
            }
            "direct_url" => ours.direct_url = Some(percent_decode(value)?),
            _ => kept.push(pair),
        }
    }
    let theirs = if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) };
    Ok((ours, theirs))
}

fn connect_options(url: &str, pooler: bool) -> Result<PgConnectOptions> {
    let mut options: PgConnectOptions =
        url.parse().map_err(|error: sqlx::Error| wrong_url(&without_password(&error.to_string(), url)))?;
    if options.get_application_name().is_none() {
        options = options.application_name("currant");
    }
    // Poolers refuse start-up parameters that they do not know; 1 is the server's default since Postgres 12 anyway.
    options = options.extra_float_digits(None);
    if pooler {
        options = options.statement_cache_capacity(0);
    }
    Ok(options)
}

fn wrong_url(what: &str) -> Error {
    Error::Refused(format!("the database URL is wrong: {what}"))
}

fn without_password(message: &str, url: &str) -> String {
    let password =
        url.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')).and_then(|(user, _)| user.split_once(':'));
    match password {
        Some((_, password)) if !password.is_empty() => message.replace(password, "***"),
        _ => message.to_owned(),
    }
}

fn percent_decode(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next(), rest.next()].map(|digit| digit.and_then(|d| (d as char).to_digit(16)));
        match digits {
            [Some(high), Some(low)] => bytes.push((high * 16 + low) as u8),
            _ => return Err(wrong_url("direct_url is not percent-encoded")),
        }
    }
    String::from_utf8(bytes).map_err(|_| wrong_url("direct_url is not UTF-8"))
}

/// Applies the migrations that are missing, each in a transaction of its own under one lock, so that ten may start at once; gives the version.
pub async fn migrate(conn: &mut Conn) -> Result<i32> {
    loop {
        let mut transaction = conn.transaction().await?;
        sqlx::query("select pg_advisory_xact_lock($1)")
            .bind(MIGRATION_LOCK)
            .persistent(false)
            .execute(transaction.conn())
            .await?;
        sqlx::raw_sql(BOOKKEEPING).execute(transaction.conn()).await?;
        let applied = applied(&mut transaction).await?;
        check_history(&applied)?;
        let version = applied.last().map_or(0, |(version, _)| *version);
        let Some(next) = MIGRATIONS.iter().find(|migration| migration.version > version) else {
            transaction.done().await?;
            return Ok(version);
        };
        sqlx::raw_sql(next.sql).execute(transaction.conn()).await.map_err(|error| failed(next, error))?;
        sqlx::query("insert into currant.migrations (version, name, checksum) values ($1, $2, $3)")
            .bind(next.version)
            .bind(next.name)
            .bind(checksum(next.sql))
            .persistent(false)
            .execute(transaction.conn())
            .await?;
        keep_rights(&mut transaction).await?;
        transaction.done().await?;
    }
}

/// The roles of least privilege; `currant roles` prints it.
const ROLES: &str = include_str!("../python/currant/roles.sql");

/// Where the roles are in use in this database, what a migration made or made anew belongs to them as it should when it is committed.
async fn keep_rights(scope: &mut Scope<'_>) -> Result<()> {
    let query = sqlx::query_scalar(
        "select exists (select 1 from pg_catalog.pg_roles r
            where r.rolname = 'currant_reader' and has_schema_privilege(r.oid, 'currant', 'usage'))",
    );
    if query.persistent(false).fetch_one(scope.conn()).await? {
        sqlx::raw_sql(ROLES).execute(scope.conn()).await?;
    }
    Ok(())
}

/// `create schema if not exists` asks for a right even when there is nothing to create.
const BOOKKEEPING: &str = "
    do $$ begin
        if to_regclass('currant.migrations') is null then
            create schema if not exists currant;
            create table currant.migrations (
                version integer primary key,
                name text not null,
                checksum text not null,
                applied_at timestamptz not null default clock_timestamp()
            );
        end if;
    end $$";

async fn applied(scope: &mut Scope<'_>) -> Result<Vec<(i32, String)>> {
    let query = sqlx::query_as("select version, checksum from currant.migrations order by version");
    Ok(query.persistent(false).fetch_all(scope.conn()).await?)
}

/// A migration never changes once it is out; one that did was edited or comes from a build that was never released.
fn check_history(applied: &[(i32, String)]) -> Result<()> {
    for (version, theirs) in applied {
        let ours = MIGRATIONS.iter().find(|migration| migration.version == *version);
        if let Some(ours) = ours.filter(|ours| checksum(ours.sql) != *theirs) {
            return Err(Error::SchemaMismatch(format!(
                "migration {} was applied in another form than this build has: the database belongs to an unreleased build; \
                 make a new one, or run the build that it belongs to",
                ours.name
            )));
        }
    }
    Ok(())
}

fn checksum(sql: &str) -> String {
    format!("{:x}", Md5::digest(sql))
}

fn failed(migration: &Migration, error: sqlx::Error) -> Error {
    match Error::from(error) {
        Error::Data { message, code } => {
            Error::Other(format!("migration {} failed: {message} ({code})", migration.name))
        }
        Error::Refused(message) | Error::SchemaMismatch(message) => {
            Error::Other(format!("migration {} failed: {message}", migration.name))
        }
        other => other,
    }
}

/// The schema's version; 0 where there is none.
pub async fn schema_version(conn: &mut Conn) -> Result<i32> {
    let mut scope = conn.run().await?;
    let version = version(&mut scope).await?;
    scope.done().await?;
    Ok(version)
}

async fn version(scope: &mut Scope<'_>) -> Result<i32> {
    let query = sqlx::query_scalar("select case when to_regclass('currant.migrations') is null then 0 else 1 end");
    let exists: i32 = query.persistent(false).fetch_one(scope.conn()).await?;
    if exists == 0 {
        return Ok(0);
    }
    let query = sqlx::query_scalar("select coalesce(max(version), 0) from currant.migrations");
    Ok(query.persistent(false).fetch_one(scope.conn()).await?)
}

/// Refuses a schema that this build cannot work with, and says what to run.
pub async fn check_schema(conn: &mut Conn) -> Result<i32> {
    let mut transaction = conn.transaction().await?;
    let version = version(&mut transaction).await?;
    if version == 0 {
        return Err(Error::SchemaMismatch("the database has no schema of Currant: run `currant migrate`".into()));
    }
    if version < SCHEMA_VERSION {
        return Err(Error::SchemaMismatch(format!(
            "the database's schema is version {version}, this Currant needs {SCHEMA_VERSION}: run `currant migrate`"
        )));
    }
    let query = sqlx::query_scalar("select min_client from currant.schema_info");
    let min_client: i32 = query.persistent(false).fetch_one(transaction.conn()).await?;
    transaction.done().await?;
    if min_client > SCHEMA_VERSION {
        return Err(Error::SchemaMismatch(format!(
            "the database's schema (version {version}) takes clients of version {min_client} or later, this Currant is version \
             {SCHEMA_VERSION}: install a newer one (`pip install --upgrade currant`; in Kubernetes a newer chart and image)"
        )));
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_parameters_are_taken_out_of_the_url() {
        let (ours, theirs) =
            split_parameters("postgres://u@h/d?connect_timeout=2.5&sslmode=disable&pgbouncer=true").unwrap();
        assert_eq!(ours.connect_timeout, Duration::from_millis(2500));
        assert!(ours.pgbouncer);
        assert_eq!(theirs, "postgres://u@h/d?sslmode=disable");
    }

    #[test]
    fn a_wrong_url_is_refused_in_one_line_without_the_password() {
        for url in [
            "mysql://u:secret@h/d",
            "postgresql://u:secret@h:port/d",
            "postgresql://u:secret@h/d?sslmode=perhaps",
            "postgresql://u:secret@h/d?connect_timeout=soon",
            "",
        ] {
            let error = Target::parse(url).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, Error::Refused(_)), "{url}: {text}");
            assert!(
                text.starts_with("the database URL is wrong") && !text.contains("secret") && !text.contains('\n'),
                "{text}"
            );
        }
    }

    #[test]
    fn behind_a_pooler_nothing_listens_unless_there_is_a_direct_url() {
        assert!(Target::parse("postgres://u@h/d").unwrap().listen.is_some());
        assert!(Target::parse("postgres://u@h/d?pgbouncer=true").unwrap().listen.is_none());
        let direct =
            Target::parse("postgres://u@h/d?pgbouncer=true&direct_url=postgres%3A%2F%2Fu%40other%2Fd").unwrap();
        assert_eq!(direct.listen.unwrap().get_host(), "other");
    }

    #[test]
    fn migrations_are_numbered_by_their_place() {
        for (place, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.version as usize, place + 1);
            assert!(migration.name.starts_with(&format!("{:04}_", migration.version)));
        }
    }
}
