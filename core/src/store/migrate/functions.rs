//! Functions and views: each is a file of `migrations/functions`, and is created anew when the file's text has changed.
//!
//! A release's functions are a set. The set in the database belongs to the newest release that has migrated: `currant.schema_info` has its number
//! and its digest. An older release leaves a newer set alone, because what newer pods call must stay (rule p).
use std::sync::LazyLock;

use md5::{Digest, Md5};
use sqlx::Row;

use super::files::{self, FUNCTIONS, File};
use crate::base::error::{Error, Result};
use crate::store::conn::Scope;

/// This release, as it is kept with the functions.
pub(super) const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// The set of functions that a database has: of which release it is, and a hash of all texts.
#[derive(Debug, PartialEq)]
pub(super) struct FunctionSet {
    pub release: String,
    pub digest: String,
}

impl FunctionSet {
    /// The set of this build.
    pub(super) fn ours() -> &'static FunctionSet {
        &OURS
    }

    /// None if the database has no functions yet.
    pub(super) async fn read(scope: &mut Scope<'_>) -> Result<Option<FunctionSet>> {
        let query = sqlx::query("select functions_release, functions_digest from currant.schema_info");
        let row = query.persistent(false).fetch_one(scope.conn()).await?;
        let (release, digest): (Option<String>, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
        Ok(release.zip(digest).map(|(release, digest)| FunctionSet { release, digest }))
    }

    /// Whether a newer release than this one has made it.
    pub(super) fn is_newer(&self) -> bool {
        numbers(&self.release) > numbers(RELEASE)
    }

    async fn write(&self, scope: &mut Scope<'_>) -> Result<()> {
        let query = sqlx::query("update currant.schema_info set functions_release = $1, functions_digest = $2");
        query.bind(&self.release).bind(&self.digest).persistent(false).execute(scope.conn()).await?;
        Ok(())
    }
}

static OURS: LazyLock<FunctionSet> = LazyLock::new(|| {
    let texts: Vec<_> = FUNCTIONS.iter().map(|file| format!("{} {}", file.name, file.checksum())).collect();
    FunctionSet { release: RELEASE.into(), digest: format!("{:x}", Md5::digest(texts.join("\n"))) }
});

/// The numbers of a release, to compare by: `0.10.2` is newer than `0.9`.
fn numbers(release: &str) -> Vec<u64> {
    let plain = release.split(['-', '+']).next().unwrap_or_default();
    plain.split('.').map(|number| number.parse().unwrap_or(0)).collect()
}

/// The files whose text is not the one that the database was given, in the order in which to create them.
pub(super) async fn changed(scope: &mut Scope<'_>) -> Result<Vec<&'static File>> {
    let query = sqlx::query_as("select name, checksum from currant.function_files");
    let there: Vec<(String, String)> = query.persistent(false).fetch_all(scope.conn()).await?;
    let is_there = |file: &File| there.iter().any(|(name, checksum)| name == file.name && *checksum == file.checksum());
    Ok(files::in_order().into_iter().filter(|file| !is_there(file)).collect())
}

/// Creates these functions and views, and notes whose they are.
pub(super) async fn create(scope: &mut Scope<'_>, files: &[&File]) -> Result<()> {
    // A function may name one that comes later.
    sqlx::raw_sql("set local check_function_bodies = off").execute(scope.conn()).await?;
    for file in files {
        sqlx::raw_sql(file.sql).execute(scope.conn()).await.map_err(|error| refused(file, error))?;
        check_overloads(scope, file).await?;
        sqlx::query(
            "insert into currant.function_files as f (name, checksum) values ($1, $2)
            on conflict (name) do update set checksum = excluded.checksum, created_at = clock_timestamp()",
        )
        .bind(file.name)
        .bind(file.checksum())
        .persistent(false)
        .execute(scope.conn())
        .await?;
    }
    FunctionSet::ours().write(scope).await
}

const KEEPS: &str =
    "a function that is there keeps its arguments and its result: a change is a new function, with a name of its own";

/// A function with other argument types would be a second one beside the first, and Postgres would choose between them at each call.
async fn check_overloads(scope: &mut Scope<'_>, file: &File) -> Result<()> {
    let query = sqlx::query_scalar(
        "select count(*) from pg_catalog.pg_proc p where p.pronamespace = 'currant'::regnamespace and p.proname = $1",
    );
    let number: i64 = query.bind(file.name).persistent(false).fetch_one(scope.conn()).await?;
    if number > 1 {
        return Err(Error::Other(format!("migrations/functions/{}.sql: {KEEPS}", file.name)));
    }
    Ok(())
}

/// The server's errors for a result, an argument's name, or a view's column that differs from before.
const CHANGED: &[&str] = &["42P13", "42P16"];

/// The server's reason for refusing a statement, or an error if something else went wrong.
pub(super) fn message(error: sqlx::Error) -> std::result::Result<String, Error> {
    match Error::from(error) {
        Error::Data { message, code } => Ok(format!("{message} ({code})")),
        Error::Refused(message) | Error::SchemaMismatch(message) => Ok(message),
        other => Err(other),
    }
}

fn refused(file: &File, error: sqlx::Error) -> Error {
    let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
    let said = message(error);
    match said {
        Ok(said) if CHANGED.contains(&code.as_str()) => {
            Error::Other(format!("migrations/functions/{}.sql: {KEEPS} ({said})", file.name))
        }
        Ok(said) => Error::Other(format!("migrations/functions/{}.sql failed: {said}", file.name)),
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_their_numbers() {
        assert!(numbers("0.10.0") > numbers("0.9.9"));
        assert!(numbers("1.0.0") > numbers("0.99.0-rc.1"));
        assert_eq!(numbers("1.2.0-rc.1"), numbers("1.2.0"));
    }

    #[test]
    fn only_a_newer_release_is_newer() {
        let of = |release: &str| FunctionSet { release: release.into(), digest: String::new() };
        assert!(of("99.0.0").is_newer());
        assert!(!of(RELEASE).is_newer());
        assert!(!of("0.0.1").is_newer());
    }
}
