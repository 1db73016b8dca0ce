//! What one server does at a time: visits to a machine, and the work at a pool's provider.
//!
//! A claim belongs to a line (see `line.rs`) and holds as long as that stands; so nothing has to be renewed, no clock is
//! asked, and a server that dies is followed within moments. Each taking counts a number up, the fence: whoever lost a claim
//! without noticing may come back with something, and it does not count.

use super::line::stands;
use super::schema::claim;
use super::{Conn, Failure, Store};
use diesel::prelude::*;
use model::{MachineId, PoolName};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The number of no line.
const NOBODY: i64 = 0;
const ALONE: i64 = 1;

/// What may be claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thing {
    VisitsTo(MachineId),
    Pool(PoolName),
    /// Looking whether listed machines are up.
    Probes,
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VisitsTo(machine) => write!(f, "visits to {machine}"),
            Self::Pool(name) => write!(f, "pool {name}"),
            Self::Probes => f.write_str("probes"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = claim)]
pub struct Claim {
    thing: String,
    server: i64,
    fence: i64,
}

/// Ours, as far as we know.
#[derive(Default)]
pub(crate) struct Claims(Mutex<HashMap<String, Claim>>);

impl Store {
    /// Takes it, unless another server that lives has it. Ours stays ours until we leave it, or our line breaks.
    pub async fn claim_take(&self, thing: Thing) -> Result<Option<Claim>, Failure> {
        let Some(server) = self.claimant() else { return Ok(None) };
        let thing = thing.to_string();
        let ours = self.claims.get(&thing).filter(|claim| claim.server == server);
        if ours.is_some() {
            return Ok(ours);
        }
        // Most often it is another's; a look costs less than a write.
        if self.is_claimed(thing.clone()).await? {
            return Ok(None);
        }
        let taken = self.write(move |conn| take(conn, thing, server)).await?;
        if let Some(claim) = &taken {
            self.claims.put(claim.clone());
        }
        Ok(taken)
    }

    /// Somebody else may be able to do it.
    pub async fn claim_leave(&self, claim: Claim) -> Result<(), Failure> {
        self.claims.remove(&claim.thing);
        self.write(move |conn| {
            let target = claim::table.filter(claim::thing.eq(claim.thing).and(claim::fence.eq(claim.fence)));
            diesel::update(target).set(claim::server.eq(NOBODY)).execute(conn)?;
            Ok(())
        })
        .await
    }

    /// Whether another server that lives has it.
    pub async fn is_elsewhere(&self, thing: Thing) -> Result<bool, Failure> {
        self.is_claimed(thing.to_string()).await
    }

    /// The same, for as long as a claim holds: once another server has taken it over, nothing is written any more.
    pub fn under(&self, claim: &Claim) -> Self {
        Self { claim: Some(Arc::new(claim.clone())), ..self.clone() }
    }

    async fn is_claimed(&self, thing: String) -> Result<bool, Failure> {
        let own = self.claimant();
        self.read(move |conn| match find(conn, &thing)? {
            Some(claim) => Ok(Some(claim.server) != own && stands(conn, claim.server)?),
            None => Ok(false),
        })
        .await
    }

    /// By which number we claim. Where there can be no other server, any will do.
    fn claimant(&self) -> Option<i64> {
        if self.connector.is_shared() { self.line.number() } else { Some(ALONE) }
    }
}

impl Claims {
    fn get(&self, thing: &str) -> Option<Claim> {
        self.lock().get(thing).cloned()
    }

    fn put(&self, claim: Claim) {
        self.lock().insert(claim.thing.clone(), claim);
    }

    fn remove(&self, thing: &str) {
        self.lock().remove(thing);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Claim>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take(conn: &mut Conn, thing: String, server: i64) -> Result<Option<Claim>, Failure> {
    let Some(former) = find(conn, &thing)? else {
        let claim = Claim { thing, server, fence: 1 };
        diesel::insert_into(claim::table).values(&claim).execute(conn)?;
        return Ok(Some(claim));
    };
    if former.server != server && stands(conn, former.server)? {
        return Ok(None);
    }
    let claim = Claim { thing, server, fence: former.fence + 1 };
    diesel::update(claim::table.find(&claim.thing)).set(&claim).execute(conn)?;
    Ok(Some(claim))
}

/// Nothing is written that hangs on a claim that another server has taken over.
pub(crate) fn check(conn: &mut Conn, ours: &Claim) -> Result<(), Failure> {
    match find(conn, &ours.thing)? {
        Some(now) if now == *ours => Ok(()),
        Some(_) | None => Err(Failure::TakenOver(ours.thing.clone())),
    }
}

/// Of a machine that is gone.
pub(crate) fn forget(conn: &mut Conn, machine: MachineId) -> QueryResult<()> {
    diesel::delete(claim::table.find(Thing::VisitsTo(machine).to_string())).execute(conn).map(|_| ())
}

fn find(conn: &mut Conn, thing: &str) -> QueryResult<Option<Claim>> {
    claim::table.find(thing).select(Claim::as_select()).first(conn).optional()
}
