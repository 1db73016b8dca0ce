//! One connection type over both databases, chosen by the URL.

use super::Failure;
use diesel::backend::Backend;
use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::dsl::sql;
use diesel::migration::MigrationSource;
use diesel::prelude::*;
use diesel::sql_types::Integer;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
/// Servers on one PostgreSQL write one after the other under this lock, so that each sees what the last one did.
const WRITE_LOCK: &str = "SELECT pg_advisory_xact_lock(4212200)";
/// Several may start at once on a PostgreSQL whose schema is old; it ends with the connection.
const SCHEMA_LOCK: &str = "SELECT pg_advisory_lock(4212202)";
/// So that neither side waits for long for another one that has vanished without a word. What the URL says itself wins.
const PATIENCE: [(&str, u32); 5] = [
    ("connect_timeout", 5),
    ("tcp_user_timeout", 10_000),
    ("keepalives_idle", 5),
    ("keepalives_interval", 2),
    ("keepalives_count", 3),
];
/// A server that stops in the middle of a transaction, or is cut off there, holds the lock of all writers: PostgreSQL ends
/// that for it. Whoever waits for the lock, waits longer.
const WRITER: &str = "SET idle_in_transaction_session_timeout = '5s'; SET lock_timeout = '10s'; \
                      SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3";

#[derive(diesel::MultiConnection)]
pub(crate) enum Conn {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

/// Opens connections to one database; also r2d2's manager of the readers.
#[derive(Clone)]
pub(crate) struct Connector {
    url: String,
}

impl Connector {
    pub(crate) fn new(url: &str) -> Self {
        let url = if is_postgres(url) { with_patience(url) } else { url.to_owned() };
        Self { url }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Whether several servers may share this one.
    pub(crate) fn is_shared(&self) -> bool {
        is_postgres(&self.url)
    }

    pub(crate) fn open(&self) -> ConnectionResult<Conn> {
        if self.is_shared() {
            return PgConnection::establish(&self.url).map(Conn::Postgres);
        }
        let mut sqlite = SqliteConnection::establish(&self.url)?;
        sqlite
            .batch_execute(
                "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
            )
            .map_err(ConnectionError::CouldntSetupConfiguration)?;
        Ok(Conn::Sqlite(sqlite))
    }

    /// For the one that writes, and what PostgreSQL calls that one.
    pub(crate) fn open_writer(&self) -> ConnectionResult<(Conn, Option<i32>)> {
        let mut conn = self.open()?;
        let pid = match &mut conn {
            Conn::Sqlite(_) => None,
            Conn::Postgres(conn) => {
                conn.batch_execute(WRITER).map_err(ConnectionError::CouldntSetupConfiguration)?;
                let pid = diesel::select(sql::<Integer>("pg_backend_pid()")).get_result(conn);
                Some(pid.map_err(ConnectionError::CouldntSetupConfiguration)?)
            }
        };
        Ok((conn, pid))
    }

    /// Forward only. A database that a newer version has changed is left alone.
    pub(crate) fn migrate(&self) -> Result<(), Failure> {
        let mut conn = self.open().map_err(|error| unprepared(&error))?;
        match &mut conn {
            Conn::Postgres(conn) => {
                conn.batch_execute(SCHEMA_LOCK).map_err(|error| unprepared(&error))?;
                bring_up_to_date(conn, POSTGRES)
            }
            Conn::Sqlite(conn) => bring_up_to_date(conn, SQLITE),
        }
    }
}

fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

fn with_patience(url: &str) -> String {
    PATIENCE.iter().filter(|(name, _)| !url.contains(&format!("{name}="))).fold(
        url.to_owned(),
        |url, (name, value)| {
            let sign = if url.contains('?') { '&' } else { '?' };
            format!("{url}{sign}{name}={value}")
        },
    )
}

fn bring_up_to_date<DB: Backend>(
    conn: &mut impl MigrationHarness<DB>,
    ours: EmbeddedMigrations,
) -> Result<(), Failure> {
    let known = MigrationSource::<DB>::migrations(&ours).map_err(|error| unprepared(&error))?;
    let known: HashSet<_> = known.iter().map(|migration| migration.name().version().as_owned()).collect();
    let applied = conn.applied_migrations().map_err(|error| unprepared(&error))?;
    if let Some(newer) = applied.iter().find(|version| !known.contains(*version)) {
        return Err(Failure::Unavailable(format!(
            "this database is of a newer version ({newer}): start that one, or restore a backup of before"
        )));
    }
    conn.run_pending_migrations(ours).map(drop).map_err(|error| unprepared(&error))
}

fn unprepared(error: &dyn std::fmt::Display) -> Failure {
    Failure::Unavailable(format!("cannot prepare the database: {error}"))
}

/// Keeps a second server off an SQLite file for as long as it is held, and no longer, however the first one ends: two would
/// each believe that nobody else writes. On PostgreSQL there may be several.
pub fn claim(url: &str) -> Result<Option<File>, Failure> {
    if is_postgres(url) {
        return Ok(None);
    }
    let path = format!("{url}.lock");
    let cannot = |error: std::io::Error| Failure::Unavailable(format!("cannot open `{path}`: {error}"));
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(Failure::Unavailable(format!(
            "another server uses `{url}`: stop it first; several servers need PostgreSQL"
        ))),
        Err(TryLockError::Error(error)) => Err(cannot(error)),
    }
}

impl diesel::r2d2::ManageConnection for Connector {
    type Connection = Conn;
    type Error = diesel::r2d2::Error;

    fn connect(&self) -> Result<Conn, Self::Error> {
        self.open().map_err(diesel::r2d2::Error::ConnectionError)
    }

    fn is_valid(&self, conn: &mut Conn) -> Result<(), Self::Error> {
        conn.batch_execute("SELECT 1").map_err(diesel::r2d2::Error::QueryError)
    }

    fn has_broken(&self, _: &mut Conn) -> bool {
        std::thread::panicking()
    }
}

pub(crate) type Readers = diesel::r2d2::Pool<Connector>;

pub(crate) fn readers(connector: Connector) -> Result<Readers, Failure> {
    diesel::r2d2::Pool::builder()
        .max_size(4)
        .min_idle(Some(1))
        .connection_timeout(Duration::from_secs(5))
        .test_on_check_out(connector.is_shared())
        .build(connector)
        .map_err(|error| Failure::Unavailable(format!("cannot open the database: {error}")))
}

type Manager = <Conn as Connection>::TransactionManager;

/// Begins a transaction that may write: a deferred one of SQLite could not be upgraded under contention.
pub(crate) fn begin(conn: &mut Conn) -> QueryResult<()> {
    match conn {
        Conn::Sqlite(conn) => AnsiTransactionManager::begin_transaction_sql(conn, "BEGIN IMMEDIATE"),
        Conn::Postgres(conn) => {
            AnsiTransactionManager::begin_transaction_sql(conn, "BEGIN")?;
            conn.batch_execute(WRITE_LOCK)
        }
    }
}

pub(crate) fn commit(conn: &mut Conn) -> QueryResult<()> {
    Manager::commit_transaction(conn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use model::Timestamp;

    /// As the first version left it: a machine with somebody on it who may become root.
    const BEFORE: &str = r#"
        INSERT INTO pool VALUES ('p', 'docker', 'berth-debian', 1, '{}', NULL);
        INSERT INTO machine VALUES ('01900000-0000-7000-8000-000000000001', 'p-1', 'h', 22, '{}', 'p', 0, NULL, NULL,
            66001, 2, 2, 0, NULL, '{}', NULL, NULL, NULL, NULL, 0, NULL);
        INSERT INTO reservation VALUES ('01900000-0000-7000-8000-000000000002', 'alice', 1, '{}', 0,
            '{"password_hash":null,"ssh_keys":[],"shell":null,"groups":[],"sudo":true}', 0, 9000000, NULL, NULL, NULL);
        INSERT INTO assignment VALUES ('01900000-0000-7000-8000-000000000003', '01900000-0000-7000-8000-000000000002',
            '01900000-0000-7000-8000-000000000001', 66000, 0, 1, NULL, NULL, NULL, 0, NULL);
    "#;

    #[tokio::test]
    async fn a_database_of_the_first_version_is_brought_up_to_date() {
        let folder = tempfile::tempdir().unwrap();
        let url = folder.path().join("berth.db").display().to_string();
        let mut before = SqliteConnection::establish(&url).unwrap();
        before.run_next_migration(SQLITE).unwrap();
        before.batch_execute(BEFORE).unwrap();
        drop(before);
        let store =
            Store::open(&url, Duration::from_secs(60), Timestamp::from_second(1).unwrap(), None).unwrap();
        let machine = store.machine_get("p-1").await.unwrap();
        assert_eq!((machine.uids.to_string().as_str(), machine.quarantined), ("66000-99999", None));
        assert!(machine.holding.unwrap().sudo, "what was promised of it holds for it, too");
        assert_eq!(store.pool_list().await.unwrap()[0].after_use.name(), "clean");
    }
    #[test]
    fn a_database_of_a_newer_version_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let url = folder.path().join("berth.db").display().to_string();
        let open = || Store::open(&url, Duration::from_secs(60), Timestamp::from_second(1).unwrap(), None);
        drop(open().unwrap());
        let mut newer = SqliteConnection::establish(&url).unwrap();
        newer
            .batch_execute(
                // The one that was dropped may still be closing.
                "PRAGMA busy_timeout = 5000;
                 INSERT INTO __diesel_schema_migrations (version) VALUES ('99991231000000')",
            )
            .unwrap();
        let refused = open().err().unwrap().to_string();
        assert!(refused.contains("newer version (99991231000000)"), "{refused}");
    }

    #[test]
    fn what_an_address_says_itself_wins() {
        assert_eq!(
            with_patience("postgres://db/berth?connect_timeout=60"),
            "postgres://db/berth?connect_timeout=60&tcp_user_timeout=10000&keepalives_idle=5&keepalives_interval=2\
             &keepalives_count=3"
        );
        assert!(with_patience("postgres://db/berth").starts_with("postgres://db/berth?connect_timeout=5&"));
    }

    #[test]
    fn one_file_has_one_server() {
        let folder = tempfile::tempdir().unwrap();
        let url = folder.path().join("berth.db").display().to_string();
        let first = claim(&url).unwrap();
        let refused = claim(&url).unwrap_err().to_string();
        assert!(refused.contains("another server uses"), "{refused}");
        drop(first);
        assert!(claim(&url).unwrap().is_some());
        assert!(claim("postgres://nowhere").unwrap().is_none());
    }
}
