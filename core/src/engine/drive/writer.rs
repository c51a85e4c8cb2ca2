//! Carries out what `state` decides: one writer on a connection of its own, which also listens. Statements of the writer never overlap,
//! so a heartbeat's answer can be compared with memory.
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{FIRST_PAUSE, LONGEST_PAUSE, firing, listener, pickups, upkeep, verbs};
use crate::base::error::{Error, Result};
use crate::base::types::*;
use crate::engine::decide::deferred::DeferredWrites;
use crate::engine::decide::echo::Echo;
use crate::engine::decide::group::WriteGroup;
use crate::engine::decide::metrics::Statement;
use crate::engine::decide::state::events::{Turn, Turned};
use crate::engine::drive::shared::Shared;
use crate::store::commit;
use crate::store::conn::Conn;
use crate::store::history;
use crate::store::migrate;
use crate::store::notify;
use crate::store::workers;

/// Deferred writes are tried again after this time.
const RETRY_DEFERRED: Duration = Duration::from_millis(500);

/// A statement that takes longer than this hangs (half-open connection, frozen server): a new connection is better, and every write may be
/// repeated.
fn statement_timeout(shared: &Shared) -> Duration {
    Duration::from_secs_f64((shared.config.info.timeout / 2.0).max(1.0))
}

struct Writer {
    shared: Arc<Shared>,
    conn: Option<Conn>,
    /// Whether notifications reach `conn`.
    echo: Echo,
    registered: bool,
    /// Whether the worker was registered once: its set-up is then right, and an error from now on is one that passes.
    known: bool,
    /// Groups that were sent, and of which it is not known whether they were committed: they are sent again as they are (rule f).
    unknown: Vec<WriteGroup>,
    /// Groups that cannot be written yet, because another transaction holds a lock on a row of theirs. They are tried again at `deferred_due`.
    deferred: DeferredWrites,
    deferred_due: Instant,
    timeout: Duration,
}

/// The worker's life, until `stop`.
pub async fn drive(shared: Arc<Shared>) {
    let timeout = statement_timeout(&shared);
    let mut writer = Writer {
        shared: shared.clone(),
        conn: None,
        echo: Echo::default(),
        registered: false,
        known: false,
        unknown: Vec::new(),
        deferred: DeferredWrites::default(),
        deferred_due: Instant::now(),
        timeout,
    };
    let mut pause = FIRST_PAUSE;
    let mut silent = false;
    while !*shared.gone.borrow() {
        let went = match writer.turn().await {
            Ok(Some(rest)) => {
                pause = FIRST_PAUSE;
                if std::mem::take(&mut silent) {
                    shared.say("warning", "the database answers again".into());
                }
                writer.rest(rest).await
            }
            Ok(None) => break,
            Err(error) => Err(error),
        };
        if let Err(error) = went {
            if !writer.known && !error.is_transient() {
                // Waiting does not help, and nothing is in hand yet.
                shared.state().cannot_go_on(error.to_string());
                break;
            }
            if !std::mem::replace(&mut silent, true) {
                shared.say("warning", format!("{error}; the worker waits and goes on by itself"));
            }
            writer.disconnect();
            shared.state().unreachable(Instant::now());
            tokio::time::sleep(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
    shared.gone.send_replace(true);
    shared.wake_fd.wake();
}

impl Writer {
    /// Does everything that is to be done now. Returns how long to rest, or None once stopped.
    async fn turn(&mut self) -> Result<Option<Duration>> {
        self.connect().await?;
        loop {
            self.pass_on_heard();
            let Turn { commit, load, beat, rest } = self.shared.state().turn(Instant::now());
            // A commit that hangs must not stop the heartbeats as well.
            let hung = !self.unknown.is_empty();
            if beat && hung {
                self.beat().await?;
            }
            if commit || hung {
                self.commit().await?;
            }
            let wrote = self.retry_deferred().await?;
            if beat && !hung {
                self.beat().await?;
            }
            if load {
                self.load().await?;
            }
            verbs::spawn(&self.shared);
            firing::spawn(&self.shared);
            pickups::spawn(&self.shared);
            let Turned { has_items, quiet } = self.shared.state().turned(Instant::now());
            if has_items {
                self.shared.wake_fd.wake();
            }
            if quiet && self.shared.stopping() && self.unknown.is_empty() && self.deferred.is_empty() {
                return self.say_goodbye().await;
            }
            if !(commit || beat || load || wrote) && quiet {
                return Ok(Some(if self.deferred.is_empty() { rest } else { rest.min(RETRY_DEFERRED) }));
            }
        }
    }

    async fn connect(&mut self) -> Result<()> {
        if self.conn.is_none() {
            let connected = self.shared.client.target().writer().await;
            self.shared.state().connected(&connected);
            let mut conn = connected?;
            timed(&self.shared, Statement::Register, self.timeout, migrate::check_schema(&mut conn)).await?;
            let info = &self.shared.config.info;
            let listening = async { conn.listen(&notify::channels(info.id, &info.queues)).await };
            timed(&self.shared, Statement::Register, self.timeout, listening).await?;
            self.conn = Some(conn);
        }
        if !self.registered {
            // In a pod this also ends the worker that was there before a restart of the container.
            let conn = self.conn.as_mut().ok_or_else(lost)?;
            let wakes = timed(
                &self.shared,
                Statement::Register,
                self.timeout,
                workers::register(conn, &self.shared.config.info),
            )
            .await?;
            self.shared.client.send_wakes(wakes);
            self.registered = true;
            self.known = true;
            self.shared.state().registered();
        }
        Ok(())
    }

    fn disconnect(&mut self) {
        self.echo = Echo::default();
        if self.conn.take().is_some_and(|conn| conn.listens()) {
            self.shared.state().listening_ended();
        }
    }

    /// Passes on what was heard while statements ran. Returns whether that was anything.
    fn pass_on_heard(&mut self) -> bool {
        let mut any = false;
        while let Some(payload) = self.conn.as_mut().and_then(Conn::heard) {
            listener::pass_on(&self.shared, &payload);
            any = true;
        }
        any
    }

    /// Waits until there is something to do, or something is heard.
    async fn rest(&mut self, rest: Duration) -> Result<()> {
        if self.pass_on_heard() {
            return Ok(());
        }
        let conn = self.conn.as_mut().ok_or_else(lost)?;
        let mut longest = None;
        if conn.listens() {
            let now = Instant::now();
            if self.echo.rests(now) {
                let myself = (self.shared.config.info.id, Uuid::nil());
                self.shared.client.send_wakes(Wakes { workers: vec![myself], ..Wakes::default() });
            }
            longest = self.echo.longest_rest(now);
        }
        tokio::select! {
            () = self.shared.kick.notified() => {}
            () = tokio::time::sleep(longest.map_or(rest, |longest| rest.min(longest))) => {}
            heard = conn.hear() => {
                listener::pass_on(&self.shared, &heard?);
                if self.echo.heard() {
                    self.shared.state().listening_began();
                }
            }
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<()> {
        if !self.unknown.is_empty() {
            let groups = std::mem::take(&mut self.unknown);
            return self.write(groups, None, true).await;
        }
        let (groups, claim) = {
            let mut state = self.shared.state();
            (state.take_groups(), state.claim_request())
        };
        let groups = self.deferred.keep(groups, &HashSet::new());
        if groups.is_empty() && claim.is_none() {
            return Ok(());
        }
        self.write(groups, claim, false).await
    }

    /// Writes the deferred groups whose rows are free by now. Returns whether anything was written.
    async fn retry_deferred(&mut self) -> Result<bool> {
        if self.deferred.is_empty() || self.deferred_due > Instant::now() {
            return Ok(false);
        }
        self.deferred_due = Instant::now() + RETRY_DEFERRED;
        let locked = self.locked(&[]).await?;
        let groups = self.deferred.release(&locked);
        if groups.is_empty() {
            return Ok(false);
        }
        self.write(groups, None, false).await?;
        Ok(true)
    }

    /// The rows that these groups and the deferred ones touch, and that another transaction has locked now.
    async fn locked(&mut self, groups: &[WriteGroup]) -> Result<HashSet<Uuid>> {
        let (rows, ending) = self.deferred.rows_with(groups);
        let conn = self.conn.as_mut().ok_or_else(lost)?;
        let asked = commit::locked(conn, &rows, &ending);
        Ok(timed(&self.shared, Statement::Locks, self.timeout, asked).await?.into_iter().collect())
    }

    /// The database did not get a lock in time. Defers the groups whose rows another transaction has locked; the rest is sent again.
    async fn sort_out(&mut self, groups: Vec<WriteGroup>) -> Result<()> {
        let found = self.locked(&groups).await;
        let Ok(locked) = found else {
            self.unknown = groups;
            return found.map(drop);
        };
        if !locked.is_empty() && self.deferred.is_empty() {
            let message =
                "somebody's open transaction holds locks on rows of executions; what is to be written there waits";
            self.shared.say("warning", message.into());
        }
        self.deferred_due = Instant::now() + RETRY_DEFERRED;
        self.unknown = self.deferred.sort(groups, &locked);
        Ok(())
    }

    /// Commits groups in one transaction. When the database refuses their data, they are halved until the culprit is alone, and that alone fails.
    /// `again`: the same was sent before, and the reply lost.
    async fn write(&mut self, groups: Vec<WriteGroup>, claim: Option<ClaimRequest>, again: bool) -> Result<()> {
        let me = self.shared.config.info.id;
        let mut work = vec![(groups, claim)];
        while let Some((mut groups, claim)) = work.pop() {
            let mut batch = Batch::default();
            groups.iter().for_each(|group| batch.merge(group.batch.clone()));
            let conn = self.conn.as_mut().ok_or_else(lost)?;
            let written = commit::commit_and_claim(conn, me, &batch, claim.as_ref());
            match timed(&self.shared, Statement::Commit, self.timeout, written).await {
                Ok(reply) => {
                    let mut wakes = self.shared.state().committed(groups, claim.as_ref(), reply);
                    if again {
                        wakes.since = None; // it may be an earlier transaction that made ready what they are about
                    }
                    self.shared.client.send_wakes(wakes);
                }
                Err(Error::Data { message, .. }) if groups.len() == 1 && claim.is_none() => {
                    self.shared.say("error", format!("the database refused what an execution wrote: {message}"));
                    let mut state = self.shared.state();
                    groups.into_iter().for_each(|group| state.culprit(group, &message));
                }
                Err(Error::Data { .. }) if !groups.is_empty() => {
                    self.shared.state().claim_failed();
                    let second = groups.split_off(groups.len().div_ceil(2));
                    work.extend([(second, None), (groups, None)].into_iter().filter(|(groups, _)| !groups.is_empty()));
                }
                Err(Error::Locked(_)) if !groups.is_empty() => {
                    self.shared.state().claim_failed();
                    work.into_iter().rev().for_each(|(more, _)| groups.extend(more));
                    return self.sort_out(groups).await;
                }
                Err(error) => {
                    self.unknown = groups;
                    work.into_iter().rev().for_each(|(groups, _)| self.unknown.extend(groups));
                    return self.undecided(error);
                }
            }
        }
        Ok(())
    }

    /// Groups that may or may not be committed are sent again as they are; at once after a deadlock, because nothing was written.
    fn undecided(&self, error: Error) -> Result<()> {
        let mut state = self.shared.state();
        state.claim_failed();
        match error {
            Error::Conflict(message) => {
                state.conflicted(&message);
                Ok(())
            }
            Error::Locked(_) => Ok(()), // a claim waited for a definition that somebody has locked
            error => Err(error),
        }
    }

    async fn beat(&mut self) -> Result<()> {
        let (me, about, ranges, (flag, draining)) = {
            let mut state = self.shared.state();
            (self.shared.config.info.id, state.beat_about(), state.beat_ranges(), state.beat_to_send())
        };
        let conn = self.conn.as_mut().ok_or_else(lost)?;
        let sent = Instant::now();
        let beat = workers::heartbeat(conn, me, flag, draining, about.as_deref(), &ranges);
        let reply = timed(&self.shared, Statement::Heartbeat, self.timeout, beat).await?;
        let dead = {
            let mut state = self.shared.state();
            if !reply.known {
                state.forget_all();
                self.registered = false;
            }
            state.beaten(flag, &reply, sent, Instant::now())
        };
        let client = self.shared.client.clone();
        tokio::spawn(async move { client.close_unused().await });
        if reply.sweep_due {
            upkeep::spawn(&self.shared);
        }
        for dead in dead {
            let conn = self.conn.as_mut().ok_or_else(lost)?;
            let wakes =
                match timed(&self.shared, Statement::TakeOver, self.timeout, workers::take_over(conn, dead)).await {
                    Ok(wakes) => wakes,
                    // Somebody's open transaction holds a row of what it ran: tried again at the next heartbeat, and the heartbeats go on.
                    Err(Error::Locked(_) | Error::Conflict(_)) => continue,
                    Err(error) => return Err(error),
                };
            self.shared.state().took_over(dead);
            self.shared.wake_fd.wake();
            self.shared.client.send_wakes(wakes);
        }
        if !reply.known {
            let message = "this worker was declared dead while it could not reach the database; it starts anew";
            self.shared.say("warning", message.into());
            self.connect().await?;
        }
        Ok(())
    }

    async fn load(&mut self) -> Result<()> {
        let (full, news) = self.shared.state().take_loads();
        let conn = self.conn.as_mut().ok_or_else(lost)?;
        let result = async {
            if !full.is_empty() {
                let rows =
                    timed(&self.shared, Statement::Load, self.timeout, history::load_runs(conn, &full, false)).await?;
                self.shared.state().loaded(rows);
            }
            if !news.is_empty() {
                let rows =
                    timed(&self.shared, Statement::Load, self.timeout, history::load_runs(conn, &news, true)).await?;
                self.shared.state().heard(rows);
            }
            Ok(())
        };
        let result: Result<()> = result.await;
        if result.is_err() {
            // A run that was loaded meanwhile is not in phase Loading any more, and is left alone.
            self.shared.state().put_back_loads(full, news);
        }
        result
    }

    async fn say_goodbye(&mut self) -> Result<Option<Duration>> {
        let me = self.shared.config.info.id;
        let conn = self.conn.as_mut().ok_or_else(lost)?;
        let wakes = timed(&self.shared, Statement::Stop, self.timeout, workers::stop_worker(conn, me)).await?;
        self.shared.client.send_wakes(wakes);
        Ok(None)
    }
}

fn lost() -> Error {
    Error::Unavailable("the connection to the database is closed".into())
}

/// One round trip, within `timeout`, and counted.
async fn timed<T>(
    shared: &Shared,
    statement: Statement,
    timeout: Duration,
    answer: impl Future<Output = Result<T>>,
) -> Result<T> {
    let sent = Instant::now();
    let answer = match tokio::time::timeout(timeout, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::Unavailable("the database does not answer in time".into())),
    };
    shared.state().answered(statement, sent.elapsed().as_secs_f64(), &answer);
    answer
}
