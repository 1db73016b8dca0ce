//! The line to the other servers on the same PostgreSQL: one connection that hears what they write, and by which they know
//! that we live.
//!
//! What is heard are hints, told by triggers of the database when a write is committed; whatever was missed while the line
//! was down is found by a sweep. The line holds a lock under a number of its own, so that the lock ends when the line does:
//! with the server, with its network, and ten seconds after it last said a word.

use super::connection::{Conn, Connector};
use super::{Failure, Store};
use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::pg::PgNotification;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Integer};
use model::{MachineId, ReservationId, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// The first half of the locks' keys, also in [`WORD`]; the second is the line's number.
const LINES: i32 = 4_212_201;
/// Of a line that says nothing PostgreSQL believes that it is dead.
const OPEN: &str = "SET idle_session_timeout = '10s'; SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; \
                    SET tcp_keepalives_count = 3; LISTEN berth";
/// What we say. PostgreSQL does not time a session that waits for its client to read, so that each server ends the lines of
/// those that have said nothing for too long.
const WORD: &str = "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid) \
                    WHERE locktype = 'advisory' AND classid = 4212201 AND datname = current_database() \
                    AND usename = current_user AND state_change < clock_timestamp() - interval '10 seconds'";
/// How often we look for what was said: diesel cannot wait for it.
const POLL: Duration = Duration::from_millis(20);
/// And how many looks pass until we say a word ourselves.
const WORD_EVERY: u32 = 150;
const REDIAL: Duration = Duration::from_millis(500);
const MOST_UNHEARD: usize = 4096;

/// What another server wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Of this machine something else is wanted.
    Machine(MachineId),
    Gone(MachineId),
    /// It is logged in to in another way.
    Access(MachineId),
    Reservation(ReservationId),
    /// A reservation ends then.
    End(Timestamp),
    Pools,
    /// Nobody listened for a while.
    Missed,
}

/// What writer, claims and line of one store have to know of each other. Zero is nobody.
#[derive(Default)]
pub(crate) struct Line {
    number: AtomicI32,
    writer: AtomicI32,
}

impl Line {
    /// Under which we may claim something. Absent while the line is down.
    pub(crate) fn number(&self) -> Option<i64> {
        Some(self.number.load(Ordering::Acquire)).filter(|number| *number != 0).map(i64::from)
    }

    /// What PostgreSQL calls the connection that writes: its news are none.
    pub(crate) fn written_by(&self, pid: Option<i32>) {
        self.writer.store(pid.unwrap_or_default(), Ordering::Release);
    }

    fn is_ours(&self, said: &PgNotification) -> bool {
        said.process_id == self.writer.load(Ordering::Acquire)
    }
}

impl Store {
    /// Takes up the line, for as long as somebody wants to hear. Absent where there can be no other server.
    pub fn listen(&self) -> Option<mpsc::Receiver<News>> {
        if !self.connector.is_shared() {
            return None;
        }
        let (tell, told) = mpsc::channel(MOST_UNHEARD);
        let (connector, line) = (self.connector.clone(), self.line.clone());
        let run = move || {
            while !tell.is_closed() {
                if let Err(failure) = hold(&connector, &line, &tell) {
                    tracing::warn!(%failure, "the line to the other servers is down");
                }
                line.number.store(0, Ordering::Release);
                std::thread::sleep(REDIAL);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("store-line".to_owned()).spawn(run) {
            tracing::error!(%error, "cannot start the line to the other servers");
        }
        Some(told)
    }
}

fn hold(connector: &Connector, line: &Arc<Line>, tell: &mpsc::Sender<News>) -> Result<(), Failure> {
    let unreachable = |error: ConnectionError| Failure::Unavailable(error.to_string());
    let Conn::Postgres(mut conn) = connector.open().map_err(unreachable)? else { return Ok(()) };
    conn.batch_execute(OPEN)?;
    let number = diesel::select(sql::<Integer>("nextval('line_number')::int")).get_result(&mut conn)?;
    conn.batch_execute(&format!("SELECT pg_advisory_lock({LINES}, {number})"))?;
    line.number.store(number, Ordering::Release);
    tracing::info!(number, "in line with the other servers on this database");
    let mut news = vec![News::Missed];
    for poll in 1_u32.. {
        for news in news.drain(..) {
            if tell.blocking_send(news).is_err() {
                return Ok(());
            }
        }
        if poll.is_multiple_of(WORD_EVERY) {
            conn.batch_execute(WORD)?;
        }
        std::thread::sleep(POLL);
        if tell.is_closed() {
            return Ok(());
        }
        for said in conn.notifications_iter() {
            let said = said?;
            news.extend(parse(&said.payload).filter(|_| !line.is_ours(&said)));
        }
    }
    Ok(())
}

/// A newer version may say what we do not know; the sweep finds it.
fn parse(payload: &str) -> Option<News> {
    let (what, of) = payload.split_once(' ').unwrap_or((payload, ""));
    match what {
        "machine" => of.parse().ok().map(News::Machine),
        "gone" => of.parse().ok().map(News::Gone),
        "access" => of.parse().ok().map(News::Access),
        "reservation" => of.parse().ok().map(News::Reservation),
        "end" => Timestamp::from_microsecond(of.parse().ok()?).ok().map(News::End),
        "pools" => Some(News::Pools),
        _ => None,
    }
}

/// Whether the line of this number stands. Where there can be no other server none does.
pub(crate) fn stands(conn: &mut Conn, number: i64) -> QueryResult<bool> {
    let Conn::Postgres(conn) = conn else { return Ok(false) };
    let lock = format!("pg_try_advisory_xact_lock_shared({LINES}, {number})");
    let is_free: bool = diesel::select(sql::<Bool>(&lock)).get_result(conn)?;
    Ok(!is_free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_are_what_the_database_says() {
        let id = "01900000-0000-7000-8000-000000000001";
        assert_eq!(parse(&format!("machine {id}")), Some(News::Machine(id.parse().unwrap())));
        assert_eq!(parse(&format!("gone {id}")), Some(News::Gone(id.parse().unwrap())));
        assert_eq!(parse(&format!("access {id}")), Some(News::Access(id.parse().unwrap())));
        assert_eq!(parse(&format!("reservation {id}")), Some(News::Reservation(id.parse().unwrap())));
        assert_eq!(parse("end 1000000"), Some(News::End(Timestamp::from_second(1).unwrap())));
        assert_eq!(parse("pools"), Some(News::Pools));
        for unknown in ["", "machine", "machine 7", "end soon", "weather"] {
            assert_eq!(parse(unknown), None);
        }
    }
}
