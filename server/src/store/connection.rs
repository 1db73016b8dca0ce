//! One connection type over both databases, chosen by the URL.

use super::Failure;
use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::prelude::*;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use std::time::Duration;

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
/// Servers on one PostgreSQL write one after the other under this lock, so that each sees what the last one did.
const WRITE_LOCK: &str = "SELECT pg_advisory_xact_lock(4212200)";

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
        Self { url: url.to_owned() }
    }

    fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres://") || self.url.starts_with("postgresql://")
    }

    pub(crate) fn open(&self) -> ConnectionResult<Conn> {
        if self.is_postgres() {
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

    pub(crate) fn migrate(&self) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::Unavailable(format!("cannot prepare the database: {error}"))
        };
        let mut conn = self.open().map_err(|error| failed(&error))?;
        match &mut conn {
            Conn::Postgres(conn) => conn.run_pending_migrations(POSTGRES).map(drop),
            Conn::Sqlite(conn) => conn.run_pending_migrations(SQLITE).map(drop),
        }
        .map_err(|error| failed(&error))
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
        .test_on_check_out(connector.is_postgres())
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
