//! The schema's version and its migrations.
use crate::base::error::{Error, Result};
use crate::store::conn::{Conn, Scope};
use md5::{Digest, Md5};
use sqlx::Row;

/// One file of `migrations/`; the number is its place.
struct Migration {
    version: i32,
    name: &'static str,
    sql: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "0001_schema", sql: include_str!("../../migrations/0001_schema.sql") },
    Migration { version: 2, name: "0002_client", sql: include_str!("../../migrations/0002_client.sql") },
    Migration { version: 3, name: "0003_worker", sql: include_str!("../../migrations/0003_worker.sql") },
    Migration { version: 4, name: "0004_control", sql: include_str!("../../migrations/0004_control.sql") },
    Migration { version: 5, name: "0005_definitions", sql: include_str!("../../migrations/0005_definitions.sql") },
    Migration { version: 6, name: "0006_schedules", sql: include_str!("../../migrations/0006_schedules.sql") },
    Migration { version: 7, name: "0007_scaling", sql: include_str!("../../migrations/0007_scaling.sql") },
];

/// The schema that this build needs; a newer one will do as long as its `min_client` is not above this.
pub const SCHEMA_VERSION: i32 = MIGRATIONS[MIGRATIONS.len() - 1].version;

/// Any number, the same in every release: one migration at a time in a database.
const MIGRATION_LOCK: i64 = 0x0063_7572_7261_6e74;

/// Applies the migrations that are missing, each in a transaction of its own under one lock, so that ten may start at once; gives the version.
pub async fn migrate(conn: &mut Conn) -> Result<i32> {
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
        let Some(next) = MIGRATIONS.iter().find(|migration| migration.version > version) else {
            transaction.done().await?;
            return Ok(version);
        };
        if rights.owner.is_some() {
            rights.check(true)?;
        }
        check_owner(&mut transaction, &rights.role).await?;
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
const ROLES: &str = include_str!("../../python/currant/roles.sql");

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

/// What stands between this role and a migration.
struct Rights {
    role: String,
    database: String,
    /// The owner of the schema; None: there is none.
    owner: Option<String>,
    uses_schema: bool,
    creates_in_schema: bool,
    creates_schemas: bool,
}

impl Rights {
    async fn read(scope: &mut Scope<'_>) -> Result<Rights> {
        let query = sqlx::query(
            "select current_user::text, current_database()::text, pg_get_userbyid(n.nspowner)::text,
                coalesce(has_schema_privilege(n.oid, 'usage'), false), coalesce(has_schema_privilege(n.oid, 'create'), false),
                has_database_privilege(current_database(), 'create')
            from (select 1) one left join pg_namespace n on n.nspname = 'currant'",
        );
        let row = query.persistent(false).fetch_one(scope.conn()).await?;
        Ok(Rights {
            role: row.try_get(0)?,
            database: row.try_get(1)?,
            owner: row.try_get(2)?,
            uses_schema: row.try_get(3)?,
            creates_in_schema: row.try_get(4)?,
            creates_schemas: row.try_get(5)?,
        })
    }

    /// Refuses what would fail, with what to grant. `create`: something is to be made.
    fn check(&self, create: bool) -> Result<()> {
        let Rights { role, database, .. } = self;
        match &self.owner {
            None if create && !self.creates_schemas => Err(Error::Refused(format!(
                "the role {role} may not create the schema currant: let an administrator run \
                 `create schema currant authorization {role}` in the database {database}, then `currant migrate` again"
            ))),
            Some(owner) if !self.uses_schema || (create && !self.creates_in_schema) => Err(Error::Refused(format!(
                "the schema currant belongs to {owner}, and the role {role} may not create in it: migrate as {owner}, or let \
                 {owner} run `grant usage, create on schema currant to {role}`"
            ))),
            _ => Ok(()),
        }
    }
}

/// What a migration changes belongs to the role that migrated before: only that role, or a member of it, may change it.
async fn check_owner(scope: &mut Scope<'_>, role: &str) -> Result<()> {
    let query = sqlx::query_scalar(
        "select pg_get_userbyid(c.relowner)::text from pg_class c
        where c.oid = 'currant.migrations'::regclass and not pg_has_role(c.relowner, 'usage')",
    );
    let owner: Option<String> = query.persistent(false).fetch_optional(scope.conn()).await?;
    owner.map_or(Ok(()), |owner| {
        Err(Error::Refused(format!(
            "the tables of Currant belong to {owner}, and the role {role} may not change them: migrate as {owner}, or run \
             `grant {owner} to {role}`"
        )))
    })
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
    fn migrations_are_numbered_by_their_place() {
        for (place, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.version as usize, place + 1);
            assert!(migration.name.starts_with(&format!("{:04}_", migration.version)));
        }
    }
}
