//! Use-cases: decide, write a fact, leave a hint for the loops. Nothing here touches a machine.

mod access;
mod account;
mod agent;
mod follow;
mod gate;
mod listing;
mod machine;
mod meta;
mod passwords;
mod person;
mod pool;
mod reservation;
mod stock;
mod token;
mod view;
mod vm_pool;

pub use follow::News;
pub use gate::{GateSettings, NotAllowed, Quotas, Shown, Shows};
pub use person::{Person, PersonChange};
pub use stock::Stock;
pub use vm_pool::{VM_POOL, VmPool};

use crate::reconcile::Hub;
use crate::store::{Failure, Key, Store};
use follow::Followers;
use gate::{Caller, Gate};
use jiff::SignedDuration;
use model::allocate::Shortage;
use model::auth::OverQuota;
use model::{Invalid, Labels};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// What the API can do for anybody: let them in, or tell them how the server does. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

struct Parts {
    hub: Arc<Hub>,
    gate: Gate,
    followers: Followers,
    vm_pool: VmPool,
}

/// What the API does for somebody who was let in. What they change is recorded as their doing.
#[derive(Clone)]
pub struct Desk {
    app: App,
    caller: Caller,
    store: Store,
}

impl App {
    pub fn new(hub: Arc<Hub>, gate: GateSettings, vm_pool: VmPool) -> Self {
        Self(Arc::new(Parts { hub, gate: Gate::new(gate), followers: Followers::default(), vm_pool }))
    }

    fn vm_pool(&self) -> &VmPool {
        &self.0.vm_pool
    }

    fn hub(&self) -> &Hub {
        &self.0.hub
    }

    fn gate(&self) -> &Gate {
        &self.0.gate
    }

    fn followers(&self) -> &Followers {
        &self.0.followers
    }
}

impl Desk {
    fn new(app: App, caller: Caller) -> Self {
        let store = app.hub().store.by(caller.actor()).by_right(caller.right.clone());
        Self { app, caller, store }
    }

    fn hub(&self) -> &Hub {
        self.app.hub()
    }
}

/// Which machines to list.
#[derive(Debug, Clone)]
pub struct MachineFilter {
    pub labels: Labels,
    pub state: Option<String>,
    pub cursor: Option<String>,
    pub limit: u32,
}

/// Which reservations to list.
#[derive(Debug, Clone)]
pub struct ReservationFilter {
    pub username: Option<String>,
    pub phase: Option<model::phase::Phase>,
    pub cursor: Option<String>,
    pub limit: u32,
}

/// Why something was not done, by what the caller can do about it; the text says the remedy.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    KeyReused(String),
    #[error(transparent)]
    Shortage(Shortage),
    #[error(transparent)]
    OverQuota(OverQuota),
    /// By what they are, or by what they came with.
    #[error(transparent)]
    NotAllowed(NotAllowed),
    /// Whoever asks is known, and may not.
    #[error("{0}")]
    Forbidden(String),
    #[error("{why}")]
    TooMany { why: String, wait: SignedDuration },
    /// Nobody says who they are, and it matters.
    #[error("{0}")]
    Anonymous(String),
    #[error("{0}")]
    Unauthorised(String),
    #[error("{0}")]
    Gone(String),
    /// The machines could not do it.
    #[error("{0}")]
    Failed(String),
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    Internal(String),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotFound(why) => Self::NotFound(why),
            Failure::Conflict(why) => Self::Conflict(why),
            Failure::KeyReused(why) => Self::KeyReused(why),
            Failure::Shortage(shortage) => Self::Shortage(shortage),
            Failure::OverQuota(over) => Self::OverQuota(over),
            Failure::Unauthorised(why) => Self::Unauthorised(why),
            Failure::Gone(why) => Self::Gone(why),
            Failure::Race | Failure::TakenOver(_) => Self::Unavailable(failure.to_string()),
            Failure::Unavailable(why) => Self::Unavailable(why),
            Failure::Internal(why) => Self::Internal(why),
        }
    }
}

impl Desk {
    /// A client's idempotency key with a digest of what it asks; secrets are left out of the digest, since a digest of a
    /// weak password would give it away. Each account has keys of its own.
    fn keyed(
        &self,
        key: Option<String>,
        route: &str,
        request: &impl serde::Serialize,
    ) -> Result<Option<Key>, Refusal> {
        let Some(key) = key else { return Ok(None) };
        let body = serde_json::to_vec(request).map_err(|error| Refusal::Internal(error.to_string()))?;
        let request = data_encoding::HEXLOWER.encode(&Sha256::digest(&body));
        let of = self.caller.account.as_ref().map(|account| format!("{} ", account.id)).unwrap_or_default();
        Ok(Some(Key { key: format!("{of}{route} {key}"), request }))
    }
}
