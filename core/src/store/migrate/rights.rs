//! The rights of the role that migrates, and those of other roles afterwards.
use sqlx::Row;

use crate::base::error::{Error, Result};
use crate::store::conn::Scope;

/// The rights that this role lacks for a migration.
pub(super) struct Rights {
    pub role: String,
    database: String,
    /// The owner of the schema, or None if there is no schema.
    pub owner: Option<String>,
    uses_schema: bool,
    creates_in_schema: bool,
    creates_schemas: bool,
}

impl Rights {
    pub(super) async fn read(scope: &mut Scope<'_>) -> Result<Rights> {
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
    pub(super) fn check(&self, create: bool) -> Result<()> {
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

/// Refuses a role that may not change the tables: only the role that made them (by an earlier migration), or a member of it, may do that.
pub(super) async fn check_owner(scope: &mut Scope<'_>, role: &str) -> Result<()> {
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

/// The roles of least privilege; `currant roles` prints it.
const ROLES: &str = include_str!("../../../python/currant/roles.sql");

/// If this database uses the roles of `currant roles`, gives them their rights on everything that the migration has made, in its transaction.
pub(super) async fn keep_rights(scope: &mut Scope<'_>) -> Result<()> {
    let query = sqlx::query_scalar(
        "select exists (select 1 from pg_catalog.pg_roles r
            where r.rolname = 'currant_reader' and has_schema_privilege(r.oid, 'currant', 'usage'))",
    );
    if query.persistent(false).fetch_one(scope.conn()).await? {
        sqlx::raw_sql(ROLES).execute(scope.conn()).await?;
    }
    Ok(())
}
