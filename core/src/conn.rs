//! The connections, and the only way to run statements on them: `Conn::run`, `Conn::transaction` and `Conn::text`.
//!
//! A transaction pooler gives each transaction a server of its choice. The driver sends a statement in two parts (prepare; then bind and
//! execute), and between the two the pooler may change the server. So behind a pooler everything runs in an explicit transaction. No
//! code outside this file can forget that: the driver's own connection is private here, and a `Scope` is what lends it (rule o).
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPool, PgPoolOptions, PgRow, Postgres};
use sqlx::{AssertSqlSafe, Connection, Transaction};

use crate::db::Target;
use crate::error::{Error, Result};

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// One connection. It runs statements only through `run`, `transaction` and `text`.
pub struct Conn {
    inner: Inner,
    /// It leads to a transaction pooler.
    pooler: bool,
}

enum Inner {
    Own(PgConnection),
    Pooled(PoolConnection<Postgres>),
}

impl Inner {
    fn raw(&mut self) -> &mut PgConnection {
        match self {
            Inner::Own(conn) => conn,
            Inner::Pooled(conn) => conn,
        }
    }
}

impl Conn {
    /// For statements that need no transaction in common; behind a pooler they have one all the same.
    pub async fn run(&mut self) -> Result<Scope<'_>> {
        if self.pooler { self.transaction().await } else { Ok(Scope(Place::Plain(self.inner.raw()))) }
    }

    /// As `run`; with `several` statements that are committed together.
    pub async fn run_several(&mut self, several: bool) -> Result<Scope<'_>> {
        if several { self.transaction().await } else { self.run().await }
    }

    /// A transaction of several statements. It is rolled back unless `done` is called.
    pub async fn transaction(&mut self) -> Result<Scope<'_>> {
        let conn = self.inner.raw();
        if !self.pooler {
            return Ok(Scope(Place::Transaction(conn.begin().await?)));
        }
        // Another client's prepared statements that are still on this server have the same names as ours would have. All of them go, and
        // so must what a connection that is not pooled remembers of its own.
        conn.clear_cached_statements().await?;
        Ok(Scope(Place::Transaction(conn.begin_with("BEGIN; DEALLOCATE ALL").await?)))
    }

    /// Statements as plain text, without parameters: one message to the server, which prepares nothing. Several are one transaction.
    pub async fn text(&mut self, sql: String) -> Result<Vec<PgRow>> {
        Ok(sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(self.inner.raw()).await?)
    }

    /// Ends it and tells the server so.
    pub async fn close(self) {
        // A server that is gone needs no farewell.
        let _ = match self.inner {
            Inner::Own(conn) => conn.close().await,
            Inner::Pooled(conn) => conn.close().await,
        };
    }

    /// It does not go back to its pool.
    pub(crate) fn close_on_drop(&mut self) {
        if let Inner::Pooled(conn) = &mut self.inner {
            conn.close_on_drop();
        }
    }
}

/// Where statements run: on the connection as it is, or in a transaction, which behind a pooler has one server until it ends.
pub struct Scope<'c>(Place<'c>);

enum Place<'c> {
    Plain(&'c mut PgConnection),
    Transaction(Transaction<'c, Postgres>),
}

impl Scope<'_> {
    /// What sqlx executes a statement on.
    pub fn conn(&mut self) -> &mut PgConnection {
        match &mut self.0 {
            Place::Plain(conn) => conn,
            Place::Transaction(transaction) => transaction,
        }
    }

    /// Commits.
    pub async fn done(self) -> Result<()> {
        match self.0 {
            Place::Plain(_) => Ok(()),
            Place::Transaction(transaction) => Ok(transaction.commit().await?),
        }
    }

    /// Rolls back.
    pub async fn undo(self) -> Result<()> {
        match self.0 {
            Place::Plain(_) => Ok(()),
            Place::Transaction(transaction) => Ok(transaction.rollback().await?),
        }
    }

    /// A part of this transaction that can be undone alone.
    pub async fn savepoint(&mut self) -> Result<Scope<'_>> {
        Ok(Scope(Place::Transaction(self.conn().begin().await?)))
    }
}

/// Connections for whoever needs one for a moment; they are made when first needed.
pub(crate) struct Pool {
    inner: PgPool,
    target: Target,
}

impl Pool {
    pub(crate) async fn acquire(&self) -> Result<Conn> {
        let conn = self.inner.acquire().await.map_err(|error| self.target.explain(error))?;
        Ok(Conn { inner: Inner::Pooled(conn), pooler: self.target.pooler })
    }

    pub(crate) async fn close(&self) {
        self.inner.close().await;
    }

    /// Returns when the pool is closed.
    pub(crate) async fn closed(&self) {
        self.inner.close_event().await;
    }
}

/// A connection that LISTENs, past any pooler.
pub struct Listener(PgListener);

impl Listener {
    pub async fn listen(&mut self, channels: &[String]) -> Result<()> {
        Ok(self.0.listen_all(channels.iter().map(String::as_str)).await?)
    }

    /// The payload of the next notification. None: the connection was lost and made anew, and what was sent meanwhile is lost.
    pub async fn next(&mut self) -> Result<Option<String>> {
        Ok(self.0.try_recv().await?.map(|notification| notification.payload().to_owned()))
    }
}

impl Target {
    /// One connection of its own, for a worker's writer.
    pub async fn connect(&self) -> Result<Conn> {
        let attempt = PgConnection::connect_with(&self.options);
        match tokio::time::timeout(CONNECT_TIMEOUT, attempt).await {
            Ok(Ok(connection)) => Ok(Conn { inner: Inner::Own(connection), pooler: self.pooler }),
            Ok(Err(error)) => Err(self.explain(error)),
            Err(_) => Err(Error::Unavailable(format!("the database at {} does not answer", self.address()))),
        }
    }

    /// A pool that connects when it is first used.
    pub(crate) fn pool(&self, max_connections: u32) -> Pool {
        let inner = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(self.connect_timeout.clamp(Duration::from_secs(1), CONNECT_TIMEOUT))
            .idle_timeout(IDLE_TIMEOUT)
            .test_before_acquire(false)
            .connect_lazy_with(self.options.clone());
        Pool { inner, target: self.clone() }
    }

    /// A connection for LISTEN; None where there is no way past the pooler.
    pub async fn listener(&self) -> Result<Option<Listener>> {
        let Some(options) = &self.listen else { return Ok(None) };
        self.listen_at(options.clone()).await.map(Some).map_err(|error| self.explain(error))
    }

    async fn listen_at(&self, options: PgConnectOptions) -> std::result::Result<Listener, sqlx::Error> {
        let pool = PgPoolOptions::new().max_connections(1).connect_with(options).await?;
        Ok(Listener(PgListener::connect_with(&pool).await?))
    }
}
