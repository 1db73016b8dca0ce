//! Facts, kept durably: the only place that speaks to a database.
//!
//! Writes go through one writer and are committed in groups; reads have connections of their own. Functions are named
//! noun first, and take `now` as an argument.

mod account;
mod adopt;
mod backup;
mod choose;
mod claim;
mod cleaning;
mod connection;
mod enrolment;
mod event;
mod leaving;
mod line;
mod listing;
mod machine;
mod pool;
mod replace;
mod report;
mod reservation;
mod restore;
mod right;
mod row;
mod schema;
mod silence;
mod sql;
mod ssh;
mod token;
mod writer;

pub use account::{AccountChange, Known, NewAccount, OF_DIGEST};
pub use backup::{Copied, backup};
pub use claim::{Claim, Thing};
pub(crate) use connection::Conn;
pub use connection::claim;
pub use enrolment::Enrolled;
pub use event::EventFilter;
pub use line::News;
pub use machine::{MachineChange, NewMachine};
pub(crate) use pool::SIZE;
pub use replace::GiveUp;
pub use report::{Received, Seen};
pub use reservation::{Key, NewReservation};
pub use restore::{Restored, restore};
pub use right::Right;
pub use row::{Rows, StoredAccount};
pub use silence::Silence;
pub use ssh::{Access, HostKeyChange, Itinerary, NewAccess};
pub use token::NewToken;
pub use writer::{CommitHook, CommitSide};

use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use model::allocate::Shortage;
use model::audit::Actor;
use model::auth::OverQuota;
use model::{Epoch, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Why a fact was not written or read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    KeyReused(String),
    #[error(transparent)]
    Shortage(#[from] Shortage),
    #[error(transparent)]
    OverQuota(#[from] OverQuota),
    #[error("{0}")]
    Unauthorised(String),
    #[error("{0}")]
    Gone(String),
    /// The same again: somebody else wrote at the same moment.
    #[error("somebody else changed this at the same moment; try again")]
    Race,
    #[error("another server does this now: {0}")]
    TakenOver(String),
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    Internal(String),
}

impl From<DieselError> for Failure {
    fn from(error: DieselError) -> Self {
        match error {
            DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => Self::Race,
            DieselError::DatabaseError(
                DatabaseErrorKind::ClosedConnection
                | DatabaseErrorKind::SerializationFailure
                | DatabaseErrorKind::UnableToSendCommand,
                info,
            ) => Self::Unavailable(format!("the database: {}; try again", info.message())),
            // The connection broke in the middle.
            DieselError::BrokenTransactionManager | DieselError::RollbackErrorOnCommit { .. } => {
                Self::Unavailable(format!("the database: {error}; try again"))
            }
            other => Self::Internal(format!("the database: {other}")),
        }
    }
}

/// What distinguishes one database from another.
#[derive(Clone)]
pub struct Store {
    connector: connection::Connector,
    writer: writer::Writer,
    readers: connection::Readers,
    line: Arc<line::Line>,
    claims: Arc<claim::Claims>,
    /// Under which the changes are made, if under any.
    claim: Option<Arc<Claim>>,
    /// By which somebody may make them, if it is somebody's.
    right: Option<Arc<Right>>,
    epoch: Epoch,
    owner: Epoch,
    restored_at: Option<Timestamp>,
    /// A machine not heard of for longer is unreachable.
    ttl: Duration,
    /// Whose doing the changes are that are made through this one.
    actor: Arc<Actor>,
}

impl Store {
    /// Opens (or makes) the database of a path or `postgres://` URL and brings its schema up to date. Blocks.
    pub fn open(url: &str, ttl: Duration, now: Timestamp, hook: Option<CommitHook>) -> Result<Self, Failure> {
        let connector = connection::Connector::new(url);
        connector.migrate()?;
        let readers = connection::readers(connector.clone())?;
        let Identity { epoch, owner, restored_at } = identity(&connector, now)?;
        let line = Arc::<line::Line>::default();
        let writer = writer::Writer::start(connector.clone(), line.clone(), hook)?;
        let (claims, actor) = (Arc::default(), Arc::default());
        let (claim, right) = (None, None);
        Ok(Self {
            connector,
            writer,
            readers,
            line,
            claims,
            claim,
            right,
            epoch,
            owner,
            restored_at,
            ttl,
            actor,
        })
    }

    /// The same, for somebody's changes.
    pub fn by(&self, actor: Actor) -> Self {
        Self { actor: Arc::new(actor), ..self.clone() }
    }

    /// The same, for as long as this lets them in.
    pub fn by_right(&self, right: Right) -> Self {
        Self { right: Some(Arc::new(right)), ..self.clone() }
    }

    /// Whether it does, apart from the time.
    pub async fn right_holds(&self) -> Result<bool, Failure> {
        let right = self.right.clone();
        self.read(move |conn| right.map_or(Ok(true), |right| right::holds(conn, &right))).await
    }

    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Marks what providers made for this database; it stays when the database is restored.
    pub fn owner(&self) -> Epoch {
        self.owner
    }

    /// What was made before then may be known to nobody.
    pub fn restored_at(&self) -> Option<Timestamp> {
        self.restored_at
    }

    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Changes after every commit of this server; another one's are not seen.
    pub fn committed(&self) -> watch::Receiver<()> {
        self.writer.committed()
    }

    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Conn) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let (claim, right) = (self.claim.clone(), self.right.clone());
        let change = move |conn: &mut Conn| {
            claim.map_or(Ok(()), |claim| claim::check(conn, &claim))?;
            right.map_or(Ok(()), |right| right::check(conn, &right))?;
            change(conn)
        };
        self.writer.write(self.actor.clone(), change).await
    }

    async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Conn) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let readers = self.readers.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut conn = readers
                .get()
                .map_err(|error| Failure::Unavailable(format!("the database is busy: {error}")))?;
            look(&mut conn)
        });
        read.await.unwrap_or_else(|error| Err(Failure::Internal(format!("a read failed: {error}"))))
    }
}

/// Where the database's own id is in `meta`; the first one that it had, and since when it has another.
const EPOCH: &str = "epoch";
const OWNER: &str = "owner";
const RESTORED_AT: &str = "restored_at";

struct Identity {
    epoch: Epoch,
    owner: Epoch,
    restored_at: Option<Timestamp>,
}

fn identity(connector: &connection::Connector, now: Timestamp) -> Result<Identity, Failure> {
    let mut conn = connector
        .open()
        .map_err(|error| Failure::Unavailable(format!("cannot read the database's epoch: {error}")))?;
    connection::begin(&mut conn)?;
    let epoch = match meta(&mut conn, EPOCH)? {
        Some(epoch) => epoch,
        None => {
            let epoch = Epoch::new(now);
            diesel::insert_into(schema::meta::table)
                .values((schema::meta::key.eq(EPOCH), schema::meta::value.eq(epoch.to_string())))
                .execute(&mut conn)?;
            epoch
        }
    };
    let owner = meta(&mut conn, OWNER)?.unwrap_or(epoch);
    let restored_at = meta(&mut conn, RESTORED_AT)?;
    connection::commit(&mut conn)?;
    Ok(Identity { epoch, owner, restored_at })
}

fn meta<T: std::str::FromStr>(conn: &mut Conn, key: &str) -> Result<Option<T>, Failure> {
    let found: Option<String> =
        schema::meta::table.find(key).select(schema::meta::value).first(conn).optional()?;
    found.map(|found| row::text("meta.value", &found)).transpose()
}

#[cfg(test)]
mod tests;
