//! The schema: numbered migrations of tables, the functions and views of `migrations/functions`, and what clients make of a schema that is
//! not theirs.
mod files;
mod functions;
mod rights;

use serde::Serialize;

use self::files::{File, TABLES};
use self::functions::{FunctionSet, message};
use self::rights::{Rights, check_owner, keep_rights};
use crate::base::error::{Error, Result};
use crate::store::conn::{Conn, Scope};
use crate::store::read::to_json;

/// The newest numbered migration of this build; a newer one in the database will do as long as its `min_client` is not above this.
pub const SCHEMA_VERSION: i32 = TABLES.len() as i32;

/// The findings and changes of a migration.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Migrated {
    /// The newest numbered migration that the database has.
    pub version: i32,
    /// The functions and views that were created, or created anew.
    pub functions: Vec<&'static str>,
    /// The newer release whose functions are there, and were left alone.
    pub newer: Option<String>,
}

/// Any number, the same in every release: one migration at a time in a database.
const MIGRATION_LOCK: i64 = 0x0063_7572_7261_6e74;

/// Applies the numbered migrations that are missing, each in a transaction of its own, then creates the functions whose text has changed, in
/// one. All of this is under one lock, so that ten processes may start at the same time.
pub async fn migrate(conn: &mut Conn) -> Result<Migrated> {
    loop {
        let mut transaction = conn.transaction().await?;
        sqlx::query("select pg_advisory_xact_lock($1)")
            .bind(MIGRATION_LOCK)
            .persistent(false)
            .execute(transaction.conn())
            .await?;
        let rights = Rights::read(&mut transaction).await?;
        keep_books(&mut transaction, &rights).await?;
        let applied = applied(&mut transaction).await?;
        check_history(&applied)?;
        let version = applied.last().map_or(0, |(version, _)| *version);
        let Some(next) = TABLES.iter().find(|file| file.version() > version) else {
            let migrated = create_functions(&mut transaction, &rights, version).await?;
            transaction.done().await?;
            return Ok(migrated);
        };
        check_rights(&mut transaction, &rights).await?;
        sqlx::raw_sql(next.sql).execute(transaction.conn()).await.map_err(|error| failed(next, error))?;
        sqlx::query("insert into currant.migrations (version, name, checksum) values ($1, $2, $3)")
            .bind(next.version())
            .bind(next.name)
            .bind(next.checksum())
            .persistent(false)
            .execute(transaction.conn())
            .await?;
        keep_rights(&mut transaction).await?;
        transaction.done().await?;
    }
}

/// As `migrate`; returns the answer as JSON.
pub async fn migrate_as_json(conn: &mut Conn) -> Result<Vec<u8>> {
    to_json(&migrate(conn).await?)
}

/// The functions of this build, unless a newer release has been here: its pods call what it has made.
async fn create_functions(scope: &mut Scope<'_>, rights: &Rights, version: i32) -> Result<Migrated> {
    let there = FunctionSet::read(scope).await?;
    if let Some(there) = there.as_ref().filter(|there| version > SCHEMA_VERSION || there.is_newer()) {
        return Ok(Migrated { version, newer: Some(there.release.clone()), ..Migrated::default() });
    }
    if there.is_some_and(|there| there.digest == FunctionSet::ours().digest) {
        return Ok(Migrated { version, ..Migrated::default() });
    }
    check_rights(scope, rights).await?;
    let changed = functions::changed(scope).await?;
    functions::create(scope, &changed).await?;
    keep_rights(scope).await?;
    Ok(Migrated { version, functions: changed.iter().map(|file| file.name).collect(), newer: None })
}

async fn check_rights(scope: &mut Scope<'_>, rights: &Rights) -> Result<()> {
    if rights.owner.is_some() {
        rights.check(true)?;
    }
    check_owner(scope, &rights.role).await
}

const BOOKKEEPING: &str = "
    create table currant.migrations (
        version integer primary key,
        name text not null,
        checksum text not null,
        applied_at timestamptz not null default clock_timestamp()
    )";

/// Makes the schema and the list of migrations, as far as they are not there: `create schema if not exists` asks for the right to create
/// schemas even where there is nothing to create. An administrator may have made the schema for a role that has no such right.
async fn keep_books(scope: &mut Scope<'_>, rights: &Rights) -> Result<()> {
    rights.check(false)?;
    let query = sqlx::query_scalar("select to_regclass('currant.migrations') is not null");
    if rights.owner.is_some() && query.persistent(false).fetch_one(scope.conn()).await? {
        return Ok(());
    }
    rights.check(true)?;
    if rights.owner.is_none() {
        sqlx::raw_sql("create schema currant").execute(scope.conn()).await?;
    }
    sqlx::raw_sql(BOOKKEEPING).execute(scope.conn()).await?;
    Ok(())
}

async fn applied(scope: &mut Scope<'_>) -> Result<Vec<(i32, String)>> {
    let query = sqlx::query_as("select version, checksum from currant.migrations order by version");
    Ok(query.persistent(false).fetch_all(scope.conn()).await?)
}

/// A migration never changes once it is released; one that has changed was edited, or comes from a build that was never released.
fn check_history(applied: &[(i32, String)]) -> Result<()> {
    for (version, theirs) in applied {
        let ours = TABLES.iter().find(|file| file.version() == *version);
        if let Some(ours) = ours.filter(|ours| ours.checksum() != *theirs) {
            return Err(Error::SchemaMismatch(format!(
                "migration {} was applied in another form than this build has: the database belongs to an unreleased build; \
                 make a new one, or run the build that it belongs to",
                ours.name
            )));
        }
    }
    Ok(())
}

fn failed(migration: &File, error: sqlx::Error) -> Error {
    match message(error) {
        Ok(message) => Error::Other(format!("migration {} failed: {message}", migration.name)),
        Err(error) => error,
    }
}

/// The schema's version, or 0 if there is no schema.
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
    let functions = FunctionSet::read(&mut transaction).await?;
    transaction.done().await?;
    if min_client > SCHEMA_VERSION {
        return Err(Error::SchemaMismatch(format!(
            "the database's schema (version {version}) takes clients of version {min_client} or later, this Currant is version \
             {SCHEMA_VERSION}: install a newer one (`pip install --upgrade currant`; in Kubernetes a newer chart and image)"
        )));
    }
    match functions {
        Some(there) if version > SCHEMA_VERSION || there.is_newer() || there.digest == FunctionSet::ours().digest => {
            Ok(version)
        }
        Some(there) => Err(Error::SchemaMismatch(format!(
            "the database's functions are those of Currant {}, this Currant ({}) has others: run `currant migrate`",
            there.release,
            functions::RELEASE
        ))),
        None => Err(Error::SchemaMismatch(
            "the database has the tables of Currant and not its functions: run `currant migrate`".into(),
        )),
    }
}
