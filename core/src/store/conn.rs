//! The connections, and the only way to run statements on them: `Conn::run`, `Conn::transaction` and `Conn::text`.
//!
//! A transaction pooler gives each transaction a server of its choice. The driver sends a statement in two parts (prepare; then bind and
//! execute), and between the two the pooler may change the server. So behind a pooler everything runs in an explicit transaction. No
//! code outside this file can forget that: the driver's own connection is private here, and a `Scope` is what lends it (rule o).
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgListener, PgPool, PgPoolOptions, PgRow, Postgres};
use sqlx::{AssertSqlSafe, Connection, Row, Transaction};

use crate::base::error::{Error, Result};
use crate::store::url::{Hosts, Listening, Target, Wanted, explain};

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one attempt may take where another host can be tried.
const HOST_TIMEOUT: Duration = Duration::from_secs(3);
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// One connection. It runs statements only through `run`, `transaction` and `text`.
pub struct Conn {
    inner: Inner,
    /// Whether the connection leads to a transaction pooler.
    pooler: bool,
}

enum Inner {
    Own(PgConnection),
    Pooled(PoolConnection<Postgres>),
    /// It also hears notifications.
    Listening(PgListener),
}

impl Inner {
    async fn raw(&mut self) -> Result<&mut PgConnection> {
        match self {
            Inner::Own(conn) => Ok(conn),
            Inner::Pooled(conn) => Ok(conn),
            Inner::Listening(conn) => Ok(sqlx::Acquire::acquire(conn).await?),
        }
    }
}

impl Conn {
    /// For statements that need no common transaction; behind a pooler they have one nevertheless.
    pub async fn run(&mut self) -> Result<Scope<'_>> {
        if self.pooler { self.transaction().await } else { Ok(Scope(Place::Plain(self.inner.raw().await?))) }
    }

    /// As `run`; with `several` statements that are committed together.
    pub async fn run_several(&mut self, several: bool) -> Result<Scope<'_>> {
        if several { self.transaction().await } else { self.run().await }
    }

    /// A transaction of several statements. It is rolled back unless `done` is called.
    pub async fn transaction(&mut self) -> Result<Scope<'_>> {
        let conn = self.inner.raw().await?;
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
        Ok(sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(self.inner.raw().await?).await?)
    }

    /// From now on the connection hears what is sent on these channels. For a connection of `Target::listener` or `Target::writer`; any
    /// other hears nothing.
    pub async fn listen(&mut self, channels: &[String]) -> Result<()> {
        match &mut self.inner {
            Inner::Listening(conn) => Ok(conn.listen_all(channels.iter().map(String::as_str)).await?),
            Inner::Own(_) | Inner::Pooled(_) => Ok(()),
        }
    }

    /// The payload of the next notification; a wait for it may be given up at any time. Once the connection is lost it is of no use: what
    /// was sent since is lost too, and another host may have taken over.
    pub async fn hear(&mut self) -> Result<String> {
        let Inner::Listening(conn) = &mut self.inner else { return std::future::pending().await };
        match conn.try_recv().await? {
            Some(notification) => Ok(notification.payload().to_owned()),
            None => Err(Error::Unavailable("the connection that listens was lost".into())),
        }
    }

    /// The payload of a notification that came while a statement ran.
    pub fn heard(&mut self) -> Option<String> {
        let Inner::Listening(conn) = &mut self.inner else { return None };
        conn.next_buffered().map(|notification| notification.payload().to_owned())
    }

    pub fn listens(&self) -> bool {
        matches!(self.inner, Inner::Listening(_))
    }

    /// Closes the connection, and tells the server so.
    pub async fn close(self) {
        // A server that is gone needs no farewell.
        let _ = match self.inner {
            Inner::Own(conn) => conn.close().await,
            Inner::Pooled(conn) => conn.close().await,
            Inner::Listening(conn) => {
                drop(conn);
                Ok(())
            }
        };
    }

    /// Closes the connection in the end instead of giving it back to its pool.
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
    /// The connection that sqlx executes a statement on.
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

/// A pool of connections for short use; they are made when first needed.
pub(crate) struct Pool {
    inner: PgPool,
    target: Target,
    /// Whether a connection was taken since the last `close_unused`.
    used: AtomicBool,
}

impl Pool {
    pub(crate) async fn acquire(&self) -> Result<Conn> {
        self.used.store(true, Ordering::Relaxed);
        let conn = match self.inner.try_acquire() {
            Some(conn) => conn,
            None => {
                self.choose_host().await?;
                self.inner.acquire().await.map_err(|error| self.target.explain(error))?
            }
        };
        Ok(Conn { inner: Inner::Pooled(conn), pooler: self.target.pooler })
    }

    /// The pool knows one host: where there are several, it is the one that serves now.
    async fn choose_host(&self) -> Result<()> {
        let hosts = &self.target.main;
        if hosts.choosy() && self.inner.size() < self.inner.options().get_max_connections() && !self.inner.is_closed() {
            let (conn, place) = connect(hosts).await?;
            self.inner.set_connect_options(hosts.options[place].clone());
            // A server that is gone needs no farewell.
            let _ = conn.close().await;
        }
        Ok(())
    }

    /// Closes the connections that wait, if none was taken since the last call.
    pub(crate) async fn close_unused(&self) {
        if self.used.swap(false, Ordering::Relaxed) {
            return;
        }
        while let Some(conn) = self.inner.try_acquire() {
            // A server that is gone needs no farewell.
            let _ = conn.close().await;
        }
    }

    pub(crate) async fn close(&self) {
        self.inner.close().await;
    }

    /// Returns when the pool is closed.
    pub(crate) async fn closed(&self) {
        self.inner.close_event().await;
    }
}

impl Target {
    /// One connection of its own.
    pub async fn connect(&self) -> Result<Conn> {
        let (conn, _) = connect(&self.main).await?;
        Ok(Conn { inner: Inner::Own(conn), pooler: self.pooler })
    }

    /// A connection of its own for a worker's writer. It also listens, unless a pooler keeps notifications away.
    pub async fn writer(&self) -> Result<Conn> {
        match self.listening {
            Listening::Here => listener(&self.main).await,
            Listening::Elsewhere(_) | Listening::Nowhere => self.connect().await,
        }
    }

    /// A pool that connects when it is first used.
    pub(crate) fn pool(&self, max_connections: u32) -> Pool {
        let inner = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(self.connect_timeout.clamp(Duration::from_secs(1), CONNECT_TIMEOUT))
            .idle_timeout(IDLE_TIMEOUT)
            .test_before_acquire(false)
            .connect_lazy_with(self.main.options[0].clone());
        Pool { inner, target: self.clone(), used: AtomicBool::new(false) }
    }

    /// A connection that listens, past any pooler; None where there is no way past it.
    pub async fn listener(&self) -> Result<Option<Conn>> {
        match &self.listening {
            Listening::Here => listener(&self.main).await.map(Some),
            Listening::Elsewhere(hosts) => listener(hosts).await.map(Some),
            Listening::Nowhere => Ok(None),
        }
    }
}

/// A connection that hears notifications. The driver makes such a connection only from a pool, which would try a server that refuses us again
/// and again, and not say why: a first connection finds the host, or says why there is none.
async fn listener(hosts: &Hosts) -> Result<Conn> {
    let (conn, place) = connect(hosts).await?;
    // A server that is gone needs no farewell.
    let _ = conn.close().await;
    let pool =
        PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None).acquire_timeout(HOST_TIMEOUT);
    let listening = async {
        let pool = pool.connect_with(hosts.options[place].clone()).await?;
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        Ok(Conn { inner: Inner::Listening(listener), pooler: false })
    };
    listening.await.map_err(|error| explain(error, &hosts.address(place)))
}

/// Connects to the first host that answers and is of the required kind. Returns its place, too. A host that refuses us (a wrong password) ends the
/// search, as in libpq.
async fn connect(hosts: &Hosts) -> Result<(PgConnection, usize)> {
    let mut reasons = Vec::new();
    let passes = match hosts.wanted {
        Wanted::PreferStandby => &[Wanted::Standby, Wanted::Any][..],
        _ => std::slice::from_ref(&hosts.wanted),
    };
    for wanted in passes {
        for place in hosts.order() {
            match connect_to(hosts, place, *wanted).await {
                Ok(conn) => {
                    hosts.connected(place);
                    return Ok((conn, place));
                }
                Err(Error::Unavailable(reason)) => reasons.push(reason),
                Err(error) => return Err(error),
            }
        }
    }
    reasons.dedup();
    Err(Error::Unavailable(reasons.join("; ")))
}

async fn connect_to(hosts: &Hosts, place: usize, wanted: Wanted) -> Result<PgConnection> {
    let address = hosts.address(place);
    let limit = if hosts.several() { HOST_TIMEOUT } else { CONNECT_TIMEOUT };
    let attempt = async {
        let mut conn = PgConnection::connect_with(&hosts.options[place]).await?;
        let objection = if wanted == Wanted::Any { None } else { objection(&mut conn, wanted).await? };
        Ok((conn, objection))
    };
    match tokio::time::timeout(limit, attempt).await {
        Ok(Ok((conn, None))) => Ok(conn),
        Ok(Ok((_, Some(objection)))) => {
            Err(Error::Unavailable(format!("the database at {address} will not do: {objection}")))
        }
        Ok(Err(error)) => Err(explain(error, &address)),
        Err(_) => Err(Error::Unavailable(format!("the database at {address} does not answer"))),
    }
}

async fn objection(conn: &mut PgConnection, wanted: Wanted) -> std::result::Result<Option<&'static str>, sqlx::Error> {
    let sql = "select pg_is_in_recovery(), current_setting('default_transaction_read_only')::boolean";
    let row = sqlx::raw_sql(sql).fetch_one(conn).await?;
    Ok(wanted.objection(row.try_get(0)?, row.try_get(1)?))
}
