//! The one writer. Facts that arrive while it commits are written together by the next commit, so that thousands a
//! second are durable at the price of a few hundred fsyncs; each still succeeds or fails by itself (a savepoint).

use super::Failure;
use super::connection::{Conn, Connector, begin, commit};
use super::event::recorded;
use super::line::Line;
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use model::audit::Actor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

const MOST_PER_COMMIT: usize = 256;
const MOST_WAITING: usize = 4096;

/// Runs inside the transaction; what it returns tells the caller, once it is known whether that was committed.
type Job = Box<dyn FnOnce(&mut Conn) -> Reply + Send>;
type Reply = Box<dyn FnOnce(Result<(), Failure>) + Send>;

/// Called before and after each commit with its number; an error stops the writer there, as a crash would.
pub type CommitHook = Box<dyn FnMut(u64, CommitSide) -> Result<(), String> + Send>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitSide {
    Before,
    After,
}

#[derive(Clone)]
pub(crate) struct Writer {
    jobs: mpsc::Sender<Job>,
    committed: watch::Receiver<()>,
}

impl Writer {
    pub(crate) fn start(
        connector: Connector,
        line: Arc<Line>,
        hook: Option<CommitHook>,
    ) -> Result<Self, Failure> {
        let conn = open(&connector, &line)?;
        let (jobs, queue) = mpsc::channel(MOST_WAITING);
        let (commit, committed) = watch::channel(());
        let thread = Thread { connector, line, conn: Some(conn), queue, commits: 0, commit, hook };
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || thread.run())
            .map_err(|error| Failure::Unavailable(format!("cannot start the writer: {error}")))?;
        Ok(Self { jobs, committed })
    }

    /// Changes after every commit.
    pub(crate) fn committed(&self) -> watch::Receiver<()> {
        self.committed.clone()
    }

    /// Returns only after the commit: what was acknowledged is durable.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        actor: Arc<Actor>,
        change: impl FnOnce(&mut Conn) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let (tell, told) = oneshot::channel();
        let job: Job = Box::new(move |conn| {
            let outcome = recorded(conn, &actor, change);
            Box::new(move |committed| {
                // Nobody may be waiting any longer; the fact stands all the same.
                let _ = tell.send(committed.and(outcome));
            })
        });
        let stopped = || {
            Failure::Unavailable(
                "the database cannot be reached, or the server shuts down; try again".to_owned(),
            )
        };
        self.jobs.send(job).await.map_err(|_| stopped())?;
        told.await.unwrap_or_else(|_| Err(stopped()))
    }
}

struct Thread {
    connector: Connector,
    line: Arc<Line>,
    /// Absent after it broke, until the next batch opens it anew.
    conn: Option<Conn>,
    queue: mpsc::Receiver<Job>,
    commits: u64,
    commit: watch::Sender<()>,
    hook: Option<CommitHook>,
}

impl Thread {
    fn run(mut self) {
        let mut batch = Vec::new();
        while self.queue.blocking_recv_many(&mut batch, MOST_PER_COMMIT) > 0 {
            if let Err(crash) = self.commit_batch(&mut batch) {
                tracing::error!(%crash, "the writer stops");
                return;
            }
        }
    }

    fn commit_batch(&mut self, batch: &mut Vec<Job>) -> Result<(), String> {
        let mut conn = match self.conn.take().map_or_else(|| open(&self.connector, &self.line), Ok) {
            Ok(conn) => conn,
            Err(failure) => {
                tracing::error!(%failure, "cannot reach the database");
                batch.clear();
                return Ok(());
            }
        };
        let mut replies = Vec::with_capacity(batch.len());
        // A panic in one change poisons this batch and this connection, not the thread.
        let written = catch_unwind(AssertUnwindSafe(|| -> QueryResult<()> {
            begin(&mut conn)?;
            replies.extend(batch.drain(..).map(|job| job(&mut conn)));
            Ok(())
        }));
        batch.clear();
        self.commits += 1;
        self.call_hook(CommitSide::Before)?;
        let outcome = match written {
            Ok(Ok(())) => commit(&mut conn).map_err(unsure),
            Ok(Err(error)) => Err(unsure(error)),
            Err(_) => Err(Failure::Internal("a change panicked".to_owned())),
        };
        if outcome.is_ok() {
            self.conn = Some(conn);
            self.commit.send_replace(());
            self.call_hook(CommitSide::After)?;
        }
        for reply in replies {
            reply(outcome.clone());
        }
        Ok(())
    }

    fn call_hook(&mut self, side: CommitSide) -> Result<(), String> {
        let number = self.commits;
        self.hook.as_mut().map_or(Ok(()), |hook| hook(number, side))
    }
}

/// Whatever keeps a transaction from beginning or from ending is not the fault of what was to be written. One that did not
/// end may be there all the same.
fn unsure(error: DieselError) -> Failure {
    Failure::Unavailable(format!("the database: {error}; try again"))
}

fn open(connector: &Connector, line: &Line) -> Result<Conn, Failure> {
    let opened = connector.open_writer();
    let (conn, pid) =
        opened.map_err(|error| Failure::Unavailable(format!("cannot open the database: {error}")))?;
    line.written_by(pid);
    Ok(conn)
}
